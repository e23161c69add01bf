"""The single pass over a video, and cutting clips out of the stored media: the functions that a guarded child runs.

A video is decoded once and encoded once. Times are seconds; those of the stored media begin at 0. Everything that
touches media runs in a guarded child (curation/guard). It receives a task of single_pass.py as JSON, and its answer, a
dataclass, is sent back as JSON.
"""

from __future__ import annotations

import bisect
import math
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from time import monotonic
from typing import Any, cast

import av
from pydantic import TypeAdapter

from curation.media.clocks import seconds
from curation.media.colours import TRANSFERS
from curation.media.containers import clock_of, open_media, raise_resource_error
from curation.media.decode import STILL_S, Picture, Source
from curation.media.encode import AudioTrack, VideoTrack, copy_packets, open_stored, stored_time_base
from curation.media.geometry import Geometry
from curation.media.pictures import Deinterlacer, Scaler, Spool, Thumbnailer, sharpness
from curation.media.shots import shot_detector, shots_between
from curation.media.single_pass import Candidate, Cut, CutTask, LookTask, PassResult, PassTask, Probe, ProbeTask
from curation.media.streams import declared_duration, video_stream
from curation.media.timelines import TimelineBuilder
from curation.records import Timeline
from curation.rejects import Kind, Rejected
from curation.settings import Settings

_SAME_FRAME_S = 1e-4  # times that are this near are those of one frame
_SHARE_S = 1.0
_RATE_TOLERANCE = 1.02  # of the rate that a header states, by which no source has too many frames


def probe(argument: dict[str, Any]) -> Probe:
    task = TypeAdapter(ProbeTask).validate_python(argument)
    with open_media(task.path) as container:
        video = video_stream(container, task.path, task.settings)
        duration = declared_duration(container, video)
        return Probe(duration, video.width, video.height, bool(container.streams.audio))


def single_pass(argument: dict[str, Any]) -> PassResult:
    task = TypeAdapter(PassTask).validate_python(argument)
    start, end = task.start or 0.0, task.end
    source = Source(task.source, task.settings.media)
    with source.container:
        single = _SinglePass(source, task.boundaries, task.settings, task.pieces, task.spool)
        try:
            length = (end or declared_duration(source.container, source.video) or 0.0) - start
            share = _Share(task.share_file, length)
            for picture in source.pictures(start, float("inf") if end is None else end, task.boundaries):
                single.feed(picture)
                share.reached(picture.time)
            if end is not None and end <= source.late:
                begins = f"{source.late:.2f} s into the file"
                raise Rejected(Kind.TOO_SHORT, f"the requested range ends before the picture begins, {begins}")
            return single.finish()
        except av.FFmpegError as error:
            raise_resource_error(error)
            raise Rejected(Kind.UNSUPPORTED, f"it can be read, but not stored: {error}") from None


def look(argument: dict[str, Any]) -> Timeline:
    task = TypeAdapter(LookTask).validate_python(argument)
    source, timeline, end = Source(task.stored, task.settings), TimelineBuilder(), 0.0
    cuts = deque(sorted(task.cuts))
    with source.container:
        scaler: Scaler | None = None
        for picture in source.pictures(0.0, float("inf")):
            frame = picture.frame
            if scaler is None:
                geometry = Geometry(frame, source.aspect)
                scaler = Scaler(geometry, geometry.size_for_height(geometry.height), "yuv420p")
            is_cut = False
            while cuts and cuts[0] <= picture.time + _SAME_FRAME_S:
                is_cut = cuts.popleft() > 0
            timeline.feed(scaler.scale(frame), picture.time, is_cut)
            end = picture.time + float((frame.duration or 0) * source.time_base)
    if scaler is None:
        raise Rejected(Kind.CORRUPT, "not one frame can be decoded")
    return timeline.finish(end)


def cut(argument: dict[str, Any]) -> Cut:
    task = TypeAdapter(CutTask).validate_python(argument)
    with open_media(task.stored) as stored, open_stored(task.out) as out:
        copy_packets(stored, out, task.start, task.end)
    return Cut()


class _Share:
    """Writes the share of a range of `length` seconds that has been read to a file, at most once in `_SHARE_S`."""

    def __init__(self, file: Path, length: float) -> None:
        self._file, self._length = file, length
        self._next = file.with_name(file.name + ".next")
        self._written = monotonic()

    def reached(self, seconds_read: float) -> None:
        now = monotonic()
        if self._length <= 0 or now - self._written < _SHARE_S:
            return
        self._written = now
        self._next.write_text(f"{min(1.0, seconds_read / self._length):.4f}")
        self._next.replace(self._file)


class _SinglePass:
    """Passes the frames of one video from the decoder to the shot detector, the spool and the encoder."""

    def __init__(
        self, source: Source, boundaries: Sequence[float], settings: Settings, stored: Path, spool: Path
    ) -> None:
        self._source = source
        self._settings = settings
        self._stored = stored
        self._spool_folder = spool
        self._boundaries_in_file = boundaries
        self._deinterlacer = Deinterlacer(source.video)
        self._started = False
        self._boundaries: set[int] = {0}
        self._keys: list[int] = []  # of all key frames
        self._queue: deque[tuple[av.VideoFrame, int]] = deque()

    def _start(self, first: av.VideoFrame) -> None:
        source, media = self._source, self._settings.media
        geometry = Geometry(first, source.aspect)
        self._transfer = TRANSFERS.get(first.color_trc)
        self._geometry = geometry
        self._size = geometry.size_for_height(media.lines)
        self._time_base = stored_time_base(source.time_base)
        has_too_many = source.frame_rate > media.max_frame_rate_stored * _RATE_TOLERANCE
        self._most = media.max_frame_rate_stored if has_too_many else None  # frames a second to store; None: all
        rate = source.frame_rate if self._most is None else Fraction(self._most)
        self._step = max(1, round(1 / (rate * self._time_base)))
        self._container = open_stored(self._stored, in_pieces=True)
        self._video = VideoTrack(self._container, self._size, self._time_base, rate, media)
        audio = source.audio
        self._audio = audio and AudioTrack(self._container, audio.codec_context, media.audio_bit_rate)
        moved = (boundary - source.start for boundary in self._boundaries_in_file)
        self._requested = deque(sorted(boundary for boundary in moved if boundary > 0))
        self._scaler = Scaler(geometry, self._size, "yuv420p")
        self._thumbnailer = Thumbnailer(self._size)
        self._detector = shot_detector(self._settings.shots, self._time_base, rate)
        self._timeline = TimelineBuilder()
        self._spool = Spool(self._spool_folder, geometry, self._settings.frames)
        self._last, self._slot = -self._step, -1
        self._suspects: set[int] = set()
        self._stride = 1
        self._key_at = 0  # number of the latest key frame, from 1
        self._started = True

    def feed(self, picture: Picture) -> None:
        frame = picture.frame
        frame.pts, frame.time_base = picture.ticks, self._source.time_base
        for ready in self._deinterlacer.feed(frame):
            self._take(ready)
        if self._started and self._audio:
            for sound, time in self._source.sound(picture.time):
                self._write_sound(self._audio, sound, time)

    def _take(self, frame: av.VideoFrame) -> None:
        if not self._started:
            self._start(frame)
        elif frame.key_frame and self._geometry.aspect != self._source.aspect:
            self._spool.flush(self._timeline.box)
            self._geometry.aspect = self._source.aspect
        ticks = round(cast(int, frame.pts) * clock_of(frame) / self._time_base)
        time = seconds(ticks, self._time_base)
        self._reached = ticks
        if self._is_surplus(time):
            return
        if seconds(ticks - self._last, self._time_base) <= STILL_S:
            self._step = ticks - self._last
        self._last = ticks
        stored = self._scaler.scale(frame)
        small = self._thumbnailer.bgr(stored)
        self._suspects.update(self._detector.feed(ticks, small))
        if self._is_requested(time):
            self._boundaries.add(ticks)
        self._spool.offer(frame, time, sharpness(small), self._timeline.box)
        self._queue.append((stored, ticks))
        self._encode(self._detector.lateness)

    def _is_surplus(self, time: float) -> bool:
        """Whether a frame is dropped: one that is not the first of its share of a second, if the source has too many.

        A twentieth of a share is granted to times that a container has rounded to milliseconds.
        """
        if self._most is None:
            return False
        before, self._slot = self._slot, max(self._slot, math.floor(time * self._most + 0.05))
        return self._slot == before

    def _write_sound(self, track: AudioTrack, sound: av.AudioFrame, time: float, until: float | None = None) -> None:
        try:
            track.write(sound, time, until)
        except (av.FFmpegError, ValueError) as error:  # unusable channels or sample rate
            if isinstance(error, av.FFmpegError):
                raise_resource_error(error)
            self._source.damage.sound += 1

    def _is_requested(self, time: float) -> bool:
        """Whether this frame is nearest to a requested boundary or to a multiple of `stride_s`, as far as known yet."""
        reach = time + seconds(self._step, self._time_base) / 2
        requested = False
        while self._requested and self._requested[0] <= reach:
            self._requested.popleft()
            requested = True
        while self._stride * self._settings.media.stride_s <= reach:
            self._stride += 1
            requested = True
        return requested

    def _encode(self, lateness: int) -> None:
        """Encode the queued frames but for the last `lateness`, which may still turn out to begin a shot."""
        while len(self._queue) > lateness:
            frame, ticks = self._queue.popleft()
            is_cut = ticks in self._suspects
            key = ticks in self._boundaries or is_cut
            self._suspects.discard(ticks)
            self._timeline.feed(frame, seconds(ticks, self._time_base), is_cut)
            self._video.write(frame, ticks, key)
            if key or self._video.frames - self._key_at >= self._settings.media.key_frame_interval:
                self._key_at = self._video.frames
                self._keys.append(ticks)

    def _nearest_key(self, ticks: int) -> int:
        after = bisect.bisect(self._keys, ticks)
        return min(self._keys[max(0, after - 1) : after + 1], key=lambda key: abs(key - ticks))

    def finish(self) -> PassResult:
        for ready in self._deinterlacer.feed(None):
            self._take(ready)
        damage = self._source.damage.judge(self._settings.media, self._source.clock.jumps)
        if not self._started:
            raise Rejected(Kind.TOO_SHORT, "the requested range begins after the video's end")
        self._suspects.update(self._detector.finish())
        self._encode(0)
        self._spool.flush(self._timeline.box)
        end = self._reached + max(1, round(self._source.last_ticks * self._source.time_base / self._time_base))
        duration = seconds(end, self._time_base)
        self._video.close(end)
        if self._audio:
            for sound, time in self._source.sound(float("inf")):
                if time >= duration:
                    break
                self._write_sound(self._audio, sound, time, duration)
            self._audio.close(duration)
        self._container.close()
        for found in self._detector.boundaries:
            self._boundaries.add(self._nearest_key(found.middle))
        return PassResult(
            duration=duration,
            width=self._size[0],
            height=self._size[1],
            frame_rate=self._video.frames / duration,
            frame_count=self._video.frames,
            has_audio=bool(self._audio),
            source_width=self._geometry.width,
            source_height=self._geometry.height,
            shots=shots_between(self._detector.boundaries, end, self._time_base),
            boundaries=tuple(seconds(t, self._time_base) for t in sorted({*self._boundaries, end})),
            candidates=tuple(Candidate(*kept) for kept in self._spool.kept),
            source_transfer=self._transfer,
            tone_mapping=self._scaler.tone_mapping,
            damage=damage,
            source_start=self._source.start,
            source_jumps=tuple(jump for jump in self._source.jumps if jump.time < duration),
            timeline=self._timeline.finish(duration),
        )
