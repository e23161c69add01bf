"""Subtitle tracks: which files to fetch for a video, which lie next to a local one, and reading them."""

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
from curation.languages import UNKNOWN, code_of, named_in, primary, rank
from curation.records import SubtitleTrack
from curation.rejects import Kind, Rejected
from curation.subtitles.cues import MAX_CHARACTERS
from curation.subtitles.parsing import PARSE_S, look
from curation.subtitles.subtitle_formats import SUFFIXES, format_of, is_html
from curation.subtitles.text_encoding import decode

FILE_BYTES = 16 * 2**20  # the rest of a larger file is not read
_KINDS = r"(?:(?:sdh|cc|hi|full)\.)?"  # for the hard of hearing, and the like; .forced. has a few lines alone
_REST = re.compile(rf"(?:([^.]{{2,40}})\.{_KINDS})?({'|'.join(SUFFIXES)})", re.IGNORECASE)
_LANGUAGE = re.compile(rf"\.([^./]{{2,40}})\.{_KINDS}(?:{'|'.join(SUFFIXES)})$", re.IGNORECASE)
_AUTOMATIC = re.compile(r"-auto(?:-|$)", re.IGNORECASE)

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


def passed_over(unread: Mapping[str, str], manual: SubtitleFiles, wanted: Sequence[str]) -> list[str]:
    """A message for each `wanted` language in which people's subtitles are only in formats that are not `readable`.

    >>> passed_over({"de": "lrc", "fr": "lrc"}, {"en": {}}, ["de", "en"])
    ['manual subtitles in de: only as lrc, which is not read']
    """
    had = {primary(language) for language in manual}
    tags = (name for name in unread if named_in(name))  # not live_chat and the like
    missing = (tag for tag in tags if rank(tag, wanted) is not None and primary(tag) not in had)
    return [f"manual subtitles in {name}: only as {unread[name]}, which is not read" for name in missing]


def subtitles_beside(video: Path, names: Sequence[str], wanted: Sequence[str]) -> tuple[Path | None, str | None]:
    """The best of x.en.vtt, x.en.srt, x.vtt and the like beside x.mp4, and the language in its name, if any.

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
        match = _REST.fullmatch(name, len(stem))
        if not match or _AUTOMATIC.search(match[1] or ""):
            continue
        language = named_in(match[1]) if match[1] else None
        place = rank(language, wanted)
        if place is not None and (language or not match[1]):
            found.append(((place, SUFFIXES.index(match[2].lower()), name), language))
    if not found:
        return None, None
    (_, _, name), language = min(found)
    return video.with_name(name), language


def language_in(name: str) -> str | None:
    """The language tag in the name of a subtitle file, such as x.en.vtt or x.English.srt, or None.

    >>> language_in("x.eng.sdh.srt"), language_in("x.srt")
    ('en', None)
    """
    match = _LANGUAGE.search(name)
    return named_in(match[1]) if match else None


def read(data: bytes, language: str | None, kind: str, seconds: float = PARSE_S) -> tuple[SubtitleTrack, str | None]:
    """The track in a file's bytes, read within `seconds`, and its fault if it has no cue.

    Such a track is kept all the same, for a better parser. A track is automatic, whatever `kind` says, if it has the
    form of a recogniser's (recognised.py). Raises Rejected, also for an HTML page and the like.
    """
    text = storable.text(decode(data[:FILE_BYTES], code_of(language)))
    form = format_of(text)
    if form is None:
        said = "an HTML page" if is_html(text) else f"no file in a known format ({', '.join(SUFFIXES)})"
        raise Rejected(Kind.UNREADABLE, f"{said} instead of subtitles")
    seen = look(text[:MAX_CHARACTERS], form, min(seconds, PARSE_S))
    kind = "automatic" if seen.automatic else kind
    track = SubtitleTrack(language=language or UNKNOWN, kind=kind, format=form, text=text)
    return track, None if seen.cues else f"there is no cue in them ({form})"


_FILE_KEYS = ("url", "data", "ext", "protocol", "http_headers")


def readable(listed: Mapping[str, Sequence[SubtitleFile]] | None) -> dict[str, SubtitleFile]:
    """By language, the best file in a format that is read, of all that a site offers."""
    best: dict[str, SubtitleFile] = {}
    for language, files in (listed or {}).items():
        for ext in SUFFIXES:
            if found := next((f for f in reversed(files) if f.get("ext") == ext), None):
                best[language] = {k: found[k] for k in _FILE_KEYS if found.get(k) is not None}
                break
    return best


def unreadable(listed: Mapping[str, Sequence[SubtitleFile]] | None) -> dict[str, str]:
    """By language, the formats of the files that a site offers only in formats that are not read."""
    read = readable(listed)
    unread = {language: files for language, files in (listed or {}).items() if language not in read}
    return {language: ", ".join(sorted({str(f.get("ext"))[:20] for f in files})) for language, files in unread.items()}
