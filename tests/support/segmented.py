"""Datasets whose videos are segmented and wait for their texts, and runs on them with a scripted server of text.

`python -m tests.support.segmented` is such a server, in a process of its own that prints its base URL, and serves as
long as its standard input is open.
"""

from __future__ import annotations

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from aiohttp import web

from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.ids import content_digest, digest, frame_id_of
from curation.recipes import RECIPES, Step, identity
from curation.records import Download, Row, VideoRequest
from curation.rejects import Stage
from curation.row_digests import (
    download_digest,
    material_digest,
    media_digest,
    tiling_digest,
    timeline_digest,
    words_digest,
)
from curation.settings import Settings, resolve
from pipelines.driver.curate import curate
from pipelines.worker.text_engines import WantedTexts
from tests.support.dataset_files import download_of, made_of, request_of, stored_media
from tests.support.scripted_server import Asked, ScriptedServer, say

CAPTIONS, SUMMARIES = 4, 4
"""Requests that one of these videos takes: a caption a frame; three summaries of captions and one of what is said."""

TEXTS = WantedTexts("texts", {"maker": "the captioner", "model": "m", "prompt_digest": "p", "sampling": "{}"})
"""Texts that no video has, for tests that make none."""

Rows = dict[str, list[Any]]


def settings_for(*urls: str, assignments: Iterable[str] = ()) -> Settings:
    """Captions and summaries by servers at `urls`."""
    engine = ["kind=openai", "model=m", f"base_urls={list(urls)}".replace("'", '"'), "max_in_flight=16"]
    given = [f"{texts}.engine.{setting}" for texts in ("captions", "summaries") for setting in engine]
    return resolve(None, [*given, *assignments])


def as_fetched(download: Download, request: VideoRequest, settings: Settings) -> Download:
    """`download` with what the download stage adds to it."""
    material, words = material_digest(request, settings), words_digest(download.subtitles)
    return dataclasses.replace(download, material=material, words=words)


def segment_videos(
    location: Path, settings: Settings, numbers: Iterable[int], change: Callable[[Rows], Rows] = lambda rows: rows
) -> Dataset:
    """Videos of four frames and seven clips, as the first two stages write them; existing ones are replaced."""
    dataset = Dataset(str(location))
    with Writer(dataset, f"segmented-{len(list(location.glob('commits/*')))}", {}) as writer:
        parts, media = PartWriter(dataset.store, writer.lineage, part_bytes=1 << 30), stored_media()
        gone: list[tuple[str]] = []
        known = dataset.read("requests")["request_key"].to_pylist()
        for number in numbers:
            rows = change(made_of(number, media))
            request, download = request_of(number), as_fetched(download_of(number), request_of(number), settings)
            put(dataset.store, rows["videos"][0].media_uri, media)
            fetched = download_digest(request, settings)
            decoded = media_digest(fetched, settings, download.material)
            if request.request_key in known:
                gone.append((download.video_id,))
            else:
                parts.add([Row(request, digest("request", request.request_key))])
                parts.add([Row(download, fetched)])
            parts.add(Row(record, decoded) for record in rows["videos"])
            parts.add(Row(record, decoded) for record in rows["frames"])
            stored = identity(decoded, RECIPES[Step.MEDIA])
            parts.add(Row(record, timeline_digest(stored)) for record in rows["timelines"])
            tilings = tiling_digest(stored, download.words, settings)
            parts.add(Row(record, tilings) for record in rows["segments"])
        replacements = [
            Replacement(table, ("video_id",), frozenset(gone), frozenset(dataset.live_parts(table)))
            for table in ("videos", "timelines", "frames", "segments")
        ]
        writer.commit(writer.lineage.run_id, parts.finish(), replacements if gone else ())
    return dataset


def moved(rows: Rows, seconds: float = 0.5) -> Rows:
    """The same frames at other times, and so with other ids."""
    renamed: dict[str, str] = {}
    frames = []
    for frame in rows["frames"]:
        renamed[frame.frame_id] = frame_id_of(frame.video_id, frame.time + seconds)
        frames.append(dataclasses.replace(frame, frame_id=renamed[frame.frame_id], time=frame.time + seconds))
    segments = [
        dataclasses.replace(s, frame_ids=tuple(renamed[frame_id] for frame_id in s.frame_ids)) for s in rows["segments"]
    ]
    return {**rows, "frames": frames, "segments": segments}


def still(rows: Rows) -> Rows:
    """The rows with the first frame's image in every frame."""
    image = rows["frames"][0].image
    frames = [dataclasses.replace(f, image=image, image_digest=content_digest(image)) for f in rows["frames"]]
    return {**rows, "frames": frames}


def run(
    dataset: Dataset,
    settings: Settings,
    stages: Iterable[Stage] = tuple(Stage),
    one_job: bool = False,
    agreed: bool = True,
) -> int:
    """Run `vidla curate --dataset` in this process; returns its exit status."""
    return curate([], dataset.uri, settings, tuple(stages), [], 0.0, 1.0, one_job=one_job, yes=agreed)


# --- the server's answers -------------------------------------------------------------------------------------------


def image_of(asked: Asked) -> str | None:
    """The image of a request as a data URL, or None."""
    content = next(m["content"] for m in asked.body["messages"] if m["role"] == "user")
    return (
        next((part["image_url"]["url"] for part in content if part["type"] == "image_url"), None)
        if isinstance(content, list)
        else None
    )


def caption_for(image: str) -> str:
    """A caption that is unique to the image."""
    letters = hashlib.sha256(image.encode()).hexdigest()[:12].translate(str.maketrans("0123456789", "ghijklmnop"))
    return f"A bee dances on the flower {letters}."


async def texts(asked: Asked) -> web.StreamResponse:
    """Answer with a caption for an image, or with an acceptable summary of these videos' speech or pictures."""
    image = image_of(asked)
    if image is not None:
        return await say(asked, caption_for(image))
    seen = "<caption>" in asked.words
    return await say(asked, "A bee dances on the flower." if seen else "Bees dance and tell where flowers are.")


if __name__ == "__main__":
    with ScriptedServer(texts) as server:
        sys.stdout.write(f"{server.url}\n")
        sys.stdout.flush()
        sys.stdin.read()
