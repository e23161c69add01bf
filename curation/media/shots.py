"""Online detection of shot boundaries, one frame at a time: vidla's own detector, or one of PySceneDetect's."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from fractions import Fraction
from typing import Protocol

import cv2
import numpy as np
from scenedetect import FrameTimecode
from scenedetect.common import Timecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from curation.media.transitions import HISTORY, Kind, Seen, TransitionDetector
from curation.records import Shot
from curation.settings import ShotSettings

WIDTH = 256  # pixels; PySceneDetect itself scales frames down to about this
_TOLERANCE_S = 1e-6  # a shot may be this much shorter than the minimum: 15 frames at 25/s must count as 0.6 s
_THRESHOLDS = {"content": 27.0, "adaptive": 3.0, "transitions": 0.5}


@dataclass(frozen=True)
class Boundary:
    """A boundary of two shots, in ticks: the old one ends at `end`, and the new one starts at `start`.

    At a cut both are the new shot's first frame. At a gradual transition, what lies between shows both shots or none.
    """

    kind: Kind
    end: int
    start: int
    score: float | None = None

    @property
    def middle(self) -> int:
        return (self.end + self.start) // 2


class ShotDetector(Protocol):
    """Finds the boundaries of the shots of one video.

    Frames from which a shot may turn out to begin are suspects, known at most `lateness` frames later, so that a key
    frame is encoded there. Every cut was a suspect; of a gradual transition, a frame in it was if it was seen in time.
    """

    lateness: int
    boundaries: list[Boundary]

    def feed(self, ticks: int, bgr: np.ndarray) -> Sequence[int]:
        """The suspects that the next frame shows: `bgr` is uint8 [height, width, 3], always of the same size."""

    def finish(self) -> Sequence[int]:
        """The last suspects. From then on, `boundaries` are all of them, in order."""


def shot_detector(settings: ShotSettings, time_base: Fraction, frame_rate: Fraction) -> ShotDetector:
    if settings.detector == "transitions":
        return _Transitions(settings, time_base)
    return _SceneDetect(settings, time_base, frame_rate)


def threshold_of(settings: ShotSettings) -> float:
    return _THRESHOLDS[settings.detector] if settings.threshold is None else settings.threshold


def shots_between(boundaries: Sequence[Boundary], end: int, time_base: Fraction) -> tuple[Shot, ...]:
    """The shots of a video that ends at `end`, in ticks: frames of a gradual transition belong to none."""
    seconds = [(float(b.end * time_base), float(b.start * time_base), b.kind, b.score) for b in boundaries]
    starts = [(0.0, None, None), *((start, kind, score) for _, start, kind, score in seconds)]
    ends = [*(end_ for end_, *_ in seconds), float(end * time_base)]
    return tuple(Shot(start, end_, kind, score) for (start, kind, score), end_ in zip(starts, ends, strict=True))


# --- our own --------------------------------------------------------------------------------------------------------


class _Transitions:
    """Finds cuts at the exact frame, dissolves, wipes and fades."""

    def __init__(self, settings: ShotSettings, time_base: Fraction) -> None:
        self.lateness = TransitionDetector.lateness
        self.boundaries: list[Boundary] = []
        self._detector = TransitionDetector()
        self._least_score = threshold_of(settings)
        self._shortest = max(0.0, settings.min_shot_s - _TOLERANCE_S) / time_base
        self._ticks: list[int] = []  # of the latest frames

    def feed(self, ticks: int, bgr: np.ndarray) -> Sequence[int]:
        self._ticks.append(ticks)
        del self._ticks[: -2 * HISTORY]
        return self._take(self._detector.feed(bgr))

    def finish(self) -> Sequence[int]:
        suspects = self._take(self._detector.finish())
        self.boundaries = without_short_shots(self.boundaries, float(self._shortest))
        return suspects

    def _take(self, seen: Seen) -> list[int]:
        before = self._detector.count - len(self._ticks)
        for found in seen.transitions:
            if found.score >= self._least_score:
                end, start = self._ticks[found.last + 1 - before], self._ticks[found.first - before]
                self.boundaries.append(Boundary(found.kind, end, start, round(found.score, 3)))
        return [self._ticks[frame - before] for frame in seen.suspects]


def without_short_shots(boundaries: Sequence[Boundary], shortest: float) -> list[Boundary]:
    """`boundaries` in order, less the weaker one of any two with a shot between them that lasts less than `shortest`.

    Boundaries that overlap count as such too. A cut beside a gradual transition is the stronger one, since it is seen
    in one frame; of equal ones, the earlier one stays.

    >>> cuts = [Boundary("cut", t, t, score) for t, score in ((0, 0.9), (90, 0.8), (95, 0.9), (200, 0.7))]
    >>> [b.start for b in without_short_shots(cuts, 10)]
    [0, 95, 200]
    """
    kept: list[Boundary] = []
    for boundary in sorted(boundaries, key=lambda b: (b.middle, b.start)):
        while kept and boundary.end - kept[-1].start < shortest and _is_stronger(boundary, kept[-1]):
            kept.pop()
        if not kept or boundary.end - kept[-1].start >= shortest:
            kept.append(boundary)
    return kept


def _is_stronger(boundary: Boundary, before: Boundary) -> bool:
    if (boundary.kind == "cut") != (before.kind == "cut") and boundary.end >= before.start:
        return boundary.kind == "cut"
    return (boundary.score or 0.0) > (before.score or 0.0)


# --- PySceneDetect's ------------------------------------------------------------------------------------------------


class _Scored:
    """The detectors' score (mean absolute difference over hue, saturation and value) in one call of OpenCV."""

    score: float = 0.0
    _previous: np.ndarray | None = None

    def _calculate_frame_score(self, timecode: FrameTimecode, frame_img: np.ndarray) -> float:
        hsv = cv2.cvtColor(frame_img, cv2.COLOR_BGR2HSV)
        self.score = 0.0 if self._previous is None else cv2.norm(hsv, self._previous, cv2.NORM_L1) / hsv.size
        self._previous = hsv
        return self.score


class _Content(_Scored, ContentDetector):  # type: ignore[misc]
    pass


class _Adaptive(_Scored, AdaptiveDetector):  # type: ignore[misc]
    pass


class _SceneDetect:
    """Finds hard cuts at the exact frame; neither detector finds dissolves.

    A cut may be reported much later (short shots are merged, which takes `min_shot_s` to decide), but every cut has
    been reported as a suspect in time:

        frame       1  2  3  4  5  6  7  8 …
        suspects             4                  a key frame is encoded here, at most `lateness` frames later
        boundaries                    4         reported once the shot from 4 on lasts `min_shot_s`
    """

    def __init__(self, settings: ShotSettings, time_base: Fraction, frame_rate: Fraction) -> None:
        shortest = max(0.0, settings.min_shot_s - _TOLERANCE_S)
        self._threshold = threshold_of(settings)
        if settings.detector == "content":
            self._detector = _Content(threshold=self._threshold, min_scene_len=shortest)
            self.lateness = 0
        else:
            self._detector = _Adaptive(adaptive_threshold=self._threshold, min_scene_len=shortest)
            self.lateness = self._detector.window_width
        self._time_base = time_base
        self._frame_rate = frame_rate
        self.boundaries: list[Boundary] = []

    def feed(self, ticks: int, bgr: np.ndarray) -> Sequence[int]:
        timecode = FrameTimecode(timecode=Timecode(pts=ticks, time_base=self._time_base), fps=self._frame_rate)
        cuts = [cut.pts for cut in self._detector.process_frame(timecode, bgr)]
        self.boundaries += [Boundary("cut", cut, cut) for cut in cuts]
        if self.lateness:
            return cuts
        return (ticks,) if self._detector.score >= self._threshold else ()

    def finish(self) -> Sequence[int]:
        return ()
