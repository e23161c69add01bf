"""Cutting clips out of stored media, by packet copy."""

from __future__ import annotations

import tempfile
from pathlib import Path

from curation.dataset.database import literal
from curation.dataset.dataset import Dataset
from curation.dataset.media_paths import checked, path_of_media
from curation.errors import DatasetError, UsageError
from curation.export.selection import Row, Selection, clips_of
from curation.media.single_pass import cut
from curation.rejects import Rejected
from curation.settings import MediaSettings

TEMPORARY = ".vidla-"
"""The beginning of the names of folders that a killed export leaves."""


class Cutter:
    """Cuts clips out of stored media. From a remote dataset, it first fetches the video, one at a time."""

    def __init__(self, dataset: Dataset, scratch: Path) -> None:
        self.dataset = dataset
        self.scratch = scratch
        self._fetched = ("", Path())  # the media of a remote dataset that is here
        self._settings = MediaSettings()

    def cut(self, clip: Row) -> Path:
        """The clip as a file in the scratch folder. Raises Rejected, and FileNotFoundError."""
        out = self.scratch / "clip.mp4"
        out.unlink(missing_ok=True)
        cut(self._stored(clip["media_uri"]), clip["start"], clip["end"], out, self._settings)
        return out

    def _stored(self, media_uri: str) -> Path:
        holder = self.dataset.holder(media_uri)
        if holder.folder is not None:
            return path_of_media(holder.folder, media_uri)
        if self._fetched[0] != media_uri:
            path = self.scratch / "stored.mp4"
            holder.fetch(checked(media_uri), path)
            self._fetched = (media_uri, path)
        return self._fetched[1]


def cut_clip(dataset: Dataset, clip_id: str, out: Path) -> Path:
    """Cut one clip out of its stored media by packet copy; returns `out`, an mp4 that appears complete or not at all.

    Raises UsageError if the dataset has no such clip, DatasetError if its media cannot be cut.
    """
    for clip in clips_of(dataset, Selection(f"clip_id = {literal(clip_id)}")):
        with tempfile.TemporaryDirectory(prefix=TEMPORARY, dir=out.parent) as scratch:
            try:
                return Cutter(dataset, Path(scratch)).cut(clip).replace(out)
            except (Rejected, FileNotFoundError) as error:
                raise DatasetError(f"cannot cut clip {clip_id}: {error}") from None
    raise UsageError(f"{dataset.uri} has no clip '{clip_id}'")
