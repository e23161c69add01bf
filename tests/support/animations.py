"""Real clips with names: the animated emoji of two packages of npm, as stored media.

@lobehub/fluent-emoji-anim-1 (MIT) has the animations, emojibase-data (MIT) their names and tags. Both are fetched by
npm when they are asked for, and never shipped; they and the stored media made of them stay in the user's cache.

A video shows CLIPS_A_VIDEO of them, three seconds each, in an order that has nothing to do with their names, and goes
through the single pass.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from multiprocessing import get_context
from pathlib import Path
from random import Random

import av
import numpy as np
import numpy.typing as npt
from PIL import Image

from curation.ids import content_digest, video_id_of
from curation.media import single_pass
from curation.settings import Settings, resolve

PACKAGES = ("@lobehub/fluent-emoji-anim-1@1.0.0", "emojibase-data@17.0.0")
CACHE = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "vidla"
SIDE, RATE, SECONDS, CLIPS_A_VIDEO = 96, 12, 3.0, 8


class NoAnimations(Exception):
    """They cannot be fetched; one line says why."""


@dataclass(frozen=True)
class Animation:
    """Second `start` to `end` of a stored video. `thing` is the name without skin tone, which up to six share."""

    video_id: str
    start: float
    end: float
    name: str
    thing: str
    tags: str


def fetch() -> tuple[Path, list[Animation]]:
    """The folder of the stored videos (VIDEO_ID.mp4), and what is in them. Raises NoAnimations."""
    folder = CACHE / f"animations-{content_digest(Path(__file__).read_bytes())[:12]}"
    if not folder.exists():
        CACHE.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix="animations-", dir=CACHE) as building:
            made = Path(building) / "made"
            made.mkdir()
            _build(_download(Path(building)), made)
            if not folder.exists():  # somebody else may have been faster
                shutil.move(made, folder)
    return folder, [Animation(**one) for one in json.loads((folder / "animations.json").read_text())]


# --- from the packages to stored media ------------------------------------------------------------------------------


def _download(folder: Path) -> Path:
    """Both packages, unpacked, in folders named by their tarballs."""
    if shutil.which("npm") is None:
        raise NoAnimations("the animations come by npm, which is not installed")
    command = ["npm", "pack", "--silent", *PACKAGES]
    done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=800, check=False)
    names = done.stdout.split()
    if done.returncode or len(names) != len(PACKAGES):
        raise NoAnimations(f"npm cannot fetch {' and '.join(PACKAGES)}: {' '.join(done.stderr.split())[-300:]}")
    for name, into in zip(names, ("animations", "names"), strict=True):
        with tarfile.open(folder / name) as packed:
            packed.extractall(folder / into, filter="data")
    return folder


def _build(packages: Path, made: Path) -> None:
    """Store the videos in `made`, by two processes, and write down what is in them."""
    found = _named(packages / "names" / "package", packages / "animations" / "package" / "assets")
    Random(0).shuffle(found)
    shows = [found[at : at + CLIPS_A_VIDEO] for at in range(0, len(found), CLIPS_A_VIDEO)]
    jobs = [
        (video_id_of("emoji", f"{number:02}"), [path for path, *_ in show], made) for number, show in enumerate(shows)
    ]
    with get_context("spawn").Pool(2) as pool:
        pool.starmap(_store, jobs, chunksize=1)
    animations = [
        asdict(Animation(video_id, i * SECONDS, (i + 1) * SECONDS, *about))
        for (video_id, _, _), show in zip(jobs, shows, strict=True)
        for i, (_, *about) in enumerate(show)
    ]
    (made / "animations.json").write_text(json.dumps(animations, ensure_ascii=False, indent=1), encoding="utf-8")


def _named(names: Path, assets: Path) -> list[tuple[Path, str, str, str]]:
    """Every file that moves and has a name: its path, name, name without skin tone, and tags."""
    known: dict[str, tuple[str, str, str]] = {}
    for base in json.loads((names / "en" / "data.json").read_text(encoding="utf-8")):
        for one in (base, *base.get("skins", ())):
            known[_bare(one["hexcode"])] = (one["label"], base["label"], ", ".join(base.get("tags", ())))
    found = []
    for path in sorted(assets.glob("*.webp")):
        about = known.get(_bare(path.stem))
        with Image.open(path) as image:
            if about is not None and getattr(image, "n_frames", 1) > 1:
                found.append((path, *about))
    return found


def _bare(code: str) -> str:
    """Code points without the one that asks for a picture, which only some names have."""
    return code.lower().replace("-fe0f", "")


def _store(video_id: str, paths: Sequence[Path], made: Path) -> None:
    """Show the animations one after the other, and store that as the single pass stores a video."""
    settings: Settings = resolve(None, [f"media.lines={SIDE}"])
    with tempfile.TemporaryDirectory() as folder:
        source, spool = Path(folder) / "source.mp4", Path(folder) / "spool"
        spool.mkdir()
        with av.open(str(source), "w") as container:
            video = container.add_stream("libx264", rate=RATE)
            video.width = video.height = SIDE
            video.pix_fmt, video.options = "yuv420p", {"preset": "ultrafast", "crf": "12"}
            for path in paths:
                for pixels in _frames(path):
                    container.mux(video.encode(av.VideoFrame.from_ndarray(pixels, format="rgb24")))
            container.mux(video.encode(None))
        edges = [SECONDS * i for i in range(1, len(paths))]
        single_pass.decode_once(source, edges, None, None, settings, made / f"{video_id}.mp4", spool)


def _frames(path: Path) -> Iterator[npt.NDArray[np.uint8]]:
    """SECONDS of an animation on white, begun again where it is shorter."""
    pictures, shown = [], list[float]()
    with Image.open(path) as image:
        for number in range(getattr(image, "n_frames", 1)):
            image.seek(number)
            flat = Image.new("RGBA", (SIDE, SIDE), "white")
            flat.alpha_composite(image.convert("RGBA").resize((SIDE, SIDE), Image.Resampling.BOX))
            pictures.append(np.asarray(flat.convert("RGB")))
            shown.append(image.info["duration"] / 1000)
    ends = np.cumsum(shown)
    for number in range(round(SECONDS * RATE)):
        yield pictures[int(np.searchsorted(ends, number / RATE % ends[-1], side="right"))]


if __name__ == "__main__":
    sys.stdout.write(f"{len(fetch()[1])} animations\n")
