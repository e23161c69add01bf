"""`vidla rebuild`: from a recipe to clips, by real downloads from a server on loopback."""

from __future__ import annotations

import functools
import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from dataclasses import fields
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.records import Clip, Segment
from curation.rejects import Stage
from curation.schema import from_row
from curation.settings import resolve
from pipelines.driver.curate import curate
from tests.conftest import make_video
from tests.support.dataset_files import commit_rows

PRIVATE = "download.allow_private=true"
Command = Callable[..., "subprocess.CompletedProcess[str]"]


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def site(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A folder of two videos of 15 s, and its URL."""
    folder = tmp_path / "www"
    folder.mkdir()
    for seed, name in enumerate("ab"):
        make_video(folder / f"{name}.mp4", 15, seed)
    with ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Quiet, directory=str(folder))) as server:
        threading.Thread(target=server.serve_forever, args=(0.05,), daemon=True).start()
        yield folder, f"http://127.0.0.1:{server.server_port}"
        server.shutdown()


def curated_from(urls: list[str], location: Path) -> Dataset:
    """A dataset of these videos, with texts that cost nothing."""
    dataset = Dataset(str(location))
    assert curate(urls, str(location), resolve(None, [PRIVATE]), (Stage.DOWNLOAD, Stage.SEGMENT), [], 0.0, 1.0) == 0
    media = {row["video_id"]: row["media_uri"] for row in dataset.read("videos").to_pylist()}
    clips = []
    for row in dataset.read("segments").to_pylist():
        segment = from_row(Segment, row)
        texts = {"subtitle_text": "Bees dance.", "caption_text": f"Clip {segment.clip_id}", "caption_status": "ok"}
        given = {**dict.fromkeys(f.name for f in fields(Clip)), **vars(segment), **texts}
        clips.append(Clip(**{**given, "media_uri": media[segment.video_id]}))
    with Writer(dataset, "texts", {"command": "test"}) as writer:
        commit_rows(writer, "texts", {"clips": clips})
    return dataset


@pytest.mark.slow
def test_a_recipe_comes_back_as_clips_with_its_texts(site: tuple[Path, str], tmp_path: Path, vidla: Command) -> None:
    folder, url = site
    original = curated_from([f"{url}/a.mp4", f"{url}/b.mp4"], tmp_path / "talks")
    assert vidla("release", tmp_path / "talks", "--name", "v1").returncode == 0
    recipe = tmp_path / "v1.parquet"
    written = vidla("release", "recipe", f"{tmp_path}/talks@v1", "-o", recipe, "--allow-private")
    assert written.returncode == 0, written.stderr
    made = vidla("rebuild", recipe, tmp_path / "again", "--set", PRIVATE, "--json")
    assert made.returncode == 0, made.stderr
    report = json.loads(made.stdout)
    wanted = len(original.read("clips"))
    assert (report["back"], report["matching"], report["alike"], report["videos_back"]) == (wanted, wanted, wanted, 2)
    assert report["max_off_s"] < 0.05 and not report["missing"]
    again = Dataset(str(tmp_path / "again"))
    columns = ["clip_id", "caption_text", "subtitle_text", "caption_status"]
    assert sorted(again.read("clips", columns).to_pylist(), key=str) == sorted(
        original.read("clips", columns).to_pylist(), key=str
    )
    assert not len(again.read("captions")), "no model was asked"
    version = again.delta("clips").version()
    (folder / "a.mp4").unlink()
    make_video(folder / "b.mp4", 15, 5, size="128x96", rate=12)
    assert vidla("rebuild", recipe, tmp_path / "again", "--set", PRIVATE).returncode == 0
    assert again.delta("clips").version() == version, "what came back stays"
    shown = vidla("rebuild", recipe, tmp_path / "third", "--set", PRIVATE)
    assert shown.returncode == 1, shown.stderr
    assert "0 of 2 videos came back" in shown.stdout
    assert "not_found" in shown.stdout and "other pictures" in shown.stdout


def test_what_is_not_a_recipe_is_refused_in_one_line(tmp_path: Path, vidla: Command) -> None:
    (tmp_path / "r.parquet").write_bytes(b"PAR1")
    (tmp_path / "r.json").write_text("{}")
    done = vidla("rebuild", tmp_path / "r.parquet", tmp_path / "data")
    assert done.returncode == 2 and done.stderr.count("\n") == 1 and "is not a recipe" in done.stderr
    assert not (tmp_path / "data").exists()
