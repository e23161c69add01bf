"""The cost of the single pass, compared with the usual way and with the minimum.

    python -m benchmarks.segment VIDEO [--repeat N]

The usual way: detect shots (PySceneDetect on the file), cut every clip of the three scales by a separate encode at the
same size and settings (ffmpeg), then read the frames to caption from the short clips. Ours: probe, one pass, tilings.
The minimum: the same frames decoded once and encoded once with the same settings and key frames, with sound. Figures
are CPU seconds including children, with one thread each, all in one run; the minimum of N runs for each part.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import cv2
import ffmpeg
from scenedetect import ContentDetector, detect

from curation import guard
from curation.media import single_pass, single_pass_child
from curation.media.decode import Source
from curation.media.encode import AudioTrack, VideoTrack, open_stored, stored_time_base
from curation.media.geometry import Geometry
from curation.media.pictures import Scaler
from curation.segments.tilings import choose_frames, tile
from curation.settings import Settings

SETTINGS = Settings()


def ours(video: Path, folder: Path) -> dict[str, Any]:
    spool = folder / "spool"
    spool.mkdir(exist_ok=True)
    found = single_pass.decode_once(video, (), None, None, SETTINGS, folder / "stored.mp4", spool)
    segments = tile("v", found.duration, found.boundaries, (), found.shots, SETTINGS.tilings)
    frames = [(c.path, c.time, c.sharpness) for c in found.candidates]
    chosen = choose_frames(segments, frames, SETTINGS.frames.every_s)
    times = {path: time for path, time, _ in frames}
    clips = [(s.scale, s.start, s.end, [times[f] for f in c.frame_ids]) for s, c in zip(segments, chosen, strict=True)]
    return {"clips": clips, "boundaries": found.boundaries}


def copies(video: Path, folder: Path) -> None:
    """Cut every clip from the stored media by copying packets, as an export does."""
    for i, (_, start, end, _) in enumerate(_found(folder)["clips"]):
        stored, out = str(folder / "stored.mp4"), str(folder / f"copy{i}.mp4")
        single_pass_child.cut({"stored": stored, "start": start, "end": end, "out": out})


def detection(video: Path, folder: Path) -> None:
    detect(str(video), ContentDetector(), start_in_scene=True)


def encodes(video: Path, folder: Path) -> None:
    """One ffmpeg for each clip: seek, decode, scale, encode."""
    m = SETTINGS.media
    for i, (_, start, end, _) in enumerate(_found(folder)["clips"]):
        source = ffmpeg.input(str(video), ss=start, t=end - start, threads=1)
        picture = source.video.filter("scale", -2, m.lines, flags="bilinear")
        codecs = {"c:v": "libx264", "preset": m.preset, "crf": m.crf, "g": m.key_frame_interval, "bf": 0, "threads": 1}
        sound = {"c:a": "aac", "aac_coder": "fast", "b:a": m.audio_bit_rate, "sc_threshold": 0}
        command = ffmpeg.output(
            picture, source.audio, str(folder / f"clip{i}.mp4"), pix_fmt="yuv420p", **codecs, **sound
        )
        arguments = command.global_args("-nostdin", "-v", "error", "-filter_threads", "1").overwrite_output()
        guard.run(arguments.compile(), guard.Limits(600, 4 << 30))


def reading(video: Path, folder: Path) -> None:
    """Read the frames to caption of every short clip from that clip's file."""
    for i, (scale, start, _, times) in enumerate(_found(folder)["clips"]):
        for time in times if scale == "short" else ():
            with av.open(str(folder / f"clip{i}.mp4")) as clip:
                clip.seek(int((time - start) * av.time_base))
                stream = clip.streams.video[0]
                stream.codec_context.thread_count = 1
                frame = next(f for f in clip.decode(stream) if f.time >= time - start - 0.02)
                cv2.imencode(".jpg", frame.to_ndarray(format="bgr24"))


def decode(video: Path, folder: Path) -> None:
    with av.open(str(video)) as container:
        stream = container.streams.video[0]
        stream.codec_context.thread_count = 1
        for _ in container.decode(stream):
            pass


def transcode(video: Path, folder: Path) -> None:
    """The minimum: only decode, scale and encode the same frames and the same sound."""
    source = Source(video, SETTINGS.media)
    base = stored_time_base(source.time_base)
    keys = {round(b / base) for b in map(Fraction, _found(folder)["boundaries"])}
    with source.container, open_stored(folder / "least.mp4") as out:
        last = 0
        scaler: Any = None
        pictures: Any = None
        sound: Any = None
        for picture in source.pictures(0.0, float("inf")):
            if scaler is None:
                geometry = Geometry(picture.frame, source.video.sample_aspect_ratio)
                size = geometry.size_for_height(SETTINGS.media.lines)
                scaler = Scaler(geometry, size, "yuv420p")
                pictures = VideoTrack(out, size, base, source.frame_rate, SETTINGS.media)
                context = source.audio and source.audio.codec_context
                sound = context and AudioTrack(out, context, SETTINGS.media.audio_bit_rate)
            last = round(picture.ticks * source.time_base / base)
            pictures.write(scaler.scale(picture.frame), last, last in keys)
            for frame, time in source.sound(picture.time) if sound else ():
                sound.write(frame, time)
        end = last + round(1 / (source.frame_rate * base))
        pictures.close(end)
        if sound:
            for frame, time in source.sound(float("inf")):
                sound.write(frame, time, until=float(end * base))
            sound.close(float(end * base))


PARTS = (ours, copies, detection, encodes, reading, decode, transcode)


def _found(folder: Path) -> Any:
    return json.loads((folder / "found.json").read_text())


# --- measuring ------------------------------------------------------------------------------------------------------


def cpu_seconds() -> float:
    """CPU seconds of this process, its ended children, and its living descendants."""
    usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(u.ru_utime + u.ru_stime for u in usage) + sum(_living(pid) for pid in _children(os.getpid()))


def _children(pid: int) -> list[int]:
    return [int(p) for task in Path(f"/proc/{pid}/task").iterdir() for p in (task / "children").read_text().split()]


def _living(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    own = sum(map(int, fields[11:15])) / os.sysconf("SC_CLK_TCK")
    return own + sum(_living(child) for child in _children(pid))


def part(name: str, video: Path, folder: Path) -> None:
    """Do one part in this process and print its CPU seconds, without imports and the start of the child."""
    cv2.setNumThreads(1)
    single_pass.probe(video, SETTINGS.media)
    begun = cpu_seconds()
    result = next(p for p in PARTS if p.__name__ == name)(video, folder)
    print(cpu_seconds() - begun)
    if result:
        (folder / "found.json").write_text(json.dumps(result))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video", type=Path)
    parser.add_argument("--repeat", type=int, default=1)
    parser.add_argument("--part", help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.part:
        part(arguments.part, arguments.video, arguments.folder)
        return
    with tempfile.TemporaryDirectory() as folder:
        cost: dict[str, float] = {}
        for _ in range(arguments.repeat):
            for name in (p.__name__ for p in PARTS):
                command = [sys.executable, "-m", "benchmarks.segment", str(arguments.video)]
                answer = subprocess.check_output([*command, "--part", name, "--folder", folder], text=True)
                cost[name] = min(cost.get(name, float("inf")), float(answer))
        clips = len(_found(Path(folder))["clips"])
    report(cost, clips)


def report(cost: dict[str, float], clips: int) -> None:
    usual = cost["detection"] + cost["encodes"] + cost["reading"]
    for name, seconds in (
        ("raw decode", cost["decode"]),
        ("the minimum: decode and encode", cost["transcode"]),
        ("ours: the single pass", cost["ours"]),
        (f"copying {clips} clips", cost["copies"]),
        ("the usual way: detection", cost["detection"]),
        (f"the usual way: {clips} encodes", cost["encodes"]),
        ("the usual way: reading frames", cost["reading"]),
        ("the usual way, in total", usual),
    ):
        print(f"{name:<34}{seconds:8.2f} CPU s")
    print()
    print(
        f"{'usual way / ours':<34}{usual / cost['ours']:8.2f}  (at least 3.2; {usual / cost['transcode']:.2f} at most)"
    )
    print(f"{'usual way / ours with the copying':<34}{usual / (cost['ours'] + cost['copies']):8.2f}")
    print(f"{'ours / (decode + one encode)':<34}{cost['ours'] / cost['transcode']:8.3f}  (at most 1.15)")


if __name__ == "__main__":
    main()
