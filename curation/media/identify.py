"""Say what a file is that is not a video, or not all of one, by its first bytes."""

from __future__ import annotations

import re
from typing import BinaryIO

from curation.media import mp4_boxes
from curation.media.mp4_boxes import boxes, boxes_of_file, sample_entries
from curation.rejects import Kind, Rejected

_HEAD_BYTES = 1024
_SIGNATURES = tuple(
    (re.compile(rb"\A(?:%b)" % pattern, re.DOTALL), name)
    for pattern, name in (
        (rb"\x89PNG\r\n", "a PNG picture"),
        (rb"\xff\xd8\xff", "a JPEG picture"),
        (rb"RIFF....WEBP", "a WebP picture"),
        (rb"II\*\0|MM\0\*", "a TIFF picture"),
        (rb"BM....\0\0\0\0", "a BMP picture"),
        (rb"....ftyp(heic|heix|hevc|mif1|msf1)", "a HEIF picture"),
        (rb"....ftypavi[fs]", "an AVIF picture"),
        (rb"\xff\x0a|....JXL \r\n\x87\n", "a JPEG XL picture"),
        (rb"....jP  \r\n\x87\n", "a JPEG 2000 picture"),
        (rb"8BPS", "a Photoshop file"),
        (rb"\0\0\x01\0.\0", "an icon"),
        (rb"%PDF-", "a PDF document"),
        (rb"PK\x03\x04|PK\x05\x06", "a ZIP archive"),
        (rb"Rar!\x1a\x07", "a RAR archive"),
        (rb"7z\xbc\xaf\x27\x1c", "a 7z archive"),
        (rb"\x1f\x8b", "a gzip archive"),
        (rb"BZh[1-9]1AY", "a bzip2 archive"),
        (rb"\xfd7zXZ\0", "an xz archive"),
        (rb"\x28\xb5\x2f\xfd", "a zstd archive"),
        (rb".{257}ustar", "a tar archive"),
        (rb"MThd", "a MIDI file"),
        (rb"FORM....AIF[FC]", "sound (AIFF)"),
        (rb"#!AMR", "sound (AMR)"),
        (rb"caff", "sound (CAF)"),
        (rb"wvpk", "sound (WavPack)"),
        (rb"[FCZ]WS[\x01-\x32]", "a Flash program (SWF)"),
        (rb"\xb7\xd8\x00\x20\x37\x49\xda\x11", "a Windows TV recording (WTV), which is not supported"),
        (rb"YUV4MPEG2 ", "raw video (Y4M), which is not supported"),
        (rb"\0\0\x01\xb3", "a bare MPEG video stream, which is not supported"),
        (rb"\0\0\0?\x01[\x06\x09\x27\x47\x67]", "a bare H.264 stream, which is not supported"),
        (rb"\0\0\0?\x01[\x40\x42\x44\x46]\x01", "a bare H.265 stream, which is not supported"),
        (rb"\x1f\x43\xb6\x75", "a segment of WebM, without the header (the init segment)"),
        (rb"\x7fELF|MZ.{62}", "a program"),
        (rb"SQLite format 3\0", "an SQLite database"),
        (rb"PAR1", "a Parquet file"),
        (rb"d\d+:(announce|created|comment|info)", "a torrent"),
        (rb"\0{512}", "a file of zero bytes"),
    )
)
_TEXTS = tuple(
    (re.compile(rb"\A(?:%b)" % pattern, re.DOTALL), name)
    for pattern, name in (
        (rb"<!doctype html|<html|<head|<body", "a web page"),
        (rb"#extm3u", "an HLS playlist"),
        (rb"(?:<\?[^>]*+>|<!--(?:[^-]|-(?!->))*+-->|\s)*+<mpd", "a DASH manifest"),
        (rb"(?:<\?[^>]*+>|<!--(?:[^-]|-(?!->))*+-->|<!doctype svg[^>]*+>|\s)*+<svg", "an SVG picture"),
        (rb"<\?xml", "an XML document"),
        (rb"webvtt", "a WebVTT subtitle file"),
        (rb"\d+\s*\r?\n\d+:\d\d:\d\d[,.]\d+\s*-->", "a SubRip subtitle file"),
        (rb"\[script info\]", "an ASS subtitle file"),
        (rb"ffconcat version", "a list of files to join"),
        (rb"v=0\r?\n", "a session description (SDP)"),
        (rb"\[playlist\]|<asx", "a playlist"),
        (rb'[{\[]\s*["\d{\[\]}]', "a JSON document"),
        (rb"version https://git-lfs", "a pointer of Git LFS"),
        (rb"https?://\S+\s*$", "a text that names a URL"),
    )
)
_MATROSKA, _CLUSTER = b"\x1a\x45\xdf\xa3", b"\x1f\x43\xb6\x75"
_HEADER_BYTES = 1 << 20  # a Matroska file without a cluster in these first bytes has no media
ENCRYPTED = "encrypted, and without its key"


def identify(file: BinaryIO) -> str | None:
    """What the file is, such as "a web page"; None if that is not known, or if it is media."""
    file.seek(0)
    head = file.read(_HEAD_BYTES)
    for pattern, name in _SIGNATURES:
        if pattern.match(head):
            return name
    start = head.removeprefix(b"\xef\xbb\xbf").lstrip().lower()
    for pattern, name in _TEXTS:
        if pattern.match(start):
            return name
    is_text = bool(head) and not re.search(rb"[\0-\x08\x0e-\x1a\x1c-\x1f\x7f]", head)
    return "a text" if is_text and _is_utf8(head) else None


def check_init_segment(file: BinaryIO) -> None:
    """Raises Rejected (NO_VIDEO) for the header that the segments of a stream share, without any of them."""
    file.seek(0)
    if file.read(4) == _MATROSKA:
        file.seek(0)
        if _CLUSTER not in file.read(_HEADER_BYTES):
            raise Rejected(Kind.NO_VIDEO, "it is a header of Matroska or WebM (an init segment), without media")
        return
    for box in boxes_of_file(file):
        if box.type in (b"moof", b"mdat"):
            return
        if box.type == b"moov" and any(inner.type == b"mvex" for inner in boxes(file, box.begin, box.end)):
            break
    else:
        return
    if not any(box.type in (b"moof", b"mdat") for box in boxes_of_file(file)):
        raise Rejected(Kind.NO_VIDEO, "it is the header of a fragmented mp4 (an init segment), without media")


def check_unreadable(file: BinaryIO) -> None:
    """Raises Rejected for a file that cannot be opened, if it is a part of a video, or encrypted."""
    check_init_segment(file)
    found = list(boxes_of_file(file))
    kinds, size = {box.type for box in found}, file.seek(0, 2)
    if not kinds & {b"ftyp", b"styp", b"moov", b"moof"}:
        return
    if any(entry in mp4_boxes.ENCRYPTED["video"] for entry in sample_entries(file)):
        raise Rejected(Kind.UNSUPPORTED, ENCRYPTED)
    if b"moof" in kinds and b"moov" not in kinds:
        raise Rejected(Kind.UNREADABLE, "it is a segment of a fragmented mp4, without the header (the init segment)")
    if found[-1].end > size and found[-1].type in (b"moov", b"moof", b"mdat"):
        raise Rejected(Kind.TRUNCATED, f"it is cut off: at least {found[-1].end - size} bytes are missing")
    if b"moov" not in kinds:
        raise Rejected(Kind.UNREADABLE, "it is an mp4 without its index (moov), which is written when recording ends")


def _is_utf8(head: bytes) -> bool:
    try:
        head[:-4].decode()
    except UnicodeDecodeError:
        return False
    return True
