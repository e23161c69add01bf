"""Waves: videos that go through the stages together, so that a failure loses no more than what is under way."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import count

from curation.settings import RunSettings
from pipelines.driver.plan import Plan
from pipelines.driver.state import State
from pipelines.worker.batches import batches
from pipelines.worker.work_items import DownloadItem


@dataclass(frozen=True)
class Wave:
    """What is to be done with its videos: some have to be downloaded first, of some only the texts are to be made."""

    number: int
    downloads: Sequence[DownloadItem] = ()
    segment: Sequence[str] = ()
    text: Sequence[str] = ()


def waves_of(plan: Plan, state: State, settings: RunSettings) -> list[Wave]:
    """What was begun earlier first, then what is to be downloaded.

    A wave has `wave_videos` videos and `wave_bytes` of source media at most, or one video that is larger. A download
    whose size nobody knows yet counts as the mean of what the dataset has downloaded so far; nothing before the first.
    """
    to_segment = set(plan.segment)
    bounds = settings.wave_videos, settings.wave_bytes
    begun = batches([*plan.segment, *plan.text], *bounds, lambda v: state.source_bytes(v) if v in to_segment else 0)
    sizes = plan.downloads.sizes(unknown=state.typical_bytes())
    fetched = batches(range(len(sizes)), *bounds, sizes.__getitem__)
    numbers = count(1)
    return [
        *(
            Wave(
                next(numbers),
                segment=[v for v in videos if v in to_segment],
                text=[v for v in videos if v not in to_segment],
            )
            for videos in begun
        ),
        *(Wave(next(numbers), downloads=plan.downloads[rows[0] : rows[-1] + 1]) for rows in fetched),
    ]
