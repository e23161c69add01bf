"""Training and evaluation on a release: its clips, its split, and what is not given out any more."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch

from curation.dataset.dataset import Dataset
from curation.dataset.forget import forget
from curation.dataset.pins import pins
from curation.dataset.writer import Writer
from curation.errors import DatasetError
from curation.release.freeze import freeze
from curation.release.released_dataset import ReleasedDataset, release_of
from curation.splits import is_held_out
from model.data.clips import current_version, pin_version, resume_version, select_clips, with_split_of
from model.data.media_cache import media_store
from model.distributed import World
from model.settings import DataSettings
from model.training.run_folder import open_run, read_metadata
from tests.support.dataset_files import add_videos, download_of, make_dataset
from tests.support.small_training import training_clip, training_settings
from vidla.cli import run as run_vidla

ALONE = World(0, 1, torch.device("cpu"))


@pytest.fixture
def release(tmp_path: Path) -> ReleasedDataset:
    dataset = make_dataset(tmp_path / "talks", videos=6)
    return ReleasedDataset(freeze([dataset], "v1", "scale = 'short'", 0.4))


def test_its_clips_are_read_by_its_split(release: ReleasedDataset, tmp_path: Path) -> None:
    settings = with_split_of(release, DataSettings())
    before = pins(release.members[0])
    version = pin_version(release, "run")
    assert pins(release.members[0]) == before, "it has its pins already"
    assert version.configuration == release.release.digest
    with Writer(Dataset(release.members[0].uri), "more", {}) as writer:
        add_videos(writer, [9])
    for split in ("train", "held_out"):
        clips = select_clips(release, version, settings, split, tmp_path / f"{split}.arrow")  # type: ignore[arg-type]
        wanted = {
            download_of(n).video_id for n in range(6) if is_held_out(download_of(n).video_id, 0.4) == (split != "train")
        }
        assert set(clips.videos()) == wanted and len(clips) == 4 * len(wanted)
        frames = media_store(release, None, 2**20).read(clips[0].media_uri, [0.5], 32, clips[0].media_digest)
        assert len(frames.pixels) == 1


def test_a_run_goes_on_only_if_nothing_was_withdrawn(release: ReleasedDataset) -> None:
    version = pin_version(release, "run")
    assert resume_version(release, version, "run", allow_changed=False) == version
    home = Dataset(release.members[0].uri)
    with Writer(home, "forget", {}) as writer:
        forget(writer, "video", download_of(0).video_id)
    now = ReleasedDataset(release.release)
    with pytest.raises(DatasetError, match=r"not given out any more, which the run has read.*allow_changed=true"):
        resume_version(now, version, "run", allow_changed=False)
    assert resume_version(now, version, "run", allow_changed=True) == current_version(now) != version


def test_a_run_records_the_release(release: ReleasedDataset, tmp_path: Path) -> None:
    settings = training_settings(training_clip(tmp_path / "clip"))
    run = open_run(tmp_path / "run", release, settings, ALONE)
    metadata = read_metadata(tmp_path / "run")
    assert metadata is not None and metadata.release == release_of(release)
    assert metadata.dataset == release.uri and metadata.version == run.version
    assert json.loads((tmp_path / "run" / "run.json").read_text())["release"]["name"] == "v1"


def test_another_split_than_the_releases_is_refused(
    release: ReleasedDataset, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text('[data]\nheld_out = 0.1\n[model]\nweights = "none"\n')
    place = f"{release.members[0].folder}@v1"
    arguments = ["vidla", "train", str(tmp_path / "config.toml"), "--dataset", place, "--dry-run"]
    monkeypatch.setattr("sys.argv", arguments)
    assert run_vidla() == 2
    assert "holds out 0.4: leave out data.held_out, which says 0.1" in capsys.readouterr().err
