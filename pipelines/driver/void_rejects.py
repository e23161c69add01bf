"""Rejects of redone downloads and segmentations that nothing asks for any more, since the settings went back."""

from __future__ import annotations

from collections.abc import Iterator

from curation.dataset.commits import Committer, Replacement
from curation.rejects import Stage
from pipelines.driver.state import State


def drop_void_rejects(writer: Committer, state: State) -> None:
    """Commit that they are gone, and drop them from `state`."""
    if not (void := frozenset(_void(state))):
        return
    parts = frozenset(writer.dataset.live_parts("rejects"))
    replaced = Replacement("rejects", ("stage", "key"), void, parts)
    writer.commit(f"{writer.lineage.run_id}:void", [], [replaced])
    for key in void:
        state.rejects.pop(key, None)


def _void(state: State) -> Iterator[tuple[str, str]]:
    """Their stages and keys."""
    for key, video_id in state.fetched_since.items():
        if state.needs(video_id) is None or state.has_media(video_id):
            yield Stage.DOWNLOAD, key
    for (stage, key), rejection in state.rejects.items():
        if stage == Stage.SEGMENT and state.is_cut(key) and not state.is_refused(key, rejection):
            yield Stage.SEGMENT, key
