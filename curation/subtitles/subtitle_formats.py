"""Formats of subtitle files: which one a text is in, and the others in the form that cues.py reads, WebVTT."""

from __future__ import annotations

import html
import io
import re
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING
from xml.etree.ElementTree import Element, ParseError, iterparse

from curation.subtitles.cue_blocks import has_times

if TYPE_CHECKING:
    from pysubs2 import SSAEvent

SUFFIXES = ("vtt", "srt", "ass", "ssa", "ttml", "dfxp", "sbv")  # in order of preference
_HEAD = 4096  # characters in which a file says what it is
_LONGEST_NAME = 60  # characters of a speaker's name
_MAX_LINE = 50_000  # characters of a line of SubStation Alpha

_TTML = re.compile(r"<(?:\w{1,20}:)?tt[\s>]")
_SUBSTATION = re.compile(
    r"^[ \t]{0,9}(?:\[(?:script info|v4\+? styles|events)\]|dialogue:)", re.IGNORECASE | re.MULTILINE
)
_OLDER_SUBSTATION = re.compile(r"^[ \t]{0,9}\[v4 styles\]|^dialogue:\s*marked=", re.IGNORECASE | re.MULTILINE)
_SBV_TIME = r"(\d{1,2}:\d\d:\d\d\.\d{1,3})"
_SBV = re.compile(rf"^{_SBV_TIME},{_SBV_TIME}[ \t\r]*$", re.MULTILINE)

Cue = tuple[float, float, str, str]
"""Start, end, plain text, and the speaker's name, or ""."""


def format_of(text: str) -> str | None:
    """The format of a file, by its content: vtt, srt, ass, ssa, ttml or sbv; None if it is in none of them.

    >>> format_of("[Script Info]\\nTitle: x"), format_of("<!DOCTYPE html><p>Not found")
    ('ass', None)
    """
    head = text.lstrip("\ufeff \t\r\n")[:_HEAD]
    if head.startswith("WEBVTT"):
        return "vtt"
    if head.startswith("<") and _TTML.search(head):
        return "ttml"
    if is_html(head):
        return None
    if _SUBSTATION.search(head):
        return "ssa" if _OLDER_SUBSTATION.search(head) else "ass"
    if "-->" in text:
        return "srt"
    if _SBV.search(text):
        return "sbv"
    return "srt" if has_times(text) else None


def is_html(text: str) -> bool:
    """Whether a text is a page, which sites send in place of a file that they do not have."""
    return text.lstrip("\ufeff \t\r\n")[:20].lower().startswith(("<!doctype html", "<html"))


def as_webvtt(text: str, form: str) -> str:
    """A file in a format other than vtt and srt as WebVTT; those two are returned unchanged. Never raises.

    >>> as_webvtt("0:00:01.000,0:00:02.500\\nHello[br]there.", "sbv")
    '0:00:01.000 --> 0:00:02.500\\nHello\\nthere.'
    """
    if form == "sbv":
        return _SBV.sub(r"\1 --> \2", text).replace("[br]", "\n")
    if form in ("ass", "ssa"):
        return _webvtt(_substation(text, form))
    return _webvtt(_ttml(text)) if form == "ttml" else text


def _webvtt(cues: Iterable[Cue]) -> str:
    return "".join(
        f"{_clock(start)} --> {_clock(end)}\n{_voice(speaker)}{_payload(text)}\n\n"
        for start, end, text, speaker in cues
    )


def _voice(speaker: str) -> str:
    """WebVTT's tag for a speaker."""
    name = " ".join(speaker.split())
    return f"<v {html.escape(name, quote=False)}>" if name else ""


def _clock(seconds: float) -> str:
    """
    >>> _clock(3725.5)
    '01:02:05.500'
    """
    ms = round(1000 * min(max(seconds, 0.0), 3.5e6))
    return f"{ms // 3_600_000:02}:{ms // 60_000 % 60:02}:{ms // 1000 % 60:02}.{ms % 1000:03}"


def _payload(text: str) -> str:
    """The lines of a cue, none of them empty, and none with a character that WebVTT would take for markup."""
    return html.escape("\n".join(line for line in text.splitlines() if line.strip()), quote=False)


# --- SubStation Alpha -------------------------------------------------------------------------------------------------

_PLACED = re.compile(r"\\(?:pos|move|i?clip|org)\(")
_EFFECT = re.compile(r"\s*(?:fx|karaoke|code|template)\b", re.IGNORECASE)
_FIELDS = ("layer", "start", "end", "style", "name", "marginl", "marginr", "marginv", "effect", "text")
_OTHER_NAMES = {"marked": "layer", "actor": "name"}
_NUMBERS = ("layer", "marginl", "marginr", "marginv")
_DRAWING = re.compile(r"\\p[1-9]")


def _substation(text: str, form: str) -> Iterator[Cue]:
    """The lines that are dialogue, not comments, drawings or effects. A line that cannot be read is left out.

    Lines with a place of their own are signs, if others have none.
    """
    spoken, signs = list[Cue](), list[Cue]()
    for event in _dialogue(text, form):
        cue = event.start / 1000, event.end / 1000, event.plaintext, event.name[:_LONGEST_NAME]
        (signs if _PLACED.search(event.text) else spoken).append(cue)
    yield from spoken or signs


def _dialogue(text: str, form: str) -> Iterator[SSAEvent]:
    from pysubs2 import SSAFile  # imported where such a file is read, which is rare

    order: Sequence[int] | None = None  # of the fields of the lines, if it is not the usual one
    for line in text.splitlines():
        if line.startswith("Format:"):
            order = _order(line[:_MAX_LINE])
        if not line.startswith("Dialogue:") or _DRAWING.search(line, 0, _MAX_LINE):
            continue
        line = _reordered(line, order) if order else line
        try:
            events = SSAFile.from_string(line[:_MAX_LINE], form).events
        except ValueError:
            continue
        yield from (event for event in events if event.text and not _EFFECT.match(event.effect))


def _order(line: str) -> Sequence[int] | None:
    """Where the line that names the fields has those of _FIELDS; None if in that order, or if it names others."""
    fields = [field.strip().lower() for field in line.removeprefix("Format:").split(",")]
    names = [_OTHER_NAMES.get(field, field) for field in fields]
    if names[-1:] != ["text"] or names == list(_FIELDS) or not {"start", "end"} <= set(names):
        return None
    return [names.index(name) if name in names else -1 for name in _FIELDS] if len(names) <= 20 else None


def _reordered(line: str, order: Sequence[int]) -> str:
    """A line of dialogue with its fields in the order of _FIELDS; those that it lacks are empty, or 0."""
    values = line.removeprefix("Dialogue:").split(",", max(order))
    found = {name: values[at] for name, at in zip(_FIELDS, order, strict=True) if 0 <= at < len(values)}
    usual = (found.get(name, "0" if name in _NUMBERS else "").strip() for name in _FIELDS)
    return f"Dialogue: {','.join(usual)}"


# --- TTML -------------------------------------------------------------------------------------------------------------

_BREAK = "\0"  # between two lines; no character of XML
_DECLARATION = re.compile(r"^\s*+<\?xml[^>]{0,500}\?>")
_REFERENCE = re.compile(r"&(?!(?:amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9A-Fa-f]{1,6});)([A-Za-z]\w{1,31};)?")
_OFFSET = re.compile(r"(\d{1,12}(?:\.\d{1,9})?)(h|m|s|ms|f|t)?")
_CLOCK = re.compile(r"(\d{1,4}):(\d\d):(\d\d(?:\.\d{1,9})?)(?::(\d{1,4}))?")


def _ttml(text: str) -> Iterator[Cue]:
    """The paragraphs (https://www.w3.org/TR/ttml2/) that have times, or lie in something that has; up to an error."""
    if "<!ENTITY" in text:  # none has any; one that has may be meant to fill the memory
        return
    rates = _Rates()
    times: list[tuple[float, float | None]] = [(0.0, None)]  # of the open elements
    try:
        text = _REFERENCE.sub(_as_xml, _DECLARATION.sub("", text, 1))
        for event, element in iterparse(io.StringIO(text), ("start", "end")):
            name = _local(element.tag)
            if event == "start":
                rates = _Rates.of(element) if name == "tt" else rates
                times.append(rates.times(element, *times[-1]))
                continue
            start, end = times.pop()
            if name == "br":
                element.text = _BREAK
            elif name == "p":
                if end is not None:
                    lines = "".join(element.itertext()).split(_BREAK)
                    yield start, end, "\n".join(" ".join(line.split()) for line in lines), ""
                element.clear()
    except ParseError:
        return


def _as_xml(reference: re.Match[str]) -> str:
    """A reference that XML knows, in place of one of HTML, or of a bare ampersand."""
    meant = html.unescape(reference[0]) if reference[1] else reference[0]
    return html.escape(meant, quote=False)


def _local(tag: str) -> str:
    return tag.rpartition("}")[2]


class _Rates:
    """The frames and ticks per second in which the times of a document may count."""

    def __init__(self, frames: float = 30.0, ticks: float = 1.0) -> None:
        self.frames, self.ticks = frames, ticks

    @classmethod
    def of(cls, root: Element) -> _Rates:
        stated = {_local(name): value for name, value in root.attrib.items()}
        frames = _number(stated.get("frameRate")) or 30.0
        above, _, below = stated.get("frameRateMultiplier", "").partition(" ")
        if (over := _number(above)) and (under := _number(below)):
            frames *= over / under
        return cls(frames, _number(stated.get("tickRate")) or (frames if "frameRate" in stated else 1.0))

    def times(self, element: Element, start: float, end: float | None) -> tuple[float, float | None]:
        """Start and end of an element inside one with these."""
        own = {name: self._seconds(element.get(name)) for name in ("begin", "end", "dur")}
        began = start + (own["begin"] or 0.0)
        if own["end"] is not None:
            return began, start + own["end"]
        return began, end if own["dur"] is None else began + own["dur"]

    def _seconds(self, expression: str | None) -> float | None:
        expression = (expression or "").strip()
        if clock := _CLOCK.fullmatch(expression):
            hours, minutes, seconds, frames = clock.groups()
            return 3600 * int(hours) + 60 * int(minutes) + float(seconds) + int(frames or 0) / self.frames
        if offset := _OFFSET.fullmatch(expression):
            unit = {"h": 3600.0, "m": 60.0, "ms": 0.001, "f": 1 / self.frames, "t": 1 / self.ticks}
            return float(offset[1]) * unit.get(offset[2], 1.0)
        return None


def _number(text: str | None) -> float | None:
    """
    >>> _number("25"), _number("0"), _number(None)
    (25.0, None, None)
    """
    found = re.fullmatch(r"\d{1,12}(\.\d{1,9})?", text or "")
    return float(found[0]) or None if found else None
