"""What a policy decides of each clip, as a table of DuckDB: one pass over the columns that its rules name."""

from __future__ import annotations

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import duckdb
import pyarrow as pa

from curation.dataset.database import literal
from curation.dataset.dataset import Dataset
from curation.errors import ConfigError, UsageError, one_line
from curation.policy_settings import CHANNEL_CAP, SCALE_SHARE, VIDEO_CAP, PolicySettings
from curation.quality.quantiles import freeze, frozen, in_order, percentiles_in, with_percentiles
from curation.quality.rules import Percentile, Rule, columns_of, rules_of
from curation.records import SCALES
from curation.schema import LINEAGE, TABLES
from curation.texts.unrecognised import CLIPS_SQL

READ = ("clips", "signals", "videos")
"""The tables whose columns rules may name; of two columns of one name, that of the first table counts."""
REPEATS = {"subtitle_repeats": "subtitle_key", "caption_repeats": "caption_key"}
"""Columns that only the whole dataset tells: how many clips have the same text."""
MADE = (*REPEATS, "clip_count", "keeps_subtitle", "keeps_caption")
"""The columns of rules that no table has."""
SITE = """coalesce(nullif(regexp_extract(videos.uri, '^https?://([^/:]+)', 1), ''), 'local files')"""
_ALWAYS = ("clip_id", "video_id", "scale", "start", "end", "language", "channel", "channel_id")
_CHANNEL = "ifnull(channel_id, channel)"


@dataclass(frozen=True)
class DropReason:
    """Something that drops a clip or a text, and the column of `decided` that says where."""

    name: str
    subject: str
    column: str
    rule: Rule | None = None


@dataclass(frozen=True)
class Decisions:
    """The table `decided` of `connection`: a row for each clip, with `kept`, `subtitle_kept` and `caption_kept`.

    `quantiles` are the percentiles that were used, `new` whether they were taken now. `unmeasured` clips have no
    signals, `outdated` ones older signals than texts. `notes` say which caps had no effect.
    """

    connection: Any
    reasons: Sequence[DropReason]
    quantiles: pa.Table
    new: bool
    clips: int
    unmeasured: int
    outdated: int
    notes: Sequence[str]


def decide(connection: Any, dataset: Dataset, name: str, policy: PolicySettings, *, thaw: bool) -> Decisions:
    """Decide on all clips with a connection that has the tables that `queries` name.

    Percentiles are those that were frozen when the policy was first applied, as far as it had them; with `thaw`, they
    are taken again. Raises ConfigError for a rule that cannot be computed.
    """
    rules = rules_of(name, policy)
    named = frozenset[str]().union(*(rule.columns for rule in rules), _preferred(name, policy))
    _choose(connection, named)
    counts = "select count(*), count(*) filter (unmeasured), count(*) filter (outdated) from chosen"
    ((clips, unmeasured, outdated),) = connection.execute(counts).fetchall()
    wanted = frozenset[Percentile]().union(*(rule.percentiles for rule in rules))
    taken = frozen(dataset, name, frozenset() if thaw else wanted)
    missing = wanted - percentiles_in(taken)
    quantiles = in_order(pa.concat_tables([taken, freeze(connection, name, missing)]))
    chosen = with_percentiles(connection, _with_repeats(named, clips), wanted, quantiles)
    reasons = _judge(connection, name, rules, chosen)
    caps, notes = _cap(connection, name, policy, reasons)
    _conclude(connection, [*reasons, *caps])
    return Decisions(connection, [*reasons, *caps], quantiles, bool(missing), clips, unmeasured, outdated, notes)


def totals(connection: Any) -> dict[str, Any]:
    """Of the table `decided`: the clips and hours, those that are kept, and the texts that are kept with them."""
    (found,) = connection.sql(_TOTALS).to_arrow_table().to_pylist()
    return dict(found)


_TOTALS = """
    select
        count(*) as clips, count(*) filter (kept) as kept, coalesce(sum("clip seconds"), 0) / 3600 as hours,
        coalesce(sum("clip seconds") filter (kept), 0) / 3600 as kept_hours,
        count(*) filter (kept and subtitle_kept) as subtitles, count(*) filter (kept and caption_kept) as captions
    from decided"""


def _preferred(name: str, policy: PolicySettings) -> frozenset[str]:
    """The columns by which caps choose. Raises ConfigError."""
    try:
        return columns_of(policy.prefer) if policy.prefer else frozenset()
    except UsageError as error:
        raise ConfigError(f"policy.{name}.prefer: {error}") from None


def queries(policy: PolicySettings) -> list[str]:
    """Texts that name all tables that a decision reads: those of rules too, which may have subqueries."""
    conditions = (*policy.drop.values(), *policy.drop_subtitle.values(), *policy.drop_caption.values())
    return [*READ, *conditions, policy.prefer or ""]


def sources() -> Mapping[str, str]:
    """The columns that rules may name, with the SQL that makes them of `clips`, `signals` and `videos`."""
    found: dict[str, str] = {}
    for table in READ:
        for column in TABLES[table].schema.names:
            if column not in LINEAGE.names:
                found.setdefault(column, f'{table}."{column}"')
    return found


def _choose(connection: Any, named: frozenset[str]) -> None:
    """Make the table `chosen` of the columns that rules need, one row a clip."""
    known = sources()
    needed = dict.fromkeys([*_ALWAYS, *sorted(named & known.keys())])
    needed |= dict.fromkeys(REPEATS[name] for name in sorted(named & REPEATS.keys()))
    columns = ", ".join(f'{known[name]} as "{name}"' for name in needed)
    connection.execute(f"""
        create temp table chosen as
        select {columns}, {SITE} as "site", clips."end" - clips.start as "clip seconds",
            clips.subtitle_text is not null as "has subtitle", clips.caption_text is not null as "has caption",
            signals.clip_id is null as unmeasured, coalesce(signals.created_at < clips.created_at, false) as outdated
        from {CLIPS_SQL} as clips left join signals on signals.clip_id = clips.clip_id
            left join videos on videos.video_id = clips.video_id""")


def _with_repeats(used: frozenset[str], clips: int) -> str:
    made = [f'{clips} as "clip_count"'] if "clip_count" in used else []
    joins = []
    for name, key in REPEATS.items():
        if name in used:
            made.append(f"{name}.count as {name}")
            counts = f"select {key}, count(*) as count from chosen where {key} is not null group by {key}"
            joins.append(f"left join ({counts}) as {name} using ({key})")
    return f"(select {', '.join(['chosen.*', *made])} from chosen {' '.join(joins)}) as chosen"


def _judge(connection: Any, name: str, rules: Sequence[Rule], chosen: str) -> list[DropReason]:
    """Make the table `judged`: `chosen` with a column for each rule, and with what is left of the texts."""
    reasons = [DropReason(rule.name, rule.subject, f"rule {at}", rule) for at, rule in enumerate(rules)]
    source = chosen
    for of_clips in (False, True):
        safe = [
            f'{_safe(connection, name, rule, source)} as "rule {at}"'
            for at, rule in enumerate(rules)
            if (rule.subject == "clip") == of_clips
        ]
        source = f"(select {', '.join(['*', *safe])} from {source}) as chosen"
        if not of_clips:
            kept = ", ".join(_keeps(text, reasons) for text in ("subtitle", "caption"))
            source = f"(select *, {kept} from {source}) as chosen"
    connection.execute(f"create temp table judged as select * from {source}")
    return reasons


def _keeps(text: str, reasons: Sequence[DropReason]) -> str:
    dropped = _any(reason for reason in reasons if reason.subject == text)
    return f'"has {text}" and not {dropped} as keeps_{text}'


def _any(reasons: Iterator[DropReason] | Sequence[DropReason]) -> str:
    """The SQL condition that one of these drops."""
    dropped = [f'coalesce("{reason.column}", false)' for reason in reasons]
    return f"({' or '.join(dropped) or 'false'})"


def _safe(connection: Any, policy: str, rule: Rule, source: str) -> str:
    """The condition of a rule: null where it cannot be computed, false without the text. Raises ConfigError."""
    condition = f"(({rule.sql})::boolean)"
    condition = condition if rule.has_query else f"try{condition}"  # DuckDB tries no queries
    if rule.subject != "clip":
        condition = f'if("has {rule.subject}", {condition}, false)'
    try:
        connection.execute(f"explain select {condition} from {source}").fetchall()
    except duckdb.Error as error:
        key = "drop" if rule.subject == "clip" else f"drop_{rule.subject}"
        raise ConfigError(f"policy.{policy}.{key}.{rule.name}: {_explained(error, rule)}") from None
    return condition


def _explained(error: Exception, rule: Rule) -> str:
    """What is wrong with a rule: the column that there is not, if it names one."""
    known = [*sources(), *MADE]
    for name in sorted(rule.columns.difference(known, (each.column for each in rule.percentiles))):
        if near := difflib.get_close_matches(name, known, n=1):
            return f"no column is called '{name}'; did you mean '{near[0]}'?"
    return one_line(str(error).partition("\n\nLINE")[0])


# --- caps and shares ------------------------------------------------------------------------------------------------


def _cap(
    connection: Any, name: str, policy: PolicySettings, reasons: Sequence[DropReason]
) -> tuple[list[DropReason], list[str]]:
    """Apply caps and shares, one after the other, to the clips that the rules keep."""
    caps: list[DropReason] = []
    notes: list[str] = []
    order = f"try(({policy.prefer})) desc nulls last, " if policy.prefer else ""
    by = (
        (VIDEO_CAP, "(video_id, scale)", _of_videos),
        (CHANNEL_CAP, _CHANNEL, _of_channels),
        (SCALE_SHARE, "scale", _of_scales),
    )
    for cap, of, limit_of in by:
        left = f"not {_any([each for each in (*reasons, *caps) if each.subject == 'clip'])}"
        limit = limit_of(connection, policy, left, notes)
        if limit is None:
            continue
        caps.append(DropReason(cap, "clip", cap))
        rank = f"row_number() over (partition by {left}, {of} order by {order}md5_number_lower(clip_id), clip_id)"
        try:
            connection.execute(f"""
                create temp table capped as
                select *, {left} and {of} is not null and {rank} > {limit} as "{cap}"
                from judged""")
        except duckdb.Error as error:
            fault = one_line(str(error).partition("\n\nLINE")[0])
            raise ConfigError(f"policy.{name}.prefer: {fault}") from None
        connection.execute("drop table judged")
        connection.execute("alter table capped rename to judged")
    return caps, notes


def _of_videos(connection: Any, policy: PolicySettings, left: str, notes: list[str]) -> str | None:
    return _by_scale(policy.max_per_video) if policy.max_per_video else None


def _of_channels(connection: Any, policy: PolicySettings, left: str, notes: list[str]) -> str | None:
    share = policy.max_channel_share
    if share is None:
        return None
    counts = f"select count(*), count(distinct {_CHANNEL}) from judged where {left}"
    ((clips, channels),) = connection.execute(counts).fetchall()
    if channels * share < 1:
        notes.append(f"{CHANNEL_CAP} drops nothing: {channels} channels are too few for shares of {share:g}")
        return None
    return str(max(1, int(share * clips)))


def _of_scales(connection: Any, policy: PolicySettings, left: str, notes: list[str]) -> str | None:
    counts = dict(connection.execute(f"select scale, count(*) from judged where {left} group by scale").fetchall())
    shares = {scale: share for scale, share in policy.scale_shares.items() if counts.get(scale)}
    if not shares:
        return None
    total = min(counts[scale] / share for scale, share in shares.items())
    return _by_scale({scale: round(total * share) for scale, share in shares.items()})


def _by_scale(limits: Mapping[Any, int]) -> str:
    cases = " ".join(f"when {literal(scale)} then {limits[scale]}" for scale in SCALES if scale in limits)
    return f"(case scale {cases} else {2**62} end)"


def _conclude(connection: Any, reasons: Sequence[DropReason]) -> None:
    """Make the view `decided`: `judged` with what is kept, and what drops it."""
    of_clips = _any([reason for reason in reasons if reason.subject == "clip"])
    names = ", ".join(f'if("{reason.column}", {literal(reason.name)}, null)' for reason in reasons)
    connection.execute(f"""
        create temp view decided as
        select *, not {of_clips} as kept, keeps_subtitle as subtitle_kept, keeps_caption as caption_kept,
            list_filter([{names}]::varchar[], lambda name: name is not null) as dropped_by
        from judged""")
