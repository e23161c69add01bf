"""docs/notebook.ipynb, run on a dataset: from its tables to plots and a filtered training set."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tarfile
import tomllib
from pathlib import Path

import cv2
import pyarrow.parquet as pq
import pytest

from tests.support.drawn_dataset import drawn_dataset
from tests.support.project import ROOT

NOTEBOOK = ROOT / "docs" / "notebook.ipynb"


def test_it_holds_no_outputs() -> None:
    notebook = json.loads(NOTEBOOK.read_text())
    assert (notebook["nbformat"], notebook["nbformat_minor"]) == (4, 5)
    assert len({cell["id"] for cell in notebook["cells"]}) == len(notebook["cells"])
    for cell in notebook["cells"]:
        assert not cell.get("outputs") and cell.get("execution_count") is None
    assert NOTEBOOK.stat().st_size < 20_000


@pytest.mark.slow
def test_it_goes_from_a_dataset_to_plots_and_a_training_set(tmp_path: Path) -> None:
    dataset = drawn_dataset(tmp_path / "data" / "talks", videos=3)
    command = [sys.executable, "-m", "tests.support.notebook", str(NOTEBOOK)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "MPLCONFIGDIR": str(tmp_path / "matplotlib")}
    done = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    for cell in ("hours", "histograms", "frames"):
        picture = cv2.imread(str(tmp_path / f"cell-{cell}.png"))
        assert picture is not None and picture.std() > 10
    assert "<td>clips with texts</td>" in done.stdout and "12 of 21 clips" in done.stdout

    config = tomllib.loads((tmp_path / "chosen.toml").read_text())
    (row,) = dataset.sql(f"select count(*) as n from clips where {config['data']['where']}").to_pylist()
    chosen = pq.read_table(tmp_path / "chosen.parquet")
    with tarfile.open(tmp_path / "shards" / "clips-000000.tar") as shard:
        media = [name for name in shard.getnames() if name.endswith(".mp4")]
    assert row["n"] == chosen.num_rows == len(media) == 12
    assert set(chosen["caption_text"].to_pylist()) > {"One red circle on a ground that fades from green to grey."}
