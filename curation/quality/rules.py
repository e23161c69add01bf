"""The rules of a policy, read from their SQL: the columns and percentiles that they name, and their thresholds."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal

from curation.dataset.conditions import as_sql, parsed_condition
from curation.errors import ConfigError, UsageError
from curation.policy_settings import PolicySettings

Subject = Literal["subtitle", "caption", "clip"]
PERCENTILE = "percentile"
"""The function of rules: percentile(COLUMN, 10) is the tenth percentile among clips of the same scale and language."""
CONSTANT_COLUMNS = frozenset({"clip_count"})
"""Columns that have one value for all clips."""
_OPERATORS = {
    "COMPARE_GREATERTHAN": (">", "<"),
    "COMPARE_LESSTHAN": ("<", ">"),
    "COMPARE_GREATERTHANOREQUALTO": (">=", "<="),
    "COMPARE_LESSTHANOREQUALTO": ("<=", ">="),
}

Tree = dict[str, Any]


@dataclass(frozen=True, order=True)
class Percentile:
    """A percentile of a column, from 0 to 100."""

    signal: str
    percent: float

    @property
    def column(self) -> str:
        """The column that has it, for each clip that of its scale and language."""
        return f"percentile {self.percent:g} of {self.signal}"


@dataclass(frozen=True)
class Threshold:
    """What a rule compares: `value` and `bound` are SQL; the rule holds where value, operator, bound does."""

    value: str
    operator: str
    bound: str


@dataclass(frozen=True)
class Rule:
    """A rule on clips, or on one of their texts: the configured `text`, and `sql` with columns for percentiles.

    `threshold` is None unless the rule is one comparison with a bound; `has_query`: a query is part of it.
    """

    name: str
    subject: Subject
    text: str
    sql: str
    columns: frozenset[str]
    percentiles: frozenset[Percentile]
    threshold: Threshold | None
    has_query: bool


def rules_of(name: str, policy: PolicySettings) -> list[Rule]:
    """The rules of the policy `name`: those on texts, then those on clips. Raises ConfigError."""
    found: list[Rule] = []
    by_subject: tuple[tuple[Subject, str, Mapping[str, str]], ...] = (
        ("subtitle", "drop_subtitle", policy.drop_subtitle),
        ("caption", "drop_caption", policy.drop_caption),
        ("clip", "drop", policy.drop),
    )
    for subject, key, conditions in by_subject:
        for rule, text in conditions.items():
            try:
                found.append(read_rule(rule, subject, text))
            except UsageError as error:
                raise ConfigError(f"policy.{name}.{key}.{rule}: {error}") from None
    return found


def read_rule(name: str, subject: Subject, text: str) -> Rule:
    """A rule from its SQL. Raises UsageError.

    >>> rule = read_rule("blurred", "clip", "sharpness < percentile(sharpness, 10)")
    >>> rule.threshold.operator, rule.threshold.bound
    ('<', '"percentile 10 of sharpness"')
    """
    percentiles: set[Percentile] = set()
    tree = _with_columns(parsed_condition(text), percentiles)
    signals = {percentile.signal for percentile in percentiles}
    has_query = any(node.get("class") == "SUBQUERY" for node in _nodes(tree))
    columns, sql = columns_in(tree) | signals, as_sql(tree)
    return Rule(name, subject, text, sql, columns, frozenset(percentiles), _threshold(tree), has_query)


def columns_of(text: str) -> frozenset[str]:
    """The columns that an SQL expression names. Raises UsageError."""
    return columns_in(parsed_condition(text))


def columns_in(tree: Any) -> frozenset[str]:
    return frozenset(node["column_names"][-1] for node in _nodes(tree) if node.get("class") == "COLUMN_REF")


def _nodes(tree: Any) -> Iterator[Tree]:
    if isinstance(tree, dict):
        yield tree
    for inner in tree.values() if isinstance(tree, dict) else tree if isinstance(tree, list) else ():
        yield from _nodes(inner)


def _with_columns(tree: Any, found: set[Percentile]) -> Any:
    """The tree with a column for each call of PERCENTILE; these are added to `found`. Raises UsageError."""
    if isinstance(tree, list):
        return [_with_columns(inner, found) for inner in tree]
    if not isinstance(tree, dict):
        return tree
    if tree.get("class") == "FUNCTION" and tree.get("function_name") == PERCENTILE:
        percentile = _percentile([argument["expression"] for argument in tree["arguments"]])
        found.add(percentile)
        place = {name: tree[name] for name in ("alias", "query_location", "query_location_length") if name in tree}
        return {"class": "COLUMN_REF", "type": "COLUMN_REF", **place, "column_names": [percentile.column]}
    return {name: _with_columns(inner, found) for name, inner in tree.items()}


def _percentile(arguments: Sequence[Tree]) -> Percentile:
    try:
        column, number = arguments
        (signal,), percent = column["column_names"], float(number["literal"]["text"])
    except (KeyError, ValueError):
        raise UsageError(f"{PERCENTILE} takes a column and a number: {PERCENTILE}(sharpness, 10)") from None
    if not 0 <= percent <= 100:
        raise UsageError(f"{PERCENTILE} takes a number from 0 to 100, not {percent:g}")
    return Percentile(signal, percent)


def _threshold(tree: Tree) -> Threshold | None:
    if tree.get("type") not in _OPERATORS:
        return None
    operator, mirrored = _OPERATORS[tree["type"]]
    if _is_bound(tree["right"]):
        return Threshold(as_sql(tree["left"]), operator, as_sql(tree["right"]))
    if _is_bound(tree["left"]):
        return Threshold(as_sql(tree["right"]), mirrored, as_sql(tree["left"]))
    return None


def _is_bound(tree: Tree) -> bool:
    """Whether an expression has the same value for all clips, or for those of a scale and language."""
    return all(name in CONSTANT_COLUMNS or name.startswith(f"{PERCENTILE} ") for name in columns_in(tree))
