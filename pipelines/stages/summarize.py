"""Summarize: videos whose clips lack up-to-date texts in; summaries and clips out, and a reject for a clip without."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from curation.dataset.dataset import Dataset
from curation.records import Caption, Segment, Summary, Video
from curation.rejects import Rejected, Stage
from curation.row_digests import clips_digest, reject_digest
from curation.settings import Settings
from curation.texts.captions import caption_digest
from curation.texts.summaries import summarize_video
from pipelines.stages.item_rows import records_elsewhere, records_of_video, rows_of_video
from pipelines.worker.stage_work import AnyLane, StageOutput
from pipelines.worker.text_engines import captioner, summariser, text_pool, texts_digest
from pipelines.worker.thread_pools import ThreadPool
from pipelines.worker.work_items import VideoItem

MAKERS = ("engine", "model", "revision", "prompt_digest", "sampling")  # the columns that say what made a summary


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
        ((video, _),) = records_of_video(dataset, "videos", Video, item)[-1:]
        given = _ClipInputs.of(dataset, item, self.settings)
        older = records_of_video(dataset, "summaries", Summary, item)
        # Under no clip of this dataset, so that what is taken over gets a row here.
        elsewhere = [(replace(s, clip_id=""), digest) for s, digest in records_elsewhere("summaries", Summary, item)]
        made = self._superseding(item)
        plan = summariser(self.settings)
        plan = replace(plan, subtitles=plan.subtitles.counting(made.spent), captions=plan.captions.counting(made.spent))
        outcome = summarize_video(video, given.segments, given.captions, plan, [*elsewhere, *older])

        made.add("clips", outcome.clips, given.digest)
        known = {digest: summary for summary, digest in [*elsewhere, *older]}
        for summary, digest in outcome.summaries:
            if digest in known:
                summary = replace(summary, **{column: getattr(known[digest], column) for column in MAKERS})
                made.spent.reused += 1
            made.add("summaries", [summary], digest)
        for clip_id, why in outcome.rejected.items():
            made.add("rejects", [item.rejected(self.name, why, clip_id)], reject_digest(given.digest))
        fresh = {(summary.clip_id, summary.kind) for summary, _ in outcome.summaries}
        statuses = {(c.clip_id, "subtitles"): c.subtitle_status for c in outcome.clips}
        statuses |= {(c.clip_id, "captions"): c.caption_status for c in outcome.clips}
        for summary, _ in older:
            key = (summary.clip_id, summary.kind)
            if key in fresh or statuses.get(key) in (None, "verbatim"):
                made.replace("summaries", clip_id=summary.clip_id, kind=summary.kind)
        made.counts["clips"] = len(outcome.clips)
        return made

    def reject(self, dataset: Dataset, item: VideoItem, why: Rejected) -> StageOutput:
        given = _ClipInputs.of(dataset, item, self.settings)
        made = self._superseding(item)
        for segment in given.segments:
            made.add("rejects", [item.rejected(self.name, why, segment.clip_id)], reject_digest(given.digest))
        return made

    def _superseding(self, item: VideoItem) -> StageOutput:
        """The video's clips go as a whole, and so do the rejects of its clips."""
        made = StageOutput()
        made.replace_old(item, "clips", video_id=item.video_id)
        made.replace_old(item, "rejects", video_id=item.video_id, stage=self.name)
        return made


@dataclass(frozen=True)
class _ClipInputs:
    """What a video's clips are made from: its segments, its up-to-date captions by frame_id, and the clips' digest."""

    segments: Sequence[Segment]
    captions: Mapping[str, Caption]
    digest: str

    @classmethod
    def of(cls, dataset: Dataset, item: VideoItem, settings: Settings) -> _ClipInputs:
        source = captioner(settings)
        frames = rows_of_video(dataset, "frames", item, ["image_digest"])
        expected = {frame["frame_id"]: caption_digest(frame["image_digest"], source) for frame in frames}
        captions = {
            caption.frame_id: caption
            for caption, digest in records_of_video(dataset, "captions", Caption, item)
            if digest == expected.get(caption.frame_id)
        }
        tiled = records_of_video(dataset, "segments", Segment, item)
        wanted = {frame_id for segment, _ in tiled for frame_id in segment.frame_ids}
        tiling = max(digest for _, digest in tiled)
        digest = clips_digest(tiling, texts_digest(settings), len(wanted - captions.keys()))
        return cls([segment for segment, _ in tiled], captions, digest)
