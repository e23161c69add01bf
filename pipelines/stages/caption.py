"""Caption: videos in; an up-to-date caption, or a reject, for each frame of their clips that lacks one out."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence, Set
from dataclasses import dataclass, replace
from typing import Any

from curation.dataset.dataset import Dataset
from curation.dataset.video_rows import read_video
from curation.engines.text_source import TextSource
from curation.recipes import Step
from curation.records import Caption, Frame, Row
from curation.rejects import Kind, Rejected, Stage
from curation.row_digests import reject_digest
from curation.schema import from_row
from curation.settings import Settings
from curation.texts.captions import caption_digest, caption_frames, is_caption_of
from pipelines.stages.item_rows import columns_of_video, rows_elsewhere, rows_of_video, up_to_date
from pipelines.worker.batches import batches
from pipelines.worker.stage_work import AnyLane, StageOutput
from pipelines.worker.text_engines import captioner, text_pool
from pipelines.worker.thread_pools import ThreadPool
from pipelines.worker.work_items import VideoItem

FRAMES_AT_A_TIME = 256  # of one video in memory, some 8 MB, however long it is


@dataclass(frozen=True)
class CaptionFrames(AnyLane):
    """The work of the caption stage."""

    settings: Settings
    name: Stage = Stage.CAPTION
    label: str = "Caption the frames of each video"

    @property
    def pool(self) -> ThreadPool:
        return text_pool(self.settings.captions.engine)

    def work(self, dataset: Dataset, item: VideoItem) -> StageOutput:
        source = captioner(self.settings)
        frames = _Frames.of(dataset, item, source)
        made = StageOutput()
        source = source.counting(made.spent)
        known = frames.known(item)  # by digest, whichever frame they were made for
        to_ask = frames.to_ask(known)
        rejected: dict[str, Rejected] = {}
        for frame_ids in batches(to_ask.values(), FRAMES_AT_A_TIME):
            with self.pool.slots.taken(len(frame_ids)):
                outcome = caption_frames(frames.read(dataset, item, frame_ids), source)
            made_now = ((frames.digests[caption.frame_id], caption) for caption in outcome.captions)
            known |= {digest: Row(caption, digest) for digest, caption in made_now}
            rejected |= {frames.digests[frame_id]: why for frame_id, why in outcome.rejected.items()}
        for frame_id in frames.missing:
            digest = frames.digests[frame_id]
            if digest in known:
                caption = known[digest].record
                caption = replace(caption, frame_id=frame_id, video_id=item.video_id, time=frames.times[frame_id])
                caption = replace(caption, maker=source.digest)
                made.add([caption], digest, known[digest].recipe)
            else:
                frames.reject(made, item, rejected[digest], frame_id)
        frames.remove_outdated(made, failed={f for f in frames.missing if frames.digests[f] not in known})
        frames.count(made, failed=sum(frames.digests[frame_id] not in known for frame_id in frames.missing))
        made.counts["unanswered"] = sum(why.kind == Kind.ENGINE for why in rejected.values())
        made.spent.reused = len(frames.missing) - len(to_ask)
        return made

    def reject(self, dataset: Dataset, item: VideoItem, why: Rejected) -> StageOutput:
        frames = _Frames.of(dataset, item, captioner(self.settings))
        made = StageOutput()
        for frame_id in frames.missing:
            frames.reject(made, item, why, frame_id)
        frames.remove_outdated(made, failed=set(frames.missing))
        frames.count(made, failed=len(frames.missing))
        return made


def captions_to_ask(dataset: Dataset, item: VideoItem, settings: Settings) -> int:
    """How many captions of a video have to be asked for, since they are nowhere yet."""
    frames = _Frames.of(dataset, item, captioner(settings))
    return len(frames.to_ask(frames.known(item)))


@dataclass(frozen=True)
class _Frames:
    """A video's frames, with their captions and rejects."""

    times: Mapping[str, float]  # by frame_id, as in the next two
    images: Mapping[str, str]  # digests
    digests: Mapping[str, str]  # of an up-to-date caption
    captions: Sequence[Row[Caption]]  # up to date or not
    usable: Sequence[Row[Caption]]  # except those of an older recipe to be refreshed
    kept: Set[str]  # frames with an up-to-date caption
    rejects: Mapping[str, Mapping[str, Any]]  # by frame_id
    refused: Set[str]  # frames without an up-to-date caption whose reject is up to date, and not retried
    needed: Set[str]  # frames that the clips need captioned
    missing: Sequence[str]  # those that are not, in order

    @classmethod
    def of(cls, dataset: Dataset, item: VideoItem, source: TextSource) -> _Frames:
        rows = sorted(columns_of_video(dataset, "frames", item, ["time", "image_digest"]), key=lambda row: row["time"])
        images = {row["frame_id"]: row["image_digest"] for row in rows}
        digests = {frame_id: caption_digest(image, source) for frame_id, image in images.items()}
        captions = rows_of_video(dataset, Caption, item)
        columns = ["stage", "key", "digest", "attempts"]
        rejects_of_video = columns_of_video(dataset, "rejects", item, columns)
        rejects = {r["key"]: r for r in rejects_of_video if r["stage"] == Stage.CAPTION}
        usable = up_to_date(captions, item, Step.CAPTIONS)
        kept = {c.record.frame_id for c in usable if _holds(c, digests, source)}
        refused: set[str] = set()
        if not item.retry:
            refused = {key for key in digests.keys() & rejects if rejects[key]["digest"] == reject_digest(digests[key])}
        segments = columns_of_video(dataset, "segments", item, ["frame_ids"])
        needed = {frame_id for row in segments for frame_id in row["frame_ids"]}
        times = {row["frame_id"]: row["time"] for row in rows}
        missing = [f for f in digests if f in needed and f not in kept and f not in refused]
        return cls(times, images, digests, captions, usable, kept, rejects, refused - kept, needed, missing)

    def known(self, item: VideoItem) -> dict[str, Row[Caption]]:
        """By digest, the captions that there are already of its images: its own, and those elsewhere."""
        known = {row.digest: row for row in self.usable}
        missing = {self.digests[frame_id] for frame_id in self.missing} - known.keys()
        elsewhere = up_to_date(rows_elsewhere(Caption, item) if missing else [], item, Step.CAPTIONS)
        return known | {row.digest: row for row in elsewhere if row.digest in missing}

    def to_ask(self, known: Collection[str]) -> dict[str, str]:
        """By digest, a frame for each caption that is missing and not among the `known` ones."""
        return {self.digests[f]: f for f in self.missing if self.digests[f] not in known}

    def read(self, dataset: Dataset, item: VideoItem, frame_ids: Sequence[str]) -> list[Frame]:
        """These frames, with their images."""
        found: dict[str, Frame] = {}
        for part in item.parts.get("frames", ()):
            rows = read_video(dataset, "frames", part, item.video_id, among=frame_ids)
            found |= {row["frame_id"]: from_row(Frame, row) for row in rows.to_pylist()}
        return [found[frame_id] for frame_id in frame_ids]

    def remove_outdated(self, made: StageOutput, failed: Collection[str]) -> None:
        """Remove the captions and rejects that no longer hold; captions of frames that no clip uses now may stay.

        So does another source's caption of an image that gets none now: of the frames that have `failed`, or were
        rejected before.
        """
        redo_failed = self.needed & {*failed, *self.refused}
        for row in self.captions:
            frame_id = row.record.frame_id
            stays = frame_id in redo_failed and is_caption_of(row, self.images[frame_id])
            if frame_id not in self.kept and not stays:
                made.replace("captions", frame_id=frame_id)
        for frame_id in self.rejects:
            if frame_id in self.missing or frame_id in self.kept or frame_id not in self.needed:
                made.replace("rejects", key=frame_id)

    def count(self, made: StageOutput, failed: int) -> None:
        """Count the frames that the clips need captioned, `failed` of the missing ones among them."""
        made.counts["captions"] = len(self.missing) - failed
        made.counts["kept"] = len(self.kept & self.needed)
        made.counts["rejected_frames"] = failed + len(self.refused & self.needed)

    def reject(self, made: StageOutput, item: VideoItem, why: Rejected, frame_id: str) -> None:
        attempts = self.rejects[frame_id]["attempts"] if frame_id in self.rejects else 0
        row = item.rejected(Stage.CAPTION, why, frame_id, attempts)
        made.add([row], reject_digest(self.digests[frame_id]))


def _holds(row: Row[Caption], digests: Mapping[str, str], source: TextSource) -> bool:
    """Whether a caption is up to date, and says so: one that does not name its maker is written again, with it."""
    origin = (row.record.maker or source.digest, row.record.model, row.record.prompt_digest, row.record.sampling)
    wanted = (source.digest, source.engine.model, source.prompt.digest, source.sampling.to_json())
    return row.digest == digests.get(row.record.frame_id) and origin == wanted
