"""Online detection of shot boundaries: PySceneDetect's detectors, fed one frame at a time."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction

import cv2
import numpy as np
from scenedetect import FrameTimecode
from scenedetect.common import Timecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector

from curation.settings import ShotSettings

WIDTH = 256  # pixels; PySceneDetect itself scales frames down to about this
_TOLERANCE_S = 1e-6  # a shot may be this much shorter than the minimum: 15 frames at 25/s must count as 0.6 s


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


@dataclass(frozen=True)
class ShotUpdate:
    """Results of one more frame, in ticks: first frames of shots, and frames that may turn out to be one."""

    cuts: tuple[int, ...] = ()
    suspects: tuple[int, ...] = ()


class ShotDetector:
    """Finds hard cuts at the exact frame, online; neither detector finds dissolves.

    A suspect is at most `lateness` frames behind the newest one. A cut may be reported much later (short shots are
    merged, which takes `min_shot_s` to decide), but every cut has been reported as a suspect in time:

        frame      1  2  3  4  5  6  7  8 …
        suspects            4                  a key frame is encoded here, at most `lateness` frames later
        cuts                         4         reported once the shot from 4 on lasts `min_shot_s`
    """

    def __init__(self, settings: ShotSettings, time_base: Fraction, frame_rate: Fraction) -> None:
        shortest = max(0.0, settings.min_shot_s - _TOLERANCE_S)
        if settings.detector == "content":
            self._detector = _Content(threshold=settings.threshold, min_scene_len=shortest)
            self.lateness = 0
        else:
            self._detector = _Adaptive(adaptive_threshold=settings.threshold, min_scene_len=shortest)
            self.lateness = self._detector.window_width
        self._threshold = settings.threshold
        self._time_base = time_base
        self._frame_rate = frame_rate

    def feed(self, ticks: int, bgr: np.ndarray) -> ShotUpdate:
        """Feed the next frame: `bgr` is uint8 [height, width, 3], always of the same size."""
        timecode = FrameTimecode(timecode=Timecode(pts=ticks, time_base=self._time_base), fps=self._frame_rate)
        cuts = tuple(cut.pts for cut in self._detector.process_frame(timecode, bgr))
        if self.lateness:
            return ShotUpdate(cuts, cuts)
        return ShotUpdate(cuts, (ticks,) if self._detector.score >= self._threshold else ())
