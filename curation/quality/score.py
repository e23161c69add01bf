"""Measure the free signals of every clip: of its pictures from `timelines`, and of its texts. Nothing is decoded."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.dataset.commits import Committer, Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.parts import PartWriter, with_origin
from curation.quality.series_means import Ranges, means_over
from curation.quality.signal_queries import AREA, OF_TEXTS, SERIES, steps

PART_BYTES = 64 * 2**20
_COLUMNS = {"contrast": "luminance_spread"}  # of series that have another name in `signals`
_DIGITS = 6  # after the point
_READ = ("clips", "videos", "timelines", "signals")


@dataclass(frozen=True)
class ScoreReport:
    """The numbers of clips that were measured, and of their videos."""

    clips: int
    videos: int


def score(writer: Committer, report: Callable[[int], None] = lambda clips: None) -> ScoreReport:
    """Measure the clips of all videos of which a signal is missing or an input has changed; calls `report` as it goes.

    Rows of clips that are gone are removed. Commits after each wave: after a kill, the next call goes on. Memory holds
    one wave (`WAVE_S`); DuckDB spills the rest to disk.
    """
    dataset = writer.dataset
    clips = videos = 0
    with dataset.connection(_READ) as connection:
        for statement in steps():
            connection.execute(statement)
        waves = connection.execute(
            "select wave, min(video_id), max(video_id), count(*) from stale group by wave order by wave"
        ).fetchall()
        ranges = _ranges(dataset) if waves else {}
        for wave, first, last, count in waves:
            rows = _measured(connection, wave)
            old = connection.execute("select video_id from stale where wave = ? and has_rows", [wave]).fetchall()
            near = frozenset(path for path, (low, high) in ranges.items() if low <= last and high >= first)
            replaced = [Replacement("signals", ("video_id",), frozenset(old), near)] if old else []
            parts = PartWriter(dataset.store, writer.lineage, PART_BYTES)
            if len(rows):
                parts.add_rows("signals", with_origin("signals", rows, writer.lineage))
            writer.commit(f"{writer.lineage.run_id}:signals:{wave}", parts.finish(), replaced)
            clips, videos = clips + len(rows), videos + count
            report(len(rows))
    return ScoreReport(clips, videos)


def _ranges(dataset: Dataset) -> Mapping[str, tuple[str, str]]:
    """By part of `signals`, the first and the last of the ids of its videos."""
    found = {}
    for path in dataset.live_parts("signals"):
        ends = pc.min_max(dataset.read_part("signals", path, ["video_id"])["video_id"])
        if ends["min"].is_valid:
            found[path] = (ends["min"].as_py(), ends["max"].as_py())
    return found


def _measured(connection: Any, wave: int) -> pa.Table:
    """The signals of the clips of a wave, with their digests."""
    clips, series = (
        connection.sql(f"select * from {table} where wave = {wave}").to_arrow_table().combine_chunks()
        for table in ("measured", "series")
    )
    columns = {name: clips[name] for name in ("clip_id", "video_id", "digest", *OF_TEXTS)}
    return pa.table(columns | dict(_of_pictures(clips, series)))


def _of_pictures(clips: pa.Table, series: pa.Table) -> Iterator[tuple[str, pa.Array]]:
    rows = pc.fill_null(pc.index_in(clips["video_id"], series["video_id"]), -1).to_numpy().astype(np.int64)
    ranges = Ranges(rows, clips["start"].to_numpy(), clips["end"].to_numpy())
    for name in (*SERIES, AREA):
        lists = series[name].combine_chunks() if len(series) else pa.array([], pa.list_(pa.float64()))
        means = np.round(means_over(lists, ranges), _DIGITS)
        yield _COLUMNS.get(name, name), pa.array(means, pa.float64(), from_pandas=True)
