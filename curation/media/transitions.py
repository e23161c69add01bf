"""Online detection of shot transitions: cuts, dissolves, wipes and fades, by differences of very small pictures.

Every pixel of a picture is a colour over time. Between the last frame A of a shot and the first frame B of the next,

    a cut         goes from A to B in one step, larger than the steps around it, and does not come back (a flash)
    a dissolve    goes in a straight line: half-way, the picture is (A + B) / 2
    a wipe        shows either A or B at each pixel: no colour leaves the range from A to B
    a fade        becomes one colour, nearly always black, and comes back from it

while with a pan, a zoom or a passing object the colours half-way have nothing to do with those of A and B.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import cv2
import numpy as np
from numpy.typing import NDArray

Kind = Literal["cut", "dissolve", "wipe", "fade"]
Picture = NDArray[np.uint8]

# Colours are 0 to 255, and a difference of pictures is the mean over pixels and channels.
_SIZE = (32, 18)  # columns, lines
_VALUES = _SIZE[0] * _SIZE[1] * 3  # of a picture
_AROUND = 5  # frames on either side of a cut whose steps are compared with it
_BACK = 6  # a flash is shorter than this
_CUT = 10.0  # least difference of a cut, and …
_CUT_RATIO = 1.75  # … least ratio to the largest step around it
_STEP_FLOOR = 2.0  # added to the steps around a cut, so that noise in still pictures makes none
_FLASH = 0.4  # a picture that differs from the one before a flash by less than this share of the flash is the same

_WINDOWS = (6, 8, 10, 13, 16, 20, 24, 34, 48)  # frames from A to B
_VIEWS, _SURE = 3, 0.57  # windows that must show a dissolve or wipe, but for one as sure as this
_SETTLED = 16  # frames without a window that shows a transition, after which it is over
_GRADUAL = 30.0  # least difference of A and B
_STEP = 0.45  # of the difference of A and B: a larger step is a cut
_MIXED = 0.3  # the same for the distance of the picture half-way from (A + B) / 2
_EITHER = 0.18  # the same for the distance of a pixel from the nearer one of A and B
_HALVES = 0.32  # the same half-way, where a dissolve has half of the difference, and a wipe little
_BETWEEN = 0.06  # the same for what leaves the range from A to B
_STRAIGHT = 0.5  # least ratio of the difference of A and B to the sum of steps between them, for a wipe
_ALIKE = 0.75  # a larger correlation of A and B means another brightness of the same picture

_MOVED = 0.9  # a larger correlation of a half of A with a part of B means a pan

_FLAT = 6.0  # a picture whose standard deviation is smaller has one colour
_DARK, _LIGHT = 48.0, 240.0  # a fade goes through a colour below or above
_FADED = 0.3  # of the contrast of another picture: one with less has faded
_LONGEST = 60  # frames of a transition
HISTORY = 128  # frames that the detector remembers at least


@dataclass(frozen=True)
class Transition:
    """From frame `last`, the last of the old shot alone, to `first`, the first of the new one alone, with a score.

    Frames are counted from 0. The score is 0.5 where the transition is only just taken for one, and at most 1. A
    dissolve or wipe is seen in a number of windows.
    """

    kind: Kind
    last: int
    first: int
    score: float
    views: int = 1

    def joined(self, other: Transition | None) -> Transition:
        """This and another view of the same transition: all the frames, and the kind of the view that is surer."""
        if other is None:
            return self
        surer = max(self, other, key=lambda view: view.score)
        ends, views = (min(self.last, other.last), max(self.first, other.first)), self.views + other.views
        return Transition(surer.kind, *ends, surer.score, views)


@dataclass(frozen=True)
class Seen:
    """What one more frame has shown: transitions, and frames that may turn out to lie in one."""

    transitions: list[Transition]
    suspects: list[int]


class TransitionDetector:
    """Finds the transitions of one video from its pictures, given one by one."""

    lateness = _BACK + 1
    """A suspect is at most this many frames behind the newest one; every cut is one."""

    def __init__(self) -> None:
        self.count = 0  # of the frames given
        self._pictures = np.zeros((2 * HISTORY, _VALUES), np.uint8)
        self._steps = np.zeros(2 * HISTORY)
        self._deviations = np.zeros(2 * HISTORY)
        self._base = 0  # number of the frame in row 0
        self._best: Transition | None = None
        self._flat: int | None = None  # first frame of the present run of one colour
        self._runs: list[tuple[int, int]] = []

    def feed(self, bgr: Picture) -> Seen:
        """Take the next frame, uint8 [height, width, 3], always of the same size."""
        if self.count - self._base == 2 * HISTORY:
            for kept in (self._pictures, self._steps, self._deviations):
                kept[:HISTORY] = kept[HISTORY:]
            self._base += HISTORY
        now, row = self.count, self.count - self._base
        small = cv2.resize(bgr, _SIZE, interpolation=cv2.INTER_AREA)
        self._pictures[row] = small.reshape(-1)
        self._steps[row] = self._difference(now - 1, now) if now else 0.0
        mean, deviation = cv2.meanStdDev(small)
        self._deviations[row] = deviation.sum() / 3
        self.count += 1
        before = self._best, self._flat
        found = [self._cut(now - self.lateness), self._gradual(now), self._fade(now, float(mean.sum()) / 3)]
        return self._seen(found, before)

    def finish(self) -> Seen:
        """What only the end of the video decides."""
        cuts = [self._cut(frame) for frame in range(max(1, self.count - self.lateness), self.count)]
        rest = [*cuts, self._settled(), *(self._faded(*run) for run in self._runs)]
        self._runs = []
        return self._seen(rest, (self._best, self._flat))

    def _seen(self, found: list[Transition | None], before: tuple[Transition | None, int | None]) -> Seen:
        transitions = [transition for transition in found if transition is not None]
        suspects = [transition.first for transition in transitions if transition.kind == "cut"]
        if before[0] is None and self._best is not None:
            suspects.append(max(0, self.count - 3))  # half of the way is gone when a window first shows a transition
        if before[1] is None and self._flat is not None:
            suspects.append(self._flat)
        return Seen(transitions, suspects)

    def _picture(self, frame: int) -> Picture:
        picture: Picture = self._pictures[frame - self._base]
        return picture

    def _difference(self, a: int, b: int) -> float:
        first, second = self._pictures[a - self._base], self._pictures[b - self._base]
        return cv2.norm(first, second, cv2.NORM_L1) / _VALUES

    # --- cuts -------------------------------------------------------------------------------------------------------

    def _cut(self, frame: int) -> Transition | None:
        """The cut at `frame`, after which `_BACK` frames are known unless the video ends."""
        if frame < 1:
            return None
        step = float(self._steps[frame - self._base])
        if step < _CUT:
            return None
        row, end = frame - self._base, self.count - self._base
        before = self._steps[max(0, row - _AROUND) : row]
        after = self._steps[row + 1 : min(end, row + 1 + _AROUND)]
        around = max(before.max(initial=0.0), after.max(initial=0.0)) + _STEP_FLOOR
        if step < _CUT_RATIO * around or self._is_flash(frame, step):
            return None
        ratio = step / around
        return Transition("cut", frame - 1, frame, ratio / (ratio + _CUT_RATIO))

    def _is_flash(self, frame: int, step: float) -> bool:
        ahead = range(frame + 1, min(self.count, frame + _BACK + 1))
        behind = range(max(self._base, frame - _BACK - 1), frame - 1)
        same = _FLASH * step
        return any(self._difference(frame - 1, i) < same for i in ahead) or any(
            self._difference(i, frame) < same for i in behind
        )

    # --- dissolves and wipes ----------------------------------------------------------------------------------------

    def _gradual(self, now: int) -> Transition | None:
        """The dissolve or wipe that no later window can show better."""
        for length in _WINDOWS:
            if now - length >= self._base and now % (1 + length // 16) == 0:
                difference = self._difference(now - length, now)
                if difference >= _GRADUAL:
                    window = self._window(now - length, now, difference)
                    self._best = window if self._best is None else self._best.joined(window)
        best = self._best
        if best is None or (now - best.first <= _SETTLED and now - best.last <= HISTORY - _WINDOWS[-1]):
            return None
        return self._settled()

    def _settled(self) -> Transition | None:
        best, self._best = self._best, None
        if best is None or (best.views < _VIEWS and best.score < _SURE):
            return None
        # In a long pan, the first and the last picture have nothing in common; a wipe's are alike where it has passed.
        quarter = (best.first - best.last) // 4 if best.kind == "dissolve" else 0
        if self._is_pan(best.last, best.first) or self._is_pan(best.last + quarter, best.first - quarter):
            return None
        return self._measured(best)

    def _window(self, a: int, b: int, difference: float) -> Transition | None:
        """A dissolve or wipe that the frames from `a` to `b`, which differ by `difference`, are taken for."""
        first, second = self._picture(a), self._picture(b)
        steps = self._steps[a + 1 - self._base : b + 1 - self._base]
        if steps.max() > _STEP * difference:
            return None
        mixed = self._mixture(a, b) / difference
        if mixed < _MIXED:
            return Transition("dissolve", a, b, 1 - mixed / (2 * _MIXED)) if self._alike(a, b) < _ALIKE else None
        if difference < _STRAIGHT * steps.sum() or self._alike(a, b) > _ALIKE:
            return None
        probes = self._pictures[[a - self._base + round((b - a) * i / 8) for i in range(1, 8)]]
        outside = self._outside(probes, first, second) / difference
        either = self._either(probes, first, second) / difference
        score = max(1 - either / (2 * _EITHER), 1 - outside / (2 * _BETWEEN))
        return Transition("wipe", a, b, score) if score > 0.5 else None

    def _mixture(self, a: int, b: int) -> float:
        """How far the picture half-way is from the mean of both."""
        mean = cv2.addWeighted(self._picture(a), 0.5, self._picture(b), 0.5, 0)
        return cv2.norm(self._picture((a + b) // 2), mean, cv2.NORM_L1) / mean.size

    def _alike(self, a: int, b: int) -> float:
        """The correlation of two pictures; 1 if one of them has faded."""
        low, high = sorted(float(self._deviations[i - self._base]) for i in (a, b))
        if low < max(_FLAT, _FADED * high):
            return 1.0
        first, second = (self._picture(i).reshape(-1, 3).astype(np.float32) for i in (a, b))
        first, second = (picture - picture.mean(0) for picture in (first, second))
        product, norm = float(np.vdot(first, second)), float(np.linalg.norm(first) * np.linalg.norm(second))
        return product / norm * (1.5 if low < 0.5 * high else 1.0)

    def _outside(self, probes: Picture, first: Picture, second: Picture) -> float:
        """How far the pictures in between leave the range from the first to the second, at most."""
        low, high = np.minimum(first, second), np.maximum(first, second)
        return max(cv2.norm(p, np.clip(p, low, high), cv2.NORM_L1) for p in probes) / first.size

    def _either(self, probes: Picture, first: Picture, second: Picture) -> float:
        """How far the pictures in between are, pixel by pixel, from the nearer of the first and the second, at most."""
        return max(cv2.sumElems(cv2.min(cv2.absdiff(p, first), cv2.absdiff(p, second)))[0] / first.size for p in probes)

    def _is_pan(self, a: int, b: int) -> bool:
        """Whether a half of one picture is found again, moved, in the other."""
        first, second = (self._picture(max(i, self._base)).reshape(_SIZE[1], _SIZE[0], 3) for i in (a, b))
        columns, lines = _SIZE[0] // 2, _SIZE[1] // 2
        halves = (first[:, :columns], first[:, columns:], first[:lines], first[lines:])
        return any(cv2.matchTemplate(second, half, cv2.TM_CCOEFF_NORMED).max() > _MOVED for half in halves)

    def _measured(self, found: Transition) -> Transition:
        """`found` with its kind and its ends: where the picture has gone 5 % and 95 % of the way from A to B."""
        last, first = max(found.last, self._base), found.first
        ends = [last - self._base, first - self._base]
        pictures = self._pictures[last - self._base : first + 1 - self._base].astype(np.float32)
        way = pictures[-1] - pictures[0]
        gone = (pictures - pictures[0]) @ way / max(1.0, float(way @ way))
        middle = int(np.argmax(gone >= 0.5))
        begun = np.flatnonzero(gone[:middle] <= 0.05)
        done = np.flatnonzero(gone[middle:] >= 0.95)
        start = int(begun[-1]) if len(begun) else 0
        end = middle + int(done[0]) if len(done) else len(gone) - 1
        either = self._either(self._pictures[[last + middle - self._base]], *self._pictures[ends])
        kind: Kind = "wipe" if either < _HALVES * self._difference(last, first) else "dissolve"
        return Transition(kind, last + start, last + end, found.score, found.views)

    # --- fades ------------------------------------------------------------------------------------------------------

    def _fade(self, now: int, mean: float) -> Transition | None:
        if self._deviations[now - self._base] < _FLAT and not _DARK < mean < _LIGHT:
            self._flat = now if self._flat is None else self._flat
        elif self._flat is not None:
            if self._flat > 0:
                self._runs.append((self._flat, now - 1))
            self._flat = None
        if self._runs and now - self._runs[0][1] >= _LONGEST // 2:
            return self._faded(*self._runs.pop(0))
        return None

    def _faded(self, start: int, end: int) -> Transition | None:
        """The fade around a run of one colour, if the picture fades at one side of it at least."""
        start = max(start, self._base + 1)
        last, first = self._slope(start - 1, -1), self._slope(end + 1, 1)
        if start - last < 4 and first - end < 4:
            return None
        return Transition("fade", last, first, 1.0)

    def _slope(self, frame: int, direction: int) -> int:
        """The frame at which the contrast stops growing, going away from a run of one colour."""
        stop = max(self._base, self.count - HISTORY, frame - _LONGEST // 2) if direction < 0 else self.count - 1
        reached, best, since = frame, float(self._deviations[frame - self._base]), 0
        while frame != stop and since < 3:
            frame += direction
            deviation = float(self._deviations[frame - self._base])
            if deviation > 1.03 * best:
                reached, best, since = frame, deviation, 0
            else:
                since += 1
        return reached
