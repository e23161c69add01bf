"""From timed text to timed sentences: by punctuation if there is any, else by pauses and language."""

from __future__ import annotations

import re
from dataclasses import replace

from curation.languages import UNSPACED_SCRIPTS_AND_PUNCTUATION as _UNSPACED
from curation.records import Sentence
from curation.settings import SubtitleSettings
from curation.subtitles.punctuation import Spans
from curation.subtitles.signs import FULL_STOPS, ends_in_sign
from curation.subtitles.transcript import Transcript
from curation.subtitles.unpunctuated import Word, sentence_ends

_WORD = re.compile(rf"[{_UNSPACED}]|[^\s{_UNSPACED}]+")


def sentences_in(
    spoken: Transcript, spans: Spans, language: str | None, settings: SubtitleSettings
) -> tuple[Sentence, ...]:
    """The sentences of `spoken`, in order.

    `spans` are their offsets, as punctuation.py finds them; if the text is not punctuated, those of what pauses and
    language are to divide further. `language` is an ISO 639-1 code.
    """
    timed = spoken.times_words()
    sentences: list[Sentence] = []
    for start, end in spans.offsets:
        if spans.punctuated and spoken.end(end) - spoken.start(start) <= settings.max_sentence_s:
            text = spoken.text[start:end]
            sentences.append(Sentence(spoken.start(start), spoken.end(end), text, spoken.speaker(start)))
        else:
            for sentence in _by_speech(spoken, start, end, timed, language, settings):
                sentences.append(sentence if spans.punctuated else _written(sentence, language))
    return tuple(sentences)


def words_in(spoken: Transcript, start: int, end: int, timed: bool) -> list[Word]:
    """The words between two offsets; in scripts without spaces between words, the characters.

    `timed` says whether the file has the times of words: a line of one word then has its time.
    """
    words: list[Word] = []
    places = spoken.places(start, end)
    for match in _WORD.finditer(spoken.text, start, end):
        piece = spoken.piece(match.start())
        words.append(
            Word(
                spoken.start(match.start()),
                spoken.end(match.end()),
                match.group(),
                match.start(),
                match.start() in spoken.turn_offsets,
                match.end() in places,
                timed and (piece.timed or piece.text == match.group()),
            )
        )
    return words


def _by_speech(
    spoken: Transcript, start: int, end: int, timed: bool, language: str | None, settings: SubtitleSettings
) -> list[Sentence]:
    """Sentences of unpunctuated text, as spoken, or parts of a punctuated one that is too long."""
    words = words_in(spoken, start, end, timed)
    sentences: list[Sentence] = []
    first = 0
    for last, until in sentence_ends(words, language, settings):
        a, b = words[first].offset, words[last].offset + len(words[last].text)
        sentences.append(Sentence(words[first].start, until, spoken.text[a:b], spoken.speaker(a)))
        first = last + 1
    return sentences


def _written(sentence: Sentence, language: str | None) -> Sentence:
    """The sentence with a capital and a full stop; its words stay as spoken."""
    text = sentence.text
    text = text[0].upper() + text[1:] if len(text[0].upper()) == 1 else text
    return replace(sentence, text=text if ends_in_sign(text) else text + FULL_STOPS.get(language or "", "."))
