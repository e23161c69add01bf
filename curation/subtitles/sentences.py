"""From timed text to timed sentences: by punctuation if there is any, else by pauses and language."""

from __future__ import annotations

import re
from collections.abc import Sequence

from curation.languages import UNSPACED_SCRIPTS_AND_PUNCTUATION as _UNSPACED
from curation.records import Sentence
from curation.settings import SubtitleSettings
from curation.subtitles.transcript import SENTENCE_END, Transcript
from curation.subtitles.unpunctuated import Word, sentence_ends

_STOPS = {"zh": "。", "ja": "。", "hi": "।", "mr": "।", "ne": "।", "ur": "۔", "hy": "։", "my": "။", "km": "។", "th": ""}
_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


def sentences_in(
    spoken: Transcript, spans: Sequence[tuple[int, int]] | None, language: str | None, settings: SubtitleSettings
) -> tuple[Sentence, ...]:
    """The sentences of `spoken`, in order.

    `spans` are their offsets, as punctuation.py finds them; None if it is not punctuated. `language` is an ISO 639-1
    code.
    """
    if spans is None:
        spans = [(0, len(spoken.text))]
    sentences: list[Sentence] = []
    for start, end in spans:
        if len(spans) > 1 and spoken.end(end) - spoken.start(start) <= settings.max_sentence_s:
            sentences.append(Sentence(spoken.start(start), spoken.end(end), spoken.text[start:end]))
        else:
            sentences.extend(_by_speech(spoken, start, end, language, settings))
    return tuple(sentences)


def words_in(spoken: Transcript, start: int, end: int) -> list[Word]:
    """The words between two offsets; in scripts without spaces between words, the characters."""
    return [
        Word(
            spoken.start(start + m.start()),
            spoken.end(start + m.end()),
            m.group(),
            start + m.start(),
            start + m.start() in spoken.turn_offsets,
        )
        for m in _WORD.finditer(spoken.text[start:end])
    ]


def _by_speech(
    spoken: Transcript, start: int, end: int, language: str | None, settings: SubtitleSettings
) -> list[Sentence]:
    """Sentences of unpunctuated text, each with a capital and a full stop added; the words stay as spoken."""
    words = words_in(spoken, start, end)
    stop = _STOPS.get(language or "", ".")
    sentences: list[Sentence] = []
    first = 0
    for last, until in sentence_ends(words, language, settings):
        a, b = words[first].offset, words[last].offset + len(words[last].text)
        text = spoken.text[a:b]
        text = text[0].upper() + text[1:] if len(text[0].upper()) == 1 else text
        sentences.append(Sentence(words[first].start, until, text if SENTENCE_END.search(text[-1]) else text + stop))
        first = last + 1
    return sentences
