"""Files that the user named, in folders that strangers can write to."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import pytest

from curation.download_settings import DownloadSettings
from curation.rejects import Kind, Rejected
from curation.segments.segmentation import segment_video
from curation.settings import Settings
from curation.sources.fetch import Fetched, fetch
from curation.sources.requests import read_inputs
from curation.sources.targets import FetchTarget
from curation.sources.user_files import unchanged
from tests.support.hostile_media import gallery, shows_private
from tests.support.media_files import make

SETTINGS = DownloadSettings()
VTT = "WEBVTT\n\n00:00.000 --> 00:01.000\n{}\n"


@pytest.fixture
def shared(tmp_path: Path) -> Path:
    """A folder with a video; beside the folder are private files."""
    folder, private = tmp_path / "shared", tmp_path / "private"
    folder.mkdir()
    private.mkdir()
    shutil.copy(gallery().private, private / "talk.mp4")
    (private / "talk.en.vtt").write_text(VTT.format("my diary"))
    make(folder / "talk.mp4", "-t", "2")
    return folder


def targets(*inputs: Path) -> list[FetchTarget]:
    found = list(read_inputs([str(path) for path in inputs], SETTINGS))
    assert all(isinstance(target, FetchTarget) for target in found)
    return found  # type: ignore[return-value]


def got(target: FetchTarget, tmp_path: Path) -> Fetched:
    return fetch(target, SETTINGS, tmp_path)


# --- subtitles ------------------------------------------------------------------------------------------------------

Trick = Callable[[Path], object]
LINKS: dict[str, Trick] = {
    "a link": lambda d: (d / "talk.en.vtt").symlink_to(d.parent / "private" / "talk.en.vtt"),
    "a relative link": lambda d: (d / "talk.vtt").symlink_to("../private/talk.en.vtt"),
    "a link to a link": lambda d: [(d / "a").symlink_to("../private/talk.en.vtt"), (d / "talk.en.vtt").symlink_to("a")],
    "a link through a folder": lambda d: [
        (d / "deep").symlink_to("../private"),
        (d / "talk.en.vtt").symlink_to("deep/talk.en.vtt"),
    ],
    "a link to a device": lambda d: (d / "talk.en.vtt").symlink_to("/dev/zero"),
    "a link to nothing": lambda d: (d / "talk.en.vtt").symlink_to("../private/none.vtt"),
    "a pipe": lambda d: os.mkfifo(d / "talk.en.vtt"),
}


@pytest.mark.hostile("subtitles")
@pytest.mark.parametrize("as_folder", [True, False], ids=["in a folder", "by name"])
@pytest.mark.parametrize("name", LINKS)
def test_subtitles_beside_a_video_stay_in_its_folder(
    shared: Path, tmp_path: Path, name: str, as_folder: bool, caplog: pytest.LogCaptureFixture
) -> None:
    LINKS[name](shared)
    (target,) = targets(shared if as_folder else shared / "talk.mp4")
    assert target.request.subtitles is None
    assert "is not read: it is not a regular file in this folder" in caplog.text
    assert got(target, tmp_path).download.subtitles == ()


def test_a_link_within_the_folder_is_followed(shared: Path, tmp_path: Path) -> None:
    (shared / "all").mkdir()
    (shared / "all" / "subtitles.vtt").write_text(VTT.format("hello"))
    (shared / "talk.en.vtt").symlink_to("all/subtitles.vtt")
    (target,) = targets(shared)
    assert "hello" in got(target, tmp_path).download.subtitles[0].text


# --- between the listing and the reading ----------------------------------------------------------------------------


def _becomes_a_link(path: Path) -> None:
    path.unlink()
    path.symlink_to(path.parent.parent / "private" / path.name)


def _folder_becomes_a_link(path: Path) -> None:
    shutil.rmtree(path.parent)
    path.parent.symlink_to("private")


SWAPS: dict[str, Callable[[Path], None]] = {"the file": _becomes_a_link, "its folder": _folder_becomes_a_link}


@pytest.mark.hostile("media")
@pytest.mark.parametrize("name", SWAPS)
def test_a_video_that_becomes_a_link_is_not_read(shared: Path, tmp_path: Path, name: str) -> None:
    (target,) = targets(shared)
    SWAPS[name](shared / "talk.mp4")
    with pytest.raises(Rejected) as caught:
        got(target, tmp_path)
    assert caught.value.kind is Kind.REFUSED


@pytest.mark.hostile("subtitles")
@pytest.mark.parametrize("name", SWAPS)
def test_subtitles_that_become_a_link_are_not_read(shared: Path, tmp_path: Path, name: str) -> None:
    beside = shared / "deep"
    beside.mkdir()
    shutil.move(shared / "talk.mp4", beside)
    (beside / "talk.en.vtt").write_text(VTT.format("hello"))
    (target,) = targets(shared)
    (shared / "private").symlink_to("../private")  # where the swaps lead to
    if name == "the file":
        _becomes_a_link(beside / "talk.en.vtt")
        assert got(target, tmp_path).download.subtitles == ()
    else:
        _folder_becomes_a_link(beside / "talk.en.vtt")
        with pytest.raises(Rejected):
            got(target, tmp_path)


# --- between the reading and the segmenting -------------------------------------------------------------------------

CHANGES: dict[str, Callable[[Path], object]] = {
    "another video": lambda path: shutil.copy(gallery().private, path),
    "a link": _becomes_a_link,
    "a manifest": lambda path: shutil.copy(gallery().files["a DASH manifest named mp4"], path),
    "one byte more": lambda path: path.write_bytes(path.read_bytes() + b"\0"),
    "a folder": lambda path: [path.unlink(), path.mkdir()],
    "nothing": lambda path: path.unlink(),
}


@pytest.mark.hostile("media")
@pytest.mark.parametrize("name", CHANGES)
def test_only_the_file_that_was_downloaded_is_segmented(shared: Path, tmp_path: Path, name: str) -> None:
    (target,) = targets(shared)
    download = got(target, tmp_path).download
    CHANGES[name](shared / "talk.mp4")
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    with pytest.raises(Rejected) as caught:
        segment_video(download, shared / "talk.mp4", "media/aa/v.mp4", Settings(), scratch)
    assert caught.value.kind in (Kind.SOURCE_GONE, Kind.REFUSED, Kind.NOT_FOUND)
    assert not list(scratch.iterdir())


@pytest.mark.hostile("media")
def test_a_file_that_is_replaced_after_its_check_is_still_the_one_that_is_read(shared: Path, tmp_path: Path) -> None:
    (target,) = targets(shared)
    digest = got(target, tmp_path).download.source_digest
    with unchanged(shared / "talk.mp4", digest, tmp_path) as opened:
        assert opened.suffix == ".mp4"
        _becomes_a_link(shared / "talk.mp4")
        assert shows_private(shared / "talk.mp4", gallery().private)
        assert not shows_private(opened, gallery().private)
        with av.open(f"file:{opened}") as container:
            assert sum(1 for _ in container.decode(video=0)) == 50
    assert not opened.is_symlink()
