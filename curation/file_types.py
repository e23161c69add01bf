"""Types of files, by their suffixes."""

import re

VIDEO_SUFFIXES = (
    *("mp4", "m4v", "mov", "mkv", "webm", "avi", "ts", "mts", "m2ts", "mpg", "mpeg", "vob", "flv", "f4v", "wmv", "asf"),
    *("ogv", "ogm", "3gp", "3g2", "mxf", "dv", "divx", "y4m", "nut"),
)
"""The suffixes of video files, without the dot, in lower case; file names may have them in upper case too."""
_VIDEO = re.compile(rf".+\.({'|'.join(VIDEO_SUFFIXES)})", re.IGNORECASE | re.DOTALL)


def is_video(name: str) -> bool:
    """Whether `name` has the suffix of a video file."""
    return bool(_VIDEO.fullmatch(name))
