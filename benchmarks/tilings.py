"""The time that the tilings of a video take, and the lengths of their clips. Run: python -m benchmarks.tilings"""

from __future__ import annotations

import statistics
import time

import numpy as np

from curation.records import SCALES, Sentence, Shot
from curation.segments.tilings import sentence_boundaries, tile
from curation.settings import MediaSettings, TilingSettings

RUNS = 9
FRAME_S = 0.04


def talk(
    duration: float, sentence_s: float, shot_s: float, seed: int = 0
) -> tuple[list[float], list[Sentence], list[Shot]]:
    """Candidate times, sentences and shots of synthetic footage in which somebody talks all the time.

    Sentences last `sentence_s` in the mean (gamma distributed) with pauses of 0.5 s, shots `shot_s` (exponential).
    """
    random = np.random.default_rng(seed)
    sentences, spoken = [], 0.5
    while spoken < duration - 25:
        end = spoken + float(np.clip(random.gamma(3, sentence_s / 3), 0.8, 25))
        sentences.append(Sentence(spoken, end, ""))
        spoken = end + float(random.exponential(0.5))
    cuts = [0.0]
    while cuts[-1] < duration - 5:
        cuts.append(_on_frame(cuts[-1] + max(0.6, float(random.exponential(shot_s)))))
    cuts = [cut for cut in cuts if cut < duration]
    shots = [Shot(start, end) for start, end in zip(cuts, [*cuts[1:], duration], strict=True)]
    grid = np.arange(0.0, duration, MediaSettings().stride_s).tolist()
    return [*grid, *map(_on_frame, sentence_boundaries(sentences)), *cuts], sentences, shots


def _on_frame(seconds: float) -> float:
    return round(seconds / FRAME_S) * FRAME_S


def main() -> None:
    settings = TilingSettings()
    print(f"{'footage':30} {'candidates':>10} {'ms':>6}  mean seconds (short, medium, long)  sentences cut")
    for name, hours, sentence_s, shot_s in (
        ("1-hour talk, shots of 5 s", 1, 6.0, 5.0),
        ("1-hour talk, one shot", 1, 6.0, 1e9),
        ("2 hours, shots of 5 s", 2, 6.8, 4.8),
    ):
        duration = hours * 3600.0
        boundaries, sentences, shots = talk(duration, sentence_s, shot_s)
        times = []
        for _ in range(RUNS):
            begin = time.perf_counter()
            clips = tile("talk", duration, boundaries, sentences, shots, settings)
            times.append(time.perf_counter() - begin)
        means = [statistics.mean(c.end - c.start for c in clips if c.scale == scale) for scale in SCALES]
        ends = [c.end for c in clips if c.scale == "short"]
        cut = sum(any(s.start + 0.1 < end < s.end - 0.1 for end in ends) for s in sentences)
        print(
            f"{name:30} {len(set(boundaries)):10} {statistics.median(times) * 1000:6.1f}  "
            f"{', '.join(f'{mean:.1f}' for mean in means):35} "
            f"{cut} of {len(sentences)} ({sum(s.end - s.start > settings.short.max_s for s in sentences)} too long)"
        )
    print("target: at most 50 ms for 2 hours; means in the paper: 13.2, 30.4, 60.3")


if __name__ == "__main__":
    main()
