"""Caption: videos in; captions of those frames of their clips that lack an up-to-date one out, or a reject for each."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from curation.captions import caption_digest, caption_frames
from curation.config import Settings
from curation.engines.source import TextSource
from curation.lineage import reject_digest
from curation.records import Frame, from_row
from curation.rejects import Rejected
from curation.tables import Dataset
from pipelines.plan import CAPTION, VideoItem
from pipelines.rows import rows_of_video
from pipelines.texts import captioner
from pipelines.work import Made


@dataclass(frozen=True)
class CaptionFrames:
    """The work of the caption stage."""

    settings: Settings
    name: str = CAPTION
    label: str = "Caption the frames of each video"

    def work(self, dataset: Dataset, item: VideoItem) -> Made:
        source = captioner(self.settings)
        frames = _Frames.of(dataset, item, source)
        outcome = caption_frames(frames.read(dataset, item), source)
        made = frames.outdated()
        for caption in outcome.captions:
            made.add("captions", [caption], frames.digests[caption.frame_id])
        for frame_id, why in outcome.rejected.items():
            frames.reject(made, item, why, frame_id)
        made.counts["captions"] = len(outcome.captions)
        return made

    def reject(self, dataset: Dataset, item: VideoItem, why: Rejected) -> Made:
        frames = _Frames.of(dataset, item, captioner(self.settings))
        made = frames.outdated()
        for frame_id in frames.missing:
            frames.reject(made, item, why, frame_id)
        return made


@dataclass(frozen=True)
class _Frames:
    """A video's frames, and what there is of their captions."""

    digests: Mapping[str, str]  # by frame_id: of an up-to-date caption
    captions: Collection[Mapping[str, Any]]
    rejects: Mapping[str, Mapping[str, Any]]  # by frame_id
    missing: Collection[str]  # frames that the clips want captioned, and that are not

    @classmethod
    def of(cls, dataset: Dataset, item: VideoItem, source: TextSource) -> _Frames:
        digests = expected_captions(dataset, item, source)
        captions = rows_of_video(dataset, "captions", item, ["digest"])
        columns = ["stage", "key", "digest", "attempts"]
        rejects = {r["key"]: r for r in rows_of_video(dataset, "rejects", item, columns) if r["stage"] == CAPTION}
        done = {row["frame_id"] for row in captions if row["digest"] == digests.get(row["frame_id"])}
        if not item.retry:
            done |= {key for key, r in rejects.items() if key in digests and r["digest"] == reject_digest(digests[key])}
        wanted = wanted_frames(dataset, item)
        return cls(digests, captions, rejects, [f for f in digests if f in wanted and f not in done])

    def read(self, dataset: Dataset, item: VideoItem) -> list[Frame]:
        """The missing ones, with their images."""
        found: dict[str, Frame] = {}
        wanted = pc.field("frame_id").isin(self.missing) & (pc.field("video_id") == item.video_id)
        for part in item.where.get("frames", ()) if self.missing else ():
            rows = dataset.read_part("frames", part, filters=wanted)
            found |= {row["frame_id"]: from_row(Frame, row) for row in rows.to_pylist()}
        return [found[frame_id] for frame_id in self.missing]

    def outdated(self) -> Made:
        """Takes out the captions and rejects that no longer hold; those of frames that no clip wants now may stay."""
        made = Made()
        for row in self.captions:
            if row["digest"] != self.digests.get(row["frame_id"]):
                made.replace("captions", frame_id=row["frame_id"])
        for frame_id in self.rejects:
            if frame_id in self.missing or frame_id not in self.digests:
                made.replace("rejects", key=frame_id)
        return made

    def reject(self, made: Made, item: VideoItem, why: Rejected, frame_id: str) -> None:
        attempts = self.rejects[frame_id]["attempts"] if frame_id in self.rejects else 0
        row = item.rejected(CAPTION, why, frame_id, attempts)
        made.add("rejects", [row], reject_digest(self.digests[frame_id]))


def wanted_frames(dataset: Dataset, item: VideoItem) -> set[str]:
    """The frames that the video's clips want captioned."""
    return {f for row in rows_of_video(dataset, "segments", item, ["frame_ids"]) for f in row["frame_ids"]}


def expected_captions(dataset: Dataset, item: VideoItem, source: TextSource) -> dict[str, str]:
    """By frame_id, for every frame of the video: the digest of an up-to-date caption."""
    frames = rows_of_video(dataset, "frames", item, ["image_digest"])
    return {f["frame_id"]: caption_digest(f["image_digest"], source) for f in frames}
