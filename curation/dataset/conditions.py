"""SQL that a user gives: a condition, which is one expression, or a query, which is one SELECT, and nothing else."""

from __future__ import annotations

import functools
import json
from collections.abc import Mapping
from typing import Any

import duckdb

from curation.dataset.database import connect
from curation.errors import UsageError, one_line


@functools.lru_cache
def one_condition(text: str) -> str:
    """`text`, if DuckDB reads it as one expression, in parentheses. Raises UsageError.

    >>> one_condition("scale = 'short' -- of the three")
    "(scale = 'short' -- of the three\\n)"
    """
    refusal = f"'{text}' is not one condition, such as \"scale = 'short'\""
    with connect() as parser:
        node, plain = (_without_place(_parsed(parser, f"select {each}", refusal)) for each in (text, "true"))
    expressions = node.pop("select_list", [])
    plain.pop("select_list")
    if node != plain or len(expressions) != 1 or expressions[0]["alias"]:
        raise UsageError(refusal)
    return f"({text}\n)"  # a comment at the end does not hide the parenthesis


@functools.lru_cache
def one_select(text: str) -> str:
    """`text` without a semicolon at its end, if DuckDB reads it as one SELECT. Raises UsageError.

    >>> one_select("select 1;")
    'select 1'
    """
    text = text.strip().removesuffix(";")
    with connect() as parser:
        _parsed(parser, text, "--sql takes one SELECT")
    return text


def parsed_condition(text: str) -> dict[str, Any]:
    """The tree of a condition, as DuckDB parses it (json_serialize_sql). Raises UsageError.

    >>> parsed_condition("still > 0.95")["left"]["column_names"]
    ['still']
    """
    one_condition(text)
    with connect() as parser:
        tree: dict[str, Any] = _parsed(parser, f"select {text}", text)["select_list"][0]
    return tree


def as_sql(tree: Mapping[str, Any]) -> str:
    """A tree of `parsed_condition`, or a part of one, as SQL.

    >>> as_sql(parsed_condition("still > 0.95 and scale = 'short'"))
    "((still > 0.95) AND (scale = 'short'))"
    """
    with connect() as parser:
        (answer,) = parser.execute("select json_serialize_sql('select true')").fetchone() or ("{}",)
        query = json.loads(answer)
        query["statements"][0]["node"]["select_list"] = [tree]
        (text,) = parser.execute("select json_deserialize_sql(?::json)", [json.dumps(query)]).fetchone() or ("",)
    return str(text).removeprefix("SELECT ")


def _parsed(parser: duckdb.DuckDBPyConnection, query: str, refusal: str) -> dict[str, Any]:
    """The parts of one SELECT. Raises UsageError, which begins with `refusal`, if the query is anything else."""
    (answer,) = parser.execute("select json_serialize_sql(?)", [query]).fetchone() or ("{}",)
    tree = json.loads(answer)
    if tree.get("error") or len(tree["statements"]) != 1:
        why = one_line(str(tree.get("error_message", "there are several")).partition("\n")[0])
        raise UsageError(f"{refusal}: {why}")
    node: dict[str, Any] = tree["statements"][0]["node"]
    return node


def _without_place(node: Mapping[str, Any]) -> dict[str, Any]:
    """The parts of a query without the place of its FROM in the text."""
    table = node.get("from_table")
    return {**node, "from_table": table.get("type") if isinstance(table, dict) else table}
