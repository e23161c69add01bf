"""A dataset of unknown origin whose logs and rows name files outside of it: none of them is read, copied or deleted."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from curation.dataset.dataset import Dataset
from curation.errors import DamagedError
from tests.support.dataset_files import make_dataset
from vidla.cli import app

COMMANDS = (["inspect"], ["verify"], ["compact"], ["vacuum"], ["export"], ["forget"])
PLACES = (
    "../../private/clips/{part}",
    "..%2F..%2Fprivate%2Fclips%2F{part}",
    "{folder}/private/clips/{part}",
    "file://{folder}/private/clips/{part}",
    "x/../../../private/clips/{part}",
)


@pytest.fixture(scope="module")
def datasets(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a stranger's dataset, `crafted`, and one of the user's own, `private`."""
    folder = tmp_path_factory.mktemp("datasets")
    make_dataset(folder / "private", videos=2)
    make_dataset(folder / "crafted", videos=2)
    return folder


def crafted(folder: Path, place: str) -> Path:
    """A copy of the stranger's dataset, in which the log of `clips` names a part at `place`."""
    dataset = folder / "copy"
    shutil.rmtree(dataset, ignore_errors=True)
    shutil.copytree(folder / "crafted", dataset)
    private = next(iter(Dataset(str(folder / "private")).live_parts("clips")))
    (part,) = list(Dataset(str(dataset)).live_parts("clips"))[:1]
    for log in sorted((dataset / "clips/_delta_log").glob("*.json")):
        log.write_text(log.read_text().replace(part, place.format(part=private, folder=folder)))
    return dataset


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize(
    ("place", "command"),
    [*((place, ["inspect", "clips"]) for place in PLACES), *((PLACES[0], command) for command in COMMANDS)],
)
def test_a_part_that_lies_elsewhere_is_neither_read_nor_deleted(
    place: str, command: list[str], datasets: Path, tmp_path: Path
) -> None:
    dataset = crafted(datasets, place)
    before = {path: path.stat().st_mtime_ns for path in (datasets / "private").rglob("*")}
    further = {"export": [str(tmp_path / "out"), "--format", "parquet"], "forget": ["--channel", "Channel 0", "--yes"]}
    line = [command[0], str(dataset), *command[1:], *further.get(command[0], [])]
    done = CliRunner().invoke(app, line, obj=[])
    assert done.exit_code == 1 and (done.exception is None or isinstance(done.exception, DamagedError | SystemExit))
    assert {path: path.stat().st_mtime_ns for path in (datasets / "private").rglob("*")} == before
    assert not list((tmp_path / "out").rglob("*.parquet"))


@pytest.mark.hostile("datasets")
@pytest.mark.parametrize("path", ["../x", "/etc/passwd", "sources/../../x", "sources//x", "a\0b", "a\nb", ".", ""])
@pytest.mark.parametrize("verb", ["get", "has", "delete", "fetch", "get_json"])
def test_a_path_out_of_the_dataset_is_refused(path: str, verb: str, datasets: Path, tmp_path: Path) -> None:
    dataset = Dataset(str(datasets / "private"))
    arguments = {"delete": ([path],), "fetch": (path, tmp_path / "x")}.get(verb, (path,))
    with pytest.raises(DamagedError, match="not a file of a dataset"):
        getattr(dataset, verb)(*arguments)
