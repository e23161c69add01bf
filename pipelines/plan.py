"""What is wanted, less what is done, and the work items that follow from it.

A row is done when its digest is the one that today's settings and inputs give. So is a reject, unless it is retried.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from curation.lineage import (
    clips_digest,
    download_digest,
    download_reject_digest,
    reject_digest,
    segment_reject_digest,
    tiling_digest,
)
from curation.records import VideoRequest
from curation.requests import Asked
from pipelines.items import CAPTION, DOWNLOAD, SEGMENT, DownloadItem
from pipelines.state import Retry, State, no_retry


@dataclass
class Plan:
    """What is to be done, stage by stage: requests to download, and ids of videos."""

    downloads: list[DownloadItem] = field(default_factory=list)
    segment: list[str] = field(default_factory=list)
    text: list[str] = field(default_factory=list)
    fetched_again: int = 0  # downloads that were done before, but whose source is gone

    def __len__(self) -> int:
        return len(self.downloads) + len(self.segment) + len(self.text)


def make_plan(
    state: State, requests: Iterable[VideoRequest], asked: Mapping[str, Asked], retry: Retry = no_retry
) -> Plan:
    """Everything that `requests`, all those of the dataset, still need; with a `retry`, only what that opens again."""
    plan = Plan()
    again: set[str] = set()  # videos to download anew for the single pass
    for video_id in state.by_video:
        stage = needs(state, video_id, retry)
        if retry is not no_retry and needs(state, video_id) is not None:
            continue
        if stage == SEGMENT and not has_media(state, video_id) and not state.has_source(video_id):
            again.add(video_id)
        elif stage == SEGMENT:
            plan.segment.append(video_id)
        elif stage is not None:
            plan.text.append(video_id)
    keys = {min(state.by_video[video_id]) for video_id in again}  # one request a video is enough
    for request in requests:
        key = request.request_key
        item = download_item(state, request, asked.get(key), retry, source_gone=key in keys)
        settled = key in keys or download_item(state, request, None, no_retry) is None
        if item is not None and (retry is no_retry or settled):
            plan.downloads.append(item)
    plan.fetched_again = len(keys)
    return plan


def download_item(
    state: State, request: VideoRequest, asked: Asked | None, retry: Retry, source_gone: bool = False
) -> DownloadItem | None:
    """What is to be downloaded for a request, if anything."""
    expected = download_digest(request, state.settings)
    done = state.downloads.get(request.request_key)
    if done is not None and done.digest == expected and not source_gone:
        return None
    rejection = state.rejects.get((DOWNLOAD, request.request_key))
    if rejection and rejection.digest == download_reject_digest(expected, state.settings) and not retry(rejection):
        return None
    old = done is not None or rejection is not None
    old_video = done.video_id if done and len(state.by_video[done.video_id]) == 1 else None
    return DownloadItem(request, asked, expected, rejection.attempts if rejection else 0, old, old_video)


def needs(state: State, video_id: str, retry: Retry = no_retry) -> str | None:
    """The first stage that a downloaded video still needs; None when it is done, or rejected for good."""
    rejection = state.rejects.get((SEGMENT, video_id))
    if rejection and rejection.digest in segment_reject_digests(state, video_id) and not retry(rejection):
        return None
    if not has_media(state, video_id):
        return SEGMENT
    tiling = tiling_digest(state.videos[video_id], state.settings)
    if state.segments.get(video_id) != tiling:
        return SEGMENT
    textless = state.textless.get(video_id, {}).values()
    if any(retry(r) for r in textless):
        return CAPTION
    expected = clips_digest(tiling, state.texts, sum(r.stage == CAPTION for r in textless))
    settled = state.clips.get(video_id) == expected or any(r.digest == reject_digest(expected) for r in textless)
    return None if settled else CAPTION


def has_media(state: State, video_id: str) -> bool:
    """Whether the stored media is up to date."""
    return state.videos.get(video_id) in state.media_digests(video_id)


def segment_reject_digests(state: State, video_id: str) -> set[str]:
    return {segment_reject_digest(media, state.settings) for media in state.media_digests(video_id)}
