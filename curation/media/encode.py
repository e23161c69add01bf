"""Write stored media: an H.264 and an AAC stream, from which clips can be cut by copying packets.

The same frames and settings give the same bytes. Runs inside a guarded child (curation/guard).
"""

from __future__ import annotations

import sys
from fractions import Fraction
from pathlib import Path
from typing import Any, cast

import av
import numpy as np
from av.codec.context import Flags
from av.video.frame import PictureType

from curation.errors import DISK_FULL_STATUS, disk_is_full
from curation.media.clocks import seconds
from curation.media.containers import clock_of, open_media
from curation.settings import MediaSettings

TIMESCALE = 90_000  # ticks per second if a source's time base cannot be kept
_RATES = (8000, 11025, 12000, 16000, 22050, 24000, 32000, 44100, 48000)  # supported by AAC and every player
_PIECE_US = 10_000_000
_LEAD_S = 0.5  # more than the one packet of sound that is needed before a clip
_SYNC_TOLERANCE_S = 0.02  # larger errors of sound timestamps shift the sound; smaller ones are rounding


def open_stored(path: Path, in_pieces: bool = False) -> av.container.OutputContainer:
    """An mp4 to write, its index at the front; with `in_pieces`, an index for every few seconds.

    A single index is kept in memory until the end: 60 bytes per packet, 35 MB for two hours.
    """
    movflags = "+delay_moov+default_base_moof" if in_pieces else "+faststart"
    options = {"movflags": movflags, "fflags": "+bitexact", "movie_timescale": str(TIMESCALE)}
    if in_pieces:
        options["frag_duration"] = str(_PIECE_US)
    return av.open(f"file:{path.absolute()}", "w", format="mp4", options=options)


def copy_packets(
    stored: av.container.InputContainer, out: av.container.OutputContainer, start: float, end: float
) -> None:
    """Copy the packets from `start` to `end` (seconds, both at key frames); the copy's clock begins at 0."""
    streams = [s for s in stored.streams if s.type in ("video", "audio")]
    copies = {s.index: out.add_stream_from_template(s) for s in streams}
    unfinished = set(copies)
    if start > _LEAD_S:
        stored.seek(int((start - _LEAD_S) * av.time_base))
    for packet in stored.demux(streams):
        if packet.pts is None or packet.stream_index not in unfinished:
            continue
        first, last = round(start / packet.time_base), round(end / packet.time_base)
        # Packets of sound overlap: decoding the first needs the one before it, which is not played.
        lead = 2 * (packet.duration or 0) - 1 if packet.stream.type == "audio" else 0
        if packet.pts >= last:
            unfinished.discard(packet.stream_index)
            if not unfinished:
                break
        elif packet.pts >= first - lead:
            packet.duration = min(packet.duration or 0, last - packet.pts)
            packet.pts -= first
            packet.dts = None if packet.dts is None else packet.dts - first
            packet.stream = copies[packet.stream_index]
            out.mux(packet)


def stored_time_base(source: Fraction) -> Fraction:
    """A time base that represents every timestamp of the source exactly, if possible.

    >>> stored_time_base(Fraction(1001, 30_000))
    Fraction(1, 30000)
    """
    return Fraction(1, source.denominator if source.denominator <= 1_000_000 else TIMESCALE)


def _tick(packet: av.Packet[Any]) -> int:
    return cast(int, packet.pts)  # every packet of our encoder has one


class VideoTrack:
    """The pictures: no B frames, key frames where requested, the source's timestamps."""

    def __init__(
        self,
        container: av.container.OutputContainer,
        size: tuple[int, int],
        time_base: Fraction,
        frame_rate: Fraction,
        settings: MediaSettings,
    ) -> None:
        options = {
            "preset": settings.preset,
            "crf": str(settings.crf),
            "g": str(settings.key_frame_interval),
            "bf": "0",
            "sc_threshold": "0",  # key frames only where clips may begin, and every g frames
            "forced-idr": "1",
        }
        stream = container.add_stream("libx264", rate=frame_rate.limit_denominator(1_000_000), options=options)
        stream.width, stream.height = size
        stream.pix_fmt = "yuv420p"
        stream.time_base = stream.codec_context.time_base = time_base
        # Always one thread: the bytes depend on the number of threads.
        stream.codec_context.thread_count = 1
        stream.codec_context.flags |= Flags.bitexact
        self._container = container
        self._stream = stream
        self._time_base = time_base
        self._waiting: av.Packet[Any] | None = None
        self.frames = 0

    def write(self, frame: av.VideoFrame, ticks: int, key: bool) -> None:
        """Encode `frame` to be shown at `ticks` of the time base; with `key`, a clip may begin there."""
        if not self.frames:
            for name in ("colorspace", "color_range", "color_primaries", "color_trc"):
                setattr(self._stream.codec_context, name, getattr(frame, name))
        frame.pict_type = PictureType.I if key else PictureType.NONE
        frame.pts, frame.time_base = ticks, self._time_base
        self.frames += 1
        self._mux(self._stream.encode(frame))

    def close(self, ticks: int) -> None:
        """Write the remaining frames; the last one is shown until `ticks`."""
        self._mux(self._stream.encode())
        if self._waiting is not None:
            self._waiting.duration = ticks - _tick(self._waiting)
            self._container.mux(self._waiting)

    def _mux(self, packets: list[av.Packet[Any]]) -> None:
        for packet in packets:
            if self._waiting is not None:
                self._waiting.duration = _tick(packet) - _tick(self._waiting)
                self._container.mux(self._waiting)
            self._waiting = packet


class AudioTrack:
    """The sound: gapless from 0 to the end of the picture, silent where the source has none."""

    def __init__(self, container: av.container.OutputContainer, source: av.AudioCodecContext, bit_rate: int) -> None:
        self.rate = next((r for r in _RATES if r >= source.sample_rate), _RATES[-1])
        self._layout = "mono" if source.channels == 1 else "stereo"
        # According to FFmpeg's documentation, the fast coder is better at such bit rates; it takes a third of the time.
        stream = container.add_stream(
            "aac", rate=self.rate, layout=self._layout, format="fltp", bit_rate=bit_rate, options={"aac_coder": "fast"}
        )
        stream.codec_context.flags |= Flags.bitexact
        stream.codec_context.time_base = Fraction(1, self.rate)
        self._container = container
        self._stream = stream
        self._written = 0
        self._resampler: av.AudioResampler | None = None
        self._format: tuple[object, ...] = ()  # of the frames that the resampler takes

    def write(self, frame: av.AudioFrame, time: float, until: float | None = None) -> None:
        """Encode `frame` to be played at `time`, cut at `until`, the end of the picture, if known (both seconds)."""
        source_format = (frame.format.name, frame.layout.name, frame.sample_rate)
        if source_format != self._format:
            self._drain()
            self._format = source_format
            self._resampler = av.AudioResampler("fltp", self._layout, self.rate)
        frame.pts, frame.time_base = round(time * frame.sample_rate), Fraction(1, frame.sample_rate)
        self._place(self._resampler.resample(frame) if self._resampler else [], until)

    def close(self, duration: float) -> None:
        """End the sound where the picture ends, at `duration` seconds."""
        self._drain(duration)
        self._silence(round(duration * self.rate))
        self._container.mux(self._stream.encode(None))

    def _drain(self, until: float | None = None) -> None:
        if self._resampler is not None:
            self._place(self._resampler.resample(None), until)
            self._resampler = None

    def _place(self, frames: list[av.AudioFrame], until: float | None) -> None:
        last = sys.maxsize if until is None else round(until * self.rate)
        for frame in frames:
            at = self._written if frame.pts is None else round(seconds(frame.pts, clock_of(frame)) * self.rate)
            follows = self._written and abs(at - self._written) <= _SYNC_TOLERANCE_S * self.rate
            if follows and self._written + frame.samples <= last:  # nearly all: as it is, without a copy
                self._encode(frame)
                continue
            samples = frame.to_ndarray()  # float32 [channels, samples]
            if not follows:
                self._silence(at)
                samples = samples[:, max(0, self._written - at) :]
            self._encode_samples(samples[:, : max(0, last - self._written)])

    def _silence(self, until: int) -> None:
        channels = 1 if self._layout == "mono" else 2
        while self._written < until:
            self._encode_samples(np.zeros((channels, min(self.rate, until - self._written)), np.float32))

    def _encode_samples(self, samples: np.ndarray) -> None:
        if not samples.shape[1]:
            return
        frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples), format="fltp", layout=self._layout)
        frame.sample_rate = self.rate
        self._encode(frame)

    def _encode(self, frame: av.AudioFrame) -> None:
        frame.pts, frame.time_base = self._written, Fraction(1, self.rate)
        self._written += frame.samples
        self._container.mux(self._stream.encode(frame))


def main(pieces: str, stored: str, duration: str) -> None:
    """Write the stored media, with one index, from the pieces of the single pass."""
    try:
        with open_media(Path(pieces)) as source, open_stored(Path(stored)) as out:
            copy_packets(source, out, 0.0, float(duration))
    except Exception as error:
        if disk_is_full(error):
            sys.exit(DISK_FULL_STATUS)
        raise


if __name__ == "__main__":
    main(*sys.argv[1:])
