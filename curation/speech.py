"""Where sentences end in speech that comes without punctuation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from curation.config import SubtitleSettings


@dataclass(frozen=True)
class Word:
    """A spoken word between two times, in seconds, and where it stands in the text. `turn`: somebody else begins with it."""

    start: float
    end: float
    text: str
    offset: int
    turn: bool = False


def ends_of(words: Sequence[Word], language: str | None, settings: SubtitleSettings) -> list[int]:
    """Indices of the words that end a sentence, the last word always among them."""
    if not words:
        return []
    pauses = pauses_of(words)
    ends = [i for i in range(len(words) - 1) if pauses[i] >= settings.pause_s or words[i + 1].turn]
    return [*ends, len(words) - 1]


def pauses_of(words: Sequence[Word]) -> np.ndarray:
    """Seconds of silence after each word but the last: what its time exceeds the time that its letters need at this speaker's rate.

    Automatic subtitles tell when a word begins, not when it ends; its end is then the next one's beginning.
    """
    starts = np.array([w.start for w in words])
    lengths = np.array([len(w.text) for w in words[:-1]], dtype=float) + 2.0
    spans = np.diff(starts)
    if len(spans) == 0:
        return spans
    rate = float(np.median(spans / lengths))
    return np.maximum(spans - 1.2 * rate * lengths, 0.0)
