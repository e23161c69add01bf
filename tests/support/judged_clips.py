"""A dataset of clips with given signals, without media: to try policies on."""

from __future__ import annotations

import atexit
import dataclasses
import functools
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.quality.quality_records import Signals
from curation.records import Clip, Video
from tests.support.dataset_files import Rows, commit_rows, made_of

_VIDEO: Video = made_of(0, b"")["videos"][0]
_CLIP: Clip = made_of(0, b"")["clips"][0]
Values = Mapping[str, Any]


def rows_of(clips: Sequence[Values], first: int = 0) -> Rows:
    """The rows of clips c0, c1, … with these values, of `clips`, `videos` and `signals`; video "v" if none is given.

    A clip without a value of `signals` has no signals.
    """
    kinds = {kind: {field.name for field in dataclasses.fields(kind)} for kind in (Clip, Video, Signals)}
    rows: dict[str, list[Any]] = {"clips": [], "signals": []}
    videos: dict[str, Video] = {}
    for number, given in enumerate(clips, first):
        values = {"video_id": "v", "clip_id": f"c{number}", **given}
        of = {kind: {name: value for name, value in values.items() if name in names} for kind, names in kinds.items()}
        rows["clips"].append(dataclasses.replace(_CLIP, **of[Clip]))
        videos[values["video_id"]] = dataclasses.replace(_VIDEO, **of[Video])
        if given.keys() & (kinds[Signals] - kinds[Clip] - kinds[Video]):
            rows["signals"].append(Signals(**of[Signals]))
    return {**rows, "videos": list(videos.values())}


def dataset_of(folder: Path, clips: Sequence[Values], first: int = 0) -> Dataset:
    """A dataset of these clips, or one with these clips in addition; they are of other videos."""
    if not folder.exists():
        shutil.copytree(_empty(), folder)
    dataset = Dataset(str(folder))
    with Writer(dataset, f"clips-{first}", {}) as writer:
        commit_rows(writer, f"clips-{first}", rows_of(clips, first))
    return dataset


@functools.cache
def _empty() -> Path:
    """A dataset without rows: its tables take longer to make than to copy."""
    folder = Path(tempfile.mkdtemp(prefix="vidla-tests-"))
    atexit.register(shutil.rmtree, folder)
    Dataset(str(folder)).create()
    return folder
