"""The time that a run still takes, from what its stages have done and have left. Arithmetic alone: no clock is read.

A stage's work is counted in units of any size (bytes, frames); what was rejected is no work. A run is two lanes: one
wave's media is made while the texts of those before it are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from math import inf

LAST_RUN_SHARE = 0.1  # of a stage's work, as which the last run's rate counts beside this run's own
RISE_S = 60.0  # after as many seconds of a run, the time shown rises at most once in as many,
RISE = 0.1  # and only if the estimate is higher by this share of it


@dataclass(frozen=True)
class StageWork:
    """The work of a stage: units done in this run, and the seconds that they took; those left that can be begun, and
    those that earlier stages are expected to bring, None if nobody can say; seconds a unit took in the last run."""

    done: float = 0.0
    busy_s: float = 0.0
    ready: float = 0.0
    coming: float | None = 0.0
    last_s: float | None = None

    @property
    def unit_s(self) -> float | None:
        """Seconds a unit; None if not known yet.

        >>> StageWork(done=10, busy_s=20, ready=90).unit_s
        2.0
        """
        last = 0.0 if self.last_s is None else LAST_RUN_SHARE * (self.done + self.ready + (self.coming or 0.0))
        known = self.done + last
        return (self.busy_s * (self.done > 0) + last * (self.last_s or 0.0)) / known if known else None

    @property
    def ready_s(self) -> float:
        """Seconds for what can be begun, as far as known."""
        return self.ready * (self.unit_s or 0.0)

    @property
    def left_s(self) -> float | None:
        """Seconds for all that is left; None if that is not known."""
        if self.ready == 0 and self.coming == 0:
            return 0.0
        return None if self.unit_s is None or self.coming is None else (self.ready + self.coming) * self.unit_s


@dataclass(frozen=True)
class TimeLeft:
    """Seconds; if not `is_complete`, the run takes longer than that, since one of its stages is not known."""

    seconds: float
    is_complete: bool = True


def time_left(media: Sequence[StageWork], texts: Sequence[StageWork], waves: int, overlap: float = 1.0) -> TimeLeft:
    """The time that a run still takes. The stages of each lane do a wave in order.

    `waves` are those whose media is not complete. Where the texts of several waves are made at once, their stages
    `overlap`: they take this share of the sum of their times.

    >>> time_left([StageWork(done=1, busy_s=1, ready=9)], [StageWork(done=1, busy_s=2, ready=1, coming=9)], 9)
    TimeLeft(seconds=20.0, is_complete=True)
    """
    media_s = sum(stage.left_s or 0.0 for stage in media)
    texts_s = overlap * sum(stage.left_s or 0.0 for stage in texts)
    ready_s = overlap * sum(stage.ready_s for stage in texts)
    per_wave = 1 / max(1, waves)
    last_texts_s = (texts_s - ready_s) * per_wave  # those of the last wave, which begin when its media is complete
    wait_s = 0.0 if ready_s else media_s * per_wave  # until the first texts can begin
    is_complete = all(stage.left_s is not None for stage in (*media, *texts))
    return TimeLeft(max(media_s + last_texts_s, wait_s + texts_s), is_complete)


@dataclass(frozen=True)
class ShownTime:
    """The time left as it is shown: it falls with the estimate, and rises seldom, so that it never counts up for long.

    In the first minute, while rates settle, any considerable rise is shown. `began`, and `rose_at`, the time of the
    latest rise, are on the clock of the caller.
    """

    left: TimeLeft | None = None
    began: float = 0.0
    rose_at: float = -inf

    def after(self, estimate: TimeLeft, now: float) -> ShownTime:
        """What to show at the time `now`, in seconds, with a new estimate.

        >>> shown = ShownTime().after(TimeLeft(100.0), 0.0).after(TimeLeft(90.0), 100.0)
        >>> [shown.after(TimeLeft(seconds), 110.0).left.seconds for seconds in (95.0, 120.0)]
        [90.0, 120.0]
        """
        before = self.left
        if before is None:
            return ShownTime(estimate, now)
        if estimate.is_complete == before.is_complete and estimate.seconds > before.seconds:
            may_rise = now - self.began < RISE_S or now - self.rose_at >= RISE_S
            is_rise = may_rise and estimate.seconds > (1 + RISE) * before.seconds
            return replace(self, left=estimate, rose_at=now) if is_rise else self
        return replace(self, left=estimate)


def in_words(seconds: float) -> str:
    """A time that is left, no more exact than it is known.

    >>> [in_words(s) for s in (0.0, 42.0, 600.0, 7500.0, 400000.0)]
    ['0 s', '45 s', '10 min', '2 h 5 min', '5 days']
    """
    if seconds < 90:
        return f"{5 * -(-seconds // 5):.0f} s"
    minutes = round(seconds / 60)
    if minutes < 100:
        return f"{minutes} min"
    if minutes < 48 * 60:
        hours, minutes = divmod(5 * round(minutes / 5), 60)
        return f"{hours} h {minutes} min"
    return f"{minutes / 1440:.0f} days"
