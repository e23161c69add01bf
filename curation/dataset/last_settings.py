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
    return next(_runs(dataset, _newest_first(dataset)), None)


def _newest_first(dataset: Dataset) -> Iterator[list[str]]:
    """Openings and commits in batches, the newest first; before a long walk back, the opening that the lease names."""
    lease = read_lease(dataset)
    epoch, settled = int(lease.get("epoch", 0)), int(lease.get("settled", 0))
    paths = sorted((path for path, _, _ in dataset.list("commits/")), reverse=True)
    recent = [path for path in paths if path > path_of(settled)]
    named = {path_of(epoch), path_of(settled)}.intersection(paths)  # its last commit says if it did not begin
    opening = named & {path_of(epoch)}  # no other opening is between the two
    older = [path for path in paths if path < path_of(epoch)] if opening else paths[len(recent) :]
    yield [*recent, *(named - set(recent))]
    for first in range(0, len(older), AT_A_TIME):
        yield older[first : first + AT_A_TIME]


def not_begun(writer: Writer) -> None:
    """Note that the run of this writer has not begun its work: the next one does not go on with its settings."""
    writer.commit(f"{writer.lineage.run_id}:not begun", [], outcome={NOT_BEGUN: True})


def _runs(dataset: Dataset, batches: Iterable[list[str]]) -> Iterator[LastRun]:
    passed_over: set[str] = set()  # openings
    for paths in batches:
        for path, data in reversed(list(read_all(dataset, paths))):
            record = {} if seals.fault_of(data) else json.loads(data)
            if record.get("outcome", {}).get(NOT_BEGUN):
                passed_over.add(path_of(record["epoch"]))
            about = record.get("about", {})
            if path not in passed_over and isinstance(about, dict) and isinstance(about.get("settings"), dict):
                yield LastRun(about["settings"], about.get("texts", {}))
