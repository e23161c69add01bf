"""Zero-shot classification: a video gets the class whose name, put into templates, is nearest to it.

The classifier is CLIP's (Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv
2103.00020): each class has the mean of its normalised text features over all templates, normalised again.
"""

from __future__ import annotations

import csv
import io
import json
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curation.errors import InputError
from model.data.loader import list_files
from model.evaluation.annotation_files import brief, read_text
from model.evaluation.ranking import normalised, rank

TEMPLATES = {
    "name": ("{}",),
    "photo": ("a photo of {}.",),
    "actions": (
        "a photo of {}.",
        "a photo of a person {}.",
        "a photo of a person doing {}.",
        "a photo of a person during {}.",
        "a photo of a person practicing {}.",
        "a video of {}.",
        "a video of a person {}.",
        "a video of a person doing {}.",
        "a video of a person during {}.",
        "a video of a person practicing {}.",
        "an example of {}.",
        "an example of a person {}.",
        "an example of a person doing {}.",
        "a demonstration of {}.",
        "a demonstration of a person {}.",
        "a demonstration of a person doing {}.",
    ),
}
"""Sets of templates by name; "actions" is modelled on those that CLIP was evaluated with on Kinetics."""


@dataclass(frozen=True)
class ZeroShotMetrics:
    """Top-1 and top-5 accuracy (0 to 1) over `videos`; `unreadable` ones are left out."""

    videos: int
    classes: int
    top_1: float
    top_5: float
    unreadable: int = 0
    unreadable_files: Mapping[str, str] = field(default_factory=dict)
    """The reasons, by file."""

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def __str__(self) -> str:
        accuracy = f"top-1 {self.top_1:.1%}, top-5 {self.top_5:.1%} of {self.videos} videos, {self.classes} classes"
        if not self.unreadable:
            return accuracy
        files = list_files(self.unreadable_files)
        return f"{accuracy}\n{self.unreadable} videos cannot be read and are left out: {files}"


def read_classes(path: Path) -> tuple[str, ...]:
    """Class names, in order: one per line, or the column `name` of a .csv like Kinetics-400's list.

    Raises InputError if there are none, or a name occurs twice.
    """
    text = read_text(path)
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""))
        try:
            columns, rows = list(reader.fieldnames or ()), list(reader)
        except csv.Error as error:
            raise InputError(f"{path} is not a list of classes; it is not CSV: {error}") from None
        if "name" not in columns:
            given = ", ".join(columns)[:60] or "none"
            raise InputError(f"{path} needs a column 'name' with the class names; its columns are {given}")
        names = [(row["name"] or "").strip() for row in rows]
    else:
        names = [line.strip() for line in text.splitlines()]
    names = [name for name in names if name]
    if not names:
        raise InputError(f"{path} has no class names")
    duplicate = next((name for name, count in Counter(names).items() if count > 1), None)
    if duplicate is not None:
        raise InputError(f"{path} has the class {brief(duplicate)} twice")
    return tuple(names)


def get_templates(name: str) -> tuple[str, ...]:
    """One of TEMPLATES. Raises InputError."""
    if name not in TEMPLATES:
        raise InputError(f"unknown set of templates '{name}'; known are {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def class_indices(texts: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The index of each text in `classes`. Raises InputError for one that is not a class.

    >>> class_indices(["diving", "abseiling"], classes=["abseiling", "bowling", "diving"])
    [2, 0]
    """
    numbers = {name: number for number, name in enumerate(classes)}
    unknown = sorted({text for text in texts if text not in numbers})
    if unknown:
        raise InputError(f"{len(unknown)} labels are not among the {len(classes)} classes, such as '{unknown[0]}'")
    return [numbers[text] for text in texts]


def build_classifier(
    classes: Sequence[str], templates: Sequence[str], encode: Callable[[list[str]], torch.Tensor]
) -> torch.Tensor:
    """One normalised feature per class (classes, d). `encode` turns n texts into features (n, d).

    It is called once per class, with all templates. Underscores in names are replaced by spaces.
    """
    means = []
    for name in classes:
        texts = [template.format(name.replace("_", " ")) for template in templates]
        means.append(normalised(encode(texts), "prompt").mean(0))
    return normalised(torch.stack(means), "class")


def classify(videos: Any, classifier: Any, labels: Sequence[int]) -> ZeroShotMetrics:
    """The accuracy of `classifier` (m, d) on `videos` (n, d), whose `labels` are its rows.

    Ties count as the mean over all orders (ranking.py). Raises DatasetError for features that are not finite.

    >>> metrics = classify(videos=np.eye(8)[:2], classifier=np.eye(8), labels=[0, 5])
    >>> metrics.top_1, round(metrics.top_5, 3)  # video 1 ties its class with six others, below class 1
    (0.5, 0.786)
    """
    classes = np.arange(len(classifier))
    (ranks,) = rank(normalised(videos, "video"), normalised(classifier, "class"), np.asarray(labels, np.int64), classes)
    return ZeroShotMetrics(len(labels), len(classes), float(ranks.hits(1).mean()), float(ranks.hits(5).mean()))
