"""Reads the original annotation files of MSR-VTT, DiDeMo, ActivityNet, MSVD, VATEX and Kinetics, and plain CSV.

Every reader returns annotations in the order of the file: a video, its texts, and the names that its media file may
have; video_files.py finds these in a folder. A file that its reader does not expect raises InputError: one line with
the expected and the actual content.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path, PurePath
from typing import Any

from curation import storable
from curation.errors import InputError
from model.evaluation.annotation_files import (
    brief,
    check_objects,
    read_ids,
    read_json,
    read_lines,
    read_rows,
    read_strings,
)
from model.evaluation.video_names import strip_suffix

DIDEMO_SECONDS = 30.0


@dataclass(frozen=True)
class MediaFile:
    """A file that may hold the video, and the part of it that is annotated."""

    name: str
    """The file's name, perhaps after folders that it lies in, and perhaps without suffix."""
    start: float | None = None
    """Seconds; None for the file's beginning."""
    end: float | None = None
    """Seconds, possibly past the file's end; None for the file's end."""

    @property
    def path(self) -> PurePath:
        return PurePath(self.name)

    @property
    def stem(self) -> str:
        return strip_suffix(self.path.name)


@dataclass(frozen=True)
class Annotation:
    """A video of a benchmark with its texts, each of which is a separate query."""

    video_id: str
    texts: tuple[str, ...]
    media: tuple[MediaFile, ...]
    """The files that may hold it, the most likely first."""


# --- readers --------------------------------------------------------------------------------------------------------


def read_msrvtt(path: Path, ids: Path | None = None, split: str = "test") -> tuple[Annotation, ...]:
    """MSR-VTT. MSRVTT_JSFUSION_test.csv is the 1k-A test set, with one text per video.

    From MSRVTT_data.json (or a videodatainfo.json), the videos of `ids`, such as MSRVTT_train.9k.csv, are read with all
    their texts; without `ids` those of `split`: "test" is then the full test set, not 1k-A. The videos are already
    clips.
    """
    if path.suffix.lower() == ".csv":
        rows = read_rows(path, ("key", "vid_key", "video_id", "sentence"), "MSR-VTT's MSRVTT_JSFUSION_test.csv")
        return _restrict_to(path, _annotations(path, ((row["video_id"], row["sentence"]) for row in rows)), ids)
    expected = "MSR-VTT's MSRVTT_data.json: an object with lists of videos and sentences"
    content = read_json(path, expected, dict)
    videos = check_objects(path, expected, content.get("videos"), ("video_id", "split"), ("video_id",))
    sentences = check_objects(path, expected, content.get("sentences"), ("video_id", "caption"), ("video_id",))
    chosen = {video["video_id"] for video in videos if ids is not None or video["split"] == split}
    if not chosen:
        splits = ", ".join(sorted({str(video["split"]) for video in videos}))
        raise InputError(f"{path} has no video of the split '{split}'; its splits are {splits}")
    pairs = ((row["video_id"], row["caption"]) for row in sentences if row["video_id"] in chosen)
    return _restrict_to(path, _annotations(path, pairs), ids)


def read_didemo(path: Path, ids: Path | None = None) -> tuple[Annotation, ...]:
    """DiDeMo's test_data.json, val_data.json or train_data.json, for paragraph-to-video retrieval.

    With `ids`, such as test_list.txt, only the videos listed there. All descriptions of a video are joined into one
    text. They cover its first 30 s, the part shown to annotators.
    """
    expected = "DiDeMo's test_data.json: a list of objects with video and description"
    rows = check_objects(path, expected, read_json(path, expected, list), ("video", "description"))
    return tuple(
        Annotation(
            annotation.video_id,
            (" ".join(annotation.texts),),
            (MediaFile(annotation.video_id, 0.0, DIDEMO_SECONDS),),
        )
        for annotation in _restrict_to(
            path, _annotations(path, ((row["video"], row["description"]) for row in rows)), ids
        )
    )


def read_activitynet(path: Path, ids: Path | None = None) -> tuple[Annotation, ...]:
    """ActivityNet Captions' val_1.json (or val_2.json, train.json), for paragraph-to-video retrieval.

    With `ids`, such as train_ids.json, only the videos listed there. A video's sentences are joined into one text. Its
    file is named v_ID or ID.
    """
    expected = "ActivityNet Captions' val_1.json: an object of videos, each with duration, timestamps and sentences"
    content = read_json(path, expected, dict)
    check_objects(path, expected, list(content.values()), ("duration", "timestamps", "sentences"))
    pairs = ((name, text) for name, video in content.items() for text in read_strings(path, name, video["sentences"]))
    return tuple(
        Annotation(
            annotation.video_id,
            (" ".join(annotation.texts),),
            (MediaFile(annotation.video_id), MediaFile(annotation.video_id.removeprefix("v_"))),
        )
        for annotation in _restrict_to(path, _annotations(path, pairs), ids)
    )


def read_msvd(captions: Path, ids: Path) -> tuple[Annotation, ...]:
    """MSVD: the videos of `ids` (test_list.txt), each with its some forty texts from `captions`.

    `captions` is AllVideoDescriptions.txt, or raw-captions.pkl converted to JSON: an object of lists of texts, or of
    lists of words. A pickle can run code, so it is not read; the error says how to convert one.
    """
    expected = "MSVD's AllVideoDescriptions.txt (per line a video's id and a text) or raw-captions.json"
    if captions.suffix.lower() in (".pkl", ".pickle"):
        raise InputError(
            f"{captions} is a pickle, which can run code when it is opened; if you trust it, convert it: "
            f"python -c \"import json, pickle, sys; json.dump(pickle.load(sys.stdin.buffer, encoding='latin1'), "
            f'sys.stdout)" < {captions.name} > {captions.stem}.json'
        )
    if captions.suffix.lower() == ".json":
        content = read_json(captions, expected, dict)
        pairs = [(name, text) for name, texts in content.items() for text in read_strings(captions, name, texts)]
    else:
        lines = [line.split(maxsplit=1) for line in read_lines(captions) if not line.startswith("#")]
        wrong = next((line for line in lines if len(line) != 2 or not re.search(r"_\d+_\d+$", line[0])), None)
        if wrong is not None or not lines:
            raise InputError(f"{captions} is not {expected}; it has {brief(' '.join(wrong or ()))}")
        pairs = [(name, text) for name, text in lines]
    return tuple(
        Annotation(annotation.video_id, annotation.texts, _candidate_files(annotation.video_id))
        for annotation in _restrict_to(captions, _annotations(captions, pairs), ids)
    )


def read_vatex(path: Path, ids: Path | None = None) -> tuple[Annotation, ...]:
    """VATEX: a JSON list with videoID and enCap, or HGR's ref_captions.json, an object of lists of texts.

    The retrieval protocol is HGR's: 1,500 of the 3,000 validation videos, listed in `ids`, a text file with one id per
    line or HGR's tst_names.npy. A media file may be the clip, named by the id, or the whole video.
    """
    expected = "VATEX's vatex_validation_v1.0.json: a list of objects with videoID and enCap"
    content = read_json(path, expected, (list, dict))
    if isinstance(content, dict):
        rows = [(name, texts) for name, texts in content.items()]
    else:
        rows = [(o["videoID"], o["enCap"]) for o in check_objects(path, expected, content, ("videoID", "enCap"))]
    annotations = _annotations(path, ((name, text) for name, texts in rows for text in read_strings(path, name, texts)))
    return tuple(
        Annotation(annotation.video_id, annotation.texts, _candidate_files(annotation.video_id))
        for annotation in _restrict_to(path, annotations, ids)
    )


def read_kinetics(path: Path) -> tuple[Annotation, ...]:
    """Kinetics' val.csv or test.csv: each clip's only text is its class. Clips are named id_000012_000022."""
    expected = "a Kinetics annotation file"
    rows = read_rows(path, ("label", "youtube_id", "time_start", "time_end"), expected)
    pairs = []
    for row in rows:
        try:
            start, end = round(float(row["time_start"])), round(float(row["time_end"]))
        except (ValueError, OverflowError):
            raise InputError(f"{path}: the times of {brief(row['youtube_id'])} are not numbers") from None
        pairs.append((f"{row['youtube_id']}_{start:06d}_{end:06d}", row["label"]))
    return tuple(
        Annotation(annotation.video_id, annotation.texts, _candidate_files(annotation.video_id))
        for annotation in _annotations(path, pairs)
    )


def read_csv(path: Path, ids: Path | None = None) -> tuple[Annotation, ...]:
    """A plain CSV: each row has a `video`, the name of its file, with or without suffix, and a `text`.

    Rows may have a `start` and an `end` in seconds: texts of the same part of a video belong together. With `ids`, only
    the parts listed there, such as "talk.mp4", or "talk.mp4~10-20" if it has times.
    """
    parts: dict[str, MediaFile] = {}
    pairs = []
    for row in read_rows(path, ("video", "text"), "a CSV of pairs"):
        start, end = _seconds(path, row, "start"), _seconds(path, row, "end")
        if start is not None and end is not None and start >= end:
            raise InputError(f"{path}: {brief(row['video'])} should start before its end, not at {start:g} s")
        times = "" if start is None and end is None else f"~{start or 0:g}-{'' if end is None else f'{end:g}'}"
        pairs.append((f"{row['video'].strip()}{times}", row["text"]))
        parts[pairs[-1][0]] = MediaFile(row["video"].strip(), start, end)
    annotations = _restrict_to(path, _annotations(path, pairs), ids)
    return tuple(replace(annotation, media=(parts[annotation.video_id],)) for annotation in annotations)


def _seconds(path: Path, row: dict[str, str], column: str) -> float | None:
    """A time that a row may have. Raises InputError."""
    if not (text := (row.get(column) or "").strip()):
        return None
    try:
        seconds = float(text)
    except ValueError:
        seconds = math.nan
    if not 0 <= seconds < math.inf:
        raise InputError(f"{path}: the {column} of {brief(row['video'])} should be in seconds, not {brief(text)}")
    return seconds


# --- helpers of the readers -----------------------------------------------------------------------------------------


def _annotations(path: Path, pairs: Iterable[tuple[Any, Any]]) -> tuple[Annotation, ...]:
    """Group texts by video, both in order; blank texts are dropped. Raises InputError if none is left."""
    texts: dict[str, list[str]] = {}
    for video_id, text in pairs:
        if not isinstance(video_id, str) or not isinstance(text, str):
            raise InputError(f"{path}: {brief(video_id)} and {brief(text)} should be a video and a text")
        if cleaned := " ".join(storable.text(text).split()):
            texts.setdefault(storable.text(video_id).strip(), []).append(cleaned)
    if not texts:
        raise InputError(f"{path} has no text")
    return tuple(Annotation(name, tuple(captions), (MediaFile(name),)) for name, captions in texts.items())


def _restrict_to(path: Path, annotations: tuple[Annotation, ...], ids: Path | None) -> tuple[Annotation, ...]:
    """The annotations of the videos listed in `ids` (read_ids), in its order; without `ids`, all of them.

    Raises InputError if one is missing.
    """
    if ids is None:
        return annotations
    by_id = {annotation.video_id: annotation for annotation in annotations}
    without_suffix = {strip_suffix(name): name for name in by_id}
    listed = [name if name in by_id else without_suffix.get(strip_suffix(name), name) for name in read_ids(ids)]
    unknown = [name for name in listed if name not in by_id]
    if unknown or not listed:
        raise InputError(
            f"{ids} lists {len(listed)} videos, {len(unknown)} of which are not in {path}, such as {brief(unknown[:1])}"
        )
    return tuple(by_id[name] for name in dict.fromkeys(listed))


def _candidate_files(video_id: str) -> tuple[MediaFile, ...]:
    """For an id that ends in two times: the clip itself, or that range of the whole video.

    >>> [(file.name, file.start, file.end) for file in _candidate_files("dQw4_12_22")]
    [('dQw4_12_22', None, None), ('dQw4', 12.0, 22.0)]
    """
    ranged = re.fullmatch(r"(.+)_(\d+)_(\d+)", video_id)
    clip = MediaFile(video_id)
    return (clip,) if ranged is None else (clip, MediaFile(ranged[1], float(ranged[2]), float(ranged[3])))
