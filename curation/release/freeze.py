"""Making a release, looking at one, and removing it."""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime

from curation import __version__
from curation.dataset.database import literal
from curation.dataset.dataset import Dataset
from curation.dataset.kept_parts import RELEASE_PIN
from curation.dataset.last_settings import last_run
from curation.dataset.pins import pin, pins, unpin
from curation.errors import UsageError
from curation.release.release import (
    FrozenDataset,
    Release,
    check_name,
    path_of_release,
    read_release,
    taken,
    write_release,
)
from curation.release.release_digest import ReleaseTally, tally
from curation.release.released_dataset import ReleasedDataset
from curation.remembered import remembered, without_secrets
from curation.settings import Settings

Progress = Callable[[int], None]
SHOWN = 10  # ids of clips


def freeze(
    datasets: Sequence[Dataset],
    name: str,
    where: str | None,
    held_out: float,
    progress: Progress = lambda done: None,
) -> Release:
    """Freeze the clips of `datasets` that satisfy `where` as the release `name`, in the first of them.

    Calls `progress` for every clip. Raises UsageError for a name that is taken, an invalid condition, or one that
    chooses no clip; DatasetError.
    """
    if len({dataset.uri for dataset in datasets}) < len(datasets):
        raise UsageError("a dataset is named twice")
    if datasets[0].has(path_of_release(check_name(name))):
        raise taken(datasets[0], name)
    frozen: list[FrozenDataset] = []
    try:
        for dataset in datasets:
            frozen.append(_frozen(dataset, name))
        now = datetime.now(UTC).isoformat(timespec="seconds")
        draft = Release(name, tuple(frozen), where, held_out, 0, 0, 0.0, "", __version__, now)
        counted = tally(ReleasedDataset(draft), held_out, progress)
        if not counted.clips:
            raise UsageError("no clip is chosen: check --where")
        release = replace(
            draft, clips=counted.clips, videos=counted.videos, seconds=counted.seconds, digest=counted.digest
        )
        write_release(datasets[0], release)
    except BaseException:
        for each in frozen:
            unpin(Dataset(each.uri), each.pin)
        raise
    return release


def _frozen(dataset: Dataset, name: str) -> FrozenDataset:
    last = last_run(dataset)
    settings = without_secrets(remembered(Settings, last.settings)) if last else {}
    pinned = f"{RELEASE_PIN}{name[:60]}-{secrets.token_hex(4)}"
    return FrozenDataset(dataset.uri, pinned, pin(dataset, pinned), settings)


@dataclass(frozen=True)
class ReleaseState:
    """What a release comes to now, and the ids of its clips whose videos have opted out since."""

    release: Release
    now: ReleaseTally
    opted_out: tuple[str, ...]

    @property
    def is_whole(self) -> bool:
        return self.now.digest == self.release.digest

    def lines(self) -> Iterator[str]:
        """What has become of it, one line each."""
        if self.is_whole:
            yield "its rows are what they were"
            return
        if self.release.clips == self.now.clips:
            yield "its digest does not match, though no clip went: `vidla verify` checks the files of its datasets"
            return
        gone, videos = self.release.clips - self.now.clips, self.release.videos - self.now.videos
        went = f"{gone:,} of its {self.release.clips:,} clips and {videos:,} of its {self.release.videos:,} videos"
        yield f"its digest does not match any more: {went} went"
        if forgotten := gone - len(self.opted_out):
            yield f"{forgotten:,} clips were forgotten since; their ids are not kept"
        if self.opted_out:
            more = f" and {len(self.opted_out) - SHOWN:,} more" if len(self.opted_out) > SHOWN else ""
            yield f"{len(self.opted_out):,} clips have opted out since: {', '.join(self.opted_out[:SHOWN])}{more}"


def state_of(dataset: ReleasedDataset, progress: Progress = lambda done: None) -> ReleaseState:
    """Read all of a release, and compare it with its digest. Raises DatasetError."""
    now = tally(dataset, dataset.release.held_out, progress)
    videos = sorted(frozenset().union(*(m.withdrawn.opted_out - m.withdrawn.forgotten for m in dataset.members)))
    if not videos:
        return ReleaseState(dataset.release, now, ())
    listed = ", ".join(map(literal, videos))
    found = ReleasedDataset(dataset.release, whole=True).sql(
        f"select clip_id from clips where video_id in ({listed}) order by clip_id"
    )
    return ReleaseState(dataset.release, now, tuple(found["clip_id"].to_pylist()))


def remove(dataset: Dataset, name: str) -> None:
    """Remove a release, and release its versions: the next vacuum deletes what only it needed. Raises UsageError."""
    for frozen in read_release(dataset, name).datasets:
        member = Dataset(frozen.uri)
        if frozen.pin in pins(member):
            unpin(member, frozen.pin)
    dataset.delete([path_of_release(name)])
