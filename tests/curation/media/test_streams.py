"""Which streams of a file are taken, and what is said of files that have none: encrypted ones, parts, other things."""

from __future__ import annotations

import zipfile
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from curation.media.decode import Source
from curation.rejects import Kind, Rejected
from curation.settings import Settings
from tests.support.clock_files import AAC, MP4, WEBM, X264, signal
from tests.support.media_files import cut_off, ffmpeg, patched, still, text

MEDIA = Settings().media
KEY = ["-encryption_key", "76a6c65c5ea762046bd749a2e632ccbb", "-encryption_kid", "a7e61c373e219033c21091fa607bf3b8"]


def rejected(path: Path) -> Rejected:
    """What the single pass says of a file before or after decoding it."""
    with pytest.raises(Rejected) as caught:
        source = Source(path, MEDIA)
        for _ in source.pictures(0.0, float("inf")):
            pass
        source.damage.judge(MEDIA, [])
    return caught.value


# --- tracks -----------------------------------------------------------------------------------------------------------


def with_preview(path: Path, default: str, preview_s: float = 1) -> Path:
    """A video of 6 s whose first track is a larger one of `preview_s`; `default` has the dispositions of both."""
    preview = signal(path.with_name("preview.mp4"), "-vf", "scale=128:96", *X264, "-an", seconds=preview_s)
    whole = signal(path.with_name("whole.mp4"), seconds=6)
    first, second = default.split()
    dispositions = ["-disposition:v:0", first, "-disposition:v:1", second]
    ffmpeg("-i", preview, "-i", whole, "-map", "0:v", "-map", "1", "-c", "copy", *dispositions, path)
    return path


@pytest.mark.parametrize("suffix", ["mp4", "mkv", *(pytest.param(s, marks=pytest.mark.long) for s in ("mov", "ts"))])
@pytest.mark.parametrize("default", ["default 0", "default default"])
def test_the_video_is_not_a_preview_of_it(suffix: str, default: str, tmp_path: Path) -> None:
    source = Source(with_preview(tmp_path / f"a.{suffix}", default), MEDIA)
    assert source.video.width == 64 and source.audio is not None


@pytest.mark.parametrize(("default", "width"), [("default 0", 128), ("0 default", 64), ("default default", 128)])
def test_of_videos_that_last_as_long_the_default_one_is_taken(default: str, width: int, tmp_path: Path) -> None:
    assert Source(with_preview(tmp_path / "a.mkv", default, 5), MEDIA).video.width == width


def test_sound_is_of_the_same_programme(tmp_path: Path) -> None:
    small = signal(tmp_path / "small.ts", *X264, "-c:a", "aac", "-ac", "2", seconds=3)
    large = signal(tmp_path / "large.ts", "-vf", "scale=128:96", *X264, "-c:a", "aac", "-ac", "1", seconds=3)
    programmes = ["-program", "st=0:st=1", "-program", "st=2:st=3"]
    both = tmp_path / "both.ts"
    ffmpeg("-i", small, "-i", large, "-map", "0", "-map", "1", "-c", "copy", *programmes, both)
    source = Source(both, MEDIA)
    assert source.video.width == 128 and source.audio is not None
    assert source.audio.id - source.video.id == 1


# --- encrypted media --------------------------------------------------------------------------------------------------


def common_encryption(path: Path) -> Path:
    return signal(path, *MP4, "-encryption_scheme", "cenc-aes-ctr", *KEY, seconds=2)


def encrypted_webm(path: Path) -> Path:
    """A WebM whose track of video has the element that states its encryption (RFC 9559, section 5.1.4.1.31)."""
    data = signal(path.with_name("clear.webm"), *WEBM[:-2], seconds=2, sound=False).read_bytes()

    def element(name: str, body: bytes) -> bytes:
        return bytes.fromhex(name) + (len(body) | 1 << 28).to_bytes(4, "big") + body

    key = element("47e1", b"\x05") + element("47e2", bytes(range(16)))
    encodings = element("6d80", element("6240", element("5033", b"\x01") + element("5035", key)))
    begin = data.index(bytes.fromhex("ae01")) + 1  # the entry of the track, with a size of 8 bytes
    size = int.from_bytes(data[begin + 1 : begin + 8], "big")
    end = begin + 8 + size
    entry = element("ae", data[begin + 8 : end] + encodings)
    tracks = data.rindex(bytes.fromhex("1654ae6b"), 0, begin)
    path.write_bytes(data[:tracks] + element("1654ae6b", entry) + data[end:])
    return path


def scrambled(path: Path) -> Path:
    """A transport stream whose packets of picture and sound are scrambled, and say so."""
    data = bytearray(signal(path.with_name("clear.ts"), seconds=2).read_bytes())
    for at in range(0, len(data), 188):
        if int.from_bytes(data[at + 1 : at + 3], "big") & 0x1FFF in (256, 257):
            body = at + 4 + (data[at + 4] + 1 if data[at + 3] & 0x20 else 0)
            data[body : at + 188] = bytes(byte ^ 0x5A for byte in data[body : at + 188])
            data[at + 3] |= 0x80
    path.write_bytes(data)
    return path


ENCRYPTED: dict[str, Callable[[Path], Path]] = {
    "mp4": lambda d: common_encryption(d / "a.mp4"),
    "FairPlay": lambda d: patched(signal(d / "base.mp4", seconds=2), b"avc1", b"drmi", "a.mp4"),
    "sound alone": lambda d: patched(signal(d / "base.mp4", seconds=2), b"mp4a", b"enca", "a.mp4"),
    "webm": lambda d: encrypted_webm(d / "a.webm"),
    "transport stream": lambda d: scrambled(d / "a.ts"),
}


@pytest.mark.parametrize("name", ENCRYPTED)
def test_encrypted_media_is_called_so(name: str, tmp_path: Path) -> None:
    found = rejected(ENCRYPTED[name](tmp_path))
    assert found.kind is Kind.UNSUPPORTED and "encrypted" in found.message, found


# --- parts of a video, and other things -------------------------------------------------------------------------------


def fragmented(folder: Path) -> tuple[bytes, bytes]:
    """The header of an mp4 and its fragments."""
    path = signal(folder / "whole.mp4", *MP4, "-movflags", "+frag_keyframe+empty_moov", seconds=2)
    data = path.read_bytes()
    at = data.index(b"moof") - 4
    return data[:at], data[at:]


def webm_parts(folder: Path) -> tuple[bytes, bytes]:
    data = signal(folder / "whole.webm", *WEBM, seconds=2).read_bytes()
    at = data.index(b"\x1f\x43\xb6\x75")
    return data[:at], data[at:]


def written(path: Path, data: bytes) -> Path:
    path.write_bytes(data)
    return path


def zipped(path: Path) -> Path:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("video.mp4", "none")
    return path


def without_moov(folder: Path, share: float) -> Path:
    source = signal(folder / "index_last.mp4", seconds=2)
    data = source.read_bytes()
    return cut_off(written(folder / "no_index.mp4", data[: data.index(b"moov") - 4]), share)


def bare(folder: Path) -> Path:
    return signal(folder / "a.h264", *X264, sound=False, seconds=1)


SRT = "1\n00:00:01,000 --> 00:00:02,000\nHello\n"
MPD = '<?xml version="1.0"?>\n<MPD xmlns="urn:mpeg:dash:schema:mpd:2011" type="static"><Period/></MPD>'

OTHERS: dict[str, tuple[Callable[[Path], Path], Kind, str]] = {
    "init segment": (lambda d: written(d / "a.mp4", fragmented(d)[0]), Kind.NO_VIDEO, "init segment"),
    "segment": (lambda d: written(d / "a.m4s", fragmented(d)[1]), Kind.UNREADABLE, "without the header"),
    "init segment, webm": (lambda d: written(d / "a.webm", webm_parts(d)[0]), Kind.NO_VIDEO, "init segment"),
    "segment, webm": (lambda d: written(d / "a.webm", webm_parts(d)[1]), Kind.UNREADABLE, "without the header"),
    "no index": (lambda d: without_moov(d, 1.0), Kind.UNREADABLE, "without its index"),
    "cut off before the index": (lambda d: without_moov(d, 0.5), Kind.TRUNCATED, "cut off"),
    "page": (lambda d: text(d / "a.mp4", "\n <!DOCTYPE html><title>Sign in</title>"), Kind.UNREADABLE, "a web page"),
    "playlist": (lambda d: text(d / "a.m3u8", "#EXTM3U\n#EXTINF:4,\na.ts\n"), Kind.UNREADABLE, "an HLS playlist"),
    "manifest": (lambda d: text(d / "a.mpd", MPD), Kind.UNREADABLE, "a DASH manifest"),
    "subtitles": (lambda d: text(d / "a.srt", SRT), Kind.UNSUPPORTED, "a SubRip subtitle file"),
    "error": (lambda d: text(d / "a.mp4", '{"error": "gone"}'), Kind.UNREADABLE, "a JSON document"),
    "words": (lambda d: text(d / "a.mp4", "Access denied.\n"), Kind.UNREADABLE, "a text"),
    "PNG": (lambda d: still(d / "a.png"), Kind.UNSUPPORTED, "a PNG picture"),
    "JPEG": (lambda d: still(d / "a.jpg"), Kind.UNSUPPORTED, "a JPEG picture"),
    "ZIP": (lambda d: zipped(d / "a.mp4"), Kind.UNREADABLE, "a ZIP archive"),
    "PDF": (lambda d: text(d / "a.mp4", "%PDF-1.7\n"), Kind.UNREADABLE, "a PDF document"),
    "zeros": (lambda d: written(d / "a.mp4", bytes(100_000)), Kind.UNREADABLE, "a file of zero bytes"),
    "bare H.264": (bare, Kind.UNSUPPORTED, "a bare H.264 stream"),
    "sound": (lambda d: signal(d / "a.m4a", "-vn", *AAC, seconds=1), Kind.NO_VIDEO, "sound"),
}


@pytest.mark.parametrize("name", OTHERS)
def test_the_message_says_what_a_file_is(name: str, tmp_path: Path) -> None:
    make, kind, words = OTHERS[name]
    found = rejected(make(tmp_path))
    assert found.kind is kind and words in found.message, found


def test_a_fragmented_file_is_whole(tmp_path: Path) -> None:
    """Its header states no frames, like that of an init segment."""
    header, fragments = fragmented(tmp_path)
    source = Source(written(tmp_path / "a.mp4", header + fragments), MEDIA)
    assert len(list(source.pictures(0.0, float("inf")))) == 20
    with av.open(str(tmp_path / "a.mp4")) as container:
        assert container.streams.video[0].codec_context.name == "h264"
