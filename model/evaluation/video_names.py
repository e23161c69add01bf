"""Names of videos, as annotations give them: an id, or the name or the path of a file, with or without its suffix."""

from __future__ import annotations

import re
from pathlib import PurePath

from curation.file_types import VIDEO_SUFFIXES
from curation.ids import source_id

_RARE_SUFFIXES = ("gif", "rm", "rmvb", "ogg", "mpe", "qt", "ivf")  # may also be those of previews and sound
_SUFFIX = re.compile(rf"\.({'|'.join((*VIDEO_SUFFIXES, *_RARE_SUFFIXES))})$", re.IGNORECASE)


def has_video_suffix(name: str) -> bool:
    return _SUFFIX.search(name) is not None


def strip_suffix(name: str) -> str:
    """A file's name without its video suffixes; YFCC's files may have two.

    >>> strip_suffix("12_a.b.avi.mp4")
    '12_a.b'
    """
    while (shorter := _SUFFIX.sub("", name)) != name:
        name = shorter
    return name


def common_folders(one: PurePath, other: PurePath) -> int:
    """How many folders two paths share, counted from their last parts, which may differ.

    >>> common_folders(PurePath("/data/x/a/1.mp4"), PurePath("x/a/2.mp4"))
    2
    """
    pairs = zip(reversed(one.parent.parts), reversed(other.parent.parts), strict=False)
    return next((i for i, (a, b) in enumerate(pairs) if a != b), min(len(one.parent.parts), len(other.parent.parts)))


def plain_id(video_id: str) -> PurePath:
    """An id in one form, however it is spelled: a path without suffix, of the whole video if it is of a range.

    >>> str(plain_id("x/video0.mp4~1.5-4"))
    'x/video0'
    """
    path = PurePath(source_id(video_id).strip())
    return path.with_name(strip_suffix(path.name) or path.name) if path.name else path


def may_be_same(one: PurePath, other: PurePath) -> bool:
    """Whether two ids, in their plain form, may be of one video: the shorter is the end of the longer.

    >>> plain = [plain_id(name) for name in ("video0", "x/video0.mp4", "y/video0.mp4")]
    >>> may_be_same(plain[0], plain[1]), may_be_same(plain[1], plain[2])
    (True, False)
    """
    shortest = min(len(one.parent.parts), len(other.parent.parts))
    return one.name == other.name and common_folders(one, other) == shortest
