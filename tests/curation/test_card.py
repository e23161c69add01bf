"""The card: what is in the tables, in the form that Hugging Face reads."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import yaml

from curation.card import card
from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.export.selection import Selection
from curation.settings import resolve
from tests.support.dataset_files import commit_rows, download_of, made_of, make_dataset, stored_media


def front_matter(text: str) -> dict[str, object]:
    head, _, _ = text.removeprefix("---\n").partition("\n---\n")
    found: dict[str, object] = yaml.safe_load(head)
    return found


def test_the_card_says_what_is_there(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=2, uncaptioned=1)
    text = card(dataset)
    assert front_matter(text) == {
        "pretty_name": "talks",
        "language": ["en"],
        "license": "other",
        "size_categories": ["n<1K"],
        "task_categories": ["video-text-to-text"],
        "tags": ["video", "video-text", "vidla"],
    }
    for line in (
        "Clips of 2 videos (0.0 hours)",
        "| short | 8 | 0.01 |",
        "| videos.example | 2 |",
        "| not stated | 2 |",
        "| captions | builtin | tags | r1 |",
        "| download | not\\_found | 1 |",
        "- subtitle: 6 clips have no such text.",
        "| keep | 2 |",
        "arXiv:2403.14870",
    ):
        assert line in text
    assert "Only some clips" in card(dataset, Selection("scale = 'short'"))


def test_a_licence_that_all_state_is_the_datasets(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=0)
    rows = made_of(3, stored_media())
    video = dataclasses.replace(rows["videos"][0], licence="https://creativecommons.org/licenses/by/4.0/")
    with Writer(dataset, "run-2", {}) as writer:
        commit_rows(writer, "more", {"downloads": [download_of(3)], **rows, "videos": [video]})
    assert front_matter(card(dataset))["license"] == "cc-by-4.0"


def test_strangers_texts_and_secrets_change_nothing_of_it(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "talks", videos=0)
    rows = made_of(3, stored_media())
    video = dataclasses.replace(
        rows["videos"][0], licence="a | b\n# Heading\n[x](http://evil)`code` <b>", language="en"
    )
    settings = resolve(None, ["download.cookies_file=/home/me/cookies.txt", "download.proxy=http://u:secret@proxy"])
    with Writer(dataset, "run-2", {"command": "curate", "settings": settings.shown()}) as writer:
        commit_rows(writer, "more", {**rows, "videos": [video]})
    text = card(dataset)
    assert "\n# Heading" not in text and "[x](" not in text and "<b>" not in text
    assert "cookies.txt" not in text and "secret" not in text
    assert '"crf": 23' in text


def test_an_empty_dataset_has_a_card(tmp_path: Path) -> None:
    with Writer(Dataset(str(tmp_path / "data")), "run-1", {}):
        pass
    assert "Clips of 0 videos" in card(Dataset(str(tmp_path / "data")))
