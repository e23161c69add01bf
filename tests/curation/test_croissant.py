"""Croissant metadata beside cards, as its own library reads it."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from curation.croissant import CROISSANT
from curation.export.export import export
from curation.release.freeze import freeze
from curation.release.released_dataset import ReleasedDataset
from tests.support.dataset_files import make_dataset


def test_an_export_is_loaded_by_its_metadata(tmp_path: Path) -> None:
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    dataset = make_dataset(tmp_path / "talks", videos=2)
    release = ReleasedDataset(freeze([dataset], "v1", "scale <> 'long'", 0.5))
    export(release, tmp_path / "out", "hf", shard_clips=5)
    loaded = mlcroissant.Dataset(jsonld=tmp_path / "out" / CROISSANT)
    assert not loaded.metadata.ctx.issues.errors
    rows = list(loaded.records("clips"))
    ids = {row["clips/clip_id"].decode() for row in rows}
    assert ids == {path.stem for path in (tmp_path / "out").rglob("*.mp4")} and len(ids) == 12
    assert {row["clips/caption_text"] for row in rows} == {b"A bee"}
    assert release.release.digest in loaded.metadata.description


def test_the_card_has_metadata_beside_it(
    tmp_path: Path, vidla: Callable[..., subprocess.CompletedProcess[str]]
) -> None:
    make_dataset(tmp_path / "talks", videos=1)
    done = vidla("card", tmp_path / "talks", "-o", tmp_path / "README.md")
    assert done.returncode == 0, done.stderr
    about = json.loads((tmp_path / CROISSANT).read_text())
    assert (about["name"], about["inLanguage"], about["license"]) == ("talks", ["en"], ["not stated"])
    assert "distribution" not in about and str(tmp_path) not in json.dumps(about)
    mlcroissant = pytest.importorskip("mlcroissant", reason="mlcroissant is not installed")
    assert not mlcroissant.Dataset(jsonld=tmp_path / CROISSANT).metadata.ctx.issues.errors
