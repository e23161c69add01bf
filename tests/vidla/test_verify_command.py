"""`vidla verify`: what it says, and its exit status; on disk and in a bucket."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.dataset.repair import RepairWriter, repair
from curation.dataset.verify import Verification, verify
from curation.dataset.writer import Writer
from tests.support.bucket import Bucket
from tests.support.dataset_files import add_videos, make_dataset

Vidla = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.slow
@pytest.mark.hostile("datasets")
def test_what_is_broken_is_listed_by_kind_and_mended(tmp_path: Path, vidla: Vidla) -> None:
    dataset = make_dataset(tmp_path / "data", videos=2)
    done = vidla("verify", tmp_path / "data")
    assert done.returncode == 0 and done.stdout.endswith("Nothing is missing or damaged.\n"), done.stderr
    done = vidla("verify", tmp_path / "data", "--sample", "1")
    assert "1 media files of 2, chosen at random (seed 0)" in done.stdout
    min((tmp_path / "data").glob("media/*/*")).unlink()
    (tmp_path / "data" / "captions" / min(dataset.live_parts("captions"))).write_bytes(b"PAR1")
    done = vidla("inspect", tmp_path / "data")
    assert done.returncode == 1
    done = vidla("verify", tmp_path / "data")
    assert done.returncode == 1 and "--repair` mends what can be mended" in done.stdout
    assert "1 parts that are missing or damaged:" in done.stdout
    assert "1 videos whose stored media is missing or damaged:" in done.stdout
    done = vidla("verify", tmp_path / "data", "--repair")
    assert done.returncode == 0 and "videos are pending: `vidla curate --dataset" in done.stdout, done.stderr
    assert vidla("verify", tmp_path / "data").returncode == 0
    assert vidla("inspect", tmp_path / "data").returncode == 0


@pytest.mark.slow
@pytest.mark.hostile("datasets")
def test_a_dataset_in_a_bucket_is_verified_and_repaired(bucket: Bucket) -> None:
    dataset = Dataset(f"{bucket.uri}/data")
    with Writer(dataset, "run-1", {"command": "test"}) as writer:
        add_videos(writer, range(2), 0)
    assert verify(dataset).faults == []
    media = next(path for path, _, _ in dataset.list("media/"))
    put(dataset.store, media, dataset.get(media)[:-1] + b"x")
    dataset.delete([f"clips/{min(dataset.live_parts('clips'))}"])
    found = Verification(dataset)
    assert len(found.run().faults) == 2
    with RepairWriter(found, "repair", {"command": "verify --repair"}) as repairing:
        repair(repairing)
    assert verify(dataset).faults == []
    assert dataset.has(f"quarantine/{media}")
    with Writer(dataset, "next", {}):
        pass
    assert verify(dataset).faults == []
