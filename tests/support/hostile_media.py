"""Make files that name other files: a parser that follows them shows a private video instead of what a stranger sent.

The private video is red all over, what carries a reference to it is green; `shows_private` looks for either its colour
or its bytes. Each maker takes a folder and the path of the private video, and returns the path of one file.
"""

from __future__ import annotations

import atexit
import functools
import shutil
import struct
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import av
import numpy as np

from tests.support.media_files import ffmpeg, grown, make

Maker = Callable[[Path, Path], Path]
GREEN = "color=green:size=160x120:rate=25:duration=2"
RED = "color=red:size=160x120:rate=25:duration=2,noise=alls=20:allf=t"


def private_video(folder: Path) -> Path:
    return make(folder / "private.mp4", "-movflags", "+faststart", picture=RED, sound=None)


def carrier(path: Path, *arguments: str, **how: str) -> Path:
    return make(path, "-t", "2", *arguments, picture=GREEN, **how)  # type: ignore[arg-type]


# --- what shows the private video -----------------------------------------------------------------------------------


def shows_private(path: Path, private: Path) -> bool:
    """Whether the file at `path` has bytes of the private video, or a frame of its colour."""
    data = private.read_bytes()
    at = data.index(b"mdat") + 1000  # behind the text in which x264 names its settings
    pieces = [data[i : i + 48] for i in range(at, len(data) - 48, max(1, (len(data) - at) // 50))]
    content = path.read_bytes()
    if any(piece in content for piece in pieces):
        return True
    try:
        with av.open(f"file:{path}", options={"format_whitelist": "mov,matroska,png_pipe,jpeg_pipe"}) as container:
            return any(is_private(frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0))
    except (av.FFmpegError, IndexError):
        return False


def is_private(pixels: np.ndarray) -> bool:
    """Whether an RGB image [H, W, 3] is a frame of the private video."""
    red, green, _ = pixels.reshape(-1, 3).mean(axis=0)
    return bool(red > 120 and green < 80)


# --- formats that are lists of other files --------------------------------------------------------------------------


def _mpd(base: str) -> str:
    return (
        '<?xml version="1.0"?><MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"'
        ' mediaPresentationDuration="PT2S" profiles="urn:mpeg:dash:profile:isoff-on-demand:2011"><Period>'
        '<AdaptationSet mimeType="video/mp4" contentType="video"><Representation id="v" bandwidth="1000" width="160"'
        f' height="120" codecs="avc1.42c00d"><BaseURL>{base}</BaseURL></Representation></AdaptationSet></Period></MPD>'
    )


def _hls(target: str, *lines: str) -> str:
    return "\n".join(
        ["#EXTM3U", "#EXT-X-VERSION:7", "#EXT-X-TARGETDURATION:2", *lines, "#EXTINF:2,", target, "#EXT-X-ENDLIST", ""]
    )


def _imf(private: Path) -> str:
    return (
        '<?xml version="1.0"?><CompositionPlaylist xmlns="http://www.smpte-ra.org/schemas/2067-3/2016">'
        "<Id>urn:uuid:8713c020-2489-45f5-a9f7-87be539e20b5</Id><EditRate>25 1</EditRate>"
        f"<SegmentList><Segment><Resource>{private.as_uri()}</Resource></Segment></SegmentList></CompositionPlaylist>"
    )


_SDP = (
    "v=0\no=- 0 0 IN IP4 127.0.0.1\ns=x\nc=IN IP4 127.0.0.1\nt=0 0\nm=video 5004 RTP/AVP 96\na=rtpmap:96 H264/90000\n"
)
_SVG = (
    '<svg xmlns="http://www.w3.org/2000/svg" xmlns:xlink="http://www.w3.org/1999/xlink" width="160" height="120">'
    '<image width="160" height="120" xlink:href="{0}"/></svg>'
)
_SMOOTH = (
    '<?xml version="1.0"?><SmoothStreamingMedia MajorVersion="2" MinorVersion="0" Duration="20000000">'
    '<StreamIndex Type="video" Url="{0}"/></SmoothStreamingMedia>'
)
_IDX = (
    "# VobSub index file, v7 (do not modify this line!)\nsize: 160x120\nid: en, index: 0\n"
    "timestamp: 00:00:00:000, filepos: 000000000\n"
)

Text = Callable[[Path], str]
LISTS: dict[str, tuple[str, Text]] = {
    "a DASH manifest named mp4": ("a.mp4", lambda p: _mpd(p.as_uri())),
    "a DASH manifest of a neighbour": ("a.mpd", lambda p: _mpd(p.name)),
    "a DASH manifest named webm": ("a.webm", lambda p: _mpd(p.as_uri())),
    "an HLS playlist named mp4": ("b.mp4", lambda p: _hls(p.as_uri())),
    "an HLS playlist of a neighbour": ("b.m3u8", lambda p: _hls(p.name)),
    "an HLS playlist with a map": ("c.m3u8", lambda p: _hls(p.as_uri(), f'#EXT-X-MAP:URI="{p.as_uri()}"')),
    "an HLS playlist with a key": ("d.m3u8", lambda p: _hls(p.name, f'#EXT-X-KEY:METHOD=AES-128,URI="{p.as_uri()}"')),
    "an HLS playlist of a part of a file": ("e.m3u8", lambda p: _hls(f"subfile,,start,0,end,9000,,:{p}")),
    "an HLS playlist of a concatenation": ("f.m3u8", lambda p: _hls(f"concat:{p}|{p}")),
    "a list to join": ("a.ffconcat", lambda p: f"ffconcat version 1.0\nfile {p.name}\n"),
    "a list to join named mkv": ("a.mkv", lambda p: f"ffconcat version 1.0\nfile '{p}'\n"),
    "a session description": ("a.sdp", lambda p: _SDP),
    "a composition playlist": ("a.xml", _imf),
    "a smooth streaming manifest": ("a.ism", lambda p: _SMOOTH.format(p.as_uri())),
    "a subtitle index": ("private.idx", lambda p: _IDX),
    "a vector graphic": ("a.svg", lambda p: _SVG.format(p.as_uri())),
    "a vector graphic named mp4": ("g.mp4", lambda p: _SVG.format(p.as_uri())),
    "a web page": ("h.mp4", lambda p: f'<!DOCTYPE html><html><video src="{p.as_uri()}"></video></html>'),
    "a player's list": ("a.pls", lambda p: f"[playlist]\nFile1={p}\nNumberOfEntries=1\n"),
    "a presentation": ("a.smil", lambda p: f'<smil><body><video src="{p.as_uri()}"/></body></smil>'),
    "a name like a concatenation": ("concat:private.mp4", lambda p: "no media"),
    "a name like a part of a file": ("subfile,,start,0,end,9000,,:private.mp4", lambda p: "no media"),
    "a name like a number of images": ("private%d.png", lambda p: "no media"),
    "a name like a pattern": ("*.mp4", lambda p: "no media"),
}


def _list(name: str) -> Maker:
    file, text = LISTS[name]

    def write(folder: Path, private: Path) -> Path:
        path = folder / file
        path.write_text(text(private))
        return path

    return write


# --- containers with references -------------------------------------------------------------------------------------


def referring_mov(folder: Path, private: Path) -> Path:
    """A QuickTime file whose samples are in another file, the private one."""
    data = private.read_bytes()
    url = bytes(private.as_uri(), "utf-8") + b"\0"
    reference = struct.pack(">I4sI", 12 + len(url), b"url ", 0) + url
    at = data.index(b"moov") - 4
    (size,) = struct.unpack(">I", data[at : at + 4])
    path = folder / "referring.mov"
    index = grown(data[at : at + size], struct.pack(">I4sI", 12, b"url ", 1), reference)
    path.write_bytes(data[: data.index(b"ftyp") + 28] + index)
    return path


def reference_movie(folder: Path, private: Path) -> Path:
    """A QuickTime reference movie (rmra), which is nothing but the name of another movie."""

    def box(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I4s", 8 + len(content), kind) + content

    url = bytes(private.as_uri(), "utf-8") + b"\0"
    reference = box(b"rdrf", struct.pack(">I4sI", 0, b"url ", len(url)) + url)
    path = folder / "reference.mov"
    path.write_bytes(
        box(b"ftyp", b"qt  \0\0\0\0qt  ")
        + box(b"moov", box(b"rmra", box(b"rmda", reference)))
        + box(b"mdat", b"\0" * 64)
    )
    return path


def linking_mkv(folder: Path, private: Path) -> Path:
    """A Matroska segment that names the next one (NextFilename)."""
    name = bytes(private)
    title = "T" * (len(name) + 1)  # whose element has one byte less in its id
    path = carrier(folder / "linking.mkv", "-metadata", f"title={title}")
    data = path.read_bytes()
    at = data.index(title.encode())
    start = data.rindex(b"\x7b\xa9", 0, at)
    length = at - start - 2
    size = bytearray(data[start + 2 : at])
    size[-1] -= 1
    element = b"\x3e\x83\xbb" + bytes(size) + name
    assert len(element) == 2 + length + len(title)
    path.write_bytes(data[:start] + element + data[at + len(title) :])
    return path


def avi_with_playlist(folder: Path, private: Path) -> Path:
    """An AVI whose subtitles (GAB2) are an HLS playlist, which the parser of subtitles could open."""
    playlist = _hls(private.as_uri()).encode()
    head = b"GAB2\0" + struct.pack("<HI", 2, 2) + b"x\0" + struct.pack("<HI", 4, len(playlist))
    raw = folder / "payload.raw"
    raw.write_bytes((head + playlist).ljust(4000, b"\n"))
    path = folder / "playlist.avi"
    video = carrier(folder / "carrier.avi", codec=["-c:v", "mpeg4"], sound=None)  # type: ignore[arg-type]
    ffmpeg(
        "-i", video, "-f", "s16le", "-ar", "8000", "-ac", "1", "-i", raw, "-map", "0", "-map", "1", "-c", "copy", path
    )
    data = path.read_bytes()
    path.write_bytes(data.replace(b"auds", b"txts"))
    return path


def mkv_with_manifest(folder: Path, private: Path) -> Path:
    """A Matroska file with a DASH manifest for an attachment and a playlist for subtitles."""
    manifest, subtitles = folder / "attached.mpd", folder / "sub.srt"
    manifest.write_text(_mpd(private.as_uri()))
    subtitles.write_text(f"1\n00:00:00,000 --> 00:00:01,000\n{_hls(private.as_uri())}\n")
    video = carrier(folder / "plain.mkv")
    path = folder / "attached.mkv"
    ffmpeg(
        *("-i", video, "-i", subtitles, "-map", "0", "-map", "1", "-c", "copy", "-c:s", "srt"),
        *("-attach", manifest, "-metadata:s:t", "mimetype=application/dash+xml", path),
    )
    return path


def manifest_behind_a_header(folder: Path, private: Path) -> Path:
    """An mp4 whose first box hides a manifest, so that two demuxers claim it."""
    manifest = _mpd(private.as_uri()).encode()
    path = folder / "both.mp4"
    path.write_bytes(b"    ftypisom" + manifest + carrier(folder / "carrier.mp4").read_bytes())
    return path


def matroska_before_a_manifest(folder: Path, private: Path) -> Path:
    """A Matroska header of an unknown kind, without a zero byte, before a manifest."""
    path = folder / "both.mkv"
    header = b"\x42\x86\x81\x01\x42\x82\x84none"
    path.write_bytes(b"\x1a\x45\xdf\xa3" + bytes([0x80 | len(header)]) + header + _mpd(private.as_uri()).encode())
    return path


NAMED: dict[str, Maker] = {name: _list(name) for name in LISTS}
"""Files that are nothing but names of others: refused everywhere."""
CARRIED: dict[str, Maker] = {
    "a movie with its samples elsewhere": referring_mov,
    "a reference movie": reference_movie,
    "a segment that links to the next": linking_mkv,
    "subtitles that are a playlist": avi_with_playlist,
    "attachments that are manifests": mkv_with_manifest,
    "a manifest within a header": manifest_behind_a_header,
    "a manifest behind a header": matroska_before_a_manifest,
}
"""Containers that are opened, or refused, but whose references lead nowhere."""


@functools.cache
def gallery() -> Gallery:
    """Every file once in this process, all in one folder with the private video; only read them, or copy them."""
    folder = Path(tempfile.mkdtemp(prefix="vidla-gallery-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    private = private_video(folder)
    return Gallery(private, {name: maker(folder, private) for name, maker in {**NAMED, **CARRIED}.items()})


@dataclass(frozen=True)
class Gallery:
    """The private video, and by name the files that lead to it."""

    private: Path
    files: Mapping[str, Path]
