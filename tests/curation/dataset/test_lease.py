"""Leases: a writer is alive as long as its lease changes, whatever any clock says; one that has lost it is told."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from curation.dataset import lease as leases
from curation.dataset.dataset import Dataset
from curation.dataset.lease import LEASE, LeaseWatch, holder, read_lease
from curation.dataset.object_store import put
from curation.dataset.writer import DatasetLocked, Writer
from tests.support.bucket import Bucket
from tests.support.dataset_files import commit_rows, reject_of
from tests.support.project import ROOT

STALE_S = 6.0
HOUR_S = 3600.0

ELSEWHERE = """
    import sys, time
    skew, here, real = float(sys.argv[2]), time.time(), time.time
    time.time = lambda: real() + skew  # this machine's clock is wrong
    from curation.dataset import lease, writer as writing
    from curation.dataset.dataset import Dataset
    lease._boot_id = lambda: "another machine"
    writing.HEARTBEAT_S = 0.3

    def lost(why):
        print(f"lost: {why}", flush=True)

    with writing.Writer(Dataset(sys.argv[1]), "theirs", {}, on_loss=lost) as writer:
        print("writing", flush=True)
        writer.lost.wait(120)
"""


@pytest.fixture(params=["disk", "bucket"])
def dataset(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Dataset:
    monkeypatch.setattr(leases, "STALE_S", STALE_S)
    if request.param == "disk":
        return Dataset(str(tmp_path / "data"))
    bucket: Bucket = request.getfixturevalue("bucket")
    return Dataset(f"{bucket.uri}/data")


@contextlib.contextmanager
def writer_elsewhere(dataset: Dataset, skew_s: float) -> Iterator[subprocess.Popen[str]]:
    """A process that holds the dataset, as if on another machine whose clock is wrong by `skew_s`."""
    command = [sys.executable, "-c", textwrap.dedent(ELSEWHERE), dataset.uri, str(skew_s)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=ROOT) as process:
        assert process.stdout is not None and process.stdout.readline() == "writing\n"
        try:
            yield process
        finally:
            process.kill()


@pytest.mark.slow
@pytest.mark.hostile("failures")
@pytest.mark.parametrize("skew_s", [pytest.param(-HOUR_S, marks=pytest.mark.long), HOUR_S])
def test_a_clock_that_is_wrong_by_an_hour_changes_nothing(dataset: Dataset, skew_s: float) -> None:
    with writer_elsewhere(dataset, skew_s) as other:
        for wait_s in (0.0, STALE_S + 2.0):
            with pytest.raises(DatasetLocked, match=f"process {other.pid} "), Writer(dataset, "ours", {}, wait_s):
                pass
        other.send_signal(signal.SIGSTOP)
        begun = time.monotonic()
        with Writer(dataset, "ours", {}) as writer:
            assert time.monotonic() - begun >= STALE_S - 1, "it might have been alive"
            other.send_signal(signal.SIGCONT)
            assert other.stdout is not None
            assert "took over" in other.stdout.readline()
            assert other.wait(60) == 0
            assert read_lease(dataset)["epoch"] == writer.lineage.epoch
            assert not writer.lost.is_set()


def lease_of(heartbeat: float, **more: object) -> dict[str, object]:
    return {"open": True, "holder": {**holder(), "boot": "another machine"}, "heartbeat": heartbeat, **more}


@pytest.mark.hostile("failures")
@pytest.mark.parametrize(
    ("beats", "is_over"),
    [
        pytest.param([1, 1, 1, 1], True, id="it stands still"),
        pytest.param([1, 2, 3, 4], False, id="it changes"),
        pytest.param([4, 3, 2, 1], False, id="its clock runs backwards"),
        pytest.param([9e9, 1, 9e9, 1], False, id="its clock jumps"),
        pytest.param([9e9, 9e9, 9e9, 9e9], True, id="it stands still in the future"),
        pytest.param([1, 1, 1, 2], False, id="it changes at last"),
    ],
)
def test_a_lease_is_judged_by_change(beats: list[float], is_over: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    now = 1000.0
    monkeypatch.setattr(leases.time, "monotonic", lambda: now)
    watch = LeaseWatch()
    verdicts = []
    for beat in beats:
        verdicts.append(watch.is_over(lease_of(beat)))
        now += 11.0
    assert verdicts[0] is False, "one look does not tell"
    assert verdicts[-1] is is_over


@pytest.mark.hostile("failures")
@pytest.mark.parametrize(
    "damage", [b"", b"{", b"[]", b'"lease"', b"\0" * 100, b'{"open": true, "ho', "sealed, then changed"]
)
def test_a_damaged_lease_heals(tmp_path: Path, damage: bytes | str) -> None:
    dataset = Dataset(str(tmp_path / "data"))
    with Writer(dataset, "first", {}):
        pass
    file = tmp_path / "data" / LEASE
    file.write_bytes(damage if isinstance(damage, bytes) else file.read_bytes().replace(b"epoch", b"epocj"))
    with Writer(dataset, "second", {}) as writer:
        file.write_bytes(b"")
        writer._renew_lease(open_=True)
        assert json.loads(file.read_bytes())["epoch"] == writer.lineage.epoch
        assert dataset.get_json(LEASE) is not None


@pytest.mark.hostile("failures")
@pytest.mark.parametrize("place", ["curation.dataset.writer.apply", "curation.dataset.writer.listed_parts"])
def test_a_writer_that_cannot_open_a_dataset_does_not_keep_it(
    place: str, dataset: Dataset, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The process may live on after the error, as a notebook does."""
    with contextlib.suppress(OSError), Writer(dataset, "first", {}) as writer, monkeypatch.context() as patch:
        patch.setattr("curation.dataset.commits.apply", failing)
        commit_rows(writer, "wave-1", {"rejects": [reject_of("a", "v", "u", "download", "gone")]})
    put(dataset.store, f"rejects/part-{writer.lineage.epoch:020d}-orphan.parquet", b"")
    with monkeypatch.context() as patch:
        patch.setattr(place, failing)
        with pytest.raises(OSError, match="no answer"), Writer(dataset, "second", {}):
            pass
    assert read_lease(dataset)["open"] is False
    with Writer(dataset, "third", {}):
        assert dataset.read("rejects").num_rows == 1
    assert not [path for path, *_ in dataset.list("rejects/") if "orphan" in path]


def failing(*arguments: object, **options: object) -> None:
    raise OSError("no answer")
