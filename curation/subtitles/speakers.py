"""Speakers' names in front of what they say: told from abbreviations, headings and other words before a colon."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence

from curation.subtitles.markup import NAME, TURN, speaker_mark

MEETING_SHARE = 0.5  # of cues that begin with a name, in what meeting software writes
RECURRENCE = 1.5  # mean number of times that a name comes there
_LONGEST = 40  # characters of a name
_LABEL = re.compile(
    rf"^({TURN}?)[^\S\n]*+([^\W_][^:：\n\ue000-\ue0ff!?…。！？]{{0,{_LONGEST}}})(?::(?=\s|$)|：)", re.MULTILINE
)
_SMALL = {"de", "da", "di", "del", "van", "von", "der", "den", "bin", "ibn", "al", "el", "la", "le", "and", "of", "the"}
_WORDS = """
    ai aka am ans answer api asap attention bbc bonus breaking caution ceo chapter cia cnn con conclusion cons
    context covid css day diy dna dvd eg eu example exercise fact faq fbi final fun fyi gdp gps hint html http https ibm
    id ie important intro it json lesson lgbt method mit ml moral myth nasa nato nb nba next nfl note noted
    objective observation oecd ok option outro p.s part pc pdf plot plus pm point pov pro problem pros ps question
    quick quiz quote re reason recap remember reminder result rna rsvp rule scene section solution spoiler sql
    step summary takeaway tip tips title tl;dr todo topic tv twist uk un unesco unicef update url us usa usb
    version vip vs warning week who
"""
_NO_NAMES = frozenset(_WORDS.split())
"""Words, and abbreviations, that stand before a colon without being anybody's name."""


def mark_speakers(texts: Sequence[str], names: dict[str, int]) -> list[str]:
    """The cues' texts with a mark in place of each name in front of a line.

    Capitals are a name (ANNA:) if they recur, or what follows does not go on in small letters. Other names
    (Anna Example:) count where about every cue begins with one, and the same ones come again and again, as meeting
    software writes them.
    """
    meeting, capitals = _meeting_names(texts), _recurring_capitals(texts)

    def mark(label: re.Match[str]) -> str:
        name = " ".join(label[2].split())
        small = label.string[label.end() : label.end() + 8].strip()[:1].islower()
        if name in meeting or name in capitals or (_is_in_capitals(name) and not small):
            return speaker_mark(name, names)
        return label[0]

    return [_LABEL.sub(mark, text) if ":" in text or "：" in text else text for text in texts]


def _meeting_names(texts: Sequence[str]) -> frozenset[str]:
    """The names in front of cues, if the file is one in which about every cue has one."""
    found = [label for text in texts for label in _LABEL.finditer(text) if NAME not in text]
    counts = Counter(" ".join(label[2].split()) for label in found)
    counts = Counter({name: count for name, count in counts.items() if _may_name(name)})
    total = counts.total()
    spoken = sum(1 for text in texts if text.strip())
    if total < max(2, MEETING_SHARE * spoken) or total < RECURRENCE * len(counts):
        return frozenset()
    return frozenset(counts)


def _may_name(name: str) -> bool:
    """Whether a label looks like a name: few words, capitalised or of a script without capitals; or a nickname."""
    words = name.split()
    if _is_no_name(words) or len(words) > 5 or not any(map(str.isalpha, name)):
        return False
    is_nickname = len(words) == 1 and name.isidentifier()
    return is_nickname or all(
        w[0].isupper() or not w[0].isalpha() or w.lower() == w.upper() or w in _SMALL for w in words
    )


def _recurring_capitals(texts: Sequence[str]) -> frozenset[str]:
    """The names in capitals that come more than once."""
    counts = Counter(" ".join(label[2].split()) for text in texts for label in _LABEL.finditer(text))
    return frozenset(name for name, count in counts.items() if count > 1 and _is_in_capitals(name))


def _is_in_capitals(name: str) -> bool:
    """Whether a label is in capitals, and may be a name."""
    words = name.split()
    letters = sum(map(str.isalpha, name))
    return letters > 1 and name.isupper() and len(words) <= 3 and not _is_no_name(words)


def _is_no_name(words: Sequence[str]) -> bool:
    first = words[0].lower()
    return first in _NO_NAMES or first.rstrip(".") in _NO_NAMES
