"""Histories of a dataset: runs under changing settings, some killed or stopped, and what must come of them.

After every complete run, the tables equal those of one undisturbed run of the same command on an empty dataset, except
for lineage, superseded captions that no clip uses, and texts that were reused.
"""

from __future__ import annotations

import functools
import os
import tempfile
import threading
from collections import defaultdict
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import Any

import pytest
from deltalake import DeltaTable

from curation.dataset import commits, object_store
from curation.dataset.dataset import Dataset
from curation.ids import digest
from curation.rejects import Stage
from curation.schema import TABLES
from curation.settings import resolve
from pipelines.driver.curate import curate
from pipelines.driver.known_rows import Retry
from pipelines.driver.plan import make_plan
from pipelines.driver.state import State
from pipelines.worker.text_engines import wanted_texts
from pipelines.worker.worker_process import this_process
from tests.support.pure_work import World, pure_work

ENGINES = tuple(
    f"{texts}.engine.{setting}"
    for texts in ("captions", "summaries")
    for setting in ("kind=openai", "model=m", 'base_urls=["http://models.example"]')
)
MEMORY = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
"""Folder of the datasets, if there is one in memory: half of a history's time is waiting for a disk."""

SECONDS = {1: 24.0, 2: 47.0, 3: 4.0, 4: 70.0}  # by number; the third is too short for a clip
CHANGES: Mapping[str, tuple[str, ...]] = {
    "nothing": (),
    "captions' prompt": (f"run.prompts={Path(__file__).parent / 'other_prompts'}",),
    "captions' sampling": ("captions.max_tokens=20",),
    "captions' model": ("captions.engine.model=other",),
    "captions' revision": ("captions.engine.revision=r2",),
    "summaries' limits": ("summaries.max_words=12",),
    "summaries' model": ("summaries.engine.model=other",),
    "tilings": ("tilings.short.max_s=12", "tilings.short.target_s=8"),
    "frames captioned": ("frames.every_s=5",),
    "frames kept": ("frames.keep_s=2",),
    "media": ("media.crf=30",),
    "download": ("download.format=best",),
    "words": ("subtitles.pause_s=1.5",),
    "language": ('download.subtitle_languages=["de"]',),
    "longest download": ("download.max_duration_s=60",),
    "longest media": ("media.max_duration_s=60",),
    "shortest clip": ("tilings.short.min_s=3",),
}
OPERATIONAL = ("run.wave_videos=2",)
APART = frozenset({"run_id", "created_at", "code_version", "source_uri", "attempts", "metadata"})
COMPARED = tuple(TABLES.keys() - {"usage", "forgotten"})


class Killed(BaseException):
    """Ends a run at once; nothing in it catches this."""


class Dead(Exception):
    """A killed run writes nothing."""


@contextmanager
def killed(at: int, how: str) -> Iterator[list[bool]]:
    """The run inside is killed at its write number `at`, "before" or "after" it: a commit file, or a table's share.

    With "stop", it is stopped there: the work under way may end.
    """
    put, transact, write = object_store.put, DeltaTable.create_write_transaction, 0
    dead: list[bool] = []

    def around(real: Callable[..., Any], *arguments: Any, **options: Any) -> Any:
        nonlocal write
        write += 1
        if dead:
            raise Dead
        if write == at and how == "before":
            dead.append(True)
            raise Killed
        made = real(*arguments, **options)
        if write == at and how == "stop":
            this_process.halt()
        elif write == at:
            dead.append(True)
            raise Killed
        return made

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commits, "put", functools.partial(around, put))
        patch.setattr(DeltaTable, "create_write_transaction", lambda *a, **o: around(transact, *a, **o))
        try:
            yield dead
        finally:
            for thread in threading.enumerate():  # of a killed process, none goes on
                if thread.name.startswith(("run", "work")):
                    thread.join(60)


def settings_of(*changes: str) -> Any:
    return resolve(None, [*ENGINES, *OPERATIONAL, *(each for change in changes for each in CHANGES[change])])


def run(
    world: World,
    location: Path,
    *changes: str,
    retry: bool = False,
    prune: bool = False,
    one_job: bool = False,
    keep_duplicates: bool = False,
    stages: Sequence[Stage] = tuple(Stage),
    yes: bool = True,
    dry: bool = False,
) -> int:
    """`vidla curate` (or `retry`) of the world's list with these changes of settings; returns its exit status."""
    how: dict[str, Any] = {"retry": Retry() if retry else None, "prune": prune, "one_job": one_job}
    how["keep_duplicates"] = keep_duplicates
    with pure_work(world):
        inputs = [] if retry else ["the list"]
        return curate(
            inputs, str(location), settings_of(*changes), tuple(stages), [], 0.0, 2.0, yes=yes, dry=dry, **how
        )


Rows = dict[str, list[str]]  # by table


def rows_by_video(location: Path) -> dict[int, Rows]:
    """By number, the rows of each video, without what may differ from run to run."""
    dataset = Dataset(str(location))
    used = {f for row in dataset.read("segments", ["frame_ids"]).to_pylist() for f in row["frame_ids"]}
    videos = {row["video_id"]: number_of(row) for row in dataset.read("downloads").to_pylist()}
    rows: dict[int, Rows] = {number: defaultdict(list) for number in (MISTYPED, *SECONDS)}
    for table in COMPARED:
        for row in dataset.read(table).to_pylist():
            if table == "captions" and row["frame_id"] not in used:
                continue
            values = {name: value for name, value in row.items() if name not in APART}
            rows[number_of(row, videos)][table].append(repr(sorted(values.items())))
    return {number: {table: sorted(its) for table, its in tables.items()} for number, tables in rows.items()}


@dataclass(frozen=True)
class Texts:
    """What a dataset has of texts: the images of its frames, and those that its clips show; which frames have captions;
    which clips have a caption text."""

    images: Mapping[str, str]
    shown: Mapping[str, tuple[str, ...]]
    captioned: Set[str]
    told: Set[str]

    @classmethod
    def of(cls, location: Path) -> Texts:
        dataset = Dataset(str(location))
        images = {row["frame_id"]: row["image_digest"] for row in dataset.read("frames").to_pylist()}
        frames = {row["clip_id"]: row["frame_ids"] for row in dataset.read("segments").to_pylist()}
        captioned = set(dataset.read("captions", ["frame_id"])["frame_id"].to_pylist())
        told = {row["clip_id"] for row in dataset.read("clips").to_pylist() if row["caption_text"] is not None}
        shown = {clip_id: tuple(images.get(f, "") for f in ids) for clip_id, ids in frames.items()}
        return cls(images, shown, captioned, told)


def check_kept(before: Texts, location: Path) -> None:
    """Whether each image that had a caption and is shown, and each clip that had a caption text, has one still."""
    now = Texts.of(location)
    shown = {image for images in now.shown.values() for image in images}
    for frame_id in before.captioned:
        if (image := now.images.get(frame_id)) is not None and image == before.images.get(frame_id) and image in shown:
            assert frame_id in now.captioned, frame_id
    for clip_id in before.told:
        if now.shown.get(clip_id) == before.shown.get(clip_id):
            assert clip_id in now.told, clip_id


def number_of(row: Mapping[str, Any], videos: Mapping[str, int] = MappingProxyType({})) -> int:
    """The number of the video that a row is about, by its request's key or by its id; MISTYPED if there is none."""
    keys = (row.get("request_key"), row.get("key"))
    return next((_KEYS[key] for key in keys if key in _KEYS), None) or videos[row["video_id"]]


MISTYPED = -1
_KEYS = {
    digest("request", f"https://videos.example/{what}/{number}", None, None): number if what == "watch" else MISTYPED
    for number in SECONDS
    for what in ("watch", "mistyped")
}


@functools.cache
def undisturbed(*changes: str, ids: frozenset[tuple[int, str]] = frozenset()) -> dict[int, Rows]:
    """By number, the rows that one run on an empty dataset makes of every video, of which some have these `ids`."""
    with tempfile.TemporaryDirectory(dir=MEMORY) as folder:
        location = Path(folder, "dataset")
        assert run(World(list(SECONDS), dict(SECONDS), ids=dict(ids)), location, *changes) == 0
        return rows_by_video(location)


def check(
    location: Path,
    numbers: Collection[int],
    *changes: str,
    metadata: Mapping[int, str] = MappingProxyType({}),
    ids: Mapping[int, str] = MappingProxyType({}),
) -> None:
    """The invariant, for the videos that the dataset was asked for, with what the list has said of some of them.

    Rows of a video that the command would refuse now may be kept, with its texts as far as they were made.
    """
    expected, found = undisturbed(*changes, ids=frozenset(ids.items())), rows_by_video(location)
    for number in SECONDS.keys() - set(numbers):
        assert not {*found[number]} - {"rejects", "requests"}, (number, "is not asked for")
    for number in numbers:
        is_kept = found[number].get("segments") and not expected[number].get("segments")
        for table in () if is_kept else COMPARED:
            assert found[number].get(table, []) == expected[number].get(table, []), (number, table)
    dataset = Dataset(str(location))
    videos = {row["video_id"]: number_of(row) for row in dataset.read("downloads").to_pylist()}
    for table in ("requests", "downloads", "videos", "clips"):
        for row in dataset.read(table).to_pylist():
            if (number := number_of(row, videos)) in numbers:
                assert row["metadata"] == metadata.get(number), (number, table)
    assert not [path for path, _, _ in dataset.list("sources/")]
    with pure_work(World()), this_process:
        settings = settings_of(*changes)
        plan = make_plan(State.load(dataset, settings, wanted_texts(settings)), {})
    assert len(plan) == 0, "something is left to do"
