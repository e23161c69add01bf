"""From a cue's text to what is spoken in it: without markup, descriptions of sounds, and music.

Times, changes of speaker and their names are kept as marks inside the text, from Unicode's private use area.
"""

from __future__ import annotations

import html
import re

from curation.subtitles.cue_blocks import seconds_of
from curation.subtitles.descriptions import without_descriptions
from curation.subtitles.songs import NOTES

AT, TURN, NAME = "\ue000", "\ue001", "\ue002"
"""The marks: AT seconds AT is a time, TURN a change of speaker, NAME number NAME a speaker by place in `names`."""

_PRIVATE = re.compile("[\ue000-\ue0ff]")
_INVISIBLE = re.compile("[\u00ad\u200b\u200e\u200f\u202a-\u202e\u2060\u2066-\u2069\ufeff\ufffc\x00-\x08\x0e-\x1f\x7f]")
_SPACES, _BLANKS = re.compile(r"[^\S\n]{2,}"), re.compile(r"\n(?:\s?\n)+")  # those that references have brought
_INNER_TIME = re.compile(r"<(?:(\d{1,4})[:.])?(\d{1,4})[:.](\d{1,2})(?:[.,:](\d{1,6}))?>")
_VOICE = re.compile(r"<v(?:\.[^<>\s]{0,50})?(?:\s([^<>]{0,200}))?>", re.IGNORECASE)
_BARE = "b|big|br|center|del|em|i|ins|mark|nobr|rb|rp|rt|ruby|s|small|strike|strong|sub|sup|tt|u"
_WITH_ATTRIBUTES = "a|body|c|div|font|html|lang|p|span|style|v"
_TAG = re.compile(
    rf"</?(?:{_BARE})(?:\.[^<>\s]{{0,100}})?\s?/?>|</?(?:{_WITH_ATTRIBUTES})(?=[\s.>/])[^<>]{{0,500}}>|<![^<>]{{0,500}}>|"
    r"</?>|<[\d:.]{1,20}>",
    re.IGNORECASE,
)
_RUBY = re.compile(r"<rt>[^<>]{0,100}</rt>", re.IGNORECASE)
_OVERRIDE = re.compile(r"\{\\[^{}]{0,200}\}|\{[cfhopsyCFHOPSY]:[^{}]{0,100}\}")
_SUNG = re.compile(rf"[{NOTES}][^{NOTES}]{{0,1000}}(?:[{NOTES}]+|$)|^\s*+#\s[^#]{{0,1000}}\s#\s*+$")
_ARROWS = re.compile(
    r"(?:^|(?<=\s))>{2,3}(?:\s{0,3}([A-Z][\w.'’-]{0,20}(?: [A-Z][\w.'’-]{0,20}){0,2}):(?=\s))?", re.MULTILINE
)
_BRACKETED = re.compile(
    r"^[^\S\n]*+[\[(]([^\W_][^\[\]()\n\ue000-\ue0ff]{0,40})[\])]\s?:(?=\s)",  # [ANNA]:
    re.MULTILINE,
)
_DASH = re.compile(r"^[^\S\n]*+(?:[-–—‐−]\s++(?=\S)|[-–—‐](?=[^\W\d]))", re.MULTILINE)
# Longer references stand for nothing; `html.unescape` raises ValueError for the number of some.
_REFERENCE = re.compile(
    r"&(?:#[0-9]{1,9}+(?![0-9])|#[xX][0-9a-fA-F]{1,8}+(?![0-9a-fA-F])|[^\W\d_][^\t\n\f <&#;]{0,31});?"
)


def spoken_text(text: str, names: dict[str, int]) -> str:
    """A cue's lines with our marks, and without other markup, sounds and music; new names are added to `names`.

    >>> spoken_text("<v Anna>Hello!</v>\\n- [door creaks] Who is <i>there</i>?", {})
    ' \\ue0020\\ue002Hello!\\n\\ue001Who is there?'
    """
    text = _PRIVATE.sub("", text)
    text = _INNER_TIME.sub(lambda m: f"{AT}{seconds_of(*m.groups()):.3f}{AT}", text)
    text = _VOICE.sub(lambda m: f" {speaker_mark(m[1], names)}", _RUBY.sub("", text))
    text = _OVERRIDE.sub("", _TAG.sub("", text)).replace("\\N", "\n").replace("\\n", "\n").replace("\\h", " ")
    text = _INVISIBLE.sub("", _REFERENCE.sub(_meant, text) if "&" in text else text)
    text = _BLANKS.sub("\n", _SPACES.sub(" ", text))
    text = _BRACKETED.sub(lambda m: speaker_mark(None if m[1].islower() else m[1], names), text)
    text = without_descriptions(_SUNG.sub(" ", text), TURN)
    if ">" in text:
        text = _ARROWS.sub(lambda m: speaker_mark(m[1], names), text)
    return _DASH.sub(TURN, text)


def speaker_mark(name: str | None, names: dict[str, int]) -> str:
    """The mark for a speaker of that name, which is added to `names`; that for a change of speaker if it is empty."""
    name = " ".join(_REFERENCE.sub(_meant, name or "").split())
    return f"{NAME}{names.setdefault(name, len(names))}{NAME}" if name else TURN


def _meant(reference: re.Match[str]) -> str:
    """The characters that an HTML reference stands for; none of our marks."""
    return _PRIVATE.sub("", html.unescape(reference[0]))
