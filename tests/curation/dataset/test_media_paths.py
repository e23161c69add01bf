"""Rows of a crafted dataset that name media elsewhere: no reader leaves the dataset for them."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

import vidla
from curation.dataset.dataset import Dataset
from curation.dataset.media_paths import checked, path_of_media
from curation.dataset.writer import Writer
from curation.export.export import export
from curation.export.selection import Selection
from model.data.media_cache import media_store
from tests.support.dataset_files import commit_rows, made_of, make_dataset, stored_media

ELSEWHERE = [
    "../private.mp4",
    "media/../../private.mp4",
    "media/aa/../../../private.mp4",
    "/etc/passwd",
    "//host/share/private.mp4",
    "file:///etc/passwd",
    "https://videos.example/private.mp4",
    "s3://bucket/private.mp4",
    "concat:media/aa/a.mp4|/etc/passwd",
    "subfile,,start,0,end,100,,:/etc/passwd",
    "media/aa/%2e%2e/%2e%2e/%2e%2e/private.mp4",
    "media\\..\\..\\private.mp4",
    "media/aa/.hidden.mp4",
    "media/aa/a.mp4\0.mp4",
    "media/aa/a.mp4\n",
    "media/",
    "sources/a.mp4",
    "clips/part-0.parquet",
    "",
]


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("media_uri", ELSEWHERE)
def test_a_name_of_something_else_is_no_media(media_uri: str, tmp_path: Path) -> None:
    (tmp_path / "private.mp4").write_bytes(stored_media())
    for find in (checked, lambda uri: path_of_media(tmp_path / "data", uri)):
        with pytest.raises(FileNotFoundError, match="is not the name of stored media") as caught:
            find(media_uri)
        assert "\n" not in str(caught.value)


def link_to_a_file(media: Path, private: Path) -> str:
    (media / "aa").mkdir()
    (media / "aa" / "v.mp4").symlink_to(private)
    return "media/aa/v.mp4"


def relative_link(media: Path, private: Path) -> str:
    (media / "aa").mkdir()
    (media / "aa" / "v.mp4").symlink_to(os.path.relpath(private, media / "aa"))
    return "media/aa/v.mp4"


def link_to_a_folder(media: Path, private: Path) -> str:
    (media / "aa").symlink_to(private.parent)
    return f"media/aa/{private.name}"


def link_to_a_device(media: Path, private: Path) -> str:
    (media / "v.mp4").symlink_to("/dev/zero")
    return "media/v.mp4"


def pipe(media: Path, private: Path) -> str:
    os.mkfifo(media / "v.mp4")
    return "media/v.mp4"


def folder(media: Path, private: Path) -> str:
    (media / "v.mp4").mkdir()
    return "media/v.mp4"


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("make", [link_to_a_file, relative_link, link_to_a_folder, link_to_a_device, pipe, folder])
def test_a_link_out_of_the_dataset_is_not_followed(make: object, tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    private = tmp_path / "elsewhere" / "private.mp4"
    private.write_bytes(stored_media())
    media = tmp_path / "data" / "media"
    media.mkdir(parents=True)
    media_uri = make(media, private)  # type: ignore[operator]
    with pytest.raises(FileNotFoundError):
        path_of_media(tmp_path / "data", media_uri)
    with pytest.raises(FileNotFoundError):
        media_store(Dataset(str(tmp_path / "data")), None, 1).open(media_uri)


def test_a_dataset_behind_a_link_is_read(tmp_path: Path) -> None:
    media = tmp_path / "data" / "media" / "aa"
    media.mkdir(parents=True)
    (media / "v.mp4").write_bytes(b"")
    (media / "same.mp4").symlink_to("v.mp4")
    (tmp_path / "link").symlink_to("data")
    for name in ("v.mp4", "same.mp4"):
        assert path_of_media(tmp_path / "link", f"media/aa/{name}").samefile(media / "v.mp4")


@pytest.mark.hostile("datasets")
def test_no_reader_cuts_what_a_crafted_clip_names(tmp_path: Path) -> None:
    """The other clips are exported."""
    dataset = make_dataset(tmp_path / "data", videos=1)
    assert dataset.folder is not None
    private = tmp_path / "private.mp4"
    private.write_bytes(stored_media())
    (dataset.folder / "media" / "link.mp4").symlink_to(private)
    clip = made_of(0, stored_media())["clips"][0]
    names = [*(uri for uri in ELSEWHERE if "\0" not in uri), str(private), private.as_uri(), "media/link.mp4"]
    crafted = [dataclasses.replace(clip, clip_id=f"crafted-{i}", media_uri=uri) for i, uri in enumerate(names)]
    with Writer(dataset, "run-2", {}) as writer:
        commit_rows(writer, "bad", {"clips": crafted})
    exported = export(dataset, tmp_path / "out", "mp4", Selection(scale=clip.scale))
    assert {line.partition(":")[0] for line in exported.failed} == {made.clip_id for made in crafted}
    assert exported.present == sum(row.scale == clip.scale for row in made_of(0, stored_media())["clips"])
    assert not list((tmp_path / "out").glob("crafted*"))
    reader = vidla.open(str(dataset.folder))
    for made in crafted[-3:]:
        with pytest.raises(vidla.DatasetError, match="cannot cut clip"):
            reader.cut(made.clip_id, tmp_path / "clip.mp4")
    assert not (tmp_path / "clip.mp4").exists()
