"""Zero-shot classification: class names, templates, and the nearest class."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from curation.errors import DatasetError, InputError
from model.evaluation.zero_shot import TEMPLATES, build_classifier, class_indices, classify, read_classes


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("labels.txt", "abseiling\nair drumming\n\ntango dancing\n"),
        ("kinetics_400_labels.csv", "id,name\r\n0,abseiling\r\n1,air drumming\r\n2,tango dancing\r\n"),
    ],
)
def test_classes_are_read_from_both_kinds_of_list(tmp_path: Path, name: str, content: str) -> None:
    (tmp_path / name).write_text(content)
    assert read_classes(tmp_path / name) == ("abseiling", "air drumming", "tango dancing")


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.csv", "id,label\n0,abseiling\n", "needs a column 'name' .* its columns are id, label"),
        ("a.csv", "", "its columns are none"),
        ("a.txt", "\n \n", "has no class names"),
        ("a.csv", "id,name\n0," + "x" * 140_000 + "\n", "is not CSV: field larger than field limit"),
        ("a.txt", "a\nb\na\n", 'has the class "a" twice'),
    ],
)
def test_a_wrong_list_is_told_in_a_line(tmp_path: Path, name: str, content: str, message: str) -> None:
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=message):
        read_classes(tmp_path / name)
    with pytest.raises(InputError, match="cannot read"):
        read_classes(tmp_path / "none.txt")


def test_labels_are_numbers_of_classes() -> None:
    assert class_indices(["b", "a", "b"], ["a", "b"]) == [1, 0, 1]
    with pytest.raises(InputError, match="1 labels are not among the 2 classes, such as 'c'"):
        class_indices(["b", "c", "c"], ["a", "b"])


def test_a_class_is_the_mean_of_its_normalised_templates() -> None:
    asked: list[list[str]] = []
    random = np.random.default_rng(0)
    table: dict[str, np.ndarray] = {}

    def encode(texts: list[str]) -> torch.Tensor:
        asked.append(texts)
        return torch.tensor(np.stack([table.setdefault(t, random.normal(size=6) * 7) for t in texts]))

    got = build_classifier(["air_drumming", "tango"], ("a photo of {}.", "{}"), encode).double().numpy()
    assert asked == [["a photo of air drumming.", "air drumming"], ["a photo of tango.", "tango"]]
    for row, texts in zip(got, asked, strict=True):
        mean = np.mean([table[t] / np.linalg.norm(table[t]) for t in texts], axis=0)
        assert row == pytest.approx(mean / np.linalg.norm(mean), abs=1e-6)


def test_every_template_takes_one_name() -> None:
    for templates in TEMPLATES.values():
        assert len({template.format("juggling") for template in templates}) == len(templates)
        assert all("juggling" in template.format("juggling") for template in templates)


def test_top_1_and_top_5_are_those_of_a_plain_reference() -> None:
    random = np.random.default_rng(1)
    classes = random.normal(size=(12, 8))
    labels = random.integers(0, 12, 200)
    videos = classes[labels] + random.normal(size=(200, 8))
    got = classify(videos, classes, labels.tolist())
    cosines = (videos / np.linalg.norm(videos, axis=1, keepdims=True)) @ (
        classes / np.linalg.norm(classes, axis=1, keepdims=True)
    ).T
    order = np.argsort(-cosines, axis=1)
    assert (got.videos, got.classes) == (200, 12)
    assert got.top_1 == pytest.approx(np.mean(order[:, 0] == labels))
    assert got.top_5 == pytest.approx(np.mean((order[:, :5] == labels[:, None]).any(1)))
    assert 0.4 < got.top_1 < got.top_5
    assert str(got).endswith("of 200 videos, 12 classes")


def test_a_model_that_knows_nothing_scores_chance_and_one_that_diverged_is_told() -> None:
    same = classify(np.ones((30, 4)), np.ones((10, 4)), [3] * 30)
    assert (same.top_1, same.top_5) == (pytest.approx(0.1), pytest.approx(0.5))
    with pytest.raises(DatasetError, match="30 of 30 video features are not finite"):
        classify(np.full((30, 4), np.nan), np.ones((10, 4)), [3] * 30)
    with pytest.raises(DatasetError, match="1 of 1 prompt features are not finite"):
        build_classifier(["b"], ("a {}",), lambda texts: torch.full((len(texts), 2), torch.inf))
