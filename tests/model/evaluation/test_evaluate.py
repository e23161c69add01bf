"""Evaluating a model on held-out clips and on a benchmark's files, and the command."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from torch.nn.functional import normalize
from transformers import CLIPModel

from curation.dataset.dataset import Dataset
from curation.dataset.writer import Writer
from curation.errors import ConfigError, DatasetError, InputError, UsageError
from curation.policy_settings import PolicySettings
from curation.quality.apply_policy import apply_policy
from curation.release.freeze import freeze
from model.data.augment import apply_view, centre_view, normalise
from model.data.clips import write_clips
from model.data.frame_reader import read_frames, sample_times
from model.data.loader import tokenize
from model.distributed import World
from model.evaluation.benchmark import _encode_videos, classify_benchmark, evaluate_benchmark, read_annotations
from model.evaluation.evaluate import Encoder, evaluate_dataset, evaluate_triplets
from model.evaluation.hierarchical import choose_triplets, read_set, write_set
from model.evaluation.retrieval import evaluate_retrieval
from model.evaluation.video_files import find_videos
from model.evaluation.zero_shot import ZeroShotMetrics, read_classes
from model.network.architecture import ModelError
from model.network.clip_conversion import from_clip
from model.settings import DataSettings, ModelSettings
from model.training import run_folder
from model.training.trained_on import check_not_trained_on
from model.training.trainer import Trainer
from tests.support.dataset_files import stored_media
from tests.support.hostile_media import gallery
from tests.support.numbered_videos import numbered
from tests.support.small_training import training_clip, training_dataset, training_settings
from vidla.cli import run as run_vidla

ALONE = World(0, 1, torch.device("cpu"))
HELD_OUT = DataSettings(held_out=0.999)


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    return training_dataset(tmp_path_factory.mktemp("evaluation") / "dataset")


@pytest.fixture(scope="module")
def clip(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return training_clip(tmp_path_factory.mktemp("evaluation") / "clip")


@pytest.fixture(scope="module")
def encoder(clip: Path) -> Encoder:
    model = from_clip(ModelSettings(weights=str(clip), frames=2, levels=1, tokens=2))
    return Encoder(model, ALONE, "fp32", 4, 0)


def features_of(encoder: Encoder, media: Path, start: float, end: float) -> torch.Tensor:
    """The features of one clip, computed by hand."""
    video = encoder.model.config.video
    pixels = read_frames(media, sample_times(start, end, video.frames)).pixels
    frames = apply_view(pixels, centre_view(*pixels.shape[2:]), video.image_size)
    with torch.no_grad():
        features: torch.Tensor = encoder.model.encode_video(normalise(frames[None], video.image_mean, video.image_std))
    return features[0]


def text_features(encoder: Encoder, texts: list[str]) -> torch.Tensor:
    with torch.no_grad():
        return encoder.model.encode_text(tokenize(texts, encoder.model.config.text.context))


def drawn(row: dict[str, Any]) -> str:
    """The key of the order in which clips are drawn for evaluation."""
    return hashlib.sha256(f"evaluate:{row['clip_id']}".encode()).hexdigest()


def test_is_that_of_the_clips_of_one_scale(encoder: Encoder, dataset: Dataset) -> None:
    found = evaluate_dataset(encoder, dataset, HELD_OUT)
    assert set(found.metrics) == {
        f"{s} clips by {k}" for s in ("short", "medium", "long") for k in ("subtitle", "caption")
    }
    assert dataset.folder is not None and found.unreadable == 0
    rows = sorted(dataset.read("clips").to_pylist(), key=drawn)
    chosen = [row for row in rows if row["scale"] == "short" and row["caption_text"] is not None]
    assert len(chosen) == 12  # of 16 short clips, four have no caption
    expected = evaluate_retrieval(
        text_features(encoder, [row["caption_text"] for row in chosen]),
        torch.stack([features_of(encoder, dataset.folder / r["media_uri"], r["start"], r["end"]) for r in chosen]),
        durations=[6.0] * 12,
    )
    assert found.metrics["short clips by caption"] == expected
    recalls = [one.text_to_video.recall_1.value for one in found.metrics.values()]
    assert found.score == pytest.approx(sum(recalls) / 6)
    assert json.loads(found.to_json())["figures"]["short clips by caption"]["text_to_video"]["queries"] == 12
    assert str(found).count("text to video, DSL  ") >= 6 and "0 to 10 s" in str(found)


def test_leaves_out_what_cannot_be_read(encoder: Encoder, dataset: Dataset, tmp_path: Path) -> None:
    assert dataset.folder is not None
    damaged = Dataset(str(shutil.copytree(dataset.folder, tmp_path / "dataset")))
    uris = sorted(set(damaged.read("clips", ["media_uri"])["media_uri"].to_pylist()))
    (tmp_path / "dataset" / uris[0]).unlink()
    found = evaluate_dataset(encoder, damaged, HELD_OUT)
    assert found.unreadable == 7 and f"7 clips cannot be read and are left out: {uris[0]} (" in str(found)
    assert list(json.loads(found.to_json())["unreadable_files"]) == uris[:1]
    whole = evaluate_dataset(encoder, dataset, HELD_OUT)
    sizes = [one.text_to_video.candidates for one in found.metrics.values()]
    assert sum(sizes) < sum(one.text_to_video.candidates for one in whole.metrics.values())
    for uri in uris[1:]:
        (tmp_path / "dataset" / uri).unlink()
    with pytest.raises(DatasetError, match="none of the 28 clips to evaluate on can be read: media/"):
        evaluate_dataset(encoder, damaged, HELD_OUT)


def test_of_a_dataset_that_holds_nothing_out(encoder: Encoder, dataset: Dataset, tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match=r"no clip is held out to evaluate on: check data\.held_out"):
        evaluate_dataset(encoder, dataset, DataSettings(held_out=0))
    with pytest.raises(DatasetError, match="there is no dataset at"):
        evaluate_dataset(encoder, Dataset(str(tmp_path / "none")), HELD_OUT)


# --- benchmarks -----------------------------------------------------------------------------------------------------


@pytest.fixture
def benchmark(tmp_path: Path) -> tuple[Path, Path]:
    """MSVD's files for three videos, one of which is missing, and the folder of videos."""
    folder = tmp_path / "videos"
    folder.mkdir()
    for number, name in enumerate(("aaa_0_6", "bbb_3_9")):
        (folder / f"{name}.avi").write_bytes(stored_media(6.0, seed=number))
    captions = tmp_path / "AllVideoDescriptions.txt"
    captions.write_text("aaa_0_6 a bee\naaa_0_6 an insect\nbbb_3_9 a flower\nccc_0_5 a hive\n")
    (tmp_path / "test_list.txt").write_text("aaa_0_6\nbbb_3_9\nccc_0_5\n")
    return captions, folder


def test_all_texts_of_a_video_are_right_for_it(encoder: Encoder, benchmark: tuple[Path, Path]) -> None:
    captions, folder = benchmark
    found = find_videos(read_annotations(f"msvd:{captions},{captions.parent / 'test_list.txt'}"), folder)
    figures = evaluate_benchmark(encoder, found).metrics["videos"]
    assert (figures.text_to_video.queries, figures.text_to_video.candidates) == (3, 2)
    assert (figures.video_to_text.queries, figures.video_to_text.candidates) == (2, 3)
    expected = evaluate_retrieval(
        text_features(encoder, ["a bee", "an insect", "a flower"]),
        torch.stack([features_of(encoder, folder / f"{name}.avi", 0.0, 6.0) for name in ("aaa_0_6", "bbb_3_9")]),
        [0, 0, 1],
        [0, 1],
        durations=[6.0, 6.0],
    )
    assert figures.text_to_video == expected.text_to_video
    assert figures.video_to_text == expected.video_to_text


@pytest.mark.hostile("media")
@pytest.mark.parametrize("content", [b"no video", b"", None], ids=["a text", "nothing", "a list of other files"])
def test_a_broken_video_of_a_benchmark_is_left_out(
    encoder: Encoder, benchmark: tuple[Path, Path], content: bytes | None
) -> None:
    captions, folder = benchmark
    hostile = gallery().files["a DASH manifest named mp4"].read_bytes() if content is None else content
    (folder / "aaa_0_6.avi").write_bytes(hostile)
    found = find_videos(read_annotations(f"msvd:{captions},{captions.parent / 'test_list.txt'}"), folder)
    evaluation = evaluate_benchmark(encoder, found, resamples=0)
    assert evaluation.unreadable == 1
    assert evaluation.metrics["videos"].text_to_video.queries == 1
    assert [Path(file).name for file in evaluation.unreadable_files] == ["aaa_0_6.avi"]
    strict = replace(encoder, max_missing=0.4)
    message = r"1 of 2 clips to evaluate on cannot be read, more than data.max_missing \(0.4\): .*aaa_0_6.avi \(.+\)$"
    with pytest.raises(DatasetError, match=message):
        evaluate_benchmark(strict, found, resamples=0)


def test_clips_that_cannot_be_read_are_not_replaced_however_many_they_are(encoder: Encoder, tmp_path: Path) -> None:
    """Only one of forty can be read; before, ten others were tried in place of each."""
    for number in range(40):
        (tmp_path / f"video{number}.mp4").write_bytes(stored_media(2.0) if number == 7 else b"no video")
    (tmp_path / "pairs.csv").write_text("video,text\n" + "".join(f"video{n},text {n}\n" for n in range(40)))
    found = find_videos(read_annotations(f"csv:{tmp_path / 'pairs.csv'}"), tmp_path)
    evaluation = evaluate_benchmark(replace(encoder, max_missing=1.0), found, resamples=0)
    assert evaluation.unreadable == len(evaluation.unreadable_files) == 39
    assert evaluation.metrics["videos"].text_to_video.candidates == 1


def test_an_annotated_part_after_the_end_of_its_file_is_not_read(encoder: Encoder, tmp_path: Path) -> None:
    for name in ("aaa", "bbb_0_6"):
        (tmp_path / f"{name}.mp4").write_bytes(stored_media(6.0))
    annotations = tmp_path / "captions.txt"
    annotations.write_text("aaa_7_9 a bee\nbbb_0_6 a flower\n")
    (tmp_path / "ids.txt").write_text("aaa_7_9\nbbb_0_6\n")
    found = find_videos(read_annotations(f"msvd:{annotations},{tmp_path / 'ids.txt'}"), tmp_path)
    (reason,) = evaluate_benchmark(encoder, found, resamples=0).unreadable_files.values()
    assert reason == "it ends at 6.0 s, before the annotated part, which begins at 7 s"


MIXED = ("H.264 in mkv", "VP9 in WebM", "Sorenson in flv", "MPEG-2 in mpg", "H.264 in ts", "interlaced H.264 in mts")


def test_a_benchmark_of_many_formats_is_evaluated_like_one_of_stored_media(encoder: Encoder, tmp_path: Path) -> None:
    """The frames differ by their codecs alone, so the features are nearly those of the same video as an mp4."""
    rows = ["key,vid_key,video_id,sentence"]
    for number, kind in enumerate(("H.264 in mp4", *MIXED)):
        path = numbered(tmp_path, kind)
        path.rename(tmp_path / f"video{number}{path.suffix}")
        rows.append(f"ret{number},msr{number},video{number},text {number}")
    annotations = tmp_path / "test.csv"
    annotations.write_text("\n".join(rows))
    found = find_videos(read_annotations(f"msrvtt:{annotations}"), tmp_path)
    (features, indices, unreadable), lengths = _encode_videos(encoder, found)
    assert indices == list(range(7)) and not unreadable
    assert lengths == pytest.approx([3.0] * 7, abs=0.1)
    beginning = features_of(encoder, tmp_path / "video0.mp4", 0.0, 0.2)
    likeness = normalize(features, dim=1) @ normalize(features, dim=1)[0]
    other = normalize(beginning, dim=0) @ normalize(features, dim=1)[0]
    assert float(likeness.min()) > 0.999 > float(other)


@pytest.fixture
def kinetics(tmp_path: Path) -> tuple[Path, Path, Path]:
    """Kinetics' files for three videos of two of three classes, one of which is missing, and the folder of videos."""
    folder, annotations, classes = tmp_path / "videos", tmp_path / "val.csv", tmp_path / "labels.csv"
    folder.mkdir()
    for number, name in enumerate(("aaa_000000_000006", "bbb_000003_000009")):
        (folder / f"{name}.mp4").write_bytes(stored_media(6.0, seed=number))
    rows = ["tango dancing,aaa,0,6,val", "abseiling,bbb,3,9,val", "abseiling,ccc,0,5,val"]
    annotations.write_text("\n".join(["label,youtube_id,time_start,time_end,split", *rows]))
    classes.write_text("id,name\n0,abseiling\n1,air drumming\n2,tango dancing\n")
    return annotations, classes, folder


def test_videos_are_classified_by_the_nearest_name(encoder: Encoder, kinetics: tuple[Path, Path, Path]) -> None:
    annotations, classes, folder = kinetics
    found = find_videos(read_annotations(f"kinetics:{annotations}"), folder)
    got = classify_benchmark(encoder, found, read_classes(classes), ("a video of {}.", "{}"))
    prompts = [[f"a video of {name}.", name] for name in ("abseiling", "air drumming", "tango dancing")]
    means = [normalize(text_features(encoder, pair), dim=1).mean(0) for pair in prompts]
    videos = torch.stack([features_of(encoder, path, 0.0, 6.0) for path in sorted(folder.iterdir())])
    nearest = (normalize(videos, dim=1) @ normalize(torch.stack(means), dim=1).T).argmax(1).tolist()
    assert got == ZeroShotMetrics(2, 3, sum(a == b for a, b in zip(nearest, [2, 0], strict=True)) / 2, 1.0)
    (folder / "aaa_000000_000006.mp4").write_bytes(b"no video")
    left = classify_benchmark(encoder, found, read_classes(classes), ("{}",))
    assert (left.videos, left.unreadable) == (1, 1) and "1 videos cannot be read and are left out" in str(left)
    with pytest.raises(InputError, match="2 labels are not among the 1 classes, such as 'abseiling'"):
        classify_benchmark(encoder, found, ["juggling"], ("{}",))


@pytest.mark.parametrize(
    ("named", "message"),
    [
        ("msrvt:x.csv", "unknown benchmark 'msrvt'; known are msrvtt, didemo"),
        ("msrvtt", "'msrvtt' does not name the files of msrvtt; an example is msrvtt:MSRVTT_JSFUSION_test.csv"),
        ("msvd:a.txt", "an example is msvd:AllVideoDescriptions.txt,test_list.txt"),
        ("didemo:a,b,c", "an example is didemo:test_data.json,test_list.txt"),
        ("didemo:nowhere.json", "nowhere.json"),
    ],
)
def test_annotations_that_are_not_there(named: str, message: str) -> None:
    with pytest.raises(InputError) as raised:
        read_annotations(named)
    assert message in str(raised.value) and "\n" not in str(raised.value)


# --- the hierarchical set -------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def triplets(dataset: Dataset) -> pa.Table:
    return choose_triplets(dataset, 9, share=0.999).rows


def test_of_a_hierarchical_set_each_scale_is_searched_by_itself(
    encoder: Encoder, dataset: Dataset, triplets: pa.Table
) -> None:
    found = evaluate_triplets(encoder, dataset, triplets, HELD_OUT)
    assert list(found.metrics) == ["short clips", "medium clips", "long clips"] and found.unreadable == 0
    assert dataset.folder is not None
    for scale, figures in zip(("short", "medium", "long"), found.metrics.values(), strict=True):
        rows = [row for row in triplets.to_pylist() if row["scale"] == scale]
        assert len(rows) >= 2
        assert figures == evaluate_retrieval(
            text_features(encoder, [row["text"] for row in rows]),
            torch.stack([features_of(encoder, dataset.folder / r["media_uri"], r["start"], r["end"]) for r in rows]),
            durations=[row["end"] - row["start"] for row in rows],
        )


def test_a_triplet_that_cannot_be_read_is_left_out_at_all_scales(
    encoder: Encoder, dataset: Dataset, triplets: pa.Table, tmp_path: Path
) -> None:
    assert dataset.folder is not None
    damaged = Dataset(str(shutil.copytree(dataset.folder, tmp_path / "dataset")))
    gone = triplets["media_uri"][0].as_py()
    (tmp_path / "dataset" / gone).write_bytes(b"no video")
    found = evaluate_triplets(encoder, damaged, triplets, HELD_OUT, resamples=0)
    lost = triplets["media_uri"].to_pylist().count(gone)
    assert found.unreadable == lost and lost % 3 == 0
    assert {one.text_to_video.queries for one in found.metrics.values()} == {(len(triplets) - lost) // 3}


def test_a_file_that_is_no_hierarchical_set(triplets: pa.Table, tmp_path: Path) -> None:
    path = tmp_path / "triplets.parquet"
    for rows in (triplets.slice(1), triplets.drop_columns(["text"]), triplets.slice(0, 0)):
        pq.write_table(rows, path)
        with pytest.raises(InputError, match="is not a hierarchical set; make one with `vidla hierarchical-set`"):
            read_set(path)
    path.write_bytes(b"PAR1 no more")
    for wrong in (path, tmp_path / "none.parquet"):
        with pytest.raises(InputError, match="cannot read") as raised:
            read_set(wrong)
        assert "\n" not in str(raised.value)


# --- the verb -------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def run(dataset: Dataset, clip: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("evaluation") / "run"
    settings = training_settings(clip, "epochs=1", "data.held_out=0.4", "data.where=\"scale <> 'long'\"")
    Trainer(run_folder.open_run(folder, dataset, settings, ALONE), ALONE).train(io.StringIO())
    return folder


def command(monkeypatch: pytest.MonkeyPatch, *arguments: object) -> int:
    monkeypatch.setattr(sys, "argv", ["vidla", "evaluate", *map(str, arguments)])
    return run_vidla()


def test_evaluates_a_run_as_it_was_evaluated_while_it_trained(
    run: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    (logged,) = [
        json.loads(line)["evaluation"] for line in (run / "log.jsonl").read_text().splitlines() if "evalu" in line
    ]
    out = tmp_path / "figures.json"
    assert command(monkeypatch, run, "--dataset", dataset.folder, "--json", out) == 0
    said = capsys.readouterr().out
    assert "short clips by subtitle\n" in said and "long clips" not in said
    assert json.loads(out.read_text())["score"] == logged["score"]
    (step,) = (run / "checkpoints").iterdir()
    assert command(monkeypatch, step, "--dataset", dataset.folder) == 0
    assert capsys.readouterr().out == said
    plain = tmp_path / "model"
    plain.mkdir()
    for name in ("config.json", "model.safetensors"):
        shutil.copy(step / name, plain)
    told = ["--set", "data.held_out=0.4", "--set", "data.workers=0"]
    assert command(monkeypatch, plain, "--dataset", dataset.folder, *told) == 0
    assert "long clips" not in said and "short clips by subtitle\n" in capsys.readouterr().out


def test_evaluates_a_clip_by_the_mean_of_its_features_of_frames(
    clip: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    told = [f"--set={each}" for each in ("data.held_out=0.999", "data.workers=0", "model.frames=3")]
    out = tmp_path / "figures.json"
    assert command(monkeypatch, clip, "--dataset", dataset.folder, *told, "--json", out) == 0
    assert "short clips by subtitle\n" in capsys.readouterr().out
    theirs, baseline = CLIPModel.from_pretrained(clip), run_folder.load_trained(clip, ["model.frames=3"])[0]
    assert (baseline.config.video.attention, baseline.config.video.frames) == ("frame", 3)
    pixels, tokens = torch.randn(2, 3, 3, 32, 32), tokenize(["a bee", "A bee’s &amp; flower"], 16)
    with torch.no_grad():
        of_frames = theirs.get_image_features(pixels.flatten(0, 1)).pooler_output.unflatten(0, (2, 3))
        assert (baseline.encode_video(pixels) - of_frames.mean(1)).abs().max() <= 1e-5
        assert (baseline.encode_text(tokens) - theirs.get_text_features(tokens).pooler_output).abs().max() <= 1e-5
    figures = json.loads(out.read_text())
    encoder = Encoder(baseline, ALONE, "fp32", 4, 0)
    assert figures["score"] == evaluate_dataset(encoder, dataset, HELD_OUT).score


def test_the_clips_of_a_release_are_chosen_where_a_policy_was_applied(
    clip: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    assert dataset.folder is not None
    copy = Dataset(str(shutil.copytree(dataset.folder, tmp_path / "dataset")))
    with Writer(copy, "filter", {}) as writer:
        apply_policy(writer, "all", PolicySettings())
    freeze([copy], "v1", None, 0.4)
    told = ("--dataset", f"{copy.folder}@v1", "--set=data.workers=0", "--set=data.max_missing=1")
    assert command(monkeypatch, clip, *told) == 2
    assert "choose the clips: --policy NAME (there are all), or --all" in capsys.readouterr().err
    assert command(monkeypatch, clip, *told, "--policy", "all") == 0


def test_dual_softmax_has_the_same_scale_for_every_model(clip: Path, dataset: Dataset) -> None:
    model = run_folder.load_trained(clip, ["model.frames=1"])[0]
    figures = []
    for scale in (0.0, 4.0):
        torch.nn.init.constant_(model.logit_scale, scale)
        figures.append(evaluate_dataset(Encoder(model, ALONE, "fp32", 4, 0), dataset, HELD_OUT))
    assert figures[0] == figures[1]


def test_refuses_videos_that_were_trained_on_unless_it_is_said(
    run: Path, dataset: Dataset, clip: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:  # fmt: skip
    more = ["--dataset", dataset.folder, "--set", "data.held_out=0.999"]
    write_set(choose_triplets(dataset, 9, share=0.999), tmp_path / "triplets.parquet")
    (step,) = (run / "checkpoints").iterdir()
    for source, arguments in (
        (run, more),
        (step, more),
        (run, [*more, "--triplets", tmp_path / "triplets.parquet"]),
    ):
        assert command(monkeypatch, source, *arguments) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert "3 of the 4 videos, such as " in line and f"that {run} was trained on" in line
        assert command(monkeypatch, source, *arguments, "--trained-on") == 0
    settings = training_settings(clip, f"model.weights={step}", "epochs=1", "data.where=\"video_id = 'nobody'\"")
    later = tmp_path / "later"
    (later / "clips").mkdir(parents=True)
    metadata = json.loads((run / "run.json").read_text()) | {
        "settings": settings.model_dump(mode="json"),
        "began_from": str(step),
    }
    (later / "run.json").write_text(json.dumps(metadata))
    write_clips([], "none", later / "clips" / "train.arrow")
    with pytest.raises(UsageError, match=f"3 of the 4 videos.* that {run} was trained on"):
        check_not_trained_on(later, set(dataset.read("clips", ["video_id"])["video_id"].to_pylist()))


def test_a_file_for_the_figures_that_cannot_be_written_is_told_before_any_work(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    for file, why in ((tmp_path / "none" / "figures.json", "there is no folder"), (tmp_path, "it is a folder")):
        assert command(monkeypatch, run, "--dataset", tmp_path / "nowhere", "--json", file) == 2
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert f"cannot write {file}: {why}" in line


def test_evaluates_on_a_benchmark(
    run: Path, benchmark: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    captions, folder = benchmark
    files = f"msvd:{captions},{captions.parent / 'test_list.txt'}"
    assert command(monkeypatch, run, "--annotations", files, "--videos", folder) == 0
    said = capsys.readouterr().out
    assert "1 of 3 videos (33.3%) are not in" in said and "text to video" in said


def test_ends_with_the_files_if_too_many_cannot_be_read(
    run: Path, benchmark: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    captions, folder = benchmark
    (folder / "aaa_0_6.avi").write_text("<html>")
    arguments = (run, "--annotations", f"msvd:{captions},{captions.parent / 'test_list.txt'}", "--videos", folder)
    assert command(monkeypatch, *arguments) == 1
    (line,) = capsys.readouterr().err.strip().splitlines()
    assert "1 of 2 clips to evaluate on cannot be read, more than data.max_missing (0.01): " in line
    assert "aaa_0_6.avi (it is a web page)" in line
    assert command(monkeypatch, *arguments, "--set", "data.max_missing=0.5") == 0
    assert "1 clips cannot be read and are left out: " in capsys.readouterr().out


def test_classifies_by_the_verb(
    run: Path, kinetics: tuple[Path, Path, Path], monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    annotations, classes, folder = kinetics
    out = folder.parent / "figures.json"
    files = ["--annotations", f"kinetics:{annotations}", "--classes", classes, "--videos", folder]
    assert command(monkeypatch, run, *files, "--templates", "name", "--json", out) == 0
    said = capsys.readouterr().out
    assert "1 of 3 videos (33.3%) are not in" in said and said.endswith("top-5 100.0% of 2 videos, 3 classes\n")
    assert json.loads(out.read_text())["classes"] == 3


def test_evaluates_a_hierarchical_set_by_the_verb(
    run: Path, dataset: Dataset, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    write_set(choose_triplets(dataset, 9, share=0.4), tmp_path / "triplets.parquet")
    arguments = [run, "--dataset", dataset.folder, "--triplets", tmp_path / "triplets.parquet"]
    held = ["--set", "data.held_out=0.999", "--trained-on"]
    assert command(monkeypatch, *arguments, *held) == 1  # one of the four videos is held out, with one triplet
    assert "1 of 1 triplets can be read: too few for retrieval" in capsys.readouterr().err
    write_set(choose_triplets(dataset, 9, share=0.999), tmp_path / "more.parquet")
    arguments[-1] = tmp_path / "more.parquet"
    assert command(monkeypatch, *arguments, *held) == 0
    assert "long clips\n" in capsys.readouterr().out
    assert command(monkeypatch, *arguments) == 2  # the run holds out fewer videos
    assert "say --trained-on" in capsys.readouterr().err


def test_the_verb_refuses_in_a_line(
    run: Path,
    dataset: Dataset,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    tmp_path: Path,
) -> None:
    for arguments, code, message in (
        ((run,), 2, "choose what to evaluate on"),
        ((run, "--dataset", "x", "--annotations", "msrvtt:x", "--videos", "y"), 2, "choose what to evaluate on"),
        ((run, "--annotations", "msrvtt:x"), 2, "choose what to evaluate on"),
        ((run, "--annotations", "msrvtt:x", "--videos", "y", "--triplets", "z"), 2, "--triplets FILE needs"),
        ((run, "--annotations", "kinetics:x", "--videos", "y"), 2, "--classes FILE and --annotations"),
        ((run, "--dataset", "x", "--classes", "y"), 2, "--classes FILE and --annotations"),
        ((run, "--dataset", "x", "--templates", "y"), 2, "unknown set of templates 'y'; known are name, photo"),
        ((run, "--dataset", "x", "--triplets", tmp_path / "z"), 2, "cannot read"),
        ((run, "--dataset", "x", "--dataset", "y"), 2, "takes one --dataset, but it is given more than once"),
        ((tmp_path, "--dataset", dataset.folder), 2, "it has neither a config.json nor an open_clip_config.json"),
        ((run, "--dataset", tmp_path / "none"), 1, "there is no dataset at"),
        ((run, "--dataset", dataset.folder, "--set", "model.weights=x"), 2, "model.weights cannot be set for"),
        ((run, "--dataset", dataset.folder, "--set", "data.hold=1"), 2, "unknown key 'data.hold'"),
    ):
        assert command(monkeypatch, *arguments) == code
        (line,) = capsys.readouterr().err.strip().splitlines()
        assert message in line


@pytest.mark.parametrize("kind", ["run", "checkpoint", "copy"])
def test_of_a_trained_model_the_frames_and_their_size_may_change_and_nothing_else(
    kind: str, run: Path, tmp_path: Path
) -> None:
    (step,) = (run / "checkpoints").iterdir()
    source = {"run": run, "checkpoint": step, "copy": tmp_path / "copy"}[kind]
    if kind == "copy":
        shutil.copytree(step, source)
    own = run_folder.load_trained(source)[0].config
    changed = run_folder.load_trained(source, ["model.frames=9", "model.image_size=16"])[0].config
    assert (own.video.frames, own.video.image_size) == (2, 32)
    assert changed == replace(own, video=replace(own.video, frames=9, image_size=16))
    assert run_folder.load_trained(source, ["model.image_size="])[0].config == own
    for name, value in ModelSettings(weights="w", revision="r", temperature=1.0).model_dump().items():
        if name not in run_folder.RESIZED:
            with pytest.raises(ConfigError, match=f"^model.{name} cannot be set for {source}, whose model is trained"):
                run_folder.load_trained(source, [f"model.{name}={json.dumps(value)}"])
    for wrong in ("model.frames=0", "model.image_size=33", "model=3"):
        with pytest.raises(UsageError) as raised:
            run_folder.load_trained(source, [wrong])
        assert "\n" not in str(raised.value)


def test_which_folders_are_a_runs(run: Path, clip: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (step,) = (run / "checkpoints").iterdir()
    (tmp_path / "best").symlink_to(step)
    for source in (run, step, tmp_path / "best"):
        assert run_folder.run_folder_of(source) == run
    shutil.copytree(run, mine := tmp_path / "mine")
    (mine / "openai").mkdir()
    for place in ("openai/clip", f"openai/{step.name}", f"checkpoints/{step.name}-keep", "checkpoints/step-00000099"):
        shutil.copytree(clip, mine / place)  # a CLIP near a run
    other = tmp_path / "other" / "checkpoints" / step.name
    shutil.copytree(clip, other)
    shutil.copy(clip / "config.json", tmp_path / "other")
    (tmp_path / "other" / "run.json").write_text('{"program": "another"}')
    monkeypatch.chdir(mine)
    for source in (
        Path("openai/clip"),
        Path("openai/clip-vit-base-patch32"),
        mine / "openai" / step.name,
        mine / "checkpoints" / f"{step.name}-keep",
        mine / "checkpoints" / "step-00000099",
        other,
        tmp_path / "other",
    ):
        assert run_folder.run_folder_of(source) is None
        check_not_trained_on(source, ["any"])
    assert run_folder.load_trained(other, ["model.frames=3"])[0].config.video.frames == 3
    assert run_folder.load_trained(Path())[1] == run_folder.load_trained(run)[1]


@pytest.mark.parametrize("content", ["{}", "[]", '"x"', "", "null", "[" * 10**5, '{"version": {}}', '{"settings": {}}'])
def test_a_damaged_run_is_refused_in_a_line(
    content: str, run: Path, dataset: Dataset, clip: Path, tmp_path: Path
) -> None:
    shutil.copytree(run, damaged := tmp_path / "run")
    metadata = json.loads((run / "run.json").read_text())
    is_part = content.startswith('{"')
    (damaged / "run.json").write_text(json.dumps(metadata | json.loads(content)) if is_part else content)
    for work in (
        lambda: run_folder.load_trained(damaged),
        lambda: run_folder.load_trained(*[path for path in (damaged / "checkpoints").iterdir()]),
        lambda: run_folder.open_run(damaged, dataset, training_settings(clip), ALONE),
    ):
        with pytest.raises(ConfigError, match=f"^{damaged}") as raised:
            work()
        assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


def test_a_run_without_a_checkpoint(dataset: Dataset, clip: Path, tmp_path: Path) -> None:
    run_folder.open_run(tmp_path / "run", dataset, training_settings(clip), ALONE)
    with pytest.raises(ModelError, match="has no checkpoint yet: train first"):
        run_folder.load_trained(tmp_path / "run")
