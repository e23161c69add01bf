"""What differs between two releases: which clips came, went or changed, and why."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from typing import Any

from curation.dataset.dataset import Dataset
from curation.dataset.forget import ForgottenKeys
from curation.export.selection import EVERYTHING
from curation.release.clip_count import ClipCount
from curation.release.release_digest import contents
from curation.release.released_dataset import ReleasedDataset

TEXTS = ("subtitle_text", "caption_text", "subtitle_original", "caption_original", "captions", "sentences")

Content = Mapping[str, Any]


class Reason(StrEnum):
    """Why a clip is in one of two releases only, or differs between them."""

    SELECTION = "selection"
    NEW_VIDEO = "new video"
    REMOVED = "removed"
    FORGOTTEN = "forgotten"
    OPTED_OUT = "opted out"
    TILING = "another tiling"
    MEDIA = "other media"
    TEXTS = "other texts"
    FURTHER = "other columns"


@dataclass
class ReleaseDiff:
    """The clips that are the same in both releases, and those that came, went or changed, by reason."""

    same: int = 0
    came: dict[Reason, ClipCount] = field(default_factory=lambda: defaultdict(ClipCount))
    went: dict[Reason, ClipCount] = field(default_factory=lambda: defaultdict(ClipCount))
    changed: dict[Reason, ClipCount] = field(default_factory=lambda: defaultdict(ClipCount))

    def to_json(self) -> dict[str, Any]:
        kinds = {"came": self.came, "went": self.went, "changed": self.changed}
        counts = {
            kind: {str(reason): count.to_json() for reason, count in sorted(f.items())} for kind, f in kinds.items()
        }
        return {"same": self.same, **counts}


def diff(a: ReleasedDataset, b: ReleasedDataset, progress: Callable[[int], None] = lambda done: None) -> ReleaseDiff:
    """Compare two releases, as they are given out now. Keeps the ids of their videos in memory. Raises DatasetError."""
    found, before, after = ReleaseDiff(), _Tables(a), _Tables(b)
    for clip_id, old, new in _side_by_side(_by_id(a), _by_id(b)):
        progress(1)
        if old is None and new is not None:
            found.came[before.why_not(clip_id, new["video_id"], Reason.NEW_VIDEO)].add(clip_id)
        elif new is None and old is not None:
            found.went[after.why_not(clip_id, old["video_id"], Reason.REMOVED)].add(clip_id)
        elif old is not None and new is not None and old != new:
            columns = sorted(name for name in {*old, *new} if old.get(name) != new.get(name))
            found.changed[_kind_of(columns)].add(clip_id, columns)
        else:
            found.same += 1
    return found


def _kind_of(columns: Iterable[str]) -> Reason:
    """
    >>> _kind_of(["caption_text", "media_digest"]).value, _kind_of(["title"]).value
    ('other media', 'other columns')
    """
    if "media_digest" in columns:
        return Reason.MEDIA
    return Reason.TEXTS if not set(TEXTS).isdisjoint(columns) else Reason.FURTHER


def _by_id(release: ReleasedDataset) -> Iterator[tuple[str, Content]]:
    for content in contents(release, EVERYTHING, "clip_id"):
        yield content["clip_id"], content


def _side_by_side(
    a: Iterator[tuple[str, Content]], b: Iterator[tuple[str, Content]]
) -> Iterator[tuple[str, Content | None, Content | None]]:
    """Each id with what the two sorted iterators have under it.

    >>> list(_side_by_side(iter([("x", {"n": 1})]), iter([("x", {"n": 2}), ("y", {})])))
    [('x', {'n': 1}, {'n': 2}), ('y', None, {})]
    """
    old, new = next(a, None), next(b, None)
    while old is not None or new is not None:
        clip_id = min(each[0] for each in (old, new) if each is not None)
        in_a, in_b = old is not None and old[0] == clip_id, new is not None and new[0] == clip_id
        yield clip_id, old[1] if in_a and old else None, new[1] if in_b and new else None
        old, new = next(a, None) if in_a else old, next(b, None) if in_b else new


class _Tables:
    """The tables that a release was chosen from: why a clip is not in the release."""

    def __init__(self, release: ReleasedDataset) -> None:
        everything = ReleasedDataset(replace(release.release, where=None), whole=True)
        self._clips = _ids(everything, "clips", "clip_id")
        self._at = next(self._clips, None)
        self._videos = set(_ids(everything, "videos", "video_id"))
        self._opted_out = frozenset().union(*(member.withdrawn.opted_out for member in release.members))
        self._forgotten = [ForgottenKeys.load(Dataset(member.uri, patient=False)) for member in release.members]

    def why_not(self, clip_id: str, video_id: str, without_video: Reason) -> Reason:
        """The reason; ids have to come in their order. `without_video` is it if the tables do not have the video."""
        if video_id in self._opted_out:
            return Reason.OPTED_OUT
        if any(forgotten.has_video(video_id) for forgotten in self._forgotten):
            return Reason.FORGOTTEN
        while self._at is not None and self._at < clip_id:
            self._at = next(self._clips, None)
        if self._at == clip_id:
            return Reason.SELECTION
        return Reason.TILING if video_id in self._videos else without_video


def _ids(release: ReleasedDataset, table: str, column: str) -> Iterator[str]:
    for batch in release.stream(f"select {column} from {table} order by {column}"):
        yield from batch.column(0).to_pylist()
