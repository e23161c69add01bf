"""From draws to batches: contents of a sample, order, number of workers, and broken files."""

from __future__ import annotations

import contextlib
import dataclasses
import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Any

import psutil
import pytest
import torch
from transformers import CLIPTextConfig, CLIPTextModelWithProjection

from curation.clip_tokenizer import END_TOKEN, encode
from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.dataset.writer import Writer
from curation.errors import DatasetError
from curation.records import Clip, PictureBox
from model.data import loader
from model.data.augment import View, apply_view, centre_view
from model.data.clips import Clips, pin_version, select_clips
from model.data.frame_reader import Frames, read_frames, sample_times
from model.data.loader import (
    ATTEMPTS,
    NO_CLIP,
    Augmentation,
    Batch,
    ClipDataset,
    StoredBatch,
    UnreadableClips,
    load_batches,
    store_batches,
    tokenize,
)
from model.data.media_cache import media_store
from model.data.sampler import EpochSampler, SequentialBatchSampler, TrainBatchSampler
from model.settings import DataSettings
from tests.support.bucket import Bucket
from tests.support.dataset_files import commit_rows, made_of, make_dataset, stored_media
from tests.support.project import ROOT
from tests.support.watching import wait_until

FRAMES, SIZE = 4, 16
AUGMENTATION = Augmentation((1.0, 0.8), True)
TEXTS: Sequence[tuple[str | None, str | None]] = [("Bees dance.", "A bee"), (None, "A bee on a flower"), ("Bzz.", None)]


def make(folder: Path, videos: int = 6) -> Dataset:
    """A few videos; of every three clips, one has no subtitle and another one no caption."""
    dataset = make_dataset(folder, 0)
    with Writer(dataset, "run-2", {}) as writer:
        for number in range(videos):
            rows = made_of(number, stored_media(seed=number))
            put(dataset.store, rows["videos"][0].media_uri, stored_media(seed=number))
            clips: list[Clip] = rows["clips"]
            texts = [TEXTS[i % 3] for i in range(len(clips))]
            clips = [
                dataclasses.replace(c, subtitle_text=s, caption_text=t) for c, (s, t) in zip(clips, texts, strict=True)
            ]
            commit_rows(writer, f"texts {number}", {"clips": clips})
    return dataset


def samples_of(dataset: Dataset, folder: Path, augmentation: Augmentation | None = AUGMENTATION) -> ClipDataset:
    version = pin_version(dataset, "tests")
    clips = select_clips(dataset, version, DataSettings(held_out=0), "train", folder / "clips.arrow")
    return ClipDataset(
        clips, media_store(dataset, str(folder / "cache"), 1_000_000), FRAMES, SIZE, augmentation=augmentation
    )


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return make(tmp_path_factory.mktemp("samples") / "dataset")


@pytest.fixture
def samples(dataset: Dataset, tmp_path: Path) -> ClipDataset:
    return samples_of(dataset, tmp_path)


def make_sampler(clips: Clips, batch: int = 4) -> EpochSampler:
    return EpochSampler(clips.counts, batch, seed=5)


def test_a_sample_in_training(samples: ClipDataset) -> None:
    clip = samples.clips[3]
    (batch,) = load_batches(samples, [[(3, 11), (3, 12)]], workers=0)
    assert batch.frames.shape == (2, FRAMES, 3, SIZE, SIZE) and batch.frames.dtype == torch.uint8
    assert batch.index.tolist() == batch.drawn.tolist() == [3, 3]
    assert batch.times[0].tolist() != batch.times[1].tolist()
    part = (clip.end - clip.start) / FRAMES
    assert [int((t - clip.start) // part) for t in batch.times[0].tolist()] == [0, 1, 2, 3]
    for i in range(2):
        left, top, side, flip = batch.view[i].tolist()
        path = samples.media.open(clip.media_uri)
        pixels = read_frames(path, batch.times[i].tolist()).pixels
        assert torch.equal(batch.frames[i], apply_view(pixels, View(left, top, side, bool(flip)), SIZE))


def test_a_sample_in_evaluation(dataset: Dataset, tmp_path: Path) -> None:
    samples = samples_of(dataset, tmp_path, augmentation=None)
    clip = samples.clips[3]
    (batch,) = load_batches(samples, [[(3, 11), (3, 12)]], workers=0)
    assert batch.times[0].tolist() == batch.times[1].tolist() == sample_times(clip.start, clip.end, FRAMES)
    pixels = read_frames(samples.media.open(clip.media_uri), batch.times[0].tolist()).pixels
    assert torch.equal(batch.frames[0], apply_view(pixels, centre_view(36, 64), SIZE))
    assert torch.equal(batch.frames[0], batch.frames[1])


def test_frames_of_training_may_be_uniform(samples: ClipDataset) -> None:
    uniform = dataclasses.replace(samples, augmentation=dataclasses.replace(AUGMENTATION, stratified=False))
    clip = samples.clips[3]
    (batch,) = load_batches(uniform, [[(3, 11), (3, 12)]], workers=0)
    assert batch.times[0].tolist() == batch.times[1].tolist() == sample_times(clip.start, clip.end, FRAMES)
    assert batch.view[0].tolist() != batch.view[1].tolist()


@pytest.mark.slow
def test_batches_may_grow(samples: ClipDataset) -> None:
    """A worker's buffers, each of which begins with a batch of one clip, take larger ones too."""
    draws = [[(number, 0) for number in range(size)] for size in (1, 1, 1, 1, 3, 2, 4, 3, 3, 3)]
    alone, by_worker = (list(load_batches(samples, draws, workers)) for workers in (0, 1))
    assert [trace(batch) for batch in by_worker] == [trace(batch) for batch in alone]


def test_tells_which_texts_a_clip_has(samples: ClipDataset) -> None:
    everything = list(load_batches(samples, SequentialBatchSampler(len(samples), 4), workers=0))
    rows = [samples.clips[int(index)] for batch in everything for index in batch.index]
    assert len(rows) == len(samples)
    has = [torch.cat([getattr(batch, name) for batch in everything]) for name in ("has_subtitle", "has_caption")]
    assert has[0].tolist() == [row.subtitle is not None for row in rows]
    assert has[1].tolist() == [row.caption is not None for row in rows]
    assert 0 < int(has[0].sum()) < len(rows) and bool((has[0] | has[1]).all())
    videos = torch.cat([batch.video for batch in everything]).tolist()
    names = [row.video_id for row in rows]
    assert len(set(videos)) == len(set(names)) == len(set(zip(videos, names, strict=True)))
    subtitles = torch.cat([batch.subtitle for batch in everything])
    assert torch.equal(subtitles, tokenize([row.subtitle or "" for row in rows]))


# --- texts ----------------------------------------------------------------------------------------------------------


def test_tokens_are_those_of_clip() -> None:
    found = tokenize(["a photo of a cat", "", "dog " * 100])
    assert found.shape == (3, 77) and found.dtype == torch.int64
    assert found[0, :8].tolist() == [49406, 320, 1125, 539, 320, 2368, 49407, 49407]
    assert found[1, :2].tolist() == [49406, 49407]
    assert found[2].tolist() == [49406, *[1929] * 75, 49407]  # cut, but with an end token
    assert tokenize(["dog " * 100], context=10)[0].tolist() == [49406, *[1929] * 8, 49407]


@pytest.mark.parametrize("eos", [2, 49407])  # as early copies of CLIP name their end token, and as later ones do
def test_padding_changes_no_feature_of_clip(eos: int) -> None:
    torch.manual_seed(0)
    sizes: dict[str, Any] = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "projection_dim": 16}
    model = CLIPTextModelWithProjection(CLIPTextConfig(**sizes, num_attention_heads=4, eos_token_id=eos)).eval()
    for text in ("a photo of a cat", "dog " * 100):
        short = [*encode(text)[:-1][:76], END_TOKEN]
        with torch.no_grad():
            padded = model(tokenize([text])).text_embeds
            assert torch.allclose(padded, model(torch.tensor([short])).text_embeds, atol=1e-6)


# --- any number of processes ----------------------------------------------------------------------------------------


def walk(samples: ClipDataset, order: EpochSampler, first: int, last: int, workers: int) -> list[tuple[Any, ...]]:
    """The traces of all batches, taken after the last has come: no batch may overwrite another one."""
    return [trace(batch) for batch in list(load_batches(samples, TrainBatchSampler(order, first, last, 2), workers))]


def trace(batch: Batch) -> tuple[Any, ...]:
    """Values that identify the contents of a batch."""
    return (
        batch.index.tolist(),
        batch.times.tolist(),
        batch.view.tolist(),
        batch.frames.long().sum((1, 2, 3, 4)).tolist(),
        batch.subtitle.sum(1).tolist(),
    )


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:This DataLoader will create 3 worker processes")
def test_is_the_same_by_any_number_of_workers(samples: ClipDataset) -> None:
    order = make_sampler(samples.clips)
    alone = walk(samples, order, 0, 22, 0)
    assert order.steps == 10  # so 22 steps reach into a third epoch
    assert walk(samples, order, 0, 22, 3) == alone
    assert walk(samples, order, 13, 22, 1) == alone[26:]


@pytest.mark.parametrize("workers", [0, pytest.param(2, marks=pytest.mark.slow)])
def test_the_last_batches_can_be_loaded_again(workers: int, samples: ClipDataset) -> None:
    order, held = make_sampler(samples.clips), 6
    expected = walk(samples, order, 0, 20, 0)
    stored: list[StoredBatch] = []
    for batch in store_batches(samples, TrainBatchSampler(order, 0, 20, 2), workers, held):
        assert not batch.batch.frames.numel()  # in no memory of this process
        stored.append(batch)
        if len(stored) % held == 0:  # while the workers read the next ones
            for _ in range(2):
                found = [trace(one.load()) for one in stored[-held:]]
                assert found == expected[len(stored) - held : len(stored)]
    assert len(stored) == 40


WALK = """
import json, sys
from pathlib import Path
from curation.dataset.dataset import Dataset
from model.data.clips import Clips
from model.data.media_cache import media_store
from model.data.sampler import TrainBatchSampler
from model.data.loader import Augmentation, ClipDataset, load_batches
from tests.model.data.test_loader import AUGMENTATION, FRAMES, SIZE, make_sampler, trace

if __name__ == "__main__":
    dataset, clips, out, workers = Dataset(sys.argv[1]), Clips(Path(sys.argv[2])), Path(sys.argv[3]), int(sys.argv[4])
    samples = ClipDataset(clips, media_store(dataset, None, 1), FRAMES, SIZE, augmentation=AUGMENTATION)
    written = out.read_text().splitlines() if out.exists() else []
    whole = [line for line in written if line.endswith("]")]
    step = len(whole) // 2  # of two micro-batches
    out.write_text("".join(f"{line}\\n" for line in whole[: step * 2]))
    with out.open("a") as file:
        for batch in load_batches(samples, TrainBatchSampler(make_sampler(clips), step, 20, 2), workers):
            print(json.dumps(trace(batch)), file=file, flush=True)
"""


@pytest.mark.slow
def test_a_killed_walk_goes_on_where_it_stopped_with_other_workers(
    dataset: Dataset, samples: ClipDataset, tmp_path: Path
) -> None:
    script, out = tmp_path / "walk.py", tmp_path / "walked.jsonl"
    script.write_text(WALK)
    command = [sys.executable, str(script), dataset.uri, str(samples.clips.path), str(out)]
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    kills = 0
    for workers, lines in ((2, 9), (0, 10**9)):
        process = subprocess.Popen([*command, str(workers)], env=environment)
        workers_of = psutil.Process(process.pid)
        deadline = time.monotonic() + 360
        while process.poll() is None and not (out.exists() and out.read_text().count("\n") > lines):
            assert time.monotonic() < deadline
            time.sleep(0.01)
        children = workers_of.children() if process.poll() is None else []
        if process.poll() is None:
            kills += 1
            process.send_signal(signal.SIGKILL)
        process.wait(60)
        assert not psutil.wait_procs(children, timeout=90)[1]  # its workers end too
    assert kills == 1
    walked = [json.loads(line) for line in out.read_text().splitlines()]
    assert walked == json.loads(json.dumps(walk(samples, make_sampler(samples.clips), 0, 20, 0)))


@pytest.mark.slow
def test_reads_remote_media(dataset: Dataset, samples: ClipDataset, tmp_path: Path, bucket: Bucket) -> None:
    assert dataset.folder is not None
    order = make_sampler(samples.clips)
    bucket.upload(dataset.folder)
    (tmp_path / "remote").mkdir()
    remote = samples_of(Dataset(bucket.uri), tmp_path / "remote")
    assert walk(remote, order, 0, 5, 0) == walk(samples, order, 0, 5, 0)
    assert walk(remote, order, 5, 10, 2) == walk(samples, order, 5, 10, 0)
    assert any(path.startswith("media/") for path in bucket.given())


# --- broken files ---------------------------------------------------------------------------------------------------


@pytest.fixture
def damaged(tmp_path: Path) -> Iterator[tuple[Dataset, ClipDataset, list[str]]]:
    """A dataset with one missing and one broken video, and the URIs of the two."""
    dataset = make(tmp_path / "dataset")
    assert dataset.folder is not None
    uris = sorted(set(dataset.read("clips", ["media_uri"])["media_uri"].to_pylist()))
    (dataset.folder / uris[1]).unlink()
    broken = dataset.folder / uris[4]
    broken.write_bytes(broken.read_bytes()[:3000])
    yield dataset, samples_of(dataset, tmp_path), [uris[1], uris[4]]


def test_replaces_what_cannot_be_read(damaged: tuple[Dataset, ClipDataset, list[str]]) -> None:
    _, samples, bad = damaged
    batches = TrainBatchSampler(make_sampler(samples.clips), 0, 10, 4)
    once, again = (list(load_batches(samples, batches, workers=0)) for _ in range(2))
    assert [trace(batch) for batch in once] == [trace(batch) for batch in again]
    for batch, draws in zip(once, batches, strict=True):
        assert batch.drawn.tolist() == [index for index, _ in draws]
        for drawn, index in zip(batch.drawn.tolist(), batch.index.tolist(), strict=True):
            assert (samples.clips[drawn].media_uri in bad) == (drawn != index)
            assert samples.clips[index].media_uri not in bad
    assert {uri for batch in once for uri in batch.unreadable} == set(bad)
    assert all("\n" not in reason for batch in once for reason in batch.unreadable.values())


def counted(batch: Batch) -> tuple[int, int, Mapping[str, str]]:
    return len(batch), int((batch.index != batch.drawn).sum()), batch.unreadable


def test_fails_past_a_share_and_names_the_files(damaged: tuple[Dataset, ClipDataset, list[str]]) -> None:
    _, samples, bad = damaged
    batches = list(load_batches(samples, TrainBatchSampler(make_sampler(samples.clips), 0, 10, 4), workers=0))
    missing = UnreadableClips(max_share=0.5, total=40)
    for batch in batches:
        missing.add(*counted(batch))
    assert missing.drawn == 40
    assert missing.replaced == sum(int((batch.index != batch.drawn).sum()) for batch in batches) > 5
    assert set(missing.files) == set(bad)
    strict = UnreadableClips(max_share=0.1, total=40)
    with pytest.raises(
        DatasetError, match=r"[5-8] of \d+ clips cannot be read, more than data.max_missing \(0.1\)"
    ) as raised:
        for batch in batches:
            strict.add(*counted(batch))
    assert bad[0] in str(raised.value) or bad[1] in str(raised.value)
    assert "\n" not in str(raised.value)
    with pytest.raises(DatasetError, match=r"[1-4] of 4 clips"):
        for batch in batches:
            UnreadableClips(max_share=0.0, total=10**6).add(*counted(batch))


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_says_in_one_line_when_nothing_can_be_read(workers: int, samples: ClipDataset, tmp_path: Path) -> None:
    nowhere = dataclasses.replace(samples, media=media_store(Dataset(str(tmp_path / "nowhere")), None, 1))
    with pytest.raises(DatasetError, match=f"{ATTEMPTS} clips in a row cannot be read: media/") as raised:
        list(load_batches(nowhere, [[(0, 1)]], workers))
    assert "\n" not in str(raised.value)


@dataclasses.dataclass(frozen=True)
class Failing:
    """Media that fails with an error of the operating system."""

    number: int

    def read(self, *_: object) -> Frames:
        raise OSError(self.number, os.strerror(self.number))


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE])
def test_faults_of_this_machine_are_no_unreadable_clips(number: int, samples: ClipDataset) -> None:
    for augmentation in (None, AUGMENTATION):
        failing = dataclasses.replace(samples, media=Failing(number), augmentation=augmentation)
        with pytest.raises(DatasetError, match=rf"^cannot read clips: .*{os.strerror(number)}"):
            list(load_batches(failing, [[(0, 1)]], workers=0))


def test_without_augmentation_nothing_stands_in_for_what_cannot_be_read(samples: ClipDataset) -> None:
    failing = dataclasses.replace(samples, media=Failing(errno.EIO), augmentation=None)
    (batch,) = load_batches(failing, [[(0, 1), (3, 1)]], workers=0)
    assert (batch.index.tolist(), batch.drawn.tolist()) == ([NO_CLIP] * 2, [0, 3])
    assert batch.unreadable and not batch.frames.any() and not (batch.has_subtitle | batch.has_caption).any()
    assert {f.name: getattr(batch, f.name).dtype for f in dataclasses.fields(batch) if f.name != "unreadable"} == {
        f.name: getattr(readable, f.name).dtype
        for readable in load_batches(dataclasses.replace(samples, augmentation=None), [[(0, 1)]], workers=0)
        for f in dataclasses.fields(readable)
        if f.name != "unreadable"
    }


def workers_now() -> set[psutil.Process]:
    found = set()
    for process in psutil.Process().children():
        with contextlib.suppress(psutil.NoSuchProcess):  # killed, but not yet reaped
            if "spawn_main" in " ".join(process.cmdline()):
                found.add(process)
    return found


def begun(samples: ClipDataset) -> tuple[Iterator[Batch], psutil.Process]:
    """Batches, of which the first has come, and the worker process that loads them."""
    before = workers_now()
    batches = load_batches(samples, TrainBatchSampler(make_sampler(samples.clips), 0, 10**6, 4), workers=1)
    next(batches)
    (worker,) = workers_now() - before
    return batches, worker


@pytest.mark.slow
def test_says_in_one_line_that_a_worker_was_killed(samples: ClipDataset) -> None:
    batches, worker = begun(samples)
    threading.Timer(0.5, worker.kill).start()  # while the trainer waits for it
    with pytest.raises(DatasetError, match=rf"no more clips are coming in: .*{worker.pid}") as raised:
        for _ in batches:
            pass
    assert "\n" not in str(raised.value)


@pytest.mark.slow
def test_a_worker_that_dies_in_the_middle_of_a_step_interrupts_the_next_wait_and_not_the_step(
    samples: ClipDataset,
) -> None:
    batches, worker = begun(samples)
    worker.kill()
    wait_until(lambda: worker.status() == psutil.STATUS_ZOMBIE, 30)
    sum(range(10**6))  # the step
    with pytest.raises(DatasetError, match=rf"no more clips are coming in: .*{worker.pid}"):
        next(batches)


@pytest.mark.slow
def test_a_connection_that_a_dying_worker_breaks_is_told_as_its_death(samples: ClipDataset) -> None:
    _batches, worker = begun(samples)
    threading.Timer(0.3, worker.kill).start()
    assert str(worker.pid) in str(loader._death_behind(ConnectionResetError("reset")))


@pytest.mark.slow
def test_workers_end_with_whoever_reads(samples: ClipDataset) -> None:
    before = workers_now()
    batches = load_batches(samples, TrainBatchSampler(make_sampler(samples.clips), 0, 10**6, 4), workers=1)
    next(batches)
    workers = workers_now() - before
    assert workers
    batches.close()  # type: ignore[attr-defined]
    assert not psutil.wait_procs(workers, timeout=90)[1]


@pytest.mark.parametrize("augmentation", [None, Augmentation((1.0, 0.8), flip=True)], ids=["centre", "random"])
def test_bars_are_cropped_before_anything_else(
    dataset: Dataset, tmp_path: Path, augmentation: Augmentation | None
) -> None:
    """The stored media has 64 x 36 pixels; of these, 24 x 36 are left."""
    samples = samples_of(dataset, tmp_path, augmentation)
    clip = dataclasses.replace(samples.clips[3], box=PictureBox(left=20 / 64, right=44 / 64))
    for seed in range(8):
        sample = samples._sample(clip, Random(seed))
        left, top, side, flip = sample["view"]
        assert 20 <= left <= left + side <= 44 and 0 <= top <= top + side <= 36
        pixels = read_frames(samples.media.open(clip.media_uri), sample["times"]).pixels
        shown = apply_view(pixels, View(left, top, side, bool(flip)), SIZE)
        assert torch.equal(sample["frames"], shown.movedim(1, -1))
