"""SQL that a user gives: a condition, which is one expression, or a query, which is one SELECT, and nothing else."""

from __future__ import annotations

import functools
import json
from typing import Any

import duckdb

from curation.dataset.database import connect
from curation.errors import UsageError


@functools.lru_cache
def one_condition(text: str) -> str:
    """`text`, if DuckDB reads it as one expression, in parentheses. Raises UsageError.

    >>> one_condition("scale = 'short' -- of the three")
    "(scale = 'short' -- of the three\\n)"
    """
    with connect() as parser:
        node = _parsed(parser, text)
        plain = _parsed(parser, "true")
    expressions = node.pop("select_list", [])
    plain.pop("select_list")
    if node != plain or len(expressions) != 1 or expressions[0]["alias"]:
        raise UsageError(f"'{text}' is not one condition, such as \"scale = 'short'\"")
    return f"({text}\n)"  # a comment at the end does not hide the parenthesis


@functools.lru_cache
def one_select(text: str) -> str:
    """`text` without a semicolon at its end, if DuckDB reads it as one SELECT. Raises UsageError.

    >>> one_select("select 1;")
    'select 1'
    """
    text = text.strip().removesuffix(";")
    with connect() as parser:
        (answer,) = parser.execute("select json_serialize_sql(?)", [text]).fetchone() or ("{}",)
    tree = json.loads(answer)
    if tree.get("error") or len(tree["statements"]) != 1:
        why = " ".join(str(tree.get("error_message", "there are several")).partition("\n")[0].split())
        raise UsageError(f"--sql takes one SELECT: {why}")
    return text


def _parsed(parser: duckdb.DuckDBPyConnection, text: str) -> dict[str, Any]:
    """The parts of the query `select <text>`. Raises UsageError."""
    (answer,) = parser.execute("select json_serialize_sql(?)", [f"select {text}"]).fetchone() or ("{}",)
    tree = json.loads(answer)
    if tree.get("error") or len(tree["statements"]) != 1:
        why = " ".join(str(tree.get("error_message", "")).partition("\n")[0].split())
        raise UsageError(f"'{text}' is not one condition, such as \"scale = 'short'\": {why}")
    node: dict[str, Any] = tree["statements"][0]["node"]
    if isinstance(node.get("from_table"), dict):
        node["from_table"] = node["from_table"].get("type")  # without its place in the text
    return node
