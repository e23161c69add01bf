"""The downloaded sources, which are deleted as soon as no video needs them, unless `run.keep_sources` is set."""

from __future__ import annotations

from collections.abc import Iterable

from curation.dataset.dataset import Dataset
from curation.rejects import Stage
from pipelines.driver.known_rows import Retry
from pipelines.driver.state import State
from pipelines.worker.work_items import DownloadItem


def sources_of(state: State, videos: Iterable[str]) -> set[str]:
    """The URIs of the sources of these videos."""
    return {download.source_uri for video_id in videos for download in state.downloads_of(video_id)}


def sources_for(state: State, items: Iterable[DownloadItem]) -> set[str]:
    """The URIs of what was last downloaded for these items."""
    return {state.downloads[item.key].source_uri for item in items if item.key in state.downloads}


def replaced_sources(state: State) -> set[str]:
    """The sources of no video: newer ones have replaced them."""
    return state.sources - {download.source_uri for download in state.downloads.values()}


def unneeded_sources(state: State, retry: Retry | None) -> set[str]:
    """The sources that no video needs, such as those that a killed run left behind."""
    present = [download for download in state.downloads.values() if download.source_uri in state.sources]
    needed = {d.source_uri for d in present if state.needs(d.video_id, retry) == Stage.SEGMENT}
    return state.sources - needed


def delete_sources(dataset: Dataset, uris: Iterable[str]) -> None:
    """Delete these sources if they are in the dataset; files that the user named stay."""
    dataset.delete(uri for uri in uris if uri.startswith("sources/"))


def bytes_to_decode(state: State, video_id: str) -> int:
    """The size of the media that the segment stage has to decode; 0 if what is stored is enough."""
    enough = state.has_media(video_id) and not state.lacks_timeline(video_id)
    return 0 if enough else state.source_bytes(video_id)
