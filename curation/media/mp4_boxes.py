"""The boxes of an mp4 file, as far as they say what the file is (ISO/IEC 14496-12)."""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from typing import BinaryIO, NamedTuple

_MOST_BOXES = 100_000
_OF_FILES = frozenset(b"ftyp styp moov moof mdat mfra sidx free skip wide meta uuid emsg prft pdin udta pnot".split())
ENCRYPTED = {"video": (b"encv", b"drmi"), "audio": (b"enca", b"drms")}
"""Sample entries of encrypted tracks, by their kind: Common Encryption (section 8.12), and FairPlay."""
_TO_SAMPLE_ENTRIES = (b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd")


class Box(NamedTuple):
    """A box: its type, and where its body begins and ends; a file that is cut off may end before."""

    type: bytes
    begin: int
    end: int


def boxes(file: BinaryIO, begin: int = 0, end: int | None = None) -> Iterator[Box]:
    """The boxes from `begin` to `end` (the end of the file if None), in their order."""
    end = file.seek(0, 2) if end is None else end
    for _ in range(_MOST_BOXES):
        if begin + 8 > end:
            return
        file.seek(begin)
        head = file.read(16)
        length, header = int.from_bytes(head[:4], "big"), 8
        if length == 1:
            length, header = int.from_bytes(head[8:], "big"), 16
        if len(head) < header or 0 < length < header:
            return
        following = begin + length if length else end
        yield Box(head[4:8], begin + header, following)
        begin = following


def boxes_of_file(file: BinaryIO) -> Iterator[Box]:
    """The outermost boxes of `file`, up to whatever is not one of an mp4."""
    return itertools.takewhile(lambda box: box.type in _OF_FILES, boxes(file))


def sample_entries(file: BinaryIO) -> list[bytes]:
    """The types of the sample entries of all tracks: the four characters that stand for their codecs."""
    end = file.seek(0, 2)
    found = [Box(b"", 0, end)]
    for kind in _TO_SAMPLE_ENTRIES:
        found = [box for outer in found for box in boxes(file, outer.begin, min(outer.end, end)) if box.type == kind]
    return [entry.type for box in found for entry in boxes(file, box.begin + 8, min(box.end, end))]
