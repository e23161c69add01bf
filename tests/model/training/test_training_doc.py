"""docs/training.md lists every setting of a training run with its actual default and description."""

from __future__ import annotations

from curation.settings import fields
from model.settings import ModelSettings, TrainSettings
from tests.support.project import ROOT

PAGE = ROOT / "docs" / "training.md"


def test_every_key_is_there_with_its_meaning() -> None:
    rows = {cells[0].strip("` "): cells for cells in _rows()}
    known = list(fields(TrainSettings(model=ModelSettings(weights="w"))))
    assert set(rows) == {name for name, _, _ in known}
    for name, value, description in known:
        assert rows[name][2] == description
        if isinstance(value, str | int | float) and name != "model.weights":
            assert rows[name][1] == (str(value).lower() if isinstance(value, bool) else str(value)), name


def _rows() -> list[list[str]]:
    lines = [line for line in PAGE.read_text(encoding="utf-8").splitlines() if line.startswith("| `")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
