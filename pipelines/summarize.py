"""Summarize: videos whose clips lack up-to-date texts in; summaries and clips out, and a reject for a clip without."""

from __future__ import annotations

from dataclasses import dataclass

from curation.config import Settings
from curation.lineage import clips_digest, reject_digest
from curation.records import Caption, Segment, Summary, Video
from curation.rejects import Rejected
from curation.summaries import summarize_video
from curation.tables import Dataset
from pipelines.caption import expected_captions, wanted_frames
from pipelines.plan import SUMMARIZE, VideoItem
from pipelines.rows import records_of_video
from pipelines.texts import captioner, summariser, texts_digest
from pipelines.work import Made


@dataclass(frozen=True)
class SummarizeClips:
    """The work of the summarize stage."""

    settings: Settings
    name: str = SUMMARIZE
    label: str = "Make the texts of each video's clips"

    def work(self, dataset: Dataset, item: VideoItem) -> Made:
        ((video, _),) = records_of_video(dataset, "videos", Video, item)[-1:]
        segments = [segment for segment, _ in records_of_video(dataset, "segments", Segment, item)]
        older = records_of_video(dataset, "summaries", Summary, item)
        digest, captions = self._captioned(dataset, item)
        outcome = summarize_video(video, segments, captions, summariser(self.settings), older)

        made = self._superseding(item)
        made.add("clips", outcome.clips, digest)
        for summary, summary_digest in outcome.summaries:
            made.add("summaries", [summary], summary_digest)
        for clip_id, why in outcome.rejected.items():
            made.add("rejects", [item.rejected(self.name, why, clip_id)], reject_digest(digest))
        fresh = {(summary.clip_id, summary.kind) for summary, _ in outcome.summaries}
        statuses = {(c.clip_id, "subtitles"): c.subtitle_status for c in outcome.clips}
        statuses |= {(c.clip_id, "captions"): c.caption_status for c in outcome.clips}
        for summary, _ in older:
            key = (summary.clip_id, summary.kind)
            if key in fresh or statuses.get(key) in (None, "verbatim"):
                made.replace("summaries", clip_id=summary.clip_id, kind=summary.kind)
        made.counts["clips"] = len(outcome.clips)
        return made

    def reject(self, dataset: Dataset, item: VideoItem, why: Rejected) -> Made:
        digest, _ = self._captioned(dataset, item)
        made = self._superseding(item)
        for segment, _ in records_of_video(dataset, "segments", Segment, item):
            made.add("rejects", [item.rejected(self.name, why, segment.clip_id)], reject_digest(digest))
        return made

    def _superseding(self, item: VideoItem) -> Made:
        """The video's clips go as a whole, and so do the rejects of its clips."""
        made = Made()
        made.replace_old(item, "clips", video_id=item.video_id)
        made.replace_old(item, "rejects", video_id=item.video_id, stage=self.name)
        return made

    def _captioned(self, dataset: Dataset, item: VideoItem) -> tuple[str, dict[str, Caption]]:
        """The digest of the video's clips, and its up-to-date captions by frame_id."""
        expected = expected_captions(dataset, item, captioner(self.settings))
        captions = {
            caption.frame_id: caption
            for caption, digest in records_of_video(dataset, "captions", Caption, item)
            if digest == expected.get(caption.frame_id)
        }
        uncaptioned = len(wanted_frames(dataset, item) - captions.keys())
        tilings = {digest for _, digest in records_of_video(dataset, "segments", Segment, item)}
        return clips_digest(max(tilings), texts_digest(self.settings), uncaptioned), captions
