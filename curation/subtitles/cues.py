"""From subtitle files, clean or broken, to timed text."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Literal

from curation.languages import UNSPACED_SCRIPTS
from curation.subtitles.cue_blocks import blocks_of
from curation.subtitles.markup import AT, NAME, TURN, spoken_text
from curation.subtitles.not_speech import without_data
from curation.subtitles.songs import with_notes
from curation.subtitles.speakers import mark_speakers
from curation.subtitles.visual_order import in_logical_order

MAX_CHARACTERS = 16_000_000  # text beyond this is not read; a four-hour film has less than one million
MAX_PIECES = 100_000
OUTSIDE_S = 1.0  # by which a word may begin after the end of its cue
SCROLL_S = 1.0  # after a line is gone, it comes again above the next one by then
ROLLING_SHARE = 0.3  # if this share of cues repeats the previous line, the file scrolls
NAMED_SHARE = 0.75  # if this share of cues names its speaker, the others are of the same one as before

Joint = Literal["cue", "line", "word", "part"]


@dataclass(frozen=True)
class Piece:
    """Text between two times, in seconds: a word if the file times words, else a line of a cue.

    `turn` is true if a mark shows that another speaker begins; `speaker` is his name, if the file has it. `joint` is
    what the piece begins: a cue, a line of one, a word with a time inside a line, or another part of the same word (in
    scripts without spaces, also another word). `timed` says that words of its line have times.
    """

    start: float
    end: float
    text: str
    turn: bool = False
    speaker: str | None = None
    joint: Joint = "cue"
    timed: bool = False


@dataclass(frozen=True)
class _Cue:
    """A cue: its lines, each a list of pieces. A piece without its own end has the cue's."""

    start: float
    end: float
    lines: tuple[tuple[Piece, ...], ...]

    @property
    def shown(self) -> tuple[str, ...]:
        return tuple(" ".join(p.text for p in line) for line in self.lines)


def pieces_of(text: str) -> list[Piece]:
    """The spoken text of a subtitle file in order of time, each word once; empty if there is none. Never raises.

    >>> file = "00:01.000 --> 00:03.000\\n- <i>Hello!</i>\\n- [door creaks] Who is there?\\n"
    >>> for piece in pieces_of(file):
    ...     print(f"{piece.start:.1f} {piece.end:.1f} {piece.text} {piece.turn}")
    1.0 1.6 Hello! True
    1.6 3.0 Who is there? True
    """
    names: dict[str, int] = {}
    blocks = with_notes(in_logical_order(without_data(blocks_of(text[:MAX_CHARACTERS]))))
    texts = mark_speakers([spoken_text("\n".join(block.lines), names) for block in blocks], names)
    known = list(names)
    cues = [_Cue(b.start, b.end, _lines(t, b.start, b.end, known)) for b, t in zip(blocks, texts, strict=True)]
    cues.sort(key=lambda cue: (cue.start, cue.end))
    named = sum(NAME in t for t in texts) >= NAMED_SHARE * len(texts)
    pieces = (p for cue in _unroll([c for c in cues if c.lines]) for p in _joined(cue))
    return _repair(_apart(list(_with_turns(itertools.islice(pieces, MAX_PIECES), named))))


def has_text(text: str) -> bool:
    """Whether there is any text between the times of a subtitle file."""
    return any(block.lines for block in blocks_of(text[:MAX_CHARACTERS]))


# --- lines to pieces ------------------------------------------------------------------------------------------------

_MARK = re.compile(f"{AT}([0-9.]+){AT}")
_UNSPACED = re.compile(f"[{UNSPACED_SCRIPTS}]")
_TURNS = re.compile(f"({TURN}|{NAME}[0-9]+{NAME})")


def _lines(text: str, start: float, end: float, names: list[str]) -> tuple[tuple[Piece, ...], ...]:
    """A cue's lines as pieces, from its text with our marks. A speaker speaks until the next one, or the cue's end."""
    lines: list[tuple[Piece, ...]] = []
    speaker: str | None = None
    marks = ""  # of lines that hold nothing else
    for line in text.split("\n"):
        pieces = tuple(_timed(marks + line, start, end, names, speaker))
        if pieces:
            lines.append(pieces)
            speaker = pieces[-1].speaker
        marks = "" if pieces else "".join(_TURNS.findall(line)) or marks
    return tuple(lines)


def _timed(line: str, start: float, end: float, names: list[str], speaker: str | None) -> Iterator[Piece]:
    """The pieces of one line: one for each part between two times, or changes of speaker, in it."""
    texts = _MARK.split(line)  # text, time, text, time, …, text
    times = [start, *(float(t) for t in texts[1::2])]
    if any(b < a for a, b in itertools.pairwise(times)) or times[-1] > max(start, end) + OUTSIDE_S:
        texts, times = [_MARK.sub(_between, line)], [start]  # the times of other words than these
    timed, turn = len(texts) > 1, False
    spaced = True  # whether white space, or nothing, comes before
    for text, at, until in zip(texts[::2], times, [*times[1:], end], strict=True):
        for part in _TURNS.split(text):
            if part[:1] in (TURN, NAME):
                turn, speaker = True, None if part == TURN else names[int(part[1:-1])]
            elif words := " ".join(part.split()):
                joint: Joint = "word" if spaced or part[0].isspace() or turn else "part"
                yield Piece(at, until, words, turn, speaker, joint, timed)
                turn = False
                spaced = part[-1].isspace()
            else:
                spaced = spaced or bool(part)


def _between(mark: re.Match[str]) -> str:
    """A space in place of a time that is not read, unless there is one beside it: times may be all that parts words."""
    line = mark.string
    return "" if line[mark.start() - 1 : mark.start()].isspace() or line[mark.end() : mark.end() + 1].isspace() else " "


def _joined(cue: _Cue) -> Iterator[Piece]:
    """The pieces of a cue, of which the first begins the cue, and the first of each further line that line."""
    for number, line in enumerate(cue.lines):
        yield replace(line[0], joint="line" if number else "cue")
        yield from line[1:]


def _with_turns(pieces: Iterator[Piece], named: bool) -> Iterator[Piece]:
    """The pieces, with a turn only where the speaker's name is another than before.

    If most cues are `named`, one without a name, and without a mark of another speaker, is of the one before.
    """
    before: str | None = None
    for piece in pieces:
        if piece.speaker:
            yield replace(piece, turn=piece.speaker != before)
        elif named and not piece.turn and before:
            piece = replace(piece, speaker=before)
            yield piece
        else:
            yield piece
        before = piece.speaker


def _apart(pieces: list[Piece]) -> list[Piece]:
    """The pieces; where no time in the file has a space beside it, the times themselves separate words."""
    if any(p.timed and p.joint == "word" for p in pieces):
        return pieces
    return [replace(p, joint="word") if p.joint == "part" and not _UNSPACED.match(p.text) else p for p in pieces]


# --- each word once, in order of time -------------------------------------------------------------------------------


def _unroll(cues: list[_Cue]) -> list[_Cue]:
    """The cues without repeated lines and words.

    A scrolling file shows the previous line again above each new one; some add a line word by word. In a scrolling
    file all repeats are dropped; elsewhere only those in a cue that follows immediately, so that a sentence spoken
    twice is kept twice.
    """
    repeats = sum(
        before.shown[-1] == cue.shown[0] and len(cue.shown) > 1 and cue.start <= before.end + SCROLL_S
        for before, cue in itertools.pairwise(cues)
    )
    rolling = repeats >= max(3, ROLLING_SHARE * len(cues))
    kept: list[_Cue] = []
    ends: list[float] = []  # until when each is shown, repeats included
    before: _Cue | None = None
    for cue in cues:
        new = cue
        if before and (rolling or cue.start <= before.end + 0.05):
            new = _without_repeat(before, cue, rolling)
        if new.lines:
            kept.append(new)
            ends.append(new.end)
        elif kept and (not rolling or (before and cue.shown == before.shown)) and cue.start <= ends[-1] + 0.05:
            ends[-1] = max(ends[-1], cue.end)
        before = cue
    return [_lasting(cue, end) if end > cue.end else cue for cue, end in zip(kept, ends, strict=True)]


def _lasting(cue: _Cue, end: float) -> _Cue:
    """The cue until a later end, with those of its pieces that last until its own."""
    lines = (tuple(replace(p, end=end) if p.end == cue.end else p for p in line) for line in cue.lines)
    return replace(cue, end=end, lines=tuple(lines))


def _without_repeat(before: _Cue, cue: _Cue, rolling: bool) -> _Cue:
    old, new = before.shown, cue.shown
    for n in range(min(len(old), len(new), 8), 0, -1):
        if old[-n:] == new[:n]:
            return replace(cue, lines=cue.lines[n:])
    old_words, new_words = " ".join(old).split(), " ".join(new).split()
    if len(old_words) < len(new_words) and new_words[: len(old_words)] == old_words and (rolling or len(old_words) > 2):
        return _without_words(cue, len(old_words))
    return cue


def _without_words(cue: _Cue, count: int) -> _Cue:
    """The cue without its first `count` words."""
    lines: list[tuple[Piece, ...]] = []
    for line in cue.lines:
        rest: list[Piece] = []
        for piece in line:
            words = piece.text.split()
            if count < len(words):
                rest.append(replace(piece, text=" ".join(words[count:])))
            count = max(0, count - len(words))
        lines.append(tuple(rest))
    return replace(cue, lines=tuple(line for line in lines if line))


def _repair(pieces: list[Piece]) -> list[Piece]:
    """The pieces with times that never run backwards: overlaps end at the later start, and the lines of a cue share
    its time by length."""
    pieces = _share(pieces)
    fixed: list[Piece] = []
    clock = 0.0
    for index, piece in enumerate(pieces):
        start = max(piece.start, clock)
        end = piece.end
        if index + 1 < len(pieces) and pieces[index + 1].start > start:
            end = min(end, pieces[index + 1].start)
        end = max(end, start)
        if end == start and index + 1 == len(pieces):
            end = start + _reading_time(piece.text)
        elif end == start:
            end = min(start + _reading_time(piece.text), max(start, pieces[index + 1].start))
        fixed.append(replace(piece, start=start, end=end))
        clock = start
    return fixed


def _share(pieces: list[Piece]) -> list[Piece]:
    """Put pieces with the same times (the lines of a cue) one after another, with times in proportion to their text."""
    shared: list[Piece] = []
    for (start, end), group in itertools.groupby(pieces, key=lambda p: (p.start, p.end)):
        same = list(group)
        total = sum(len(p.text) for p in same)
        done = 0
        for piece in same:
            length = len(piece.text)
            shared.append(
                replace(
                    piece,
                    start=start + (end - start) * done / total,
                    end=start + (end - start) * (done + length) / total,
                )
                if end > start
                else piece
            )
            done += length
    return shared


def _reading_time(text: str) -> float:
    """Roughly the seconds it takes to say `text`, at 15 characters per second."""
    return max(0.2, len(text) / 15)
