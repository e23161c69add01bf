"""The key to a job's secrets: there for the workers while the run lasts, and for nobody else."""

from __future__ import annotations

import pickle
import subprocess
import sys
from pathlib import Path

import pytest

from curation.dataset.dataset import Dataset
from curation.secret import Secret, keys
from pipelines.worker.job_key import published, read_key
from tests.support.secret_urls import CANARY

WORKER = """
import pickle, sys
from curation.dataset.dataset import Dataset
from pipelines.worker.job_key import read_key
secret = pickle.loads(bytes.fromhex(sys.argv[2]))
read_key(Dataset(sys.argv[1]), "a-run")
print(secret.reveal())
"""


def revealed(dataset: Dataset, job: bytes) -> subprocess.CompletedProcess[str]:
    """What a worker of the job gets, in another process."""
    return subprocess.run([sys.executable, "-c", WORKER, dataset.uri, job.hex()], capture_output=True, text=True)


@pytest.mark.hostile("secrets")
def test_workers_read_it_while_the_run_lasts(tmp_path: Path) -> None:
    dataset, job = Dataset(str(tmp_path)), pickle.dumps(Secret(CANARY))
    with published(dataset, "a-run", keep=False):
        (file,) = (tmp_path / "progress").iterdir()
        assert file.stat().st_mode & 0o777 == 0o600
        assert revealed(dataset, job).stdout.strip() == CANARY
    assert list(tmp_path.iterdir()) == []
    late = revealed(dataset, job)
    assert CANARY not in late.stdout and "the run that made the job has ended" in late.stderr


def test_it_stays_for_a_job_that_begins_later(tmp_path: Path) -> None:
    with published(Dataset(str(tmp_path)), "a-run", keep=True):
        pass
    assert (tmp_path / "progress" / "a-run.key").read_bytes() == keys.own


def test_a_key_that_is_none_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "progress").mkdir()
    (tmp_path / "progress" / "a-run.key").write_bytes(b"no key")
    read_key(Dataset(str(tmp_path)), "a-run")
