"""What a run trains on: the clips of a dataset, or annotated videos."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from curation.dataset.dataset import Dataset
from curation.dataset.pins import pins, unpin
from curation.quality.chosen_policy import digest_of_policy
from model.data import clips
from model.data.any_video import VideoFiles
from model.data.clips import Clips, DatasetVersion, Split
from model.data.media_cache import Media, media_store
from model.settings import DataSettings
from model.training.pairs import Pairs, resume_pairs, select_pairs

Source = Dataset | Pairs


def check_exists(source: Source) -> None:
    """Raises DatasetError if a dataset does not exist; the files of pairs were checked when they were found."""
    if isinstance(source, Dataset):
        clips.check_exists(source)


def pin_version(source: Source, run: str) -> DatasetVersion:
    """The current version, under a name for the training run `run`; that of a dataset is pinned by that name."""
    if isinstance(source, Pairs):
        return replace(source.version, pin=clips.new_pin(run))
    return clips.pin_version(source, run)


def unpin_version(source: Source, pin: str) -> None:
    """Remove the pin of a run that never took a step."""
    if isinstance(source, Dataset) and pin in pins(source):
        unpin(source, pin)


def current_version(source: Source) -> DatasetVersion:
    """The current version, not pinned."""
    return source.version if isinstance(source, Pairs) else clips.current_version(source)


def resume_version(source: Source, version: DatasetVersion, run: str, allow_changed: bool) -> DatasetVersion:
    """The version that a resumed run continues on. Raises DatasetError if what it read has changed."""
    if isinstance(source, Pairs):
        return resume_pairs(source, version, allow_changed)
    return clips.resume_version(source, version, run, allow_changed)


def select_clips(source: Source, version: DatasetVersion, settings: DataSettings, split: Split, path: Path) -> Clips:
    """Write what one split reads to `path`: clips, or pairs. Raises UsageError and DatasetError."""
    if isinstance(source, Pairs):
        return select_pairs(source, settings, split, path)
    return clips.select_clips(source, version, settings, split, path)


def policy_digest(source: Source, settings: DataSettings, version: DatasetVersion) -> str | None:
    """The digest of the policy that chooses the clips; None without one. Raises UsageError if it was not applied."""
    if isinstance(source, Pairs) or settings.policy is None:
        return None
    return digest_of_policy(source, settings.policy, version.tables)


def media_of(source: Source, settings: DataSettings) -> Media:
    """The files that the selected clips are read from."""
    if isinstance(source, Pairs):
        return VideoFiles()
    return media_store(source, settings.cache_folder, settings.cache_bytes)
