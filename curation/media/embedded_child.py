"""Subtitle tracks inside of containers: the function that a guarded child runs. It reads packets, and decodes none."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import av
from av.stream import Discard, Disposition

from curation.languages import UNKNOWN, named_in, rank
from curation.media.containers import begin_of, clock_of, open_media, raise_resource_error

TEXT_CODECS = ("mov_text", "subrip", "srt", "text", "webvtt", "ass", "ssa")
_MOST = 10  # tracks of a file
_ASIDE = re.compile(r"\b(?:signs?|songs?|forced|commentary|comments?|karaoke|lyrics)\b", re.IGNORECASE)


def embedded_subtitles(argument: dict[str, Any]) -> dict[str, Any]:
    """The subtitles in the wanted languages of {path, wanted, characters}, best first, each with as many characters.

    Returns {tracks: [{language, text}]}; a text is a file in SubRip or Advanced SubStation Alpha, on the file's clock.
    Raises Rejected.
    """
    with open_media(Path(argument["path"])) as container:
        chosen = _chosen(container, argument["wanted"])
        found: dict[int, list[str]] = {stream.index: [] for stream in chosen}
        room = dict.fromkeys(found, int(argument["characters"]))
        for index, event in _events(container, chosen):
            room[index] -= len(event)
            if room[index] >= 0:
                found[index].append(event)
        tracks = [
            {"language": _language(stream) or UNKNOWN, "text": _head(stream) + "".join(found[stream.index])}
            for stream in chosen
            if found[stream.index]
        ]
    return {"tracks": tracks}


def _chosen(container: av.container.InputContainer, wanted: Sequence[str]) -> list[av.subtitles.stream.SubtitleStream]:
    """The tracks of text in a wanted language, or in an unstated one. Forced ones have a few lines alone.

    Of one language, those that are called signs, songs or a commentary come last.
    """
    ranked = [
        (place, bool(_ASIDE.search(stream.metadata.get("title", ""))), stream.index, stream)
        for stream in container.streams.subtitles
        if _codec(stream) in TEXT_CODECS and not stream.disposition & Disposition.forced
        if (place := rank(_language(stream), wanted)) is not None
    ]
    return [stream for *_, stream in sorted(ranked, key=lambda entry: entry[:3])[:_MOST]]


def _codec(stream: av.subtitles.stream.SubtitleStream) -> str:
    return "" if stream.codec_context is None else stream.codec_context.name


def _language(stream: av.subtitles.stream.SubtitleStream) -> str | None:
    stated = stream.language
    return named_in(stated) if stated and stated != UNKNOWN else None


def _head(stream: av.subtitles.stream.SubtitleStream) -> str:
    return "[Script Info]\n\n[Events]\n" if _codec(stream) in ("ass", "ssa") else ""


def _events(
    container: av.container.InputContainer, streams: Sequence[av.subtitles.stream.SubtitleStream]
) -> Iterator[tuple[int, str]]:
    """The index of its stream and the text of each event, up to an error."""
    if not streams:
        return
    for stream in container.streams:
        stream.discard = Discard.default if stream in streams else Discard.all
    begin = begin_of(container)
    codecs = {stream.index: _codec(stream) for stream in streams}
    packets = container.demux(list(streams))
    while True:
        try:
            packet = next(packets, None)
        except av.FFmpegError as error:
            raise_resource_error(error)
            return
        if packet is None:
            return
        if packet.pts is None or not packet.size:
            continue
        tick = float(clock_of(packet.stream))
        start = packet.pts * tick - begin
        end = start + max(0.0, (packet.duration or 0) * tick)
        if start < 0 and end <= 0:  # it is over before the file begins
            continue
        if event := _event(bytes(packet), codecs[packet.stream_index], max(0.0, start), end):
            yield packet.stream_index, event


def _event(data: bytes, codec: str, start: float, end: float) -> str:
    """One event as lines of a file; empty if nothing is shown."""
    if codec in ("ass", "ssa"):  # read order, layer, style, name, three margins, effect, text
        line = " ".join(data.decode("utf-8", "replace").splitlines())
        _, layer, *rest = line.split(",", 8)
        text = rest[-1].strip() if len(rest) == 7 else ""
        return f"Dialogue: {layer},{_clock(start, 2)},{_clock(end, 2)},{','.join(rest)}\n" if text else ""
    if codec == "mov_text":  # a length and the text; what follows is styles
        data = data[2 : 2 + int.from_bytes(data[:2], "big")]
    encoding = "utf-16" if data[:2] in (b"\xfe\xff", b"\xff\xfe") else "utf-8"
    lines = [line for line in data.decode(encoding, "replace").splitlines() if line.strip(" \0")]
    payload = "\n".join(lines).replace("-->", "->")
    return f"{_clock(start, 3)} --> {_clock(end, 3)}\n{payload}\n\n" if payload else ""


def _clock(seconds: float, digits: int) -> str:
    """
    >>> _clock(3725.5, 3), _clock(59.999, 2)
    ('1:02:05.500', '0:01:00.00')
    """
    whole, part = divmod(round(seconds * 10**digits), 10**digits)
    return f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}.{part:0{digits}}"
