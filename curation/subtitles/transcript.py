"""Timed text as one text, with a time for every character."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from collections.abc import Iterable, Sequence

from curation.languages import UNSPACED_SCRIPTS_AND_PUNCTUATION as _UNSPACED
from curation.subtitles.cues import Piece

WORDY = 0.5  # if this share of the pieces are words, the file times words
CLAUSE_MARKS = 1 / 40  # Chinese with fewer commas and full stops per character has spaces and line breaks for them

_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")
_IDEOGRAPHIC = re.compile("[\u3000-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\uff00-\uffef\U00020000-\U0003ffff]")
_DASHES = re.compile("[…‥—]")  # as wide as ideographs in Chinese and Japanese
_IDEOGRAPHIC_MARK = re.compile("[\u3000-\u303f\uff00-\uff0f\uff1a-\uff20\uff3b-\uff40\uff5b-\uff65]")
_JOINER = "\u200d"  # holds the characters around it together
_CLAUSE_MARK = re.compile("[。，、]")


class Transcript:
    """The pieces as one text, with a time for every character.

    Pieces are joined by a space; in scripts without spaces between words, by nothing inside a line, and otherwise by
    what a line break means there: a space in Thai and the like, and in Chinese and Japanese without punctuation.

    >>> spoken = Transcript([Piece(0.0, 1.0, "Hello"), Piece(2.0, 4.0, "everyone")])
    >>> spoken.text, spoken.start(6), spoken.end(10)
    ('Hello everyone', 2.0, 3.0)
    >>> Transcript([Piece(0.0, 1.0, "没有"), Piece(2.0, 4.0, "别着急")]).text
    '没有 别着急'
    """

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self.pieces = tuple(pieces)
        self.offsets: list[int] = []  # where each piece begins in the text
        self.turns: list[int] = []  # where another speaker begins
        joiner = _Joiner(self.pieces)
        parts: list[str] = []
        length = 0
        before: Piece | None = None
        for piece in self.pieces:
            if before and (between := joiner.between(before, piece)):
                parts.append(between)
                length += len(between)
            if piece.turn:
                self.turns.append(length)
            self.offsets.append(length)
            parts.append(piece.text)
            length += len(piece.text)
            before = piece
        self.text = "".join(parts)
        self.turn_offsets = frozenset(self.turns)

    def start(self, offset: int) -> float:
        """The time, in seconds, at which the character at `offset` begins."""
        return self._at(offset, offset)

    def end(self, offset: int) -> float:
        """The time, in seconds, at which the character before `offset` ends."""
        return self._at(offset - 1, offset)

    def speaker(self, offset: int) -> str | None:
        """The name of who says the character at `offset`, if the file has it."""
        return self.piece(offset).speaker

    def times_words(self) -> bool:
        """Whether the file has the times of words, and so those of pauses between them, also where a line is a word."""
        words = sum(p.timed or not (" " in p.text or _UNSPACED_CHARACTER.match(p.text)) for p in self.pieces)
        return words >= WORDY * len(self.pieces)

    def cues_after(self, pause_s: float) -> frozenset[int]:
        """The offsets of the cues that begin after at least that many seconds of silence."""
        pairs = zip(self.pieces, self.pieces[1:], self.offsets[1:], strict=False)
        return frozenset(o for a, b, o in pairs if b.joint == "cue" and b.start - a.end >= pause_s)

    def piece(self, offset: int) -> Piece:
        """The piece with the character at `offset`."""
        return self.pieces[self._index(offset)]

    def places(self, start: int, end: int) -> frozenset[int]:
        """The offsets in a range after which an unpunctuated sentence may end: of cues, and of words with a time."""
        low, high = bisect_right(self.offsets, start), bisect_right(self.offsets, end - 1)
        return frozenset(
            self.offsets[i - 1] + len(self.pieces[i - 1].text)
            for i in range(low, high)
            if _may_follow_an_end(self.pieces[i], self.pieces[i - 1])
        )

    def _index(self, inside: int) -> int:
        return bisect_right(self.offsets, inside) - 1

    def _at(self, inside: int, offset: int) -> float:
        index = self._index(inside)
        piece = self.pieces[index]
        share = min(1.0, (offset - self.offsets[index]) / len(piece.text))
        return piece.start + (piece.end - piece.start) * share


def _may_follow_an_end(piece: Piece, before: Piece) -> bool:
    """Whether a sentence may begin with a piece: not inside a cue without times of its own, a word, or a character."""
    if unicodedata.category(piece.text[0]).startswith("M") or before.text[-1] == _JOINER:
        return False
    if piece.turn or piece.joint == "cue":
        return True
    if piece.joint == "part" and not _UNSPACED_CHARACTER.match(piece.text):
        return False
    return piece.timed and before.timed


class _Joiner:
    """What lies between two pieces in the text: nothing or a space."""

    def __init__(self, pieces: Sequence[Piece]) -> None:
        letters = marks = total = 0
        for piece in pieces:
            total += len(piece.text)
            letters += len(_IDEOGRAPHIC.findall(piece.text))
            marks += len(_CLAUSE_MARK.findall(piece.text))
        self.ideographic = letters > total / 2
        self.break_is_space = marks < CLAUSE_MARKS * letters  # in Chinese and Japanese

    def between(self, before: Piece, piece: Piece) -> str:
        last, first = before.text[-1], piece.text[0]
        if piece.joint == "part" or unicodedata.category(first).startswith("M"):
            return ""
        if self.ideographic and (_DASHES.match(last) or _DASHES.match(first)):
            return ""
        if not (_UNSPACED_CHARACTER.match(last) or _UNSPACED_CHARACTER.match(first)):
            return " "
        if _IDEOGRAPHIC_MARK.match(last) or _IDEOGRAPHIC_MARK.match(first):
            return ""
        if _IDEOGRAPHIC.match(last) or _IDEOGRAPHIC.match(first):
            written = piece.joint in ("cue", "line") and not (before.timed and piece.timed)
            return " " if written and self.break_is_space else ""
        return "" if before.timed and piece.timed and piece.joint != "word" else " "
