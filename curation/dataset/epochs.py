"""The latest epochs of a dataset, found from the last commit on: its epoch is the number of its writer's opening."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from curation.dataset import seals
from curation.dataset.alignment import last_number
from curation.dataset.commits import path_of, settled
from curation.dataset.dataset import Dataset


@dataclass(frozen=True)
class Epoch:
    """The opening of a writer and its last commit, with their numbers. Without a commit, `last` is the opening too."""

    number: int
    opening: Mapping[str, Any]
    last_number: int
    last: Mapping[str, Any]


def latest_epochs(dataset: Dataset) -> Iterator[Epoch]:
    """The epochs, the last one first, with two files read for each. Those whose opening is lost are left out."""
    number = last_number(dataset, settled(dataset))
    while number > 0:
        last = _record(dataset, number)
        if not last:
            number -= 1
            continue
        epoch = number if last.get("kind") == "open" else min(number, int(last.get("epoch", number)))
        opening = last if epoch == number else _record(dataset, epoch)
        if opening.get("kind") == "open":
            yield Epoch(epoch, opening, number, last)
        number = epoch - 1


def _record(dataset: Dataset, number: int) -> Mapping[str, Any]:
    """An opening or commit; empty if it is lost or damaged."""
    try:
        data = dataset.get(path_of(number))
    except FileNotFoundError:
        return {}
    return {} if seals.fault_of(data) else dict(json.loads(data))
