"""How much of a source is damaged or missing, measured while it is read, and judged at its end."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

import av

from curation.media.containers import clock_of, format_of
from curation.media.file_sizes import missing_bytes
from curation.rejects import Kind, Rejected
from curation.settings import MediaSettings

_ROUNDING = 0.02  # relative error of a stated duration that may be due to rounding
_STATED_FOR_STREAMS = ("mov", "avi", "mxf")  # formats whose header has the duration of the picture
_STATED_FOR_FILES = ("matroska", "flv", "asf", "rm")  # and of whatever lasts longest; others state or estimate none


@dataclass
class Damage:
    """The damage counted while a source was read."""

    frames: int = 0  # decoded
    lost: int = 0  # packets that cannot be decoded
    corrupt: int = 0  # frames that were decoded with errors
    stray: int = 0  # frames dropped for their timestamps
    sound: int = 0  # packets of sound that cannot be decoded
    missing: float = 0.0  # share of the video that its header states, but the file does not have
    cut_short: bool = False  # reading ended with an error

    def judge(self, settings: MediaSettings, jumps: list[float]) -> str | None:
        """The note on the damage, or None. Raises Rejected if too much of the source is damaged."""
        if self.missing > settings.max_damage:
            raise Rejected(Kind.TRUNCATED, f"{self.missing:.0%} of the video that its header states is missing")
        if self.frames == 0:
            raise Rejected(Kind.CORRUPT, "not one frame can be decoded")
        share = (self.lost + self.corrupt + self.stray) / (self.frames + self.lost)
        if share > settings.max_damage:
            raise Rejected(Kind.CORRUPT, f"{share:.0%} of its frames are damaged or have no usable timestamp")
        notes = [
            f"{self.missing:.1%} missing at the end"
            if self.missing > 0
            else "reading ended early"
            if self.cut_short
            else "",
            f"{self.lost + self.corrupt} damaged frames" if self.lost + self.corrupt else "",
            f"{self.stray} frames dropped for their timestamps" if self.stray else "",
            f"{self.sound} damaged packets of sound" if self.sound else "",
            f"timestamps jump by {', '.join(f'{jump:g}' for jump in jumps[:5])} s" if jumps else "",
        ]
        return "; ".join(note for note in notes if note) or None


@dataclass
class Extent:
    """How far a file was read: its packets of video, and the times until which they and those of all streams last.

    Times are seconds on the file's own clock.
    """

    packets: int = 0
    first: float | None = None  # the earliest packet of video
    video: float = 0.0
    file: float = 0.0

    def add(self, packet: av.Packet[Any], is_video: bool) -> None:
        tick = float(packet.time_base)
        start = ((packet.dts or 0) if packet.pts is None else packet.pts) * tick
        end = start + (packet.duration or 0) * tick
        self.file = max(self.file, end)
        if is_video:
            self.packets += packet.size > 0
            self.first = start if self.first is None else min(self.first, start)
            self.video = max(self.video, end)

    def judge(
        self, container: av.container.InputContainer, video: av.video.stream.VideoStream, path: Path, damage: Damage
    ) -> None:
        """Compare what was read with what the file states, since one that is cut off just ends.

        What is stated may be wrong: an edit list hides frames, AVI repeats them without any data, subtitles last
        longer than the picture. So a second statement, the number of frames or of bytes, has to agree with the time.
        """
        name = format_of(container)
        bytes_missing = missing_bytes(path, name)
        if name in _STATED_FOR_FILES:
            stated = (container.duration or 0) / av.time_base
            damage.missing = max(_share(stated - self.file, stated), bytes_missing or 0.0)
        elif name in _STATED_FOR_STREAMS:
            ticks = max(video.duration or 0, video.frames if name == "avi" else 0)
            stated = float(ticks * clock_of(video))
            by_time = _share(stated - (self.video - max(0.0, self.first or 0.0)), stated)
            damage.missing = by_time
            if name == "avi" and bytes_missing == 0:
                damage.missing = 0.0
            elif name == "mov" and video.frames > 0:
                damage.missing = min(by_time, max(0.0, 1 - self.packets / video.frames))
        damage.cut_short |= bool(bytes_missing)


def reads_all_streams(container: av.container.InputContainer) -> bool:
    """Whether `Extent` has to know of the packets of all streams."""
    return format_of(container) in _STATED_FOR_FILES


def _share(missing: float, stated: float) -> float:
    return missing / stated if missing > _ROUNDING * stated else 0.0
