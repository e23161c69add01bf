"""The clips that a run reads: a pinned version of the dataset, and the rows selected from it."""

from __future__ import annotations

import json
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curation.dataset.commits import path_of
from curation.dataset.conditions import one_condition
from curation.dataset.database import literal
from curation.dataset.dataset import Dataset
from curation.dataset.pins import parts_at, pin, pins
from curation.dataset.snapshots import versions_now
from curation.dataset.vacuum import parts_on_disk
from curation.errors import DatasetError, UsageError, one_line
from curation.ids import digest
from curation.quality.chosen_policy import digest_of_policy, kept_clips_sql
from curation.records import SCALES, PictureBox, Scale
from curation.release.release_digest import tally
from curation.release.released_dataset import ReleasedDataset
from curation.splits import held_out_sql, in_subset_sql
from model.settings import DataSettings, TrainingError

BATCH_ROWS = 2**16
Split = Literal["train", "held_out"]
CONDITIONS = ("where", "captions_where", "subtitles_where")
_NOT_IN_PINS = re.compile(r"[^A-Za-z0-9._-]")


# --- the version ----------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class DatasetVersion:
    """The version of the dataset that a run reads, as recorded in its checkpoints.

    `tables` has the Delta version of each table, pinned in the dataset under the name `pin`; `configuration` is a
    digest of the settings of the runs that wrote its clips.
    """

    pin: str
    tables: Mapping[str, int]
    configuration: str


def check_exists(dataset: Dataset) -> None:
    """Raises DatasetError if there is no dataset."""
    if not dataset.exists():
        raise DatasetError(f"there is no dataset at {dataset.uri}")


def pin_version(dataset: Dataset, run: str) -> DatasetVersion:
    """Pin the current version of the dataset for the training run `run`, so that `vidla vacuum` keeps it.

    A release has its pins already.
    """
    if isinstance(dataset, ReleasedDataset):
        return current_version(dataset)
    name = new_pin(run)
    tables = pin(dataset, name)
    return DatasetVersion(name, tables, configuration_digest(dataset, tables["clips"]))


def new_pin(run: str) -> str:
    """A name for the training run `run` alone: others of the same name have others.

    Of the run's name it has the first 60 characters, with '_' for those that no pin may have.
    """
    return f"train-{_NOT_IN_PINS.sub('_', run)[:60]}-{secrets.token_hex(4)}"


def current_version(dataset: Dataset) -> DatasetVersion:
    """The current version of the dataset, not pinned; of a release, its digest without what is not given out."""
    if isinstance(dataset, ReleasedDataset):
        return DatasetVersion("", {}, tally(dataset, dataset.release.held_out).digest)
    tables = versions_now(dataset)
    return DatasetVersion("", tables, configuration_digest(dataset, tables["clips"]))


def with_split_of(dataset: Dataset, settings: DataSettings) -> DataSettings:
    """`settings` with the share of the videos that a release holds out; for a dataset, as they are."""
    if isinstance(dataset, ReleasedDataset):
        return settings.model_copy(update={"held_out": dataset.release.held_out})
    return settings


def resume_version(dataset: Dataset, version: DatasetVersion, run: str, allow_changed: bool) -> DatasetVersion:
    """The version that a resumed run continues on: the one it began with, as long as the clips have not changed.

    If they have, raises DatasetError. With `allow_changed` the run keeps its version, or pins and reads the current one
    if parts of its version were removed. A release changes only by what is not given out any more.
    """
    if isinstance(dataset, ReleasedDataset):
        return _resume_release(dataset, version, allow_changed)
    intact = _is_intact(dataset, version)
    now = dataset.delta("clips").version()
    if intact and (now == version.tables["clips"] or allow_changed):
        return version
    if allow_changed:
        return pin_version(dataset, run)
    then = version.tables["clips"]
    rest = f"on version {then}, which is pinned" if intact else f"on the current one: parts of {then} were removed"
    raise DatasetError(
        f"the clips of {dataset.uri} have changed since the checkpoint (from version {then} to {now}); "
        f"data.allow_changed=true continues {rest}"
    )


def _resume_release(dataset: ReleasedDataset, version: DatasetVersion, allow_changed: bool) -> DatasetVersion:
    now = current_version(dataset)
    if now != version and not allow_changed:
        raise DatasetError(
            f"clips of {dataset.uri} are not given out any more, which the run has read: `vidla release check` says "
            "which; data.allow_changed=true continues without them"
        )
    return now


def _is_intact(dataset: Dataset, version: DatasetVersion) -> bool:
    """Whether a version is pinned and complete: `vidla forget` removes rows from pinned versions too."""
    if pins(dataset).get(version.pin) != version.tables:
        return False
    number = version.tables["clips"]
    on_disk = {name for name, _ in parts_on_disk(dataset, "clips")}
    return (
        parts_at(dataset, "clips", number) <= on_disk and configuration_digest(dataset, number) == version.configuration
    )


def configuration_digest(dataset: Dataset, version: int) -> str:
    """A digest of the settings of the runs that wrote a version of `clips`."""
    epochs = sorted({int(name.split("-")[1]) for name in parts_at(dataset, "clips", version)})
    openings = [dataset.get_json(path_of(epoch)) or {} for epoch in epochs]
    settings = {json.dumps(opening.get("about", {}).get("settings"), sort_keys=True) for opening in openings}
    return digest("configuration", *sorted(settings))


# --- the rows -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class ClipRow:
    """A clip: seconds `start` to `end` of its stored media, with a subtitle, a caption or both.

    `box` is the part of its frames to read; None: all. `media_digest` is that of the whole stored media, if known.
    """

    clip_id: str
    video_id: str
    scale: Scale
    media_uri: str
    start: float
    end: float
    subtitle: str | None
    caption: str | None
    box: PictureBox | None = None
    media_digest: bytes | None = None


class Clips:
    """The selected clips, in a memory-mapped Arrow file that all processes of a machine share.

    Ordered by scale (short, medium, long), then by id, or by its hash if they are held out. `counts` has the number of
    clips per scale, `without_text` the number left out because they have neither text, `unreadable` the files left out,
    with the reasons.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    def __getstate__(self) -> dict[str, Any]:
        return {"path": self.path}  # workers open the file again

    @cached_property
    def _reader(self) -> Any:
        return pa.ipc.open_file(pa.memory_map(str(self.path)))

    @cached_property
    def _batches(self) -> list[pa.RecordBatch]:
        return [self._reader.get_batch(number) for number in range(self._reader.num_record_batches - 1)]

    @cached_property
    def _summary(self) -> Mapping[str, Any]:
        """The metadata of the last batch, which has no rows."""
        _, metadata = self._reader.get_batch_with_custom_metadata(self._reader.num_record_batches - 1)
        summary: Mapping[str, Any] = json.loads(metadata[b"summary"])
        return summary

    @property
    def counts(self) -> dict[Scale, int]:
        return {scale: self._summary["counts"][scale] for scale in SCALES}

    @property
    def without_text(self) -> int:
        return int(self._summary["without_text"])

    @property
    def unreadable(self) -> dict[str, str]:
        return dict(self._summary["unreadable"])

    @property
    def has_texts(self) -> tuple[bool, bool]:
        """Whether any clip has a subtitle, and whether any has a caption."""
        subtitles, captions = (
            any(batch.column(name).null_count < len(batch) for batch in self._batches)
            for name in ("subtitle", "caption")
        )
        return subtitles, captions

    @property
    def selection(self) -> str:
        """The digest of the query and the version that it ran on."""
        return str(self._summary["selection"])

    def videos(self) -> Iterator[str]:
        """The ids of their videos; some come several times."""
        return self._values("video_id")

    def media_uris(self) -> Iterator[str]:
        """The URIs of their media; some come several times."""
        return self._values("media_uri")

    def _values(self, column: str) -> Iterator[str]:
        for batch in self._batches:
            yield from batch.column(column).unique().to_pylist()

    def __len__(self) -> int:
        return sum(self.counts.values())

    def __getitem__(self, index: int) -> ClipRow:
        batch, row = divmod(index, BATCH_ROWS)
        values = {name: self._batches[batch].column(name)[row].as_py() for name in CLIP_SCHEMA.names}
        box = PictureBox(*values["box"]) if values["box"] else None
        return ClipRow(**values | {"scale": SCALES[values["scale"]], "box": box})


CLIP_SCHEMA = pa.schema(
    [
        pa.field("clip_id", pa.string()),
        pa.field("video_id", pa.string()),
        pa.field("scale", pa.int8()),
        pa.field("media_uri", pa.string()),
        pa.field("start", pa.float64()),
        pa.field("end", pa.float64()),
        pa.field("subtitle", pa.string()),
        pa.field("caption", pa.string()),
        pa.field("box", pa.list_(pa.float64())),
        pa.field("media_digest", pa.binary(16)),
    ]
)


def select_clips(dataset: Dataset, version: DatasetVersion, settings: DataSettings, split: Split, path: Path) -> Clips:
    """Write the clips of one split to `path`, unless the same selection is already there.

    `held_out` has all videos that are held out; `train` has the others, those in the subset. The first clips of each
    scale that are held out are a sample of them, drawn by hash. The selection and its order are the same on every
    machine. Raises UsageError for a condition that DuckDB refuses, and DatasetError if no clip is left to train on.
    """
    scales = [scale for scale in SCALES if settings.scales is None or settings.scales.get(scale, 0) > 0]
    query = (settings.where, scales, settings.subset, settings.held_out, *(["bars"] if settings.crop_bars else ()))
    of_texts = {"captions": settings.captions_where, "subtitles": settings.subtitles_where}
    query = (*query, *([of_texts] if any(of_texts.values()) else ()))
    if settings.policy is not None:
        query = (*query, {"policy": digest_of_policy(dataset, settings.policy, version.tables)})
    form = ["with digests", *(["by hash"] if split == "held_out" else ())]  # earlier versions wrote others
    selection = digest("selection", dict(version.tables), version.configuration, split, *query, *form)
    if not (path.exists() and (clips := Clips(path)).selection == selection):
        clips = write_clips(_rows(dataset, version, settings, scales, split), selection, path)
    if split == "train" and not len(clips):
        text = f" ({clips.without_text} have neither text)" if clips.without_text else ""
        raise DatasetError(
            f"no clip of {dataset.uri} is selected{text}: check data.where, data.captions_where, "
            f"data.subtitles_where, data.policy, data.scales, data.subset and data.held_out"
        )
    return clips


def _rows(
    dataset: Dataset, version: DatasetVersion, settings: DataSettings, scales: Iterable[Scale], split: Split
) -> Iterator[pa.Table]:
    held_out = held_out_sql(settings.held_out)
    order = "clip_id" if split == "train" else "sha256('evaluate:' || clip_id)"  # the first ones are a random sample
    in_split = held_out if split == "held_out" else f"{in_subset_sql(settings.subset)} and not {held_out}"
    chosen, captioned, subtitled = (_condition(name, settings) for name in CONDITIONS)
    box, boxes = (_BOX, _BOXES) if settings.crop_bars else ("null", "")
    # The user's conditions are in subqueries, so that nothing in them can reach the held-out videos.
    query = f"""
        select clip_id, video_id, list_position([{_quoted(SCALES)}], scale) - 1 as scale, media_uri, start, "end",
            if(subtitled, nullif(trim(subtitle_text), ''), null) as subtitle,
            if(captioned, nullif(trim(caption_text), ''), null) as caption, {box} as box,
            if(regexp_full_match(media_digest, '[0-9a-f]{{32}}'), unhex(media_digest), null) as media_digest
        from (
            select *, {subtitled} as subtitled, {captioned} as captioned
            from (select * from {kept_clips_sql(settings.policy)} as clips where {chosen}) as clips
        ) {boxes} left join (
            select video_id, any_value(media_digest) as media_digest from videos group by video_id
        ) using (video_id)
        where scale in ({_quoted(scales)}) and {in_split}
        order by scale, {order}"""
    try:
        for batch in dataset.stream(query, version.tables):
            yield pa.table(batch).cast(CLIP_SCHEMA)
    except UsageError as error:
        given = [f"data.{name}" for name in CONDITIONS if getattr(settings, name)]
        if not given:
            raise
        raise UsageError(f"{' or '.join(given)}: {error}") from None


def _condition(name: str, settings: DataSettings) -> str:
    """The user's condition of that name as SQL. Raises UsageError."""
    text: str | None = getattr(settings, name)
    try:
        return one_condition(text) if text else "true"
    except UsageError as error:
        raise UsageError(f"data.{name}: {error}") from None


# The picture's box of each second; of most videos it is one and the same.
_BOXES = """left join (
    select video_id, if(list_unique(picture_boxes) = 1, picture_boxes[1:1], picture_boxes) as boxes from timelines
) using (video_id)"""
_SHOWN = """if(len(boxes) = 1, boxes, boxes[floor(start)::bigint + 1 : ceil("end")::bigint])"""
# What holds all that is shown during a clip.
_BOX = f"""if(len({_SHOWN}) > 0, [
    list_min([x.left for x in {_SHOWN}]), list_min([x.top for x in {_SHOWN}]),
    list_max([x.right for x in {_SHOWN}]), list_max([x.bottom for x in {_SHOWN}])
], null)"""


def boxes_of(dataset: Dataset, clips: Iterable[Mapping[str, Any]]) -> list[list[float] | None]:
    """The boxes of clips with these columns (video_id, start and end), in the same order; None without a timeline."""
    values = ", ".join(
        f"({i}, {literal(clip['video_id'])}, {clip['start']!r}, {clip['end']!r})" for i, clip in enumerate(clips)
    )
    query = f"""select {_BOX} as box from (values {values}) as clip (number, video_id, start, "end") {_BOXES}
        order by number"""
    boxes: list[list[float] | None] = dataset.sql(query)["box"].to_pylist()
    return boxes


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f"'{name}'" for name in names)


def write_clips(
    rows: Iterable[pa.Table], selection: str, path: Path, unreadable: Mapping[str, str] | None = None
) -> Clips:
    """Write the rows that have a text to `path`, atomically, in batches of BATCH_ROWS.

    `unreadable` has the reasons for which files have no rows. Raises TrainingError where the disk is full or the folder
    cannot be written to; what the rows are read from names its errors itself.
    """
    counts, without_text = np.zeros(len(SCALES), np.int64), 0
    temporary = path.with_name(f"{path.name}.{secrets.token_hex(4)}.tmp")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with pa.OSFile(str(temporary), "wb") as file, pa.ipc.new_file(file, CLIP_SCHEMA) as writer:
            buffer = CLIP_SCHEMA.empty_table()
            for table in rows:
                with_text = table.filter(pc.or_(pc.is_valid(table["subtitle"]), pc.is_valid(table["caption"])))
                without_text += len(table) - len(with_text)
                counts += np.bincount(with_text["scale"].to_numpy(), minlength=len(SCALES))
                buffer = pa.concat_tables([buffer, with_text])
                while len(buffer) >= BATCH_ROWS:
                    writer.write_table(buffer.slice(0, BATCH_ROWS).combine_chunks())
                    buffer = buffer.slice(BATCH_ROWS)
            if len(buffer):
                writer.write_table(buffer.combine_chunks())
            by_scale = dict(zip(SCALES, counts.tolist(), strict=True))
            summary = {
                "selection": selection,
                "counts": by_scale,
                "without_text": without_text,
                "unreadable": dict(unreadable or {}),
            }
            last = pa.RecordBatch.from_pylist([], schema=CLIP_SCHEMA)
            writer.write_batch(last, custom_metadata={"summary": json.dumps(summary)})
        temporary.replace(path)
    except OSError as error:
        raise TrainingError(f"cannot write the selected clips to {path}: {one_line(error, 300)}") from error
    finally:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
    return Clips(path)
