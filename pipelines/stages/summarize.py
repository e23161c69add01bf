"""Summarize: videos whose clips lack up-to-date texts in; summaries and clips, or rejects of clips, out."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from curation.dataset.dataset import Dataset
from curation.recipes import Step, identity
from curation.records import Caption, Clip, Row, Segment, Summary, Video
from curation.rejects import Kind, Rejected, Stage
from curation.row_digests import clips_digest, reject_digest
from curation.schema import from_row
from curation.settings import Settings
from curation.texts.captions import caption_digest, is_caption_of
from curation.texts.summaries import TextKind, summaries_to_ask, summarize_video
from pipelines.stages.item_rows import columns_of_video, rows_elsewhere, rows_of_video, up_to_date
from pipelines.worker.stage_work import AnyLane, StageOutput
from pipelines.worker.text_engines import captioner, summariser, text_pool, texts_digest
from pipelines.worker.thread_pools import ThreadPool
from pipelines.worker.work_items import VideoItem

MAKERS = ("engine", "model", "revision", "prompt_digest", "sampling")  # the columns with the origin of a summary


@dataclass(frozen=True)
class SummarizeClips(AnyLane):
    """The work of the summarize stage."""

    settings: Settings
    name: Stage = Stage.SUMMARIZE
    label: str = "Make the texts of each video's clips"

    @property
    def pool(self) -> ThreadPool:
        return text_pool(self.settings.summaries.engine)

    def work(self, dataset: Dataset, item: VideoItem) -> StageOutput:
        video = rows_of_video(dataset, Video, item)[-1].record
        inputs = _ClipInputs.of(dataset, item, self.settings)
        older = rows_of_video(dataset, Summary, item)
        made = self._superseding(item)
        plan = summariser(self.settings)
        plan = replace(plan, subtitles=plan.subtitles.counting(made.spent), captions=plan.captions.counting(made.spent))
        reusable = _reusable(item, older)
        former = inputs.former(dataset, item)
        outcome = summarize_video(video, inputs.segments, inputs.captions, plan, reusable, former)

        made.add(outcome.clips, inputs.digest)
        known = {row.digest: row for row in reusable}
        for row in outcome.summaries:
            summary = row.record
            reused = known.get(row.digest)
            if reused:
                summary = replace(summary, **{column: getattr(reused.record, column) for column in MAKERS})
                made.spent.reused += 1
            made.add([summary], row.digest, reused.recipe if reused else None)
        attempts = self._attempts(dataset, item)
        for clip_id, why in outcome.rejected.items():
            made.add([item.rejected(self.name, why, clip_id, attempts[clip_id])], reject_digest(inputs.digest))
        fresh = {(row.record.clip_id, row.record.kind) for row in outcome.summaries}
        statuses = {(c.clip_id, "subtitles"): c.subtitle_status for c in outcome.clips}
        statuses |= {(c.clip_id, "captions"): c.caption_status for c in outcome.clips}
        for row in older:
            key = (row.record.clip_id, row.record.kind)
            if key in fresh or statuses.get(key) in (None, "verbatim", "unrecognised"):
                made.replace("summaries", clip_id=row.record.clip_id, kind=row.record.kind)
        made.counts["clips"] = len(outcome.clips)
        made.counts["rejected_clips"] = len(outcome.rejected.keys() - {clip.clip_id for clip in outcome.clips})
        made.counts["unanswered"] = sum(why.kind == Kind.ENGINE for why in outcome.rejected.values())
        return made

    def reject(self, dataset: Dataset, item: VideoItem, why: Rejected) -> StageOutput:
        inputs = _ClipInputs.of(dataset, item, self.settings)
        made, attempts = self._superseding(item), self._attempts(dataset, item)
        wanted = {segment.clip_id for segment in inputs.segments}
        for row in rows_of_video(dataset, Summary, item):
            if row.record.clip_id not in wanted:
                made.replace("summaries", clip_id=row.record.clip_id, kind=row.record.kind)
        made.add(inputs.former(dataset, item).values(), inputs.digest)
        for segment in inputs.segments:
            rejected = item.rejected(self.name, why, segment.clip_id, attempts[segment.clip_id])
            made.add([rejected], reject_digest(inputs.digest))
        made.counts["rejected_clips"] = len(wanted)
        return made

    def _attempts(self, dataset: Dataset, item: VideoItem) -> Counter[str]:
        """By clip_id, the tries so far that ended in a reject."""
        rejects = columns_of_video(dataset, "rejects", item, ["stage", "key", "attempts"])
        return Counter({row["key"]: row["attempts"] for row in rejects if row["stage"] == self.name})

    def _superseding(self, item: VideoItem) -> StageOutput:
        """Removes all of the video's clips, and all rejects of its clips."""
        made = StageOutput()
        made.replace_old(item, "clips", video_id=item.video_id)
        made.replace_old(item, "rejects", video_id=item.video_id, stage=self.name)
        return made


def summaries_for(dataset: Dataset, item: VideoItem, settings: Settings) -> dict[TextKind, int]:
    """By kind, how many summaries of a video have to be asked for, since they are nowhere yet."""
    inputs, (*_, video) = _ClipInputs.of(dataset, item, settings), rows_of_video(dataset, Video, item)
    known = _reusable(item, rows_of_video(dataset, Summary, item))
    return summaries_to_ask(video.record, inputs.segments, inputs.captions, summariser(settings), known)


def _reusable(item: VideoItem, older: Sequence[Row[Summary]]) -> list[Row[Summary]]:
    """The summaries that need not be made: those elsewhere, and of the `older` ones of the video."""
    # Without their clip_id, so that a summary taken from there gets a row here.
    elsewhere = [replace(row, record=replace(row.record, clip_id="")) for row in rows_elsewhere(Summary, item)]
    return up_to_date([*elsewhere, *older], item, Step.SUMMARIES)


@dataclass(frozen=True)
class _ClipInputs:
    """The inputs of a video's clips: its segments; captions by frame_id, up to date or kept since their redo failed;
    when its frames were stored; and the clips' digest."""

    segments: Sequence[Segment]
    captions: Mapping[str, Caption]
    stored_at: datetime
    digest: str

    @classmethod
    def of(cls, dataset: Dataset, item: VideoItem, settings: Settings) -> _ClipInputs:
        source = captioner(settings)
        frames = columns_of_video(dataset, "frames", item, ["image_digest", "created_at"])
        images = {frame["frame_id"]: frame["image_digest"] for frame in frames}
        rejects = columns_of_video(dataset, "rejects", item, ["stage", "key"])
        refused = {row["key"] for row in rejects if row["stage"] == Stage.CAPTION}

        def counts(row: Row[Caption]) -> bool:
            frame_id = row.record.frame_id
            if (image := images.get(frame_id)) is None:
                return False
            return row.digest == caption_digest(image, source) or (frame_id in refused and is_caption_of(row, image))

        rows = [row for row in rows_of_video(dataset, Caption, item) if counts(row)]
        captions = {row.record.frame_id: row.record for row in rows}
        tiled = rows_of_video(dataset, Segment, item)
        needed = {frame_id for row in tiled for frame_id in row.record.frame_ids}
        tiling = max(identity(row.digest, row.recipe) for row in tiled)
        texts = identity(texts_digest(settings), max((row.recipe or 1 for row in rows), default=None))
        digest = clips_digest(tiling, texts, len(needed - (captions.keys() - refused)))
        stored_at = max((frame["created_at"] for frame in frames), default=datetime.max.replace(tzinfo=UTC))
        return cls([row.record for row in tiled], captions, stored_at, digest)

    def former(self, dataset: Dataset, item: VideoItem) -> dict[str, Clip]:
        """By clip_id, the clips that the video has already; not those older than its frames, of other footage maybe."""
        rows = {row["clip_id"]: row for row in columns_of_video(dataset, "clips", item)}
        clips: dict[str, Clip] = {}
        for segment in self.segments:
            if (row := rows.get(segment.clip_id)) and row["created_at"] >= self.stored_at:
                place = {name: getattr(segment, name) for name in ("parent_id", "frame_ids", "sentence_count")}
                clips[segment.clip_id] = replace(from_row(Clip, row), **place)
        return clips
