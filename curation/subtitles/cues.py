"""From subtitle files, clean or broken, to timed text.

One tolerant parser reads both WebVTT (W3C, https://www.w3.org/TR/webvtt1/) and SubRip. It looks for lines with two
times and an arrow, and takes everything between two such lines as text. So headers, blank lines, hours and numbers may
be missing.
"""

from __future__ import annotations

import html
import itertools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

MAX_CHARACTERS = 16_000_000  # text beyond this is not read; a four-hour film has less than one million
MAX_CUES = 100_000
MAX_CUE = 50_000  # characters of one cue
MAX_SPEECH = 500_000  # characters between the times
MAX_PIECES = 100_000
ROLLING_SHARE = 0.3  # if this share of cues repeats the previous line, the file scrolls


@dataclass(frozen=True)
class Piece:
    """Text between two times, in seconds: a word if the file times words, else one or more lines of a cue.

    `turn` is true if a mark shows that another speaker begins.
    """

    start: float
    end: float
    text: str
    turn: bool = False


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
    cues = [_Cue(start, end, _lines(start, end, payload)) for start, end, payload in _blocks(text[:MAX_CHARACTERS])]
    cues.sort(key=lambda cue: (cue.start, cue.end))
    pieces = (p for cue in _unroll([c for c in cues if c.lines]) for line in cue.lines for p in line)
    return _repair(list(itertools.islice(pieces, MAX_PIECES)))


def has_text(text: str) -> bool:
    """Whether there is any text between the times of a subtitle file."""
    return any(payload for _, _, payload in _blocks(text[:MAX_CHARACTERS]))


# --- text to blocks -------------------------------------------------------------------------------------------------

_TIME = r"(?:(\d{1,4})[:.])?(\d{1,4})[:.](\d{1,2})(?:[.,:](\d{1,6}))?"
_TIMING = re.compile(rf"^[^\d\n]{{0,8}}{_TIME}\s{{0,8}}(?:-{{1,3}}>|→|—>|–>)\s{{0,8}}{_TIME}(?!\d)")
_INNER_TIME = re.compile(rf"<{_TIME}>")
_NOT_TEXT = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")


def _seconds(groups: Sequence[str | None]) -> float:
    hours, minutes, seconds, fraction = groups
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + (float(f"0.{fraction}") if fraction else 0.0)


def _blocks(text: str) -> Iterator[tuple[float, float, list[str]]]:
    """Start, end and lines of text of each cue, in the file's order; at most MAX_CUES."""
    times: tuple[float, float] | None = None
    payload: list[str] = []
    room, left = MAX_SPEECH, MAX_CUE  # characters that may follow in the file, and in the cue
    skipping = False  # inside a NOTE, STYLE or REGION block
    blank = True  # whether the previous line was
    count = 0
    for line in re.split(r"\r\n|\r|\n", text):
        timing = _TIMING.match(line) if ">" in line or "→" in line else None
        if timing:
            if times:
                yield *times, _without_name(payload)
                count += 1
                if count == MAX_CUES:
                    return
            times = _seconds(timing.groups()[:4]), _seconds(timing.groups()[4:])
            payload, left, skipping = [], MAX_CUE, False
        elif line == "":
            skipping = False
            if not blank:
                payload.append("")
        elif blank and _NOT_TEXT.match(line):
            skipping = True
        elif not skipping and (kept := line[: min(room, left)]):
            payload.append(kept)
            left -= len(kept)
            room -= len(kept) if times else 0
        blank = line == ""
    if times:
        yield *times, _tidy(payload)


def _without_name(payload: list[str]) -> list[str]:
    """A cue's lines without the name or number of the next cue, which precedes that cue's times."""
    if payload and payload[-1]:
        alone = len(payload) > 1 and payload[-2] == "" and any(line.strip() for line in payload[:-1])
        if alone or re.fullmatch(r"\s*\d{1,7}\s*", payload[-1]):
            payload = payload[:-1]
    return _tidy(payload)


def _tidy(payload: list[str]) -> list[str]:
    """The non-blank lines, with single spaces, so that the patterns below need not handle runs of white space."""
    return [" ".join(line.split()) for line in payload if line.strip()]


# --- lines to pieces ------------------------------------------------------------------------------------------------

# Our marks inside a line, from Unicode's private use area: a time, and a change of speaker.
_AT, _TURN = "\ue000", "\ue001"
_MARK = re.compile(f"{_AT}([0-9.]+){_AT}")
_PRIVATE = re.compile("[\ue000-\ue0ff]")
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufffc\x00-\x08\x0e-\x1f\x7f]")
_SPACES, _BLANKS = re.compile(r"[^\S\n]{2,}"), re.compile(r"\n(?:\s?\n)+")  # those that references have brought
_VOICE = re.compile(r"<v(?:\.[^<>\s]{0,50})?(?:\s[^<>]{0,200})?>", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z!][^<>]{0,500}>|</?>|<[\d:.]{1,20}>")
_RUBY = re.compile(r"<rt>[^<>]{0,100}</rt>", re.IGNORECASE)
_OVERRIDE = re.compile(r"\{\\[^{}]{0,200}\}|\{[a-zA-Z]:[^{}]{0,100}\}")
_BRACKETS = re.compile(r"\[[^\[\]]{0,200}\]|【[^【】]{0,100}】|［[^［］]{0,100}］")
_NOTES = "♪♫♬♩🎵🎶"
_SUNG = re.compile(rf"[{_NOTES}][^{_NOTES}]{{0,1000}}(?:[{_NOTES}]+|$)|^\s*+#\s[^#]{{0,1000}}\s#\s*+$")
_ROUND = r"(?:\([^()]{0,120}\)|（[^（）]{0,120}）)"
_ROUND_FIRST = re.compile(rf"^(?:[^\S\n]*+{_ROUND})+[ \t]*+:?", re.MULTILINE)
_ROUND_AFTER_END = re.compile(rf"(?<=[.!?…。！？؟।])[^\S\n]*+{_ROUND}(?=[^\S\n]*+$)", re.MULTILINE)
_SOUNDS = (
    "applau|audience|bark|beep|bell|breath|buzz|chatter|cheer|chime|chuckl|clap|clear|cough|cry|crowd|crying|foreign|gasp|giggl|groan|"
    "gunshot|horn|humm|inaudible|indistinct|instrumental|laugh|mumbl|music|phone|ring|scream|shout|sigh|silence|sing|siren|sniff|sob|"
    "speaking|static|thud|thunder|unintelligible|whisper|whistl|yell"
)
_ROUND_SOUND = re.compile(rf"\([^()]{{0,60}}?\b(?:{_SOUNDS})[^()]{{0,60}}\)", re.IGNORECASE)
_ARROWS = re.compile(
    r"(?:^|(?<=\s))>{2,3}(?:\s{0,3}[A-Z][\w.'’-]{0,20}(?: [A-Z][\w.'’-]{0,20}){0,2}:(?=\s))?", re.MULTILINE
)
_DASH = re.compile(r"^[^\S\n]*+(?:[-–—‐−]\s++(?=\S)|[-–—‐](?=[^\W\d]))", re.MULTILINE)
_NAME = re.compile(r"^[^\S\n]*+([^\W_][^:：\n]{0,30})[:：](?=\s|$)", re.MULTILINE)
# Longer references stand for nothing; `html.unescape` raises ValueError for the number of some.
_REFERENCE = re.compile(
    r"&(?:#[0-9]{1,9}+(?![0-9])|#[xX][0-9a-fA-F]{1,8}+(?![0-9a-fA-F])|[^\W\d_][^\t\n\f <&#;]{0,31});?"
)


def _lines(start: float, end: float, payload: list[str]) -> tuple[tuple[Piece, ...], ...]:
    """The cue's lines as pieces, without markup and descriptions of sounds."""
    text = _speech("\n".join(payload))
    lines = (tuple(_timed(line, start, end)) for line in text.split("\n"))
    return tuple(line for line in lines if line)


def _speech(text: str) -> str:
    """A cue's text with our marks for times and turns, and without other markup, sounds, music and names."""
    text = _PRIVATE.sub("", text)
    text = _INNER_TIME.sub(lambda m: f"{_AT}{_seconds(m.groups()):.3f}{_AT}", text)
    text = _VOICE.sub(f" {_TURN}", _RUBY.sub("", text))
    text = _OVERRIDE.sub("", _TAG.sub("", text)).replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    text = _INVISIBLE.sub("", _REFERENCE.sub(_meant, text) if "&" in text else text)
    text = _BLANKS.sub("\n", _SPACES.sub(" ", text))
    text = _SUNG.sub(" ", _BRACKETS.sub(" ", text))
    if "(" in text or "（" in text:
        text = _ROUND_SOUND.sub(" ", _ROUND_AFTER_END.sub("", _ROUND_FIRST.sub(_TURN, text)))
    if ">" in text:
        text = _ARROWS.sub(_TURN, text)
    text = _DASH.sub(_TURN, text)
    if ":" in text or "：" in text:
        text = _NAME.sub(lambda m: _TURN if _is_name(m[1]) else m[0], text)
    return text


def _meant(reference: re.Match[str]) -> str:
    """The characters that an HTML reference stands for; none of our marks."""
    return _PRIVATE.sub("", html.unescape(reference[0]))


def _is_name(label: str) -> bool:
    letters = [c for c in label if c.isalpha()]
    return len(letters) > 1 and label.isupper() and len(label.split()) <= 3


def _timed(line: str, start: float, end: float) -> Iterator[Piece]:
    """The pieces of one line: one for each part between two times in it."""
    texts = _MARK.split(line)  # text, time, text, time, …, text
    times = [start, *(float(t) for t in texts[1::2])]
    turn = False
    for text, at, until in zip(texts[::2], times, [*times[1:], end], strict=True):
        turn = turn or _TURN in text
        words = " ".join(text.replace(_TURN, " ").split())
        if words:
            yield Piece(at, until, words, turn)
            turn = False


# --- each word once, in order of time -------------------------------------------------------------------------------


def _unroll(cues: list[_Cue]) -> list[_Cue]:
    """The cues without repeated lines and words.

    A scrolling file shows the previous line again above each new one; some add a line word by word. In a scrolling
    file all repeats are dropped; elsewhere only those in a cue that follows immediately, so that a sentence spoken
    twice is kept twice.
    """
    repeats = sum(before.shown[-1] == cue.shown[0] for before, cue in itertools.pairwise(cues))
    rolling = repeats >= max(3, ROLLING_SHARE * len(cues))
    kept: list[_Cue] = []
    before: _Cue | None = None
    for cue in cues:
        new = cue
        if before and (rolling or cue.start <= before.end + 0.05):
            new = _without_repeat(before, cue, rolling)
        if new.lines:
            kept.append(new)
        elif kept and not rolling and cue.start <= kept[-1].end + 0.05:
            kept[-1] = replace(kept[-1], end=max(kept[-1].end, cue.end))
        before = cue
    return kept


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
