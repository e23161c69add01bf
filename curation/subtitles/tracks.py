"""Subtitle tracks: which files to fetch for a video, which lie next to a local one, and decoding them."""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from curation import storable
from curation.languages import UNKNOWN, rank
from curation.records import SubtitleTrack
from curation.subtitles.text_encoding import decode

SUFFIXES = (".vtt", ".srt")
FILE_BYTES = 16 * 2**20  # the rest of a larger file is not read
_LANGUAGE = r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*"
_SUFFIX = re.compile(rf"(?:(?!\w+-auto\b)({_LANGUAGE})\.)?(vtt|srt)", re.IGNORECASE)

ROW_CHARACTERS = 64 * 2**20  # of the tracks of one video
MAX_LANGUAGES = 200  # of one video
MAX_ALTERNATIVES = 10  # of one language

SubtitleFile = Mapping[str, Any]
"""A file that a site offers: {url or data, ext, ...}, as yt-dlp lists it and takes it back."""

SubtitleFiles = Mapping[str, SubtitleFile]
"""For each language the file that a site offers."""


@dataclass(frozen=True)
class SubtitleChoice:
    """A subtitle file to fetch, in the form that yt-dlp takes; `kind` is manual or automatic."""

    language: str
    kind: str
    file: SubtitleFile


def plan(manual: SubtitleFiles, automatic: SubtitleFiles, wanted: Sequence[str]) -> list[list[SubtitleChoice]]:
    """The files to fetch, in groups of alternatives, manual before automatic: the first available one is enough.

    Groups are in the order of the `wanted` languages; "all" stands for every other one.
    """
    spoken: defaultdict[str, list[SubtitleFile]] = defaultdict(list)
    for stated, file in _not_translated(automatic).items():
        spoken[_base(stated)].append(file)
    groups = []
    for language in _languages(list({**manual, **spoken}), wanted)[:MAX_LANGUAGES]:
        group = [SubtitleChoice(language, "manual", manual[language])] if language in manual else []
        group += [SubtitleChoice(language, "automatic", file) for file in spoken.get(language, ())]
        groups.append(group[:MAX_ALTERNATIVES])
    return groups


def _not_translated(automatic: SubtitleFiles) -> dict[str, Mapping[str, Any]]:
    """The automatic captions in the spoken language. If a site marks some with -orig, the others are translations."""
    marked = {language: file for language, file in automatic.items() if language.endswith("-orig")}
    return marked or dict(automatic)


def _base(language: str) -> str:
    return language.removesuffix("-orig")


def _languages(offered: Sequence[str], wanted: Sequence[str]) -> list[str]:
    """The `offered` languages to fetch: for each of `wanted` the nearest one, and for "all" every one."""
    chosen: dict[str, None] = {}
    for want in wanted:
        places = {o: place for o in offered if (place := rank(o, (want,))) is not None}
        near = sorted(places, key=lambda o: (places[o], o))
        chosen |= dict.fromkeys(near if want == "all" else near[:1])
    return list(chosen)


def subtitles_beside(video: Path, names: Sequence[str], wanted: Sequence[str]) -> tuple[Path | None, str | None]:
    """The best of x.en.vtt, x.en.srt, x.vtt and x.srt beside x.mp4, and the language in its name, if any.

    `names` are the files in its folder, sorted. Files in the `wanted` languages come first, in that order, then those
    without a language; x.en-auto.vtt is not a manual subtitle file.

    >>> subtitles_beside(Path("x.mp4"), ["x.de.vtt", "x.en-GB.srt", "x.mp4", "x.vtt"], ["en"])
    (PosixPath('x.en-GB.srt'), 'en-GB')
    """
    found: list[tuple[tuple[int, int, str], str | None]] = []
    stem = f"{video.stem}."
    for name in itertools.takewhile(
        lambda n: n.startswith(stem), itertools.islice(names, bisect_left(names, stem), None)
    ):
        match = _SUFFIX.fullmatch(name, len(stem))
        if match and (place := rank(match[1], wanted)) is not None:
            found.append(((place, SUFFIXES.index(f".{match[2].lower()}"), name), match[1]))
    if not found:
        return None, None
    (_, _, name), language = min(found)
    return video.with_name(name), language


def language_in(name: str) -> str | None:
    """The language tag in the name of a subtitle file, such as x.en.vtt, or None."""
    match = re.search(rf"\.({_LANGUAGE})\.(?:vtt|srt)$", name)
    return match[1] if match else None


def read(data: bytes, language: str | None, kind: str) -> SubtitleTrack | None:
    """The track in a file's bytes; None if they are not subtitles (but an error page, say). Raises Rejected."""
    text = storable.text(decode(data[:FILE_BYTES]))
    if "-->" not in text:
        return None
    form = "vtt" if text.lstrip().startswith("WEBVTT") else "srt"
    return SubtitleTrack(language=language or UNKNOWN, kind=kind, format=form, text=text)
