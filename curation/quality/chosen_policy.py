"""Which policy a reader of clips follows, and the clips and texts that it keeps."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from curation.dataset.database import literal
from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from curation.texts.unrecognised import CLIPS_SQL

NOT_PINNED: Mapping[str, int] = MappingProxyType({})


def applied_policies(dataset: Dataset, versions: Mapping[str, int] = NOT_PINNED) -> dict[str, str]:
    """The policies that have been applied, by name, with their digests; now, or in a version of the tables.

    A version that was pinned before there was one has none.
    """
    if versions and "policies" not in versions:
        return {}
    query = "select policy, any_value(digest) as digest from policies group by policy order by policy"
    rows = (row for batch in dataset.stream(query, versions) for row in batch.to_pylist())
    return {row["policy"]: row["digest"] for row in rows}


def digest_of_policy(dataset: Dataset, name: str, versions: Mapping[str, int] = NOT_PINNED) -> str:
    """The digest of an applied policy. Raises UsageError if it has not been applied."""
    applied = applied_policies(dataset, versions)
    if name not in applied:
        others = f"; there are {', '.join(applied)}" if applied else ""
        when = "in this version" if versions else f"yet: `vidla filter {dataset.uri} --policy {name}` does"
        raise UsageError(f"no policy '{name}' was applied to {dataset.uri} {when}{others}")
    return applied[name]


def choose(dataset: Dataset, name: str | None, *, everything: bool) -> str | None:
    """The policy to follow: `name`, or None for all clips, if they are asked for or no policy has been applied.

    Raises UsageError if that is left open, and for a policy that has not been applied.
    """
    if name and everything:
        raise UsageError("choose one: --policy NAME, or --all")
    if name:
        digest_of_policy(dataset, name)
    elif not everything and (applied := applied_policies(dataset)):
        raise UsageError(f"choose the clips: --policy NAME (there are {', '.join(applied)}), or --all for all of them")
    return name


def undecided(dataset: Dataset, name: str) -> int:
    """How many clips a policy has not decided on: they came after it was applied, and are not kept."""
    query = f"""
        select count(*) as count from clips
        where clip_id not in (select clip_id from policies where policy = {literal(name)})"""
    count: int = dataset.sql(query)["count"][0].as_py()
    return count


def undecided_line(dataset: Dataset, name: str) -> str | None:
    """Says that there are such clips; None if there are none."""
    count = undecided(dataset, name)
    if not count:
        return None
    return f"{count:,} clips are left out, since {name} has not decided on them; `vidla filter` does"


def kept_clips_sql(name: str | None) -> str:
    """The table `clips` as SQL: the rows that a policy keeps, with the texts that it keeps; all for None."""
    if name is None:
        return CLIPS_SQL
    texts = ", ".join(f"if({text}_kept, {text}_text, null) as {text}_text" for text in ("subtitle", "caption"))
    return f"""(
        select clips.* replace ({texts}) from {CLIPS_SQL} as clips
        join (select clip_id, subtitle_kept, caption_kept from policies where policy = {literal(name)} and kept)
            as verdicts on verdicts.clip_id = clips.clip_id
    )"""
