"""The README's query, on a dataset with superseded rows."""

from __future__ import annotations

import re
import runpy
from pathlib import Path

import pyarrow.parquet as pq
import pytest

from curation.dataset.commits import Replacement
from curation.dataset.writer import Writer
from tests.support.dataset_files import commit_rows, make_dataset
from tests.support.project import ROOT


def test_the_query_of_the_readme_counts_no_superseded_row(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = tmp_path / "data" / "talks"
    dataset = make_dataset(folder, videos=2)
    gone = frozenset({(dataset.read("clips", ["video_id"])["video_id"][0].as_py(),)})
    with Writer(dataset, "20261126T000000-abcd", {}) as writer:
        parts = frozenset(dataset.live_parts("clips"))
        commit_rows(writer, "removal", {}, [Replacement("clips", ("video_id",), gone, parts)])
    monkeypatch.chdir(tmp_path)
    (code,) = re.findall(r"```python\n(import duckdb\n.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    script = tmp_path / "query.py"
    script.write_text(code.replace("duckdb.sql(", "answer = duckdb.sql(").replace(".show()", ".fetchall()"))
    assert runpy.run_path(str(script))["answer"] == [("long", 1, 24.0), ("medium", 2, 12.0), ("short", 4, 6.0)]
    assert sum(pq.read_metadata(file).num_rows for file in folder.glob("clips/*.parquet")) > 7, "what a glob counts"
