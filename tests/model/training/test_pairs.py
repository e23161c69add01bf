"""Training on annotated videos: which pairs are selected, what is refused, and that it learns."""

from __future__ import annotations

import io
import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path

import pytest
import torch

from benchmarks.finetuning import TORCHRUN, recall, train
from curation.errors import ConfigError, DatasetError, UsageError
from curation.splits import is_held_out
from model.data.clips import ClipRow, Clips
from model.distributed import World
from model.settings import DataSettings
from model.training import run_folder
from model.training.estimate import describe
from model.training.pairs import Pairs, find_pairs, select_pairs
from model.training.trained_on import check_not_trained_on
from model.training.trainer import Trainer
from tests.support.dataset_files import stored_media
from tests.support.made_pairs import make_msrvtt, make_start
from tests.support.small_training import training_clip, training_settings
from vidla.cli import run as run_vidla

ALONE = World(0, 1, torch.device("cpu"))
VIDEOS = 6


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """MSR-VTT's file of six videos for training with two texts each, one for testing, and the videos' folder."""
    names = [f"video{number}" for number in range(VIDEOS + 1)]
    (tmp_path / "videos").mkdir()
    for number, name in enumerate(names):
        (tmp_path / "videos" / f"{name}.mp4").write_bytes(stored_media(2.0, seed=number))
    videos = [{"video_id": name, "split": "test" if name == names[-1] else "train"} for name in names]
    sentences = [{"video_id": name, "caption": f"{what} {name[5:]}"} for name in names for what in ("a bee", "a hive")]
    (tmp_path / "data.json").write_text(json.dumps({"videos": videos, "sentences": sentences}))
    return tmp_path


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_clip(tmp_path_factory.mktemp("pairs") / "clip")


def pairs_in(folder: Path) -> Pairs:
    return find_pairs(f"msrvtt:{folder / 'data.json'}", folder / "videos")


def rows_of(clips: Clips) -> list[ClipRow]:
    return [clips[index] for index in range(len(clips))]


def trainer_of(folder: Path, clip: Path, *assignments: str) -> Trainer:
    run = run_folder.open_run(folder / "run", pairs_in(folder), training_settings(clip, *assignments), ALONE)
    return Trainer(run, ALONE)


# --- the pairs ------------------------------------------------------------------------------------------------------


def test_each_text_is_a_pair_in_training_and_each_video_one_in_evaluation(folder: Path) -> None:
    settings, pairs = DataSettings(held_out=0.5), pairs_in(folder)
    train = rows_of(select_pairs(pairs, settings, "train", folder / "train.arrow"))
    held_out = rows_of(select_pairs(pairs, settings, "held_out", folder / "held_out.arrow"))
    videos = [f"video{number}" for number in range(VIDEOS)]  # not the one for testing
    here = [name for name in videos if not is_held_out(name, 0.5)]
    assert 0 < len(here) < VIDEOS
    assert [(row.video_id, row.caption) for row in train] == [
        (name, f"{what} {name[5:]}") for name in here for what in ("a bee", "a hive")
    ]
    drawn = sorted(set(videos) - set(here), key=lambda name: sha256(f"evaluate:{name}#0".encode()).digest())
    assert [(row.video_id, row.caption) for row in held_out] == [(name, f"a bee {name[5:]}") for name in drawn]
    assert len({row.clip_id for row in train}) == len(train)
    assert all((row.start, row.end, row.subtitle) == (0.0, pytest.approx(2.0, abs=0.1), None) for row in train)
    assert all(Path(row.media_uri).stem == row.video_id for row in train)


def test_a_list_of_ids_takes_videos_of_any_split(folder: Path) -> None:
    (folder / "ids.csv").write_text(f"video_id\nvideo{VIDEOS}\nvideo0\n")
    pairs = find_pairs(f"msrvtt:{folder / 'data.json'},{folder / 'ids.csv'}", folder / "videos")
    rows = rows_of(select_pairs(pairs, DataSettings(held_out=0), "train", folder / "train.arrow"))
    assert list(dict.fromkeys(row.video_id for row in rows)) == [f"video{VIDEOS}", "video0"]


def test_videos_that_cannot_be_read_are_named_up_to_a_share(folder: Path) -> None:
    (folder / "videos" / "video1.mp4").write_bytes(b"no video")
    (folder / "videos" / "video2.mp4").unlink()
    pairs = pairs_in(folder)
    assert pairs.files.missing == ("video2",)
    settings = DataSettings(held_out=0, max_missing=0.2)
    clips = select_pairs(pairs, settings, "train", folder / "train.arrow")
    assert {row.video_id for row in rows_of(clips)} == {f"video{number}" for number in (0, 3, 4, 5)}
    assert list(clips.unreadable) == [str(folder / "videos" / "video1.mp4")]
    with pytest.raises(DatasetError, match=r"1 of 5 videos cannot be read, more than data.max_missing .*video1.mp4"):
        select_pairs(pairs, DataSettings(held_out=0), "train", folder / "other.arrow")


WRONG: list[dict[str, object]] = [
    {"where": "scale = 'short'"},
    {"captions_where": "true"},
    {"scales": {"short": 1.0}},
    {"crop_bars": True},
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda one: next(iter(one)))
def test_settings_of_datasets_are_refused(wrong: dict[str, object], folder: Path) -> None:
    with pytest.raises(ConfigError, match=f"data.{next(iter(wrong))} is about the clips of a dataset"):
        select_pairs(pairs_in(folder), DataSettings.model_validate(wrong), "train", folder / "train.arrow")


# --- a run ----------------------------------------------------------------------------------------------------------


def test_a_run_on_pairs_resumes_unless_they_have_changed(folder: Path, clip: Path) -> None:
    told = ("data.held_out=0.6", "steps=2", "checkpoint_every=1", "precision=fp32")
    trainer = trainer_of(folder, clip, *told)
    trainer.train(io.StringIO())
    assert trainer.step == 2
    log = [json.loads(line) for line in (folder / "run" / "log.jsonl").read_text().splitlines()]
    assert [line["step"] for line in log if "loss" in line] == [1, 2]
    assert any("evaluation" in line for line in log)
    resumed = trainer_of(folder, clip, *told)
    assert resumed.step == 2 and resumed.run.version.pin == trainer.run.version.pin != ""  # trackers know it by that
    (folder / "videos" / "video0.mp4").write_bytes(stored_media(3.0))
    with pytest.raises(DatasetError, match=r"have changed since the checkpoint; data.allow_changed=true"):
        trainer_of(folder, clip, *told)
    assert trainer_of(folder, clip, *told, "data.allow_changed=true").step == 2


def test_a_run_resumes_on_the_same_files_however_their_paths_are_spelled(
    folder: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "ids.csv").write_text("video_id\nvideo0\nvideo1\nvideo2\n")
    (folder / "copy.csv").write_text((folder / "ids.csv").read_text())
    (folder / "link").symlink_to(folder)
    monkeypatch.chdir(folder)
    spelled = ["data.json,ids.csv", f"{folder}/data.json,./ids.csv", "link/data.json,videos/../ids.csv"]
    settings = training_settings(clip, "steps=1")
    for files in spelled:
        run = run_folder.open_run(folder / "run", find_pairs(f"msrvtt:{files}", folder / "videos"), settings, ALONE)
        trainer = Trainer(run, ALONE)
        trainer.train(io.StringIO())
        assert trainer.step == 1
    with pytest.raises(ConfigError, match=r"holds a run on .*ids.csv with the videos in .*, not on .*copy.csv"):
        run_folder.open_run(folder / "run", find_pairs("msrvtt:data.json,copy.csv", folder / "videos"), settings, ALONE)


def test_counts_losses_of_captions_alone_as_pairs_have_no_subtitles(folder: Path, clip: Path) -> None:
    for size, expected in {4: 0, 1: 4}.items():
        told = ("steps=1", "batch=4", f"micro_batch={size}", "mask_equal_texts=false")
        run = run_folder.open_run(folder / str(size), pairs_in(folder), training_settings(clip, *told), ALONE)
        shown = io.StringIO()
        Trainer(run, ALONE).train(shown)
        (line,) = map(json.loads, run.log.read_text().splitlines())
        assert line["without_contrast"] == expected
        assert ("losses without contrast" in shown.getvalue()) == (expected > 0)


def test_an_evaluation_refuses_videos_of_pairs_that_were_trained_on(folder: Path, clip: Path) -> None:
    trainer = trainer_of(folder, clip, "data.held_out=0.5")
    held_out = {row.video_id for row in rows_of(trainer.held_out)}
    check_not_trained_on(folder / "run", held_out | {f"video{VIDEOS}"})
    (seen, *_) = sorted({row.video_id for row in rows_of(trainer.clips)})
    with pytest.raises(
        UsageError, match=rf"^1 of the {len(held_out) + 1} videos, such as {seen}, are among those that "
    ):
        check_not_trained_on(folder / "run", held_out | {seen})


@pytest.mark.parametrize("spelled", ["{}", "{}.mp4", "x/{}.mp4", "/data/{}", "{}.mp4~0-1", " {}.MOV "])
def test_a_video_that_was_trained_on_is_known_by_any_spelling(folder: Path, clip: Path, spelled: str) -> None:
    trainer_of(folder, clip)
    with pytest.raises(UsageError, match=r"^1 of the 2 videos"):
        check_not_trained_on(folder / "run", {spelled.format("video0"), "y/other"})
    check_not_trained_on(folder / "run", {"y/other", "video0_1"})


def test_a_video_that_was_trained_on_is_known_by_its_file_and_its_folder(folder: Path, clip: Path) -> None:
    for name in ("a", "b"):
        (folder / "videos" / name).mkdir()
        (folder / "videos" / name / "1.mp4").write_bytes(stored_media(2.0))
    (folder / "pairs.csv").write_text("video,text\na/1.mp4,one\na/1.mp4,two\nvideo0,three\nvideo1,four\n")
    pairs = find_pairs(f"csv:{folder / 'pairs.csv'}", folder / "videos")
    Trainer(run_folder.open_run(folder / "run", pairs, training_settings(clip), ALONE), ALONE)
    check_not_trained_on(folder / "run", {"b/1.mp4": folder / "videos" / "b" / "1.mp4"})
    (folder / "link.mp4").symlink_to(folder / "videos" / "a" / "1.mp4")
    with pytest.raises(UsageError, match=r"^1 of the 2 videos, such as another"):
        check_not_trained_on(folder / "run", {"b/1.mp4": folder / "b.mp4", "another": folder / "link.mp4"})


def test_the_run_that_a_run_began_from_is_found_from_anywhere(
    folder: Path, clip: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder)
    first = trainer_of(folder, clip, "steps=1", "data.held_out=0.6")
    first.train(io.StringIO())
    (step,) = Path("run/checkpoints").iterdir()  # a relative path, as it is given on the command line
    (folder / "later.csv").write_text("video,text\n" + "".join(f"video{VIDEOS},text {n}\n" for n in range(4)))
    pairs = find_pairs(f"csv:{folder / 'later.csv'}", folder / "videos")
    later = folder / "later"
    run_folder.open_run(later, pairs, training_settings(step), ALONE)
    Trainer(run_folder.open_run(later, pairs, training_settings(step), ALONE), ALONE)
    seen = {next(iter(first.clips.videos()))}
    metadata = json.loads((later / "run.json").read_text())
    assert metadata["began_from"] == str(step.resolve())
    monkeypatch.chdir("/")
    for old in (False, True):  # older runs recorded the path as it was given
        if old:
            del metadata["began_from"]
            (later / "run.json").write_text(json.dumps(metadata))
        with pytest.raises(UsageError, match=r"are among those that .*/run was trained on"):
            check_not_trained_on(later, seen)
        check_not_trained_on(later, {"other"})
    (folder / "run").rename(folder / "moved")
    with pytest.raises(UsageError, match=r"later began from run/checkpoints/.*, which cannot be found") as raised:
        check_not_trained_on(later, {"other"})
    assert "--trained-on" in str(raised.value) and "\n" not in str(raised.value)
    metadata["settings"]["model"]["weights"] = "openai/clip-vit-base-patch32"
    (later / "run.json").write_text(json.dumps(metadata))
    check_not_trained_on(later, {"other"})


def test_says_what_a_run_on_pairs_will_be(folder: Path, clip: Path) -> None:
    text = describe(training_settings(clip, "steps=4"), pairs_in(folder))
    assert "4: 1.333 epochs of 3, 4 clips each" in text and "12 of 12 short" in text


def test_the_command_trains_on_pairs_and_refuses_in_a_line(
    folder: Path, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    config = folder / "small.toml"
    config.write_text(f'steps = 1\nbatch = 4\nmicro_batch = 4\n[model]\nweights = "{clip}"\nframes = 2\n')
    pairs = ("--pairs", f"msrvtt:{folder / 'data.json'}", "--videos", folder / "videos")

    def command(*arguments: object) -> tuple[int, str]:
        monkeypatch.setattr(sys, "argv", ["vidla", "train", str(config), *map(str, arguments)])
        status = run_vidla()
        streams = capsys.readouterr()
        return status, (streams.err if status else streams.out).strip()

    told = ("--out", folder / "run", "--set", "data.workers=0", "--set", "data.held_out=0")
    code, said = command(*pairs, *told)
    assert code == 0 and said.startswith(f"all {VIDEOS} videos are in") and "1 steps are done" in said
    for arguments, message in (
        ((), "choose what to train on: --dataset DIR, or --pairs NAME:FILE and --videos FOLDER"),
        ((*pairs, "--dataset", "x"), "choose what to train on"),
        (pairs[:2], "choose what to train on"),
        ((*pairs, *pairs[:2]), "takes one --pairs, but it is given more than once"),
        ((*pairs, "--out", folder / "other", "--set", "data.where=1 = 1"), "data.where is about the clips"),
        (("--pairs", "msrvtt:none.json", "--videos", folder), "cannot read none.json"),
        (("--dataset", folder / "none", "--out", folder / "run"), "there is no dataset at"),
    ):
        code, said = command(*arguments)
        assert code in (1, 2) and message in said.splitlines()[-1] and "Traceback" not in said


# --- learning -------------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(3600)
def test_finetunes_past_its_start_on_one_process_and_on_two(tmp_path: Path) -> None:
    folder = make_msrvtt(tmp_path)
    make_start(folder)
    one = train(folder, [sys.executable, "-m", "vidla"], "one")
    two = train(folder, TORCHRUN, "two")
    assert two[0]["loss"] == pytest.approx(one[0]["loss"], rel=1e-5)
    assert two[0]["gradient_norm"] == pytest.approx(one[0]["gradient_norm"], rel=1e-3)
    start = recall(folder, "start")
    assert min(recall(folder, "one"), recall(folder, "two")) >= start + 0.3


@pytest.mark.slow
def test_two_processes_have_the_step_of_one(folder: Path, clip: Path) -> None:
    """Five clips: two for one process, three for the other, in micro-batches of two."""
    config = folder / "small.toml"
    config.write_text(
        'steps = 1\nbatch = 5\nmicro_batch = 2\ngradient_cache = true\nprecision = "fp32"\n'
        f'[model]\nweights = "{clip}"\nframes = 2\n[data]\nworkers = 0\nheld_out = 0\n'
    )
    arguments = ["train", config, "--pairs", f"msrvtt:{folder / 'data.json'}", "--videos", folder / "videos"]
    for name, command in {"one": [sys.executable, "-m", "vidla"], "two": TORCHRUN}.items():
        subprocess.run([*command, *map(str, arguments), "--out", str(folder / name)], check=True, timeout=800)
    one, two = (json.loads((folder / name / "log.jsonl").read_text().splitlines()[0]) for name in ("one", "two"))
    assert two["loss"] == pytest.approx(one["loss"], rel=1e-5)
    assert two["gradient_norm"] == pytest.approx(one["gradient_norm"], rel=1e-4)
