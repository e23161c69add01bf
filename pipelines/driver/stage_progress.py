"""How far a run is, by stage: in the books' own items, so that it begins where the dataset is and ends as its books."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, NamedTuple

from curation.dataset.books import Account, accounts_of, items_by_video
from curation.rejects import Stage
from pipelines.driver.last_rates import UNITS, last_rates
from pipelines.driver.sources import bytes_to_decode
from pipelines.driver.time_left import ShownTime, StageWork, TimeLeft, time_left
from pipelines.worker.tally import TEXTS, LastReject, Tally, UnderWay
from pipelines.worker.text_engines import is_served

if TYPE_CHECKING:
    from pipelines.driver.run import Run


@dataclass(frozen=True)
class StageProgress:
    """A stage as it stands: the books' items, and its rates since the run began are in `work`.

    `bytes` (of source media) and `output_tokens` are those of this run.
    """

    stage: Stage
    subject: str
    done: int
    rejected: int
    wanted: int
    bytes: float
    output_tokens: int
    work: StageWork
    under_way: UnderWay
    last_reject: LastReject | None

    @property
    def finished(self) -> float:
        """Items that are done or rejected, and what is done of those under way."""
        return self.done + self.rejected + self.under_way.done


class _Base(NamedTuple):
    """Where a stage stood when the run began, without the items that the run makes."""

    wanted: int
    done: int
    rejected: int
    ready: int = 0  # items of the run that were known when it began


class RunProgress:
    """The progress of a run: its plan and the books of its beginning, and its tally since."""

    def __init__(self, run: Run, tally: Tally, clock: Callable[[], float] = time.monotonic) -> None:
        self._tally = tally
        self._clock = clock
        self._lock = threading.Lock()  # for what is shown
        self._shown = ShownTime()
        self.stages = tuple(run.stages)
        self._accounts = accounts_of(run.dataset)
        # By stage, its work done and the time that it took: when some was first done, and when it last grew.
        self._first: dict[Stage, tuple[float, float]] = {}
        self._moved: dict[Stage, tuple[float, float]] = {}
        self._base = _bases(run, self._accounts)
        self._last_s = last_rates(run.dataset, run.settings, run.stages)
        engines = (run.settings.captions.engine, run.settings.summaries.engine)
        self._are_served = all(map(is_served, engines)) and Stage.CAPTION in run.stages
        self._to_download = len(run.plan.downloads)
        self._to_decode = sum(bytes_to_decode(run.state, video) for video in run.plan.segment)
        sizes = run.plan.downloads.sizes(unknown=-1)
        self._sized = sum(size for size in sizes if size > 0)
        self._sizes_known = sum(size >= 0 for size in sizes)
        self._fetched_before = (run.state.fetched_count, run.state.fetched_bytes)
        self._final: Mapping[str, Account] | None = None

    def end(self, accounts: Sequence[Account]) -> None:
        """The run is over, and these are its books."""
        self._final = {account.stage: account for account in accounts}

    @property
    def is_over(self) -> bool:
        return self._final is not None

    def wave(self) -> tuple[int, int]:
        """The number of the wave that is downloaded, or was last, and how many there are."""
        return self._tally.get("run", "wave"), self._tally.get("run", "waves")

    def counts(self) -> Mapping[tuple[str, str], int]:
        """All counts of this run, by stage and name."""
        return self._tally.counts()

    def now(self) -> tuple[StageProgress, ...]:
        """Every stage of the run as it stands."""
        works = self._works()
        return tuple(self._stage(stage, works[stage]) for stage in self.stages)

    def time_left(self) -> TimeLeft:
        """The time left as it is shown, wherever that is."""
        with self._lock:
            self._shown = self._shown.after(self._estimate(), self._clock())
            return self._shown.left or TimeLeft(0.0)

    def _estimate(self) -> TimeLeft:
        works = self._works()
        media, texts = (
            [works[stage] for stage in lane if stage in self.stages]
            for lane in ((Stage.DOWNLOAD, Stage.SEGMENT), (Stage.CAPTION, Stage.SUMMARIZE))
        )
        wave, waves = self.wave()
        return time_left(media, texts, max(1, waves - wave + 1), self._overlap())

    def _overlap(self) -> float:
        """The time in which texts were made, as a share of the sum of the times of their stages."""
        stages = sum(self._tally.busy_s(stage) for stage in (Stage.CAPTION, Stage.SUMMARIZE))
        return min(1.0, self._tally.busy_s(TEXTS) / stages) if stages else 1.0

    def _stage(self, stage: Stage, work: StageWork) -> StageProgress:
        under_way, count = self._tally.under_way(stage), self._tally.get
        wanted, done, rejected, _ = self._standing(stage)
        if self._final is not None:
            account, under_way = self._final[stage], UnderWay()
            wanted, done, rejected = account.wanted, account.made, account.rejected
        return StageProgress(
            stage=stage,
            subject=self._accounts[stage].subject,
            done=done,
            rejected=rejected,
            wanted=wanted,
            bytes=count(stage, "bytes") + under_way.source_bytes,
            output_tokens=count(stage, "output_tokens"),
            work=work,
            under_way=under_way,
            last_reject=self._tally.last_reject(stage),
        )

    def _standing(self, stage: Stage) -> _Base:
        """The items of a stage: where it stood, and what this run has added."""
        base, count = self._base[stage], self._tally.get
        done, rejected, more = count(stage, "done"), count(stage, "rejected"), 0
        if stage == Stage.SEGMENT:
            more = count(Stage.DOWNLOAD, "done")
        elif stage == Stage.CAPTION:
            done, rejected = count(stage, "captions") + count(stage, "kept"), count(stage, "rejected_frames")
            more = count(Stage.SEGMENT, "frames")
        elif stage == Stage.SUMMARIZE:
            done, rejected = count(stage, "clips"), count(stage, "rejected_clips")
            more = count(Stage.SEGMENT, "clips")
        wanted, done, rejected = base.wanted + base.ready + more, base.done + done, base.rejected + rejected
        return _Base(max(wanted, done + rejected), done, rejected)

    # --- the work of each stage -------------------------------------------------------------------------------------

    def _works(self) -> dict[Stage, StageWork]:
        """The work of each stage; while a redo is under way, estimates of what it brings to later stages."""
        count = self._tally.get
        tried = count(Stage.DOWNLOAD, "done") + count(Stage.DOWNLOAD, "rejected")
        to_fetch = max(0, self._to_download - tried) if Stage.DOWNLOAD in self.stages else 0
        decoded = count(Stage.SEGMENT, "source_bytes")
        under_way = self._tally.under_way(Stage.SEGMENT).source_bytes
        here = self._to_decode + count(Stage.DOWNLOAD, "bytes") - decoded - count(Stage.SEGMENT, "rejected_bytes")
        to_come = self._bytes_to_come(to_fetch)
        undecoded = None if to_come is None else max(0.0, here) + to_come
        works = {
            Stage.DOWNLOAD: StageWork(done=count(Stage.DOWNLOAD, "done"), ready=to_fetch),
            Stage.SEGMENT: StageWork(decoded + under_way, ready=max(0.0, here - under_way), coming=to_come),
        }
        for stage, brings in ((Stage.CAPTION, "frames"), (Stage.SUMMARIZE, "clips")):
            works[stage] = self._text_work(stage, brings, undecoded if Stage.SEGMENT in self.stages else 0.0)
        last_s = dict(self._last_s)
        for stage in Stage:
            works[stage] = self._measured(stage, replace(works[stage], last_s=last_s.get(stage)))
            if stage == Stage.CAPTION and self._are_served and (unit_s := works[stage].unit_s):
                last_s.setdefault(Stage.SUMMARIZE, unit_s)  # a clip may take about what a frame does
        return works

    def _measured(self, stage: Stage, work: StageWork) -> StageWork:
        """The work of a stage with the time that it took, up to when it last got on: a stage that waits keeps its rate.

        The first of it is left out, since a stage is slow to start; without a rate to begin with, once there is as much
        to measure again.
        """
        now = (work.done, self._tally.busy_s(stage))
        if work.done != self._moved.get(stage, (None, 0.0))[0]:
            self._moved[stage] = now
        done, busy_s = self._moved[stage]
        first, first_s = self._first.setdefault(stage, now) if work.done else (0.0, 0.0)
        if done - first >= first or work.last_s is not None:
            done, busy_s = done - first, busy_s - first_s
        return replace(work, done=done, busy_s=busy_s)

    def _bytes_to_come(self, downloads: int) -> float | None:
        """The bytes that so many downloads bring; None if no size is known yet."""
        if not downloads:
            return 0.0
        fetched, size = self._tally.get(Stage.DOWNLOAD, "done"), self._tally.get(Stage.DOWNLOAD, "bytes")
        if self._sizes_known == self._to_download:
            tried = self._to_download - downloads
            return max(0.0, self._sized - size - (tried - fetched) * self._sized / self._to_download)
        before, size_before = self._fetched_before
        known = (fetched, size) if fetched else (before, size_before)
        return downloads * known[1] / known[0] if known[0] else None

    def _text_work(self, stage: Stage, brings: str, undecoded: float | None) -> StageWork:
        """The work of a stage of texts, to which a segmented video `brings` items."""
        standing, count = self._standing(stage), self._tally.get
        answered = self._tally.under_way(stage).done
        done = max(0, count(stage, UNITS[stage]) - count(stage, "reused")) + answered
        ready = max(0.0, standing.wanted - standing.done - standing.rejected - answered)
        if not undecoded:
            return StageWork(done, ready=ready, coming=None if undecoded is None else 0.0)
        brought, of = count(Stage.SEGMENT, brings), count(Stage.SEGMENT, "source_bytes")
        before, size_before = self._accounts[stage].wanted, self._fetched_before[1]
        per_byte = brought / of if of else before / size_before if before and size_before else None
        return StageWork(done, ready=ready, coming=None if per_byte is None else undecoded * per_byte)


def _bases(run: Run, accounts: Mapping[str, Account]) -> dict[Stage, _Base]:
    """By stage, the books when a run began, without what it makes; text stages count all items of its videos."""
    state, plan = run.state, run.plan
    again = plan.downloads.redone()
    fetched = sum(key in state.downloads for key in again)
    cut_again = {v for v in (*plan.segment, *plan.redone) if v in state.segments}
    refused = sum((Stage.SEGMENT, v) in state.rejects and v not in cut_again for v in plan.segment)
    bases = {
        Stage.DOWNLOAD: _without(accounts[Stage.DOWNLOAD], 0, fetched, len(again) - fetched),
        Stage.SEGMENT: _without(accounts[Stage.SEGMENT], fetched, len(cut_again), refused),
    }
    texts = set(plan.text)
    for stage in (Stage.CAPTION, Stage.SUMMARIZE):
        wanted = made = ready = rejected = 0
        for video, of_video, made_of_video in items_by_video(run.dataset, stage) if cut_again or texts else ():
            if video in cut_again or video in texts:
                wanted, made = wanted + of_video, made + made_of_video
                ready += of_video if video in texts else 0
                rejected += sum(of == stage for of, _ in state.textless.get(video, ()))
        bases[stage] = _without(accounts[stage], wanted, made, rejected)._replace(ready=ready)
    return bases


def _without(account: Account, wanted: int, made: int, rejected: int) -> _Base:
    return _Base(account.wanted - wanted, account.made - made, max(0, account.rejected - rejected))


def since(seconds_since_1970: float) -> float:
    """Seconds since a moment that another process may have told."""
    return max(0.0, time.time() - seconds_since_1970)
