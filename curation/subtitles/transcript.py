"""Timed text as one text, with a time for every character."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable

from curation.languages import UNSPACED_SCRIPTS_AND_PUNCTUATION as _UNSPACED
from curation.subtitles.cues import Piece

SENTENCE_END = re.compile(r"[.!?…。！？｡؟۔।॥։။]+")
_UNSPACED_CHARACTER = re.compile(f"[{_UNSPACED}]")


class Transcript:
    """The pieces as one text, with a time for every character.

    >>> spoken = Transcript([Piece(0.0, 1.0, "Hello"), Piece(2.0, 4.0, "everyone")])
    >>> spoken.text, spoken.start(6), spoken.end(10)
    ('Hello everyone', 2.0, 3.0)
    """

    def __init__(self, pieces: Iterable[Piece]) -> None:
        self.pieces = tuple(pieces)
        self.offsets: list[int] = []  # where each piece begins in the text
        self.turns: list[int] = []  # where another speaker begins
        parts: list[str] = []
        length = 0
        for piece in self.pieces:
            if parts and not (_UNSPACED_CHARACTER.match(piece.text) or _UNSPACED_CHARACTER.match(parts[-1][-1])):
                parts.append(" ")
                length += 1
            if piece.turn:
                self.turns.append(length)
            self.offsets.append(length)
            parts.append(piece.text)
            length += len(piece.text)
        self.text = "".join(parts)
        self.turn_offsets = frozenset(self.turns)

    def start(self, offset: int) -> float:
        """The time, in seconds, at which the character at `offset` begins."""
        return self._at(offset, offset)

    def end(self, offset: int) -> float:
        """The time, in seconds, at which the character before `offset` ends."""
        return self._at(offset - 1, offset)

    def _at(self, inside: int, offset: int) -> float:
        index = bisect_right(self.offsets, inside) - 1
        piece = self.pieces[index]
        share = min(1.0, (offset - self.offsets[index]) / len(piece.text))
        return piece.start + (piece.end - piece.start) * share
