"""What a policy would do, rule by rule, before it is applied: what each drops, alone too, and at other thresholds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow as pa

from curation.dataset.database import literal
from curation.dataset.dataset import Dataset
from curation.dataset.verdicts import labels_now
from curation.ids import content_digest
from curation.labels import RATINGS
from curation.policy_settings import PolicySettings
from curation.quality.decisions import Decisions, DropReason, decide, queries, totals
from curation.shares import interval

NEAREST = 5
"""Clips that are shown on either side of a threshold."""
GROUPS = 20
"""Groups that are shown of each kind: those of which most clips are dropped."""
CHANGE = 0.1
"""By how much thresholds are moved, up and down."""
KINDS = {"language": "language", "scale": "scale", "source": "site", "channel": "channel"}
_WORST = {"clip": "drop", "subtitle": "major", "caption": "major"}
_JUDGED = {"clip": ("keep", "drop"), "subtitle": RATINGS, "caption": RATINGS}  # a flag says neither


@dataclass(frozen=True)
class Near:
    """A clip near a threshold: its value, and the bound that it is compared with."""

    clip_id: str
    value: float
    bound: float


@dataclass(frozen=True)
class LabelShare:
    """Of `labelled` clips or texts that people judged, `bad` ones, with the 95 % interval of their share."""

    labelled: int
    bad: int
    low: float
    high: float


@dataclass(frozen=True)
class Effect:
    """What one rule does: the clips and hours that it drops (of a rule on texts: those whose text it drops).

    `alone`: what no other rule on the same subject drops. `nulls`: clips of which the rule can say nothing, so that it
    drops none of them. `less` and `more`: how many it would drop with a bound that is lower or higher by a tenth. `by`:
    how many it drops in the groups of the whole.
    """

    rule: str
    subject: str
    condition: str | None
    clips: int
    hours: float
    alone: int
    nulls: int
    kept_nearest: Sequence[Near]
    dropped_nearest: Sequence[Near]
    less: int | None
    more: int | None
    labels: LabelShare
    by: Mapping[str, Mapping[str, int]]


@dataclass(frozen=True)
class Group:
    """Clips of one language, scale, source or channel."""

    name: str
    clips: int
    kept: int
    hours: float
    kept_hours: float


@dataclass(frozen=True)
class Against:
    """The difference to what the policy of this name has decided: clips that go and come back, and undecided ones."""

    dropped: int
    restored: int
    same: int
    undecided: int


@dataclass(frozen=True)
class Counterfactual:
    """What a policy would do. `hours` are of clips, which overlap at the three scales."""

    policy: str
    clips: int
    kept: int
    hours: float
    kept_hours: float
    subtitles: int
    captions: int
    unmeasured: int
    outdated: int
    new_percentiles: bool
    notes: Sequence[str]
    rules: Sequence[Effect]
    groups: Mapping[str, Sequence[Group]]
    against: Against | None
    dropped_labels: LabelShare
    kept_labels: LabelShare


def counterfactual(dataset: Dataset, name: str, policy: PolicySettings, *, thaw: bool = False) -> Counterfactual:
    """What `policy` would do to `dataset`; nothing is written. Raises ConfigError."""
    with dataset.connection([*queries(policy), "policies"]) as connection:
        decisions = decide(connection, dataset, name, policy, thaw=thaw)
        return _of(decisions, dataset, name)


def _of(decisions: Decisions, dataset: Dataset, name: str) -> Counterfactual:
    connection, reasons = decisions.connection, decisions.reasons
    labels = _Labels(connection, dataset)
    groups = {kind: _groups(connection, column, reasons) for kind, column in KINDS.items()}
    counts = totals(connection)
    effects = [
        _effect(connection, reason, reasons, labels, {kind: by[reason.column] for kind, (_, by) in groups.items()})
        for reason in reasons
    ]
    return Counterfactual(
        name,
        **counts,
        unmeasured=decisions.unmeasured,
        outdated=decisions.outdated,
        new_percentiles=decisions.new,
        notes=decisions.notes,
        rules=effects,
        groups={kind: found for kind, (found, _) in groups.items()},
        against=_against(connection, name),
        dropped_labels=labels.of("clip", "not kept"),
        kept_labels=labels.of("clip", "kept"),
    )


def _rows(connection: Any, query: str) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = connection.sql(query).to_arrow_table().to_pylist()
    return rows


def _row(connection: Any, query: str) -> dict[str, Any]:
    (row,) = _rows(connection, query)
    return row


# --- rules ----------------------------------------------------------------------------------------------------------


def _effect(
    connection: Any,
    reason: DropReason,
    reasons: Sequence[DropReason],
    labels: _Labels,
    by: Mapping[str, Mapping[str, int]],
) -> Effect:
    column = f'"{reason.column}"'
    others = [f'coalesce("{other.column}", false)' for other in reasons if other.subject == reason.subject]
    together = " + ".join(f"{other}::int" for other in others)
    counts = _row(
        connection,
        f"""select
            count(*) filter ({column}) as clips, coalesce(sum("clip seconds") filter ({column}), 0) / 3600 as hours,
            count(*) filter ({column} and {together} = 1) as alone, count(*) filter ({column} is null) as nulls
        from decided""",
    )
    below, above, less, more = _thresholds(connection, reason)
    return Effect(
        rule=reason.name,
        subject=reason.subject,
        condition=reason.rule.text if reason.rule else None,
        **counts,
        kept_nearest=below,
        dropped_nearest=above,
        less=less,
        more=more,
        labels=labels.of(reason.subject, column),
        by=by,
    )


def _thresholds(connection: Any, reason: DropReason) -> tuple[Sequence[Near], Sequence[Near], int | None, int | None]:
    """The clips nearest to a rule's threshold, kept and dropped ones, and what it drops when that is moved."""
    threshold = reason.rule.threshold if reason.rule else None
    if threshold is None:
        return (), (), None, None
    column = f'"{reason.column}"'
    compared = f"""(
        select clip_id, {column} as dropped, try_cast({threshold.value} as double) as value,
            try_cast({threshold.bound} as double) as bound
        from decided where {column} is not null{"" if reason.subject == "clip" else f' and "has {reason.subject}"'}
    )"""
    sides = (
        _rows(
            connection,
            f"""select clip_id, value, bound from {compared}
            where {side} dropped and value is not null and bound is not null
            order by abs(value - bound), clip_id limit {NEAREST}""",
        )
        for side in ("not", "")
    )
    kept, dropped = ([Near(**row) for row in rows] for rows in sides)
    moved = _row(
        connection,
        f"""select
            count(*) filter (value {threshold.operator} bound * {1 - CHANGE}) as less,
            count(*) filter (value {threshold.operator} bound * {1 + CHANGE}) as more, count(value) as numbers
        from {compared}""",
    )
    return kept, dropped, *((moved["less"], moved["more"]) if moved["numbers"] else (None, None))


def _groups(
    connection: Any, column: str, reasons: Sequence[DropReason]
) -> tuple[Sequence[Group], Mapping[str, Mapping[str, int]]]:
    """The groups by a column, and by rule how many clips of each it drops."""
    counted = ", ".join(f'count(*) filter ("{reason.column}") as "{reason.column}"' for reason in reasons)
    rows = _rows(
        connection,
        f"""select
            coalesce("{column}", 'unknown') as name, count(*) as clips, count(*) filter (kept) as kept,
            sum("clip seconds") / 3600 as hours, coalesce(sum("clip seconds") filter (kept), 0) / 3600 as kept_hours
            {", " * bool(counted)}{counted}
        from decided group by 1 order by count(*) - count(*) filter (kept) desc, 1 limit {GROUPS}""",
    )
    names = Group.__dataclass_fields__
    groups = [Group(**{name: row[name] for name in names}) for row in rows]
    return groups, {reason.column: {row["name"]: row[reason.column] for row in rows} for reason in reasons}


def _against(connection: Any, name: str) -> Against | None:
    """The difference to the table `policies`; None if it has no policy of this name."""
    row = _row(
        connection,
        f"""select
            count(*) filter (before.kept and not decided.kept) as dropped,
            count(*) filter (not before.kept and decided.kept) as restored,
            count(*) filter (before.kept = decided.kept) as same, count(*) filter (before.kept is null) as undecided
        from decided left join (select clip_id, kept from policies where policy = {literal(name)}) as before
            using (clip_id)""",
    )
    found = Against(**row)
    return found if found.dropped + found.restored + found.same else None


# --- labels ---------------------------------------------------------------------------------------------------------


class _Labels:
    """What people said of clips, and of texts that are still the same: the latest of each person, as a table."""

    def __init__(self, connection: Any, dataset: Dataset) -> None:
        self._connection = connection
        rows = sorted(labels_now(dataset).to_pylist(), key=lambda row: (row["judged_at"], row["label_id"]))
        latest = {(row["clip_id"], row["text"], row["rater"]): row for row in rows}.values()
        texts = _texts_of(dataset, {row["clip_id"] for row in latest if row["text"]})
        valid = [
            row
            for row in latest
            if row["text"] is None or row["text_digest"] == texts.get((row["clip_id"], row["text"]))
        ]
        columns = {
            "clip_id": [row["clip_id"] for row in valid],
            "subject": [row["text"] or "clip" for row in valid],
            "verdict": [row["verdict"] for row in valid],
        }
        table = pa.table(columns, schema=pa.schema([(name, pa.string()) for name in columns]))
        connection.register("judged_by_people", table)

    def of(self, subject: str, condition: str) -> LabelShare:
        """How many of the clips, or texts, for which `condition` holds, people call bad."""
        known = ", ".join(map(literal, _JUDGED[subject]))
        row = _row(
            self._connection,
            f"""select count(*) as labelled, count(*) filter (verdict = {literal(_WORST[subject])}) as bad
            from judged_by_people join decided using (clip_id)
            where subject = {literal(subject)} and verdict in ({known}) and {condition}""",
        )
        return LabelShare(row["labelled"], row["bad"], *interval(row["bad"], row["labelled"]))


def _texts_of(dataset: Dataset, clips: set[str]) -> dict[tuple[str, str], str]:
    """The digests of the texts of these clips, by clip and text."""
    if not clips:
        return {}
    chosen = ", ".join(map(literal, sorted(clips)))
    rows = dataset.sql(
        f"select clip_id, subtitle_text, caption_text from clips where clip_id in ({chosen})"
    ).to_pylist()
    return {
        (row["clip_id"], text): content_digest(row[f"{text}_text"].encode())
        for row in rows
        for text in ("subtitle", "caption")
        if row[f"{text}_text"] is not None
    }
