"""The digest of a release: over the content of all rows, whatever their order and the parts that they lie in."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

from curation.dataset.dataset import Dataset
from curation.export.selection import BY_VIDEO, EVERYTHING, OF_VIDEO, RUN_COLUMNS, Row, Selection, clips_of
from curation.splits import is_held_out

NOT_CONTENT = (*RUN_COLUMNS, "digest", "recipe", "media_uri")
"""Columns that say how, when and where a row was made."""
CONTENT_OF_VIDEO = (*OF_VIDEO, "media_digest")
_BYTES = 32


def contents(dataset: Dataset, selection: Selection = EVERYTHING, order: str = BY_VIDEO) -> Iterator[dict[str, Any]]:
    """What counts of each clip: its columns, those of its video, its captions and its sentences.

    Null is as good as no column, so that columns that come with a later version change no digest.
    """
    for row in clips_of(dataset, selection, CONTENT_OF_VIDEO, order):
        yield {name: value for name, value in row.items() if value is not None and name not in NOT_CONTENT}


def row_digest(content: Row) -> bytes:
    """32 bytes that identify the content of a clip."""
    text = json.dumps(content, sort_keys=True, ensure_ascii=False, separators=(",", ":"), default=str)
    return hashlib.blake2b(text.encode("utf-8", "surrogatepass"), digest_size=_BYTES).digest()


@dataclass
class ReleaseTally:
    """What the clips of a release come to. The digest is the sum of the rows' digests modulo 2^256."""

    held_out: float
    clips: int = 0
    seconds: float = 0.0
    held_out_clips: int = 0
    _videos: set[str] = field(default_factory=set)
    _sum: int = 0

    def add(self, content: Row) -> None:
        self.clips += 1
        self.seconds += content["end"] - content["start"]
        self.held_out_clips += is_held_out(content["video_id"], self.held_out)
        self._videos.add(content["video_id"])
        self._sum += int.from_bytes(row_digest(content), "big")

    @property
    def videos(self) -> int:
        return len(self._videos)

    @property
    def digest(self) -> str:
        """64 hex digits."""
        return f"{self._sum % 2 ** (8 * _BYTES):0{2 * _BYTES}x}"


def tally(dataset: Dataset, held_out: float, progress: Callable[[int], None] = lambda done: None) -> ReleaseTally:
    """What the clips of a dataset, or release, come to; reads them all. Raises DatasetError, UsageError."""
    counted = ReleaseTally(held_out)
    for content in contents(dataset):
        counted.add(content)
        progress(1)
    return counted
