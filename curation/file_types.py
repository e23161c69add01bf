"""Types of files, by their suffixes."""

VIDEO_SUFFIXES = (
    *("mp4", "m4v", "mov", "mkv", "webm", "avi", "ts", "mts", "m2ts", "mpg", "mpeg", "vob", "flv", "f4v", "wmv", "asf"),
    *("ogv", "ogm", "3gp", "3g2", "mxf", "dv", "divx", "y4m", "nut"),
)
"""What the name of a video file ends in, after the dot, in upper or lower case."""
