"""Zero-shot classification: a video belongs to the class whose name, put into templates, is nearest to it.

The classifier is CLIP's (Radford et al., "Learning Transferable Visual Models From Natural Language Supervision", arXiv
2103.00020): a class is the mean of its normalised text features over all templates, normalised again.
"""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from curation.errors import InputError
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
"""Sets of templates by name; "actions" is in the manner of those that CLIP was evaluated with on Kinetics."""


@dataclass(frozen=True)
class ZeroShot:
    """Shares of the videos whose class is the nearest, or among the five nearest; `unreadable` ones are left out."""

    videos: int
    classes: int
    top_1: float
    top_5: float
    unreadable: int = 0

    def to_json(self) -> str:
        return json.dumps(asdict(self), indent=2) + "\n"

    def __str__(self) -> str:
        shares = f"top-1 {self.top_1:.1%}, top-5 {self.top_5:.1%} of {self.videos} videos, {self.classes} classes"
        return shares + (f"\n{self.unreadable} videos cannot be read and are left out" if self.unreadable else "")


def read_classes(path: Path) -> tuple[str, ...]:
    """Class names, in order: one a line, or the column `name` of a .csv, as Kinetics-400's list has it.

    Raises InputError where there are none, or one twice.
    """
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from None
    if path.suffix.lower() == ".csv":
        reader = csv.DictReader(io.StringIO(text, newline=""))
        if "name" not in (reader.fieldnames or ()):
            columns = ", ".join(reader.fieldnames or ()) or "none"
            raise InputError(f"{path} needs a column 'name' with the names of classes; its columns are {columns}")
        names = [(row["name"] or "").strip() for row in reader]
    else:
        names = [line.strip() for line in text.splitlines()]
    names = [name for name in names if name]
    if not names:
        raise InputError(f"{path} names no class")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice is not None:
        raise InputError(f"{path} names the class '{twice}' twice")
    return tuple(names)


def templates_of(name: str) -> tuple[str, ...]:
    """One of TEMPLATES. Raises InputError."""
    if name not in TEMPLATES:
        raise InputError(f"no set of templates is called '{name}'; there are {', '.join(TEMPLATES)}")
    return TEMPLATES[name]


def labels_of(texts: Sequence[str], classes: Sequence[str]) -> list[int]:
    """The number of each text among `classes`. Raises InputError for one that is not a class."""
    numbers = {name: number for number, name in enumerate(classes)}
    unknown = sorted({text for text in texts if text not in numbers})
    if unknown:
        raise InputError(f"{len(unknown)} labels are not among the {len(classes)} classes, as '{unknown[0]}'")
    return [numbers[text] for text in texts]


def class_features(
    classes: Sequence[str], templates: Sequence[str], encode: Callable[[list[str]], torch.Tensor]
) -> torch.Tensor:
    """(classes, d): one normalised feature a class. `encode` gives a feature (n, d) for each of n texts.

    It is called once a class, with all templates. Underscores in names are read as spaces.
    """
    means = []
    for name in classes:
        texts = [template.format(name.replace("_", " ")) for template in templates]
        means.append(normalised(encode(texts), "prompt").mean(0))
    return normalised(torch.stack(means), "class")


def classify(videos: Any, classes: Any, labels: Sequence[int]) -> ZeroShot:
    """How often `videos` (n, d) are nearest to their class: `labels` are rows of `classes` (m, d), as class_features.

    Ties count as the mean over all orders (ranking.py). Raises DatasetError for features that are not finite.
    """
    names = np.arange(len(classes))
    (found,) = rank(normalised(videos, "video"), normalised(classes, "class"), np.asarray(labels, np.int64), names)
    return ZeroShot(len(labels), len(names), float(found.hits(1).mean()), float(found.hits(5).mean()))
