"""The settings of a dataset's last run, as the opening of its epoch in `commits/` records them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from curation.dataset.dataset import Dataset
from curation.dataset.epochs import latest_epochs
from curation.dataset.writer import Writer

NOT_BEGUN = "not_begun"  # in the outcome of a commit


@dataclass(frozen=True)
class LastRun:
    """The last run that began its work: its settings, secrets masked, and what made its texts, unless it is older."""

    settings: Mapping[str, Any]
    texts: Mapping[str, str]  # digests, by kind of text


def last_run(dataset: Dataset) -> LastRun | None:
    """The last run on `dataset`; None before the first. A damaged opening is passed over. Raises DatasetError."""
    if not dataset.exists():
        return None
    for epoch in latest_epochs(dataset):
        about = epoch.opening.get("about", {})
        begun = not epoch.last.get("outcome", {}).get(NOT_BEGUN)
        if begun and isinstance(about, dict) and isinstance(about.get("settings"), dict):
            return LastRun(about["settings"], about.get("texts", {}))
    return None


def not_begun(writer: Writer) -> None:
    """Note that the run of this writer has not begun its work: the next one does not go on with its settings."""
    writer.commit(f"{writer.lineage.run_id}:not begun", [], outcome={NOT_BEGUN: True})
