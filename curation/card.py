"""A dataset's card: README.md with Hugging Face's front matter, from what is in the tables and nothing else."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

import yaml

from curation import __version__
from curation.dataset.dataset import Dataset
from curation.dataset.last_settings import last_run
from curation.export.selection import EVERYTHING, Selection
from curation.licences import spdx_of
from curation.release.released_dataset import ReleasedDataset
from curation.remembered import remembered
from curation.settings import Settings

Row = Mapping[str, Any]
Facts = Mapping[str, list[Row]]
SHOWN = 20  # rows of a table
PAPER = "Rizve et al., VidLA: Video-Language Alignment at Scale, CVPR 2024, arXiv:2403.14870"
_SIZES = ((10**3, "n<1K"), (10**4, "1K<n<10K"), (10**5, "10K<n<100K"), (10**6, "100K<n<1M"), (10**7, "1M<n<10M"))


_QUERIES = {
    "scales": """
        select scale, count(*) as clips, sum("end" - start) / 3600 as hours
        from {chosen} group by 1 order by 3 desc, 1""",
    "languages": """
        select coalesce(language, 'unknown') as language, count(*) as clips
        from {chosen} group by 1 order by 2 desc, 1""",
    "texts": """
        select 'subtitle' as text, coalesce(subtitle_status, 'none') as status,
            coalesce(subtitle_source, '–') as source, count(*) as clips
        from {chosen} group by all
        union all
        select 'caption', coalesce(caption_status, 'none'), coalesce(caption_source, '–'), count(*)
        from {chosen} group by all
        order by text desc, clips desc, status, source""",
    "stored": """
        select count(*) as videos, sum(duration) / 3600 as hours, count(distinct channel_id) as channels
        from {videos}""",
    "hosts": """
        select coalesce(nullif(regexp_extract(uri, '^https?://([^/:]+)', 1), ''), 'local files') as host,
            count(*) as videos
        from {videos} group by 1 order by 2 desc, 1""",
    "licences": """
        select coalesce(licence, 'not stated') as licence, count(*) as videos
        from {videos} group by 1 order by 2 desc, 1""",
    "opt_outs": "select count(*) as videos from {videos} where opt_out is not null",
    "rights": """
        select count(*) as pages, count(*) filter (tdm_reserved) as reserved,
            count(*) filter (not robots_allow) as closed
        from pages""",
    "rejects": "select stage, kind, count(*) as items from rejects group by all order by items desc, stage, kind",
    "makers": """
        select 'captions' as texts, engine, model, revision, prompt_digest, sampling, count(*) as rows
        from captions group by all
        union all
        select 'summaries of ' || kind, engine, model, revision, prompt_digest, sampling, count(*)
        from summaries group by all
        order by all""",
    "dates": "select max(created_at) as made from {chosen}",
    "labels": "select verdict, count(*) as given from labels group by all order by given desc, verdict",
}


def card(dataset: Dataset, selection: Selection = EVERYTHING, configs: Sequence[Mapping[str, Any]] = ()) -> str:
    """The card of the selected clips. `configs` are those of the front matter, if there are files beside it.

    Raises DatasetError, and UsageError for an invalid selection.
    """
    found, name = facts_of(dataset, selection), name_of(dataset)
    front = yaml.safe_dump(_front_matter(name, found, configs), sort_keys=False, allow_unicode=True)
    return f"---\n{front}---\n\n" + "\n".join(_body(dataset, name, selection, found)) + "\n"


def facts_of(dataset: Dataset, selection: Selection) -> Facts:
    """What a card says of the selected clips, by subject. Raises DatasetError, UsageError."""
    videos = f"(select * from videos where video_id in (select video_id from {selection.sql}))"
    queries = [query.replace("{chosen}", selection.sql).replace("{videos}", videos) for query in _QUERIES.values()]
    return dict(zip(_QUERIES, (answer.to_pylist() for answer in dataset.sql_each(queries)), strict=True))


def name_of(dataset: Dataset) -> str:
    """The name of a dataset on its card."""
    return dataset.uri.rpartition("/")[2]


def licence_of(found: Facts) -> str | None:
    """The SPDX identifier of the licence, if all videos state the same one."""
    spdx = {spdx_of(row["licence"]) for row in found["licences"]}
    return next(iter(spdx)) if len(spdx) == 1 else None


def languages_of(found: Facts) -> list[str]:
    """The languages of the clips, the most frequent first."""
    return [row["language"] for row in found["languages"] if row["language"] != "unknown"]


def description_of(found: Facts) -> str:
    """What the clips are, in one sentence."""
    (stored,) = found["stored"]
    return (
        f"Clips of {stored['videos']:,} videos ({stored['hours'] or 0:,.1f} hours), at three nested scales, each with "
        f"a text of what is said and one of what is seen, made with vidla {__version__}."
    )


def _front_matter(name: str, found: Facts, configs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    clips = sum(row["clips"] for row in found["scales"])
    return {
        "pretty_name": name,
        "language": languages_of(found),
        "license": (licence_of(found) or "other").lower(),
        "size_categories": [next((size for most, size in _SIZES if clips < most), "n>10M")],
        "task_categories": ["video-text-to-text"],
        "tags": ["video", "video-text", "vidla"],
        **({"configs": [dict(config) for config in configs]} if configs else {}),
    }


def _body(dataset: Dataset, name: str, selection: Selection, found: Facts) -> Iterator[str]:
    (stored,), (opt_outs,), (rights,) = found["stored"], found["opt_outs"], found["rights"]
    yield f"# {name}\n"
    yield f"{description_of(found)}\n"
    if isinstance(dataset, ReleasedDataset):
        release = dataset.release
        made = f"It is the release `{release.name}` of {release.created_at[:10]}, with the digest `{release.digest}`"
        yield f"{made}: {_cell(release.where or 'all clips')}. {release.held_out:.2%} of its videos are held out.\n"
    if selection != EVERYTHING:
        policy = f", those that the policy `{selection.policy}` keeps" if selection.policy else ""
        yield f"Only some clips{policy}: `{selection.where or ''}` {selection.scale or ''}\n"
    yield from _section("What it holds", found["scales"])
    yield from _table(found["languages"])
    yield from _table(found["texts"])
    yield from _section("Where it comes from", found["hosts"])
    yield from _table(found["licences"])
    yield (
        f"{stored['channels']:,} channels. {opt_outs['videos']:,} videos carry a statement on machine learning, which "
        f"is kept with them (`videos.opt_out`). Of {rights['pages']:,} pages that were asked, {rights['reserved']:,} "
        f"reserve text and data mining, and {rights['closed']:,} are closed to vidla by robots.txt.\n"
    )
    yield from _section("What made its texts", [_in_short(row) for row in found["makers"]])
    settings = _settings(dataset)
    if settings:
        yield "## Settings of the last run\n"
        yield f"```json\n{json.dumps(settings, indent=1, ensure_ascii=False, default=str)}\n```\n"
    yield from _section("What was rejected", found["rejects"], "Nothing was.")
    yield "## Known limits\n"
    yield from _limits(found)
    if found["labels"]:
        yield from _section("What people said of it", found["labels"])
    yield "## How to cite it\n"
    yield f"The method: {PAPER}. The videos belong to their authors.\n"


def _settings(dataset: Dataset) -> Mapping[str, Any]:
    """The settings of the last run on a dataset; on the first dataset of a release, before that was made."""
    if isinstance(dataset, ReleasedDataset):
        return dataset.release.datasets[0].settings
    last = last_run(dataset)
    return {} if last is None else remembered(Settings, last.settings)


def _limits(found: Facts) -> Iterator[str]:
    by_status = Counter[tuple[str, str]]()
    for row in found["texts"]:
        by_status[row["text"], row["status"]] += row["clips"]
    meanings = {
        "none": "clips have no such text",
        "truncated": "texts were cut, since the model's answer did not end in time or keep to its limits",
        "extracted": "summaries are sentences of their source, not a model's words",
        "unrecognised": "clips show nothing that the built-in engine recognises, and have no caption",
    }
    for (text, status), clips in sorted(by_status.items()):
        if status in meanings:
            yield f"- {text}: {clips:,} {meanings[status]}."
    yield "- Texts were written by models and by strangers. Nobody has checked all of them.\n"


def _in_short(row: Row) -> Row:
    return {**row, "revision": row["revision"][:12], "prompt_digest": row["prompt_digest"][:12]}


def _section(title: str, rows: Sequence[Row], without: str = "") -> Iterator[str]:
    yield f"## {title}\n"
    if rows:
        yield from _table(rows)
    elif without:
        yield f"{without}\n"


def _table(rows: Sequence[Row]) -> Iterator[str]:
    if not rows:
        return
    names = list(rows[0])
    yield _line(names)
    yield _line("---" for _ in names)
    yield from (_line(_cell(row[name]) for name in names) for row in rows[:SHOWN])
    if len(rows) > SHOWN:
        yield f"\n… and {len(rows) - SHOWN:,} more."
    yield ""


def _line(cells: Iterable[str]) -> str:
    return f"| {' | '.join(cells)} |"


def _cell(value: Any) -> str:
    """A value in a table. A stranger's text stays one line in one cell, and is not read as markup."""
    if isinstance(value, float):
        return f"{value:,.2f}"
    if isinstance(value, int):
        return f"{value:,}"
    text = " ".join(str(value).split())[:200]
    return "".join(f"\\{sign}" if sign in "\\|<>[]`*_#" else sign for sign in text)
