"""Three nested tilings of the same footage: long clips made of medium ones, medium ones of short ones.

Boundaries are chosen among given candidate times (the stored key frames) by one dynamic program over all three scales,
so that a good cut into short clips never costs the medium and long ones their bounds.
"""

from __future__ import annotations

import dataclasses
import itertools
import math
from collections import defaultdict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from curation.ids import clip_id_of
from curation.records import SCALES, Segment, Sentence, Shot
from curation.settings import ScaleSettings, TilingSettings

Floats = NDArray[np.float64]

_PAUSE_S = 0.3  # a boundary is at most this far behind its sentence, however long the pause
_OVERLAP_S = 0.5  # a smaller overlap means imprecise times of successive sentences, not two voices
_MARGIN_S = 0.1  # precision of sentence times: a boundary should keep this distance
_WORD_S = 0.5  # about a word: a boundary this deep inside a sentence pays the full price
_SAME_FRAME_S = 0.005  # a boundary this close to a cut is at the cut
_OUT_OF_BOUNDS = 1e6  # price per second out of bounds: more than any violation could save
_GRAIN = 13  # candidates per short clip of target duration; more take time and change almost nothing


def sentence_boundaries(sentences: Sequence[Sentence]) -> tuple[float, ...]:
    """Where a clip may end after a sentence: seconds on the sentences' clock, ascending.

    A boundary is the middle of the pause before the next sentence, at most 0.3 s after the end, or the middle of a
    small overlap. While another voice still speaks there is none. The last may lie beyond the end of the video.

    >>> sentence_boundaries([Sentence(0.0, 2.0, "One."), Sentence(2.2, 5.0, "Two."), Sentence(9.0, 11.0, "Three.")])
    (2.1, 5.3, 11.3)
    """
    boundaries = []
    spoken_until = -math.inf
    for sentence in sorted(sentences, key=lambda s: (s.start, s.end)):
        pause = sentence.start - spoken_until
        if spoken_until > -math.inf and pause > -_OVERLAP_S and sentence.end > spoken_until:
            boundaries.append(spoken_until + min(pause / 2, _PAUSE_S))
        spoken_until = max(spoken_until, sentence.end)
    if sentences:
        boundaries.append(spoken_until + _PAUSE_S)
    return tuple(sorted(set(boundaries)))


def tile(
    video_id: str,
    duration: float,
    boundaries: Sequence[float],
    sentences: Sequence[Sentence],
    shots: Sequence[Shot],
    settings: TilingSettings,
) -> tuple[Segment, ...]:
    """The clips of a video of `duration` seconds, by scale (short, medium, long) and start, without frames.

    Each scale covers [0, duration] exactly, with ends taken from `boundaries` (any order; 0 and `duration` are added).
    Every end of a scale is an end of the shorter ones too, so that clips nest:

        long    |-----------------------------------------------|
        medium  |-----------------------|-----------------------|
        short   |-------|-------|-------|-----------|-----------|

    A video shorter than a scale's `min_s` has no clip of that scale, and below the short `min_s` none at all.
    Bounds are kept if `boundaries` allow it, and exceeded as little as possible if not.

    A clip of d seconds costs (2 (d - target) / target)² plus the price of the boundary that ends it: `shot_cost` away
    from shot cuts, `sentence_cost` inside a sentence, less near its ends. A boundary of several scales pays in each.
    The sum over all clips is minimal among the candidates considered: the cheapest in each 1/13 of the short target
    (all, if those do not allow the bounds).
    """
    scales: list[ScaleSettings] = []
    for scale in (settings.short, settings.medium, settings.long):
        if duration < scale.min_s:
            break
        scales.append(scale)
    if not scales:
        return ()
    inner = np.asarray(boundaries, dtype=np.float64)
    times = np.unique(np.concatenate([[0.0], inner[(inner > 0) & (inner < duration)], [duration]]))
    prices = _prices(times, sentences, shots, settings)
    ends_by_scale = _best_ends(times, prices, scales)
    middles = np.sort([(s.start + s.end) / 2 for s in sentences])
    return _segments(video_id, ends_by_scale, middles)


def choose_frames(
    segments: Sequence[Segment], frames: Sequence[tuple[str, float, float]], every_s: float
) -> tuple[Segment, ...]:
    """`segments` of one video with `frame_ids` filled from `frames`: (frame_id, seconds, sharpness), by time.

    A short clip is divided into parts of about `every_s` seconds (a single part up to 1.5 times that). Each part gets
    the sharpest frame of its middle half, else the frame nearest to its middle, so that a short clip has a frame
    whenever one lies in it. Medium and long clips have the frames of their short clips.
    """
    times = np.array([time for _, time, _ in frames])
    chosen: dict[str, tuple[str, ...]] = {}
    inherited: defaultdict[str | None, list[str]] = defaultdict(list)
    for segment in sorted(segments, key=lambda s: (SCALES.index(s.scale), s.start)):
        if segment.scale == SCALES[0]:
            chosen[segment.clip_id] = _frames_of(segment, frames, times, every_s)
        else:
            chosen[segment.clip_id] = tuple(inherited[segment.clip_id])
        inherited[segment.parent_id].extend(chosen[segment.clip_id])
    return tuple(dataclasses.replace(s, frame_ids=chosen[s.clip_id]) for s in segments)


def _frames_of(
    clip: Segment, frames: Sequence[tuple[str, float, float]], times: Floats, every_s: float
) -> tuple[str, ...]:
    length = clip.end - clip.start
    edges = np.linspace(clip.start, clip.end, max(1, math.ceil(length / every_s - 0.5)) + 1)
    chosen = []
    for start, end in itertools.pairwise(edges):
        inside = frames[np.searchsorted(times, start) : np.searchsorted(times, end)]
        middle, quarter = (start + end) / 2, (end - start) / 4
        central = [f for f in inside if abs(f[1] - middle) <= quarter]
        if central:
            chosen.append(max(central, key=lambda f: (f[2], -f[1]))[0])
        elif inside:
            chosen.append(min(inside, key=lambda f: abs(f[1] - middle))[0])
    return tuple(chosen)


def _segments(video_id: str, ends_by_scale: Sequence[Sequence[float]], middles: Floats) -> tuple[Segment, ...]:
    segments: list[Segment] = []
    longer: list[Segment] = []
    for scale, ends in reversed(list(zip(SCALES, ends_by_scale, strict=False))):
        parents = np.searchsorted([parent.start for parent in longer], ends[:-1], side="right") - 1
        counts = np.diff(np.searchsorted(middles, ends))
        longer = [
            Segment(
                clip_id=clip_id_of(video_id, scale, start, end),
                video_id=video_id,
                scale=scale,
                start=start,
                end=end,
                parent_id=longer[parent].clip_id if longer else None,
                frame_ids=(),
                sentence_count=int(count),
            )
            for (start, end), parent, count in zip(itertools.pairwise(ends), parents, counts, strict=True)
        ]
        segments[:0] = longer
    return tuple(segments)


# --- prices of boundaries -------------------------------------------------------------------------------------------


def _prices(times: Floats, sentences: Sequence[Sentence], shots: Sequence[Shot], settings: TilingSettings) -> Floats:
    """The price of a boundary at each of `times`; the video's own ends are free."""
    into = np.minimum(_depths(times, sentences) / (_MARGIN_S + _WORD_S), 1.0)
    # Cubed, so that a boundary at a sentence's very end is almost free and one inside a word is not.
    prices: Floats = settings.sentence_cost * into**3 + settings.shot_cost * _inside_shots(times, shots)
    prices[[0, -1]] = 0.0
    return prices


def _inside_shots(times: Floats, shots: Sequence[Shot]) -> NDArray[np.bool_]:
    """Whether each of `times` lies inside a shot: not at a cut, nor in a gradual transition between two shots."""
    if not shots:
        return np.ones(len(times), dtype=bool)
    starts, ends = np.sort([s.start for s in shots]), np.sort([s.end for s in shots])
    begun, over = np.concatenate([starts[:1], ends]), np.concatenate([starts, ends[-1:]])  # of the boundaries
    latest = np.searchsorted(begun, times + _SAME_FRAME_S, side="right") - 1
    return (latest < 0) | (times > over[latest] + _SAME_FRAME_S)


def _depths(times: Floats, sentences: Sequence[Sentence]) -> Floats:
    """Seconds from each of `times` to the nearer end of the sentence around it, with a margin; 0 in pauses."""
    depths = np.zeros_like(times)
    if not sentences:
        return depths
    starts, ends = np.array([(s.start - _MARGIN_S, s.end + _MARGIN_S) for s in sentences]).T
    first, last = np.searchsorted(times, starts), np.searchsorted(times, ends)
    counts = np.maximum(last - first, 0)
    which = np.repeat(np.arange(len(starts)), counts)
    at = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts) + first[which]
    np.maximum.at(depths, at, np.minimum(times[at] - starts[which], ends[which] - times[at]))
    return depths


# --- the dynamic program --------------------------------------------------------------------------------------------
# Costs of ranges are kept as banded matrices: band[v, i] is the cost of the range from candidate i to candidate i + v,
# so that one numpy operation on a row handles all ranges that span v candidates. With candidates 0 … 4 and width 3:
#
#               i = 0    1    2    3    4
#     v = 1        0-1  1-2  2-3  3-4   ∞
#     v = 2        0-2  1-3  2-4   ∞    ∞
#     v = 3        0-3  1-4   ∞    ∞    ∞


def _best_ends(times: Floats, prices: Floats, scales: Sequence[ScaleSettings]) -> list[list[float]]:
    """The cheapest nested tilings: for each scale the times of its boundaries, 0 and the duration included."""
    thinned = _thin(times, prices, scales[0].target_s / _GRAIN)
    ends = _solve(times[thinned], prices[thinned], scales, 0.0)
    slack = 0.0
    while ends is None:
        ends = _solve(times, prices, scales, slack)
        slack = max(2 * slack, 1.0)
    return ends


def _thin(times: Floats, prices: Floats, grain: float) -> NDArray[np.intp]:
    """The indices of the cheapest candidate of each `grain` seconds, and of both ends of the video."""
    cell = np.floor(times / grain).astype(np.int64)
    rank = prices.copy()
    rank[[0, -1]] = -1.0
    order = np.lexsort((times, rank, cell))
    first = np.ones(len(order), dtype=bool)
    first[1:] = cell[order[1:]] != cell[order[:-1]]
    return np.union1d(order[first], [0, len(times) - 1])


def _solve(times: Floats, prices: Floats, scales: Sequence[ScaleSettings], slack: float) -> list[list[float]] | None:
    """As `_best_ends`, with no clip more than `slack` seconds out of bounds; None if that is impossible."""
    clips: list[Floats] = []  # by scale, the cost of a clip with all shorter clips in it
    tilings: list[Floats] = []  # by scale, the cost of the cheapest tiling of a range; not needed for the last
    for scale in scales:
        # A clip that is forced to be too long spans a gap between candidates, so even it spans few of them.
        width = min(_width(times, scale.max_s + slack), 2 * _width(times, scale.max_s) + 1)
        if clips:
            tilings.append(_tilings(clips[-1], width))
        clips.append(_clips(times, prices, scale, width, slack, tilings[-1] if tilings else None))
    ends = _chain(clips[-1])
    if ends is None:
        return None
    ends_by_scale = [ends]
    for band, tiling in zip(clips[-2::-1], tilings[::-1], strict=True):
        inner, used = [0], _used(band)
        for start, end in itertools.pairwise(ends):
            inner += _split(band, tiling, used, start, end)
        ends = inner
        ends_by_scale.insert(0, ends)
    return [times[e].tolist() for e in ends_by_scale]


def _width(times: Floats, seconds: float) -> int:
    """The largest number of candidates that a range of at most `seconds` spans."""
    ahead = np.searchsorted(times, times + seconds * (1 + 1e-12), side="right") - 1 - np.arange(len(times))
    return max(1, int(ahead.max()))


def _clips(
    times: Floats, prices: Floats, scale: ScaleSettings, width: int, slack: float, content: Floats | None
) -> Floats:
    """The band of the costs of clips of `scale`: duration, boundary and content."""
    n = len(times)
    band = np.full((width + 1, n), np.inf)
    for v in range(1, min(width, n - 1) + 1):
        seconds = times[v:] - times[:-v]
        out = np.maximum(0.0, np.maximum(scale.min_s - seconds, seconds - scale.max_s))
        if out.min() > slack:
            continue
        cost = (2 * (seconds / scale.target_s - 1)) ** 2 + prices[v:] + _OUT_OF_BOUNDS * out
        if content is not None:
            cost += content[v, :-v]
        cost[out > slack] = np.inf
        band[v, :-v] = cost
    return band


def _used(band: Floats) -> tuple[int, int]:
    """The first and last rows of `band` with a finite cost; (1, 0) without any."""
    rows = np.flatnonzero(np.isfinite(band).any(axis=1))
    return (int(rows[0]), int(rows[-1])) if len(rows) else (1, 0)


def _tilings(band: Floats, width: int) -> Floats:
    """The band of the costs of the cheapest tiling, by clips of `band`, of each range of up to `width` candidates."""
    n = band.shape[1]
    first, last = _used(band)
    best = np.full((width + 1, n), np.inf)
    rows = min(width, len(band) - 1)
    best[: rows + 1] = band[: rows + 1]
    best[0] = 0.0
    buffer = np.empty(n)
    for w in range(2 * first, min(width, n - 1) + 1):
        m = n - w
        row, total = best[w, :m], buffer[:m]
        for v in range(first, min(last, w - first) + 1):
            u = w - v
            np.add(best[u, :m], band[v, u : u + m], out=total)
            np.minimum(row, total, out=row)
    return best


def _chain(band: Floats) -> list[int] | None:
    """The boundaries of the cheapest tiling of the whole video; None without any."""
    n = band.shape[1]
    first, last = _used(band)
    if last < first:
        return None
    into = np.full((n, last - first + 1), np.inf)  # into[j, k]: a clip that ends at j and starts at j - last + k
    for v in range(first, last + 1):
        into[v:, last - v] = band[v, : n - v]
    best = np.full(last + n, np.inf)  # best[last + j]: the cheapest tiling from 0 to j
    best[last] = 0.0
    windows = np.lib.stride_tricks.sliding_window_view(best, into.shape[1])
    previous = np.zeros(n, dtype=np.intp)
    # No clip spans fewer than `first` candidates, so the ends of a block depend on earlier blocks only.
    for j in range(first, n, first):
        block = slice(j, min(j + first, n))
        total = windows[block] + into[block]
        k = total.argmin(axis=1)
        best[last + j : last + block.stop] = total[np.arange(len(k)), k]
        previous[block] = np.arange(j, block.stop) - last + k
    if not np.isfinite(best[-1]):
        return None
    ends = [n - 1]
    while ends[-1]:
        ends.append(int(previous[ends[-1]]))
    return ends[::-1]


def _split(band: Floats, tiling: Floats, used: tuple[int, int], start: int, end: int) -> list[int]:
    """The ends of the clips in the cheapest tiling of the range from `start` to `end`."""
    first, last = used
    # In the flat band, from a clip to the one with the same end that starts one candidate earlier.
    step = band.shape[1] - 1
    ends = [end]
    while (at := ends[-1]) > start:
        widest = min(last, at - start)
        before = tiling[at - start - widest : at - start - first + 1, start][::-1]
        clips = band.ravel()[at + first * step : at + widest * step + 1 : step]
        ends.append(at - first - int((before + clips).argmin()))
    return ends[-2::-1]
