"""Waves: videos that go through the stages together, so that a failure loses only the waves under way."""

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
    """Its videos by the work that they need first: `downloads` are requests, the others ids of videos."""

    number: int
    downloads: Sequence[DownloadItem] = ()
    segment: Sequence[str] = ()
    text: Sequence[str] = ()


def waves_of(plan: Plan, state: State, settings: RunSettings) -> list[Wave]:
    """The waves of a plan: videos that were begun earlier first, then those to download.

    A wave has at most `wave_videos` videos and `wave_bytes` of source media, or one video that is larger. A download
    of unknown size counts as the mean of the dataset's downloads so far, or as 0 before the first.
    """
    to_segment = set(plan.segment)
    bounds = settings.wave_videos, settings.wave_bytes
    begun = batches([*plan.segment, *plan.text], *bounds, lambda v: state.source_bytes(v) if v in to_segment else 0)
    sizes = plan.downloads.sizes(unknown=state.typical_bytes())
    to_fetch = batches(range(len(sizes)), *bounds, sizes.__getitem__)
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
        *(Wave(next(numbers), downloads=plan.downloads[rows[0] : rows[-1] + 1]) for rows in to_fetch),
    ]
