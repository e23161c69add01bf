"""One continuous clock for the packets of a file, whose timestamps may jump.

A file that was joined from others, or recorded from a stream that broke off, goes on with another clock at some point.
Such a jump is mended. A gap that only one stream has is none: the picture stands still, or the sound is silent.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from fractions import Fraction

_BACKWARDS_S = 1.0  # a smaller step back is a stray timestamp, a larger one another clock
_JITTER_S = 0.5  # a packet this near to its due time belongs to the clock of the packet before
_LONGEST_STILL_S = 3600.0  # without a second stream to tell: a longer still picture is a jump of the clock
_LONGEST_PACKET_S = 1.0  # what lasts longer than that, according to its container, stands still meanwhile


def seconds(ticks: float, tick: Fraction) -> float:
    """`ticks` in seconds, correctly rounded, at a tenth of the cost of a product of fractions.

    >>> seconds(1001, Fraction(1, 30_000)) == float(1001 * Fraction(1, 30_000))
    True
    """
    return ticks * tick.numerator / tick.denominator


@dataclass
class StreamClock:
    """One stream's progress: the clock that its latest packet belongs to, and when on that clock the next is due."""

    clock: int = 0
    due: float | None = None
    usual_s: float = 0.0  # seconds that its packets last


@dataclass
class FileClock:
    """Tells by how much the timestamps of a file's picture and sound have to be moved, one after the other as read.

    A step forward of more than `max_gap` is a jump to another clock unless the other stream has packets in it. Without
    another stream it is a jump in broadcast formats (`is_streamed`), whose clocks may be reset at any packet; in other
    formats only if nobody would look at a still picture for that long. A step back is always a jump. `jumps` are those
    of the picture, in seconds.

    >>> clock = FileClock(max_gap=5.0, is_streamed=True)
    >>> [time - clock.offset(clock.picture, time, duration=1.0) for time in (0.0, 1.0, 36_002.0, 36_003.0)]
    [0.0, 1.0, 2.0, 3.0]
    >>> clock.jumps
    [36000.0]
    """

    max_gap: float
    is_streamed: bool
    picture: StreamClock = field(default_factory=StreamClock)
    sound: StreamClock = field(default_factory=StreamClock)
    jumps: list[float] = field(default_factory=list)
    _offsets: list[float] = field(default_factory=lambda: [0.0])  # of each clock, from the mended one
    _joined: set[int] = field(default_factory=lambda: {0})  # clocks whose offset the picture has fixed

    def offset(self, stream: StreamClock, time: float, duration: float) -> float:
        """Seconds to subtract from `time`, the timestamp of the next packet of `stream`, which lasts `duration`."""
        other = self.sound if stream is self.picture else self.picture
        if stream.due is None:
            stream.clock = other.clock
        elif abs(time - stream.due) > _JITTER_S:
            self._step(stream, other, stream.due, time)
        if 0 < duration <= _LONGEST_PACKET_S:
            stream.usual_s = duration
        stream.due = time + stream.usual_s
        return self._offsets[stream.clock]

    def offset_of(self, clock: int) -> float:
        """The offset of a clock as it is known by now: sound may enter one before the picture, which decides."""
        return self._offsets[clock]

    def _step(self, stream: StreamClock, other: StreamClock, due: float, time: float) -> None:
        if other.clock != stream.clock and other.due is not None and abs(time - other.due) < abs(time - due):
            self._enter(stream, other.clock, due, time)
        else:
            is_back = time - due < -_BACKWARDS_S and (other.due is None or abs(time - other.due) > _JITTER_S)
            if is_back or time - due > self._longest_gap(stream, other, due):
                self._enter(stream, len(self._offsets), due, time)

    def _longest_gap(self, stream: StreamClock, other: StreamClock, due: float) -> float:
        """How long `stream` may have no packets on one clock, since `due`."""
        if other.clock == stream.clock and (other.due is None or other.due < due - self.max_gap):
            return self.max_gap if self.is_streamed else _LONGEST_STILL_S
        covered = other.due - due if other.clock == stream.clock and other.due is not None else 0.0
        return self.max_gap + max(0.0, covered)

    def _enter(self, stream: StreamClock, clock: int, due: float, time: float) -> None:
        """Go on with another clock, an earlier or a new one, on which the packet due at `due` comes at `time`."""
        before = self._offsets[stream.clock]
        if clock == len(self._offsets):
            self._offsets.append(before + time - due)
        if stream is self.picture:
            if clock not in self._joined:
                self._offsets[clock] = before + time - due
                self._joined.add(clock)
            self.jumps.append(self._offsets[clock] - before)
        stream.clock = clock
