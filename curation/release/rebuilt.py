"""From a recipe back to clips: the list of its videos, their clips in a dataset, and how near these are to it.

The videos are downloaded and cut as any others. Then each clip of the recipe is looked for at its place on the source's
clock, and gets the recipe's texts if its pictures are alike.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any

import duckdb
import pyarrow.dataset
import pyarrow.parquet as pq

from curation.dataset import database
from curation.dataset.dataset import Dataset
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.errors import DatasetError, one_line
from curation.ids import digest
from curation.records import Clip, Row
from curation.release.clip_count import ClipCount
from curation.release.recipe_file import Recipe, located_sql
from curation.settings import RunSettings

ALIKE_BITS = 31  # up to which two PDQ hashes of 256 bits are of like pictures
OTHER_PICTURES = "other pictures"
OTHER_TILING = "another tiling"
TEXTS = ("subtitle_text", "caption_text")
_REQUEST = ("url", "id", "range_start", "range_end", "subtitles")


def write_list(recipe: Path, out: Path) -> int:
    """Write the videos of a recipe as a list that `vidla curate` reads; returns their number. Keeps them in memory."""
    seen: set[tuple[Any, ...]] = set()
    with pq.ParquetFile(recipe) as file, out.open("w", encoding="utf-8") as lines:
        for batch in file.iter_batches(columns=list(_REQUEST)):
            for row in batch.to_pylist():
                request = (row["url"], row["range_start"], row["range_end"])
                if request in seen:
                    continue
                seen.add(request)
                values = {"start": row.pop("range_start"), "end": row.pop("range_end"), **row}
                lines.write(json.dumps({name: value for name, value in values.items() if value is not None}) + "\n")
    return len(seen)


@dataclass
class RebuildReport:
    """How many clips of a recipe came back, and how near they are to it.

    `back`: clips at their place, up to the tolerance, with like pictures; `exact` of them are there to half a frame,
    and `same_texts` have its texts; `matching` are both. `alike` have like pictures, of the others these are not known.
    `missing` has the others by the reason: a kind of reject, OTHER_TILING, OTHER_PICTURES or "pending".
    """

    clips: int = 0
    back: int = 0
    exact: int = 0
    alike: int = 0
    same_texts: int = 0
    matching: int = 0
    sum_off_s: float = 0.0
    max_off_s: float = 0.0
    videos: set[str] = field(default_factory=set)
    videos_back: set[str] = field(default_factory=set)
    missing: dict[str, ClipCount] = field(default_factory=lambda: defaultdict(ClipCount))

    def to_json(self) -> dict[str, Any]:
        numbers = {f.name: getattr(self, f.name) for f in fields(self) if isinstance(getattr(self, f.name), int)}
        off = {"mean_off_s": self.sum_off_s / self.back if self.back else None, "max_off_s": self.max_off_s}
        missing = {reason: count.to_json() for reason, count in self.missing.items()}
        videos = {"videos": len(self.videos), "videos_back": len(self.videos_back)}
        return {**numbers, **off, **videos, "missing": missing}

    def lines(self) -> Iterator[str]:
        """What came back, one line each."""
        yield f"{len(self.videos_back):,} of {len(self.videos):,} videos came back"
        yield f"{self.back:,} of {self.clips:,} clips came back ({self.back / max(1, self.clips):.1%})"
        if self.back:
            mean = self.sum_off_s / self.back
            yield f"{self.matching:,} of them match: the same frames to half a frame's time, and the same texts"
            yield f"they begin or end up to {self.max_off_s:.3f} s off, {mean:.3f} s in the mean"
            yield f"{self.alike:,} have like pictures, of {self.back - self.alike:,} there is nothing to compare"


def compare(dataset: Dataset, path: Path, tolerance_s: float) -> RebuildReport:
    """Compare a dataset with the recipe at `path`, writing nothing. Raises DatasetError."""
    report = RebuildReport()
    for _ in _found(dataset, path, tolerance_s, report, takes_texts=False):
        pass
    return report


def take_texts(writer: Writer, path: Path, recipe: Recipe, tolerance_s: float) -> RebuildReport:
    """Write the clips of the recipe at `path` that came back, with its texts, in one commit.

    Clips that have texts already keep them. Raises DatasetError.
    """
    dataset, report = writer.dataset, RebuildReport()
    parts = PartWriter(dataset.store, writer.lineage, RunSettings().part_bytes)
    for row in _found(dataset, path, tolerance_s, report, takes_texts=True):
        if not row["has_texts"]:
            parts.add([Row(_clip(row), digest("rebuilt", recipe.file_digest, row["wanted"]))])
    if written := parts.finish():
        writer.commit(f"{writer.lineage.run_id}:rebuilt:{recipe.file_digest}", written)
    return report


def _clip(row: Mapping[str, Any]) -> Clip:
    values = {f.name: row.get(f.name) for f in fields(Clip)}
    places = {"start": row["stored_start"], "end": row["stored_end"], "frame_ids": tuple(row["frame_ids"])}
    return Clip(**{**values, **places, "subtitle_original": None, "caption_original": None})


def _found(
    dataset: Dataset, path: Path, tolerance_s: float, report: RebuildReport, *, takes_texts: bool
) -> Iterator[Mapping[str, Any]]:
    """The clips that came back, counted in `report`; with `takes_texts`, those without texts get the recipe's."""
    taken: set[str] = set()
    for row in _rows(dataset, path, tolerance_s):
        report.clips += 1
        report.videos.add(row["wanted_video"])
        if row["clip_id"] is None or row["clip_id"] in taken:
            report.missing[row["reason"]].add(row["wanted"])
            continue
        alike = are_alike(row["wanted_prints"], row["fingerprints"])
        if alike is False:
            report.missing[OTHER_PICTURES].add(row["wanted"])
            continue
        taken.add(row["clip_id"])
        is_exact = row["off_s"] <= 0.5 / row["frame_rate"]
        gets_texts = takes_texts and not row["has_texts"]
        has_same = gets_texts or (row["has_texts"] and all(row[text] == row[f"made_{text}"] for text in TEXTS))
        report.videos_back.add(row["wanted_video"])
        report.back += 1
        report.exact += is_exact
        report.alike += alike is True
        report.same_texts += has_same
        report.matching += is_exact and has_same
        report.sum_off_s += row["off_s"]
        report.max_off_s = max(report.max_off_s, row["off_s"])
        yield row


def are_alike(wanted: list[str | None], found: list[str | None]) -> bool | None:
    """Whether most of the pictures that can be compared are alike, by their PDQ hashes; None if none can.

    >>> are_alike(["00ff", None, "0000"], ["00fe", "1234", "0001"]), are_alike([None], ["00ff"])
    (True, None)
    """
    pairs = [(a, b) for a, b in zip(wanted or (), found or (), strict=False) if a and b]
    if not pairs:
        return None
    alike = sum((int(a, 16) ^ int(b, 16)).bit_count() <= ALIKE_BITS for a, b in pairs)
    return 2 * alike > len(pairs)


_OF_SEGMENT = """
    segments.start as stored_start, segments."end" as stored_end, parent_id, frame_ids, sentence_count, media_uri,
    videos.language as language, videos.metadata as metadata, frame_rate"""
_SAME_REQUEST = """
    recipe.url = {other}.url and recipe.range_start is not distinct from {other}.range_start
    and recipe.range_end is not distinct from {other}.range_end"""
_MATCHES = f"""
    with found as ({located_sql("segments", _OF_SEGMENT)}),
        stored as (
            select distinct downloads.uri as url, downloads.start as range_start, downloads."end" as range_end
            from downloads join videos using (video_id)
        ),
        rejected as (select uri as url, any_value(kind) as kind from rejects group by uri)
    select
        recipe.clip_id as wanted, recipe.video_id as wanted_video, recipe.fingerprints as wanted_prints,
        found.* exclude (language), coalesce(recipe.language, found.language) as language,
        recipe.subtitle_text, recipe.subtitle_status, recipe.subtitle_source,
        recipe.caption_text, recipe.caption_status, recipe.caption_source,
        clips.clip_id is not null as has_texts,
        clips.subtitle_text as made_subtitle_text, clips.caption_text as made_caption_text,
        greatest(abs(found.start - recipe.start), abs(found."end" - recipe."end")) as off_s,
        case when stored.url is not null then '{OTHER_TILING}' else coalesce(rejected.kind, 'pending') end as reason
    from recipe
        left join found on {_SAME_REQUEST.format(other="found")} and recipe.scale = found.scale
            and abs(found.start - recipe.start) <= '{{tolerance_s}}'::double
            and abs(found."end" - recipe."end") <= '{{tolerance_s}}'::double
        left join stored on {_SAME_REQUEST.format(other="stored")}
        left join rejected on recipe.url = rejected.url
        left join clips on clips.clip_id = found.clip_id
    qualify row_number() over (partition by recipe.clip_id order by off_s, found.clip_id) = 1"""
_TABLES = ("requests", "downloads", "videos", "timelines", "segments", "clips", "rejects")


def _rows(dataset: Dataset, path: Path, tolerance_s: float) -> Iterator[dict[str, Any]]:
    """Each clip of the recipe, with the nearest one that was cut, or the reason why there is none."""
    with database.transaction() as connection:
        for table in _TABLES:
            dataset.register(connection, table)
        connection.register("recipe", pyarrow.dataset.dataset(path))
        try:
            for batch in connection.sql(_MATCHES.format(tolerance_s=float(tolerance_s))).to_arrow_reader(1024):
                yield from batch.to_pylist()
        except duckdb.Error as error:
            raise DatasetError(f"cannot compare {dataset.uri} with {path}: {one_line(error, 300)}") from None
