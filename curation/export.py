"""Exporting a dataset as files: clips with their texts, or the tables as plain folders.

An interrupted export continues where it stopped, and a repeated one brings its folder up to date: files that are
already right are kept. Files appear complete or not at all.
"""

from __future__ import annotations

import contextlib
import io
import itertools
import json
import re
import shutil
import tarfile
import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import pyarrow as pa
import pyarrow.parquet as pq

from curation.dataset.conditions import one_condition
from curation.dataset.dataset import Dataset
from curation.dataset.media_paths import checked, path_of_media
from curation.dataset.parts import Lineage, PartWriter
from curation.dataset.snapshots import versions_now
from curation.errors import DatasetError, UsageError
from curation.media.single_pass import cut
from curation.records import SCALES
from curation.rejects import Rejected
from curation.schema import TABLES
from curation.settings import MediaSettings
from curation.texts.unrecognised import CLIPS_SQL

Format = Literal["mp4", "webdataset", "parquet"]
FORMATS: tuple[Format, ...] = ("mp4", "webdataset", "parquet")
MANIFEST = "vidla-export.json"
PART_BYTES = 64 * 2**20
SHARD_CLIPS = 1000
_TEMPORARY = ".vidla-"
_RUN_COLUMNS = ("run_id", "code_version", "created_at")  # the origin of a row, not its content
_SAFE_ID = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.~-]*")

Row = Mapping[str, Any]
Progress = Callable[[int], None]


@dataclass(frozen=True)
class Selection:
    """The clips to export: all, those of one scale, or those that satisfy an SQL condition."""

    where: str | None = None
    scale: str | None = None

    @property
    def sql(self) -> str:
        conditions = [one_condition(self.where)] if self.where else []
        conditions += [f"scale = '{self.scale}'"] if self.scale else []
        return f"(select * from {CLIPS_SQL} as clips where {' and '.join(conditions) or 'true'})"


@dataclass
class ExportReport:
    """The numbers of clips (or rows) `present` now and `kept` from before, and the failures, one line each."""

    present: int = 0
    kept: int = 0
    failed: list[str] = field(default_factory=list)


def export(
    dataset: Dataset,
    out: Path,
    form: Format,
    selection: Selection = Selection(),
    shard_clips: int = SHARD_CLIPS,
    progress: Progress = lambda done: None,
) -> ExportReport:
    """Bring `out` up to date with the selected clips of `dataset`; calls `progress` for every clip (or batch of rows).

    Raises UsageError for an invalid selection and for an `out` with other contents; DatasetError.
    """
    if selection.scale is not None and selection.scale not in SCALES:
        raise UsageError(f"no scale is called '{selection.scale}'; there are {', '.join(SCALES)}")
    count_clips(dataset, selection)
    about = {"dataset": dataset.uri, "format": form, "where": selection.where, "scale": selection.scale}
    _claim(dataset, out, about | ({"shard_clips": shard_clips} if form == "webdataset" else {}))
    if form == "parquet":
        return _tables(dataset, out, selection, progress)
    clips = _clips(dataset, selection)
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=out) as scratch:
        media = _Media(dataset, Path(scratch))
        if form == "mp4":
            return _files(media, out, clips, progress)
        return _shards(media, out, clips, shard_clips, progress)


def count_clips(dataset: Dataset, selection: Selection) -> int:
    """The number of selected clips. Raises UsageError for an invalid condition."""
    count: int = dataset.sql(f"select count(*) as count from {selection.sql}")["count"][0].as_py()
    return count


def cut_clip(dataset: Dataset, clip_id: str, out: Path) -> Path:
    """Cut one clip out of its stored media by packet copy; returns `out`, an mp4 that appears complete or not at all.

    Raises UsageError if there is no such clip; DatasetError if it cannot be cut.
    """
    quoted = clip_id.replace("'", "''")
    for clip in _clips(dataset, Selection(f"clip_id = '{quoted}'")):
        with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=out.parent) as scratch:
            try:
                return _Media(dataset, Path(scratch)).cut(clip).replace(out)
            except (Rejected, FileNotFoundError) as error:
                raise DatasetError(f"cannot cut clip {clip_id}: {error}") from None
    raise UsageError(f"{dataset.uri} has no clip '{clip_id}'")


def _claim(dataset: Dataset, out: Path, about: Mapping[str, Any]) -> None:
    """Make `out` the folder of exactly this export, and delete the temporary files of a killed one."""
    if dataset.folder is not None and out.resolve().is_relative_to(dataset.folder.resolve()):
        raise UsageError(f"{out} is inside the dataset; export to a folder elsewhere")
    if out.exists() and not out.is_dir():
        raise UsageError(f"{out} is not a folder")
    out.mkdir(parents=True, exist_ok=True)
    for left in out.glob(f"{_TEMPORARY}*"):
        shutil.rmtree(left)
    manifest = out / MANIFEST
    text = json.dumps(about, indent=2, ensure_ascii=False) + "\n"
    if not manifest.exists():
        if any(out.iterdir()):
            raise UsageError(f"{out} is not empty and not an export; name a new folder")
        manifest.write_text(text, encoding="utf-8")
    elif manifest.read_text(encoding="utf-8") != text:
        raise UsageError(f"{out} holds another export (see its {MANIFEST}); name a new folder")


# --- clips ----------------------------------------------------------------------------------------------------------


def _clips(dataset: Dataset, selection: Selection) -> Iterator[Row]:
    """The selected clips with columns of their videos; those of one video follow one another."""
    about = "uri, title, channel, upload_date, licence, width, height, frame_rate, has_audio"
    columns = f"clips.* replace (coalesce(clips.metadata, videos.metadata) as metadata), {about}"
    query = f"""
        select {columns} from {selection.sql} as clips left join videos using (video_id)
        order by media_uri, start, "end", clip_id"""
    for batch in dataset.stream(query):
        for row in batch.to_pylist():
            if not _SAFE_ID.fullmatch(row["clip_id"]):
                raise DatasetError(f"clip {row['clip_id']!r} is not named as vidla names clips")
            clip = {name: value for name, value in row.items() if name not in _RUN_COLUMNS}
            yield {**clip, "metadata": _parsed(row["metadata"])}


def _parsed(metadata: str | None) -> Any:
    """The JSON object in `metadata`; the text itself if it is none, as a stranger may have written."""
    try:
        return json.loads(metadata) if metadata else None
    except (ValueError, RecursionError):
        return metadata


def _as_json(clip: Row) -> bytes:
    return (json.dumps(clip, ensure_ascii=False, indent=1, default=str) + "\n").encode()


class _Media:
    """Cuts clips out of stored media. From a remote dataset, it first fetches the video, one at a time."""

    def __init__(self, dataset: Dataset, scratch: Path) -> None:
        self.dataset = dataset
        self.scratch = scratch
        self._fetched = ("", Path())
        self._settings = MediaSettings()

    def cut(self, clip: Row) -> Path:
        """The clip as a file in the scratch folder. Raises Rejected, and FileNotFoundError."""
        out = self.scratch / "clip.mp4"
        out.unlink(missing_ok=True)
        cut(self._stored(clip["media_uri"]), clip["start"], clip["end"], out, self._settings)
        return out

    def _stored(self, media_uri: str) -> Path:
        if self.dataset.folder is not None:
            return path_of_media(self.dataset.folder, media_uri)
        if self._fetched[0] != media_uri:
            path = self.scratch / "stored.mp4"
            self.dataset.fetch(checked(media_uri), path)
            self._fetched = (media_uri, path)
        return self._fetched[1]


@contextlib.contextmanager
def _recorded(exported: ExportReport, clip: Row) -> Iterator[None]:
    """Record the success or failure of a clip; a failure does not stop the others."""
    try:
        yield
    except (Rejected, FileNotFoundError) as error:
        exported.failed.append(f"{clip['clip_id']}: {error}")
    else:
        exported.present += 1


def _files(media: _Media, out: Path, clips: Iterable[Row], progress: Progress) -> ExportReport:
    """Write <clip_id>.mp4 and <clip_id>.json for each clip; the latter last, to show that the former is complete."""
    exported = ExportReport()
    stale = {path.stem for path in out.glob("*.json")} - {Path(MANIFEST).stem}
    for clip in clips:
        stale.discard(clip["clip_id"])
        video, about = out / f"{clip['clip_id']}.mp4", out / f"{clip['clip_id']}.json"
        text = _as_json(clip)
        with _recorded(exported, clip):
            before = about.read_bytes() if about.exists() and video.exists() else b""
            exported.kept += before == text
            if not _same_range(before, clip):
                media.cut(clip).replace(video)
            if before != text:
                written = media.scratch / "clip.json"
                written.write_bytes(text)
                written.replace(about)
        progress(1)
    for clip_id in stale:
        for suffix in (".json", ".mp4"):
            (out / f"{clip_id}{suffix}").unlink(missing_ok=True)
    return exported


def _same_range(about: bytes, clip: Row) -> bool:
    """Whether the earlier export is the same range of the same media; its texts may differ."""
    earlier = json.loads(about) if about else {}
    return all(earlier.get(name) == clip[name] for name in ("media_uri", "start", "end"))


# --- WebDataset -----------------------------------------------------------------------------------------------------


def _shards(media: _Media, out: Path, clips: Iterable[Row], shard_clips: int, progress: Progress) -> ExportReport:
    """Write clips-<number>.tar, each with `shard_clips` clips as <key>.mp4, .json and .txt; always the same bytes."""
    exported = ExportReport()
    rows = iter(clips)
    number = 0
    while batch := list(itertools.islice(rows, shard_clips)):
        shard = out / f"clips-{number:06d}.tar"
        if _holds(shard, batch):
            exported.present += len(batch)
            exported.kept += len(batch)
            progress(len(batch))
        else:
            _write_shard(media, batch, exported, progress).replace(shard)
        number += 1
    for stale in out.glob("clips-*.tar"):
        if int(stale.stem.removeprefix("clips-")) >= number:
            stale.unlink()
    return exported


def _holds(shard: Path, clips: Iterable[Row]) -> bool:
    """Whether a shard holds exactly these clips, in this order."""
    if not shard.exists():
        return False
    with tarfile.open(shard) as tar:
        existing = [tar.extractfile(member).read() for member in tar if member.name.endswith(".json")]  # type: ignore[union-attr]
    return existing == [_as_json(clip) for clip in clips]


def _write_shard(media: _Media, clips: Iterable[Row], exported: ExportReport, progress: Progress) -> Path:
    path = media.scratch / "shard.tar"
    with tarfile.open(path, "w", format=tarfile.PAX_FORMAT) as tar:
        for clip in clips:
            with _recorded(exported, clip):
                video = media.cut(clip)
                key = clip["clip_id"].replace(".", "__")  # a key ends at its first dot
                text = clip["caption_text"] or clip["subtitle_text"] or ""
                for suffix, data in (("mp4", video.read_bytes()), ("json", _as_json(clip)), ("txt", text.encode())):
                    member = tarfile.TarInfo(f"{key}.{suffix}")
                    member.size = len(data)
                    tar.addfile(member, io.BytesIO(data))
            progress(1)
    return path


# --- tables ---------------------------------------------------------------------------------------------------------


def _tables(dataset: Dataset, out: Path, selection: Selection, progress: Progress) -> ExportReport:
    """Write <table>/*.parquet: the rows of each table that belong to the selected clips, or all without a selection."""
    exported = ExportReport()
    versions = versions_now(dataset)
    stamp = out / "versions.json"
    if stamp.exists() and json.loads(stamp.read_text()) != versions:
        for table in TABLES:
            shutil.rmtree(out / table, ignore_errors=True)
    stamp.write_text(json.dumps(versions) + "\n")
    everything = selection == Selection()
    for table in TABLES:
        if (out / table).exists():
            rows = sum(pq.read_metadata(path).num_rows for path in (out / table).glob("*.parquet"))
            exported.kept += rows
            progress(rows)
        else:
            rows_of = f"{CLIPS_SQL} as clips" if table == "clips" else table
            query = f"select * from {rows_of}" + ("" if everything else f" where {_belonging(table, selection)}")
            rows = _write_table(table, dataset.stream(query, versions), out, progress)
        exported.present += rows
    return exported


def _belonging(table: str, selection: Selection) -> str:
    """The SQL condition for the rows of a table that belong to the selected clips."""
    names = TABLES[table].schema.names
    videos = f"(select video_id from {selection.sql})"
    if "clip_id" in names:
        return f"clip_id in (select clip_id from {selection.sql})"
    if "video_id" in names:
        return f"video_id in {videos}"
    if "request_key" in names:
        return f"request_key in (select request_key from downloads where video_id in {videos})"
    return "false"


def _write_table(table: str, batches: Iterable[pa.RecordBatch], out: Path, progress: Progress) -> int:
    """Write a table in a temporary folder and move it into place; returns its number of rows."""
    schema, rows = TABLES[table].schema, 0
    with tempfile.TemporaryDirectory(prefix=_TEMPORARY, dir=out) as scratch:
        writer = PartWriter(Dataset(scratch).store, Lineage("export", 0), PART_BYTES)
        for batch in batches:
            writer.add_rows(table, pa.Table.from_batches([batch]).cast(schema))
            rows += len(batch)
            progress(len(batch))
        if not rows:
            writer.add_rows(table, schema.empty_table())
        writer.finish()
        (Path(scratch) / table).replace(out / table)
    return rows
