"""`vidla forget` says what it found and asks, lists what is forgotten, and takes it back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.pins import pin
from curation.errors import DatasetError, UsageError
from tests.support.dataset_files import download_of, make_dataset, url_of
from vidla.forget_command import forget


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    return make_dataset(tmp_path / "data", videos=2)


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({}, "name one of --video"),
        ({"video": "a", "url": "http://b"}, "name one of --video"),
        ({"undo": True}, "name one of --video"),
        ({"list_": True, "video": "a"}, "--list stands alone"),
        ({"undo": True, "ahead": True, "video": "a"}, "--undo goes without --ahead"),
        ({"video": "a", "yes": True}, "has no such video; --ahead forbids"),
        ({"url": "http://", "yes": True}, "the URL has no host"),
        ({"video": "a", "undo": True}, "has not forgotten it"),
        ({"video": download_of(0).video_id}, "nothing was forgotten: repeat it with --yes, or at a terminal"),
    ],
)
def test_misuse_forgets_nothing(
    dataset: Dataset, options: dict[str, Any], said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sys.stdin.isatty", lambda: False, raising=False)
    with pytest.raises(UsageError, match=re.escape(said)):
        forget(dataset.uri, **options)
    assert dataset.read("forgotten").num_rows == 0


def test_a_dataset_that_is_not_there_is_not_made(tmp_path: Path) -> None:
    for options in ({"list_": True}, {"video": "a"}, {"video": "a", "undo": True}):
        with pytest.raises(DatasetError, match="no vidla dataset"):
            forget(str(tmp_path / "nothing"), **options)
    assert not (tmp_path / "nothing").exists()


def test_it_says_what_it_found_and_warns_before_it_forgets(
    dataset: Dataset, capsys: pytest.CaptureFixture[str]
) -> None:
    pin(dataset, "first")
    forget(dataset.uri, url=url_of(0), yes=True)
    out, err = capsys.readouterr()
    video = download_of(0).video_id
    assert out.startswith(f"Found 1 video(s) ({video}) of 1 request(s): 1 media file(s), 0 source(s)\nForgotten, and")
    before, after = err.split("Copies elsewhere stay: repeat `vidla export`")
    assert "The version pinned as 'first' holds some of it" in before
    assert "The version pinned as 'first' held some of it" in after


def test_what_is_forgotten_is_listed_and_taken_back(dataset: Dataset, capsys: pytest.CaptureFixture[str]) -> None:
    forget(dataset.uri, video=download_of(0).video_id, yes=True)
    forget(dataset.uri, url="https://videos.example/later", yes=True, ahead=True)
    capsys.readouterr()
    forget(dataset.uri, list_=True)
    lines = capsys.readouterr().out.splitlines()
    assert sorted(line.split()[0] for line in lines) == ["request", "uri", "uri", "video"]
    assert all(re.fullmatch(r"\w+ +\d{4}-\d\d-\d\d \d\d:\d\d [0-9a-f]{32}", line) for line in lines)
    forget(dataset.uri, url=url_of(0), undo=True)
    assert capsys.readouterr().out.startswith("No longer forgotten: 1 request(s), 1 uri(s), 1 video(s).")
    forget(dataset.uri, list_=True)
    assert len(capsys.readouterr().out.splitlines()) == 1
