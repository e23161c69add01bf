"""From the text of a subtitle file to its cues: their times and lines.

One tolerant reader takes both WebVTT (W3C, https://www.w3.org/TR/webvtt1/) and SubRip. It looks for lines with two
times, and takes everything between two such lines as text. So headers, blank lines, hours and numbers may be missing,
and a line of times may be broken by spaces, by other signs and digits (of translation programs), or by a minus.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

MAX_CUES = 100_000
MAX_CUE = 50_000  # characters of one cue
MAX_SPEECH = 500_000  # characters between the times
_HEAD = 10_000  # lines in which a file shows that it has times
_LONGEST = 400  # characters of a line of times

_COLON = r"\s{0,2}[:：.]\s{0,2}"
_TIME = (
    rf"([-−]?)(?:(\d{{1,4}}){_COLON})?([-−]?)(\d{{1,4}}){_COLON}([-−]?)(\d{{1,2}})"
    r"(?:\s{0,2}[.,:：，٫]\s{0,2}[-−]?(\d{1,6}))?"
)
_ARROW = r"(?:(?:[-–—−=]\s{0,2}){1,3}(?:>|&gt;){1,2}|[→⇒⟶])"
_TIMING = re.compile(rf"^[^\d\n]{{0,8}}?{_TIME}\s{{0,8}}{_ARROW}\s{{0,8}}{_TIME}(?!\d)")
_EXACT = r"\d{1,2}:\d{1,2}:\d{1,2}[.,]\d{1,3}"
_STAMP = r"(?:\d{1,4}:)?\d{1,2}:\d{2}[.,]\d{1,3}"
_EXACT_LINE = re.compile(rf"\s{{0,8}}{_STAMP}\s{{0,8}}-->\s{{0,8}}{_STAMP}(?!\d)")
_FRAMES = r"(\d{1,2}:\d\d:\d\d):(\d\d)"
_FRAME_LINE = re.compile(rf"^[ \t]{{0,8}}{_FRAMES}[ \t]{{0,8}}-->[ \t]{{0,8}}{_FRAMES}(?![\d:.,])", re.MULTILINE)
_FEWEST_FRAMES = 3  # lines of times that count frames, to tell them from hundredths
_RATES = (24, 25, 30)  # frames a second
_NO_ARROW = re.compile(rf"^\s{{0,8}}({_EXACT})[\s,;|~–-]{{1,8}}({_EXACT})\s{{0,8}}$")
_ONE_TIME = re.compile(rf"^\s{{0,8}}{_EXACT}\s{{0,8}}$")
_ANY_TIME, _ANY_ARROW = re.compile(_TIME), re.compile(_ARROW)
_LETTERS = re.compile(r"[^\W\d_]{3}")
_NOT_TEXT = re.compile(r"(?:NOTE|STYLE|REGION)(?:\s|$)")
_NUMBER = re.compile(r"\s{0,8}\d{1,7}\s{0,8}")
# Webex names the speaker above the times: 12 "Anna Example" (34567)
_SPEAKER_ABOVE = re.compile(r'^\d{1,6}\s{1,2}(?:-\s)?"?([^"()<>\n]{2,60}?)"?\s\(\d{1,12}\)\s{0,8}$')


@dataclass(frozen=True)
class Block:
    """A cue as the file has it: its times in seconds, and its lines with single spaces and none of them blank."""

    start: float
    end: float
    lines: tuple[str, ...]


def blocks_of(text: str) -> list[Block]:
    """The cues of a file in its order; at most MAX_CUES.

    >>> blocks_of("1\\n00: 00: 01,5 -> 00: 00: 02,0\\nGood\\nmorning.\\n")
    [Block(start=1.5, end=2.0, lines=('Good', 'morning.'))]
    """
    return _with_times(itertools.islice(_blocks(_without_frames(text)), MAX_CUES))


def _without_frames(text: str) -> str:
    """`text` with fractions in place of the frames that its times count (00:00:01:12).

    The rate is the least that a film or a broadcast may have.
    """
    lines = _FRAME_LINE.findall(text)
    largest = max((int(frame) for line in lines for frame in line[1::2]), default=0)
    rate = next((rate for rate in _RATES if largest < rate), None)
    if rate is None or len(lines) < _FEWEST_FRAMES:
        return text

    def as_fractions(line: re.Match[str]) -> str:
        start, first, end, last = line.groups()
        return f"{start}.{1000 * int(first) // rate:03} --> {end}.{1000 * int(last) // rate:03}"

    return _FRAME_LINE.sub(as_fractions, text)


def has_times(text: str) -> bool:
    """Whether one of the first lines is a line of times."""
    return any(_times(line) for line in itertools.islice(_split(text), _HEAD))


def seconds_of(hours: str | None, minutes: str | None, seconds: str | None, fraction: str | None) -> float:
    """The seconds that a time's digits, in any script, stand for."""
    whole = int(hours or 0) * 3600 + int(minutes or 0) * 60 + int(seconds or 0)
    return whole + (int(fraction) / 10 ** len(fraction) if fraction else 0.0)


_Times = tuple[float | None, float | None]


def _split(text: str) -> list[str]:
    return re.split(r"\r\n|\r|\n", text)


def _blocks(text: str) -> Iterator[tuple[_Times, list[str]]]:
    """Times and lines of each cue; a time that cannot be read is None."""
    lines = _split(text)
    found_in = [_times(line) for line in lines]
    exact = [
        found is not None and _EXACT_LINE.match(line) is not None for line, found in zip(lines, found_in, strict=True)
    ]
    is_exact = 2 * sum(exact) >= len(lines) - found_in.count(None)
    times: _Times | None = None
    payload: list[str] = []
    room, left = MAX_SPEECH, MAX_CUE  # characters that may follow in the file, and in the cue
    skipping = False  # inside a NOTE, STYLE or REGION block
    blank = True  # whether the previous line was
    before = ""
    is_webvtt = text.lstrip("\ufeff \t\r\n").startswith("WEBVTT")  # SubRip has no comments
    for line, found, is_sure in zip(lines, found_in, exact, strict=True):
        if found and is_exact and not is_sure and not _may_be_broken(line, before):
            found = None
        before = line
        if found:
            name = _take_name(payload)
            if times:
                yield times, _tidy(payload)
            times = found
            payload, left, skipping = [f"<v {name}>"] if name else [], MAX_CUE, False
        elif line == "":
            skipping = False
            if not blank:
                payload.append("")
        elif blank and is_webvtt and _NOT_TEXT.match(line):
            skipping = True
        elif not skipping and (kept := line[: min(room, left)]) and not _ONE_TIME.match(line[:_LONGEST]):
            payload.append(kept)
            left -= len(kept)
            room -= len(kept) if times else 0
        blank = line == ""
    if times:
        yield times, _tidy(payload)


def _may_be_broken(line: str, before: str) -> bool:
    """Whether a line may be one of times in a file whose others are exact: it has no words, and begins a cue."""
    return not _LETTERS.search(line[:_LONGEST]) and (not before.strip() or _NUMBER.fullmatch(before) is not None)


def _take_name(payload: list[str]) -> str | None:
    """Drop the name or number of the next cue from a cue's lines; returns the speaker whom it names, if it does."""
    if not payload or not payload[-1]:
        return None
    alone = len(payload) == 1 or (payload[-2] == "" and any(line.strip() for line in payload[:-1]))
    speaker = _SPEAKER_ABOVE.match(payload[-1][:_LONGEST]) if alone else None
    if (alone and len(payload) > 1) or speaker or _NUMBER.fullmatch(payload[-1]):
        payload.pop()
    return speaker[1].strip() if speaker else None


def _tidy(payload: list[str]) -> list[str]:
    """The non-blank lines, with single spaces, so that later patterns need not handle runs of white space."""
    return [" ".join(line.split()) for line in payload if line.strip()]


# --- lines of times -------------------------------------------------------------------------------------------------


def _times(line: str) -> _Times | None:
    """Start and end, in seconds, that a line of times states, each None if it cannot be read; None for other lines."""
    if ">" not in line and not any(arrow in line for arrow in "→⇒⟶") and "&gt;" not in line:
        found = _NO_ARROW.match(line[:_LONGEST]) if ":" in line else None
        return (_time(found[1]), _time(found[2])) if found else None
    line = line[:_LONGEST]
    if exact := _TIMING.match(line):
        return _seconds(exact.groups()[:7]), _seconds(exact.groups()[7:])
    arrow = _ANY_ARROW.search(line)
    if not arrow:
        return None
    left, right = line[: arrow.start()].strip(), _LETTERS.split(line[arrow.end() :], maxsplit=1)[0].strip()
    sides = [bool(side) for side in (left, right)]
    if all(_is_like_time(side) for side in (left, right) if side) and (all(sides) or ("--" in arrow[0] and any(sides))):
        return _time(left), _time(right)
    return None


def _is_like_time(side: str) -> bool:
    """Whether one side of an arrow was meant as a time: digits, with colons, commas or dots, and next to no letters."""
    digits, letters = sum(map(str.isdigit, side)), sum(map(str.isalpha, side))
    return digits >= 3 and letters <= 2 and len(side) <= 40 and any(mark in side for mark in ":：,.，")


def _time(side: str) -> float | None:
    found = _ANY_TIME.fullmatch(side)
    return _seconds(found.groups()) if found else None


def _seconds(groups: tuple[str | None, ...]) -> float:
    """The seconds of a match of _TIME; 0 if one of its numbers has a minus."""
    minus, hours, minus_minutes, minutes, minus_seconds, seconds, fraction = groups
    if minus or minus_minutes or minus_seconds:
        return 0.0
    return seconds_of(hours, minutes, seconds, fraction)


def _with_times(found: Iterable[tuple[_Times, list[str]]]) -> list[Block]:
    """The cues with times for those that could not be read: from the end before to the start after."""
    cues = list(found)
    starts = [start for (start, _), _ in cues]
    after: list[float | None] = [None] * len(cues)
    for i in range(len(cues) - 2, -1, -1):
        after[i] = after[i + 1] if starts[i + 1] is None else starts[i + 1]
    blocks: list[Block] = []
    clock = 0.0
    for ((start, end), lines), following in zip(cues, after, strict=True):
        takes = max(1.0, sum(map(len, lines)) / 15)
        begins = start if start is not None else clock if end is None else min(clock, end)
        ends = end if end is not None else begins + takes
        if end is None and following is not None and following > begins:
            ends = min(ends, following)
        blocks.append(Block(begins, ends, tuple(lines)))
        clock = max(ends, begins)
    return blocks
