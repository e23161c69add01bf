"""The settings of a dataset's last run, as the opening of its epoch in `commits/` records them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from curation.dataset import seals
from curation.dataset.commits import path_of
from curation.dataset.dataset import Dataset
from curation.dataset.history import AT_A_TIME, read_all
from curation.dataset.lease import read_lease


@dataclass(frozen=True)
class LastRun:
    """The last run that did stages: its settings, with secrets masked, and what made its texts, unless it is older."""

    settings: Mapping[str, Any]
    texts: Mapping[str, str]  # digests, by kind of text


def last_run(dataset: Dataset) -> LastRun | None:
    """The last run on `dataset`; None before the first. A damaged opening is passed over. Raises DatasetError."""
    if not dataset.exists():
        return None
    return next(_runs(dataset, _newest_first(dataset)), None)


def _newest_first(dataset: Dataset) -> Iterator[list[str]]:
    """Openings and commits in batches, the newest first; before a long walk back, the opening that the lease names."""
    lease = read_lease(dataset)
    epoch, settled = int(lease.get("epoch", 0)), int(lease.get("settled", 0))
    paths = sorted((path for path, _, _ in dataset.list("commits/")), reverse=True)
    recent = [path for path in paths if path > path_of(settled)]
    opening = [path for path in [path_of(epoch)] if path in paths]  # no other opening is between the two
    older = [path for path in paths if path < path_of(epoch)] if opening else paths[len(recent) :]
    yield [*recent, *opening]
    for first in range(0, len(older), AT_A_TIME):
        yield older[first : first + AT_A_TIME]


def _runs(dataset: Dataset, batches: Iterable[list[str]]) -> Iterator[LastRun]:
    for paths in batches:
        for _, data in reversed(list(read_all(dataset, paths))):
            about = {} if seals.fault_of(data) else json.loads(data).get("about", {})
            if isinstance(about, dict) and isinstance(about.get("settings"), dict):
                yield LastRun(about["settings"], about.get("texts", {}))
