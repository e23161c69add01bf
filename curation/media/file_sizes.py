"""The size that a media file has according to itself, so that one that is cut off can be told."""

from __future__ import annotations

import struct
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

from curation.media.mp4_boxes import boxes_of_file

_MOST_HEADER_BYTES = 64 << 10
_EBML_SEGMENT = b"\x18\x53\x80\x67"
_ASF_FILE_PROPERTIES = bytes.fromhex("a1dcab8c47a9cf118ee400c00c205365")


def missing_bytes(path: Path, format_name: str) -> float | None:
    """The share of a file that is missing at its end; None if it does not state its size.

    `format_name` is FFmpeg's name of its format, the first if there are several.
    """
    stated_size = _STATED.get(format_name)
    with path.open("rb") as file:
        stated = stated_size(file) if stated_size else None
        return max(0.0, 1 - _size(file) / stated) if stated else None


def _mp4_size(file: BinaryIO) -> int | None:
    return max((box.end for box in boxes_of_file(file)), default=None)


def _matroska_size(file: BinaryIO) -> int | None:
    """By the size of its segment, which is everything behind a short header: RFC 9559, section 5.1."""
    head = _head(file)
    at = head.find(_EBML_SEGMENT) + len(_EBML_SEGMENT)
    if at < len(_EBML_SEGMENT) or at >= len(head):
        return None
    length = 9 - head[at].bit_length()  # bytes of the size: RFC 8794, section 4
    size = int.from_bytes(head[at : at + length], "big") - (1 << 7 * length)
    is_unknown = length > 8 or size == (1 << 7 * length) - 1
    return None if is_unknown else at + length + size


def _asf_size(file: BinaryIO) -> int | None:
    """By its file properties: Advanced Systems Format specification, section 3.2."""
    head = _head(file)
    at = head.find(_ASF_FILE_PROPERTIES)
    return struct.unpack_from("<Q", head, at + 40)[0] if 0 <= at <= len(head) - 48 else None


def _avi_size(file: BinaryIO) -> int | None:
    """By its RIFF chunks, of which a large file has several; None if a recorder could not write their sizes."""
    at, size = 0, _size(file)
    while at < size:
        file.seek(at)
        head = file.read(8)
        if head[:4] != b"RIFF":
            break
        length = int.from_bytes(head[4:], "little")
        if length == 0:
            return None
        at += 8 + length + length % 2
    return at or None


_STATED: dict[str, Callable[[BinaryIO], int | None]] = {
    "mov": _mp4_size,
    "matroska": _matroska_size,
    "asf": _asf_size,
    "avi": _avi_size,
}


def _head(file: BinaryIO) -> bytes:
    file.seek(0)
    return file.read(_MOST_HEADER_BYTES)


def _size(file: BinaryIO) -> int:
    return file.seek(0, 2)
