"""Brackets in a cue: descriptions of sounds and speakers, told from brackets that are spoken."""

from __future__ import annotations

import re
from collections.abc import Iterator

_SQUARE = re.compile(r"\[[^\[\]]{0,200}\]|【[^【】]{0,100}】|［[^［］]{0,100}］")
_ROUND = re.compile(r"\(([^()\n]{0,120})\)|（([^（）\n]{0,120})）")
_COLON = re.compile(r"\s?[:：]")
_CLOCK = re.compile(r"\d:\d\d")
_OPERATOR = re.compile(r"[,;+*/=<>≤≥±×÷^−]")
_WORD_IN_IT = re.compile(r"[^\W\d_]{2}")
_ENDS = tuple(".!?…。！？｡؟۔।")
_SOUNDS = re.compile(
    r"\b(?:applau(?:se|d|ds|ding)|audience|bark(?:s|ing)?|beep(?:s|ing)?|bells?|breath(?:s|es|ing)|buzz(?:es|ing)?|"
    r"chatter(?:s|ing)?|cheer(?:s|ing)?|chim(?:es|ing)|chuckl(?:e|es|ing)|clap(?:s|ping)?|clear(?:s|ing)? throat|"
    r"clears|cough(?:s|ing)?|cries|crying|crowd|foreign|gasp(?:s|ing)?|giggl(?:es|ing)|groan(?:s|ing)?|gunshots?|"
    r"horns?|hum(?:s|ming)|inaudible|indistinct|instrumental|laugh(?:s|ing|ter)?|mumbl(?:es|ing)|music|"
    r"rings|ringing|scream(?:s|ing)?|shout(?:s|ing)?|sigh(?:s|ing)?|silence|sings|singing|sirens?|"
    r"sniff(?:s|les|ing)?|sob(?:s|bing)|speaking|speaks|static|thud|thunder|unintelligible|whisper(?:s|ing)?|"
    r"whistl(?:es|ing)|yell(?:s|ing)?|risas?|ríe|música|aplausos?|rires?|rit|musique|applaudissements|lacht|lachen|"
    r"gelächter|musik|beifall|applaus|risate|ride|musica|applausi|risos?|смех|смеётся|смеется|музыка|аплодисменты)\b",
    re.IGNORECASE,
)
_MANNER = re.compile(r"[a-z]{2,}(?:ing|ly|s|ed)", re.IGNORECASE)  # of a lone word: sighs, laughing, quietly
_SPOKEN = re.compile(r"[^\s\ue000-\ue0ff>‐–—−-]")  # no mark, and no sign of a change of speaker
_NEXT = re.compile(r"[\s\ue000-\ue0ff\"'“”]*+(.)")
_NOTES = re.compile("[♪♫♬♩🎵🎶]")
_MOST_WORDS = 6  # of a description in mid-sentence


def without_descriptions(text: str, turn: str) -> str:
    """A cue's lines without descriptions; `turn` in place of those that begin a line, as they name who speaks.

    >>> without_descriptions("[Music] so (laughs) here we are\\n(a plus b) squared is in [0, 1]", "")
    '  so   here we are\\n(a plus b) squared is in [0, 1]'
    """
    if "[" in text or "【" in text or "［" in text:
        text = _SQUARE.sub(lambda m: m[0] if _is_formula(m) else " ", text)
    if "(" not in text and "（" not in text:
        return text
    parts: list[str] = []
    unfinished = False  # whether a line goes on from the one before
    for line in text.split("\n"):
        parts.append("".join(_without_round(line, turn, unfinished)))
        unfinished = (line.strip() or ".")[-1] not in _ENDS
    return "\n".join(parts)


def _is_formula(bracket: re.Match[str]) -> bool:
    """Whether square brackets hold numbers or variables: an interval, a matrix, an index."""
    inner = bracket[0][1:-1]
    if _WORD_IN_IT.search(inner) or _CLOCK.search(inner) or not any(map(str.isalnum, inner)):
        return False
    indexed = bracket.start() > 0 and bracket.string[bracket.start() - 1].isalnum()
    return indexed or bool(_OPERATOR.search(inner))


def _without_round(line: str, turn: str, unfinished: bool) -> Iterator[str]:
    """The parts of a line without round brackets that describe something."""
    position = 0
    said = ""  # the last character that is spoken before the bracket
    for bracket in _ROUND.finditer(line):
        between = line[position : bracket.start()]
        yield between
        position = bracket.end()
        if _SPOKEN.match(last := between.rstrip()[-1:]):
            said = last
        inner = (bracket[1] if bracket[1] is not None else bracket[2]).strip()
        if _is_spoken(inner, said, line, position, unfinished):
            yield bracket[0]
            said = ")"
        elif said:
            yield " "
        else:
            colon = _COLON.match(line, position)
            position = colon.end() if colon else position
            yield f"{turn} "
    yield line[position:]


def _is_spoken(inner: str, said: str, line: str, position: int, unfinished: bool) -> bool:
    """Whether a bracket is spoken, which holds `inner` and ends at `position`, after the character `said`, if any."""
    if not any(map(str.isalnum, inner)) or _NOTES.search(inner):
        return False
    words = inner.split()
    if len(words) <= _MOST_WORDS and _SOUNDS.search(inner):
        return False
    following = _NEXT.match(line, position)
    if said:
        return said not in _ENDS or following is not None or inner.endswith(_ENDS)
    if not _WORD_IN_IT.search(inner):  # numbers and variables
        return True
    if inner.isupper() or inner.upper() == inner.lower() or _COLON.match(line, position):
        return False
    manner = len(words) <= 2 and any(_MANNER.fullmatch(word) for word in words)
    if following is None:
        return (len(words) > 2 and inner.endswith(_ENDS)) or (unfinished and inner[0].islower() and not manner)
    return (following[1].islower() and not manner) or following[1] in ",.;?!"
