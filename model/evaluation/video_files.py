"""Finds the media files of annotated videos in a folder; videos disappear from the web, so missing ones are counted."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePath

from curation import storable
from curation.errors import InputError
from curation.file_types import is_video
from model.evaluation.annotations import Annotation, MediaFile
from model.evaluation.video_names import common_folders, has_video_suffix, strip_suffix

SHOWN = 5


@dataclass(frozen=True)
class Example:
    """An annotated video and its file; `start` and `end` as in MediaFile."""

    video_id: str
    texts: tuple[str, ...]
    path: Path
    start: float | None
    end: float | None


@dataclass(frozen=True)
class BenchmarkFiles:
    """The videos of a benchmark that are in a folder, and those missing. Prints as a one-line summary."""

    folder: Path
    examples: tuple[Example, ...]
    missing: tuple[str, ...]

    @property
    def missing_share(self) -> float:
        return len(self.missing) / (len(self.examples) + len(self.missing))

    def __str__(self) -> str:
        total = len(self.examples) + len(self.missing)
        if not self.missing:
            return f"all {total} videos are in {self.folder}"
        names = ", ".join(self.missing[:SHOWN]) + ("…" if len(self.missing) > SHOWN else "")
        share = f"{self.missing_share:.1%}"
        return f"{len(self.missing)} of {total} videos ({share}) are not in {self.folder} and are left out: {names}"


def find_videos(annotations: Sequence[Annotation], folder: Path) -> BenchmarkFiles:
    """Find the media files of annotated videos in `folder` and below, through links too.

    A file has the stem of the annotated name. Of several, it is the one that the name describes best: by its path, its
    folders, its suffix. Raises InputError if that leaves several, if two names lead to one file, or if there is none.
    """
    if not folder.is_dir():
        raise InputError(f"{_shown(folder)} is not a folder")
    files: dict[str, list[Path]] = {}
    for path in _videos_below(folder):
        files.setdefault(strip_suffix(path.name), []).append(path)
    found: dict[int, tuple[MediaFile, Path]] = {}
    for number, annotation in enumerate(annotations):
        media = next((media for media in annotation.media if media.stem in files), None)
        if media is not None:
            found[number] = media, _best_of(files[media.stem], media, folder)
    for number in _wrongly_found(found, folder):
        del found[number]
    if not found:
        raise InputError(
            f"none of {len(annotations)} videos is in {folder}, which holds {sum(map(len, files.values()))} videos; "
            f"expected names are like {annotations[0].media[0].stem}.mp4"
        )
    examples = tuple(
        Example(annotations[number].video_id, annotations[number].texts, path, media.start, media.end)
        for number, (media, path) in found.items()
    )
    missing = (annotation.video_id for number, annotation in enumerate(annotations) if number not in found)
    return BenchmarkFiles(folder, examples, tuple(missing))


def _videos_below(folder: Path) -> Iterator[Path]:
    """The files with the suffix of a video, in order. A link to a folder that it lies in is not followed."""
    above: dict[str, frozenset[str]] = {str(folder): frozenset((os.path.realpath(folder),))}
    paths: list[Path] = []
    for here, folders, names in os.walk(folder, followlinks=True):
        real = above.pop(here)
        inner = {name: os.path.realpath(os.path.join(here, name)) for name in folders}  # noqa: PTH118 (as os.walk does)
        folders[:] = [name for name in folders if inner[name] not in real]
        above |= {os.path.join(here, name): real | {inner[name]} for name in folders}  # noqa: PTH118
        paths += (Path(here, name) for name in names if has_video_suffix(name))
    return (path for path in sorted(paths) if path.is_file())


def _best_of(candidates: Sequence[Path], media: MediaFile, folder: Path) -> Path:
    """The file that an annotated name describes best, of those with its stem. Raises InputError if two are as good."""

    def agreement(path: Path) -> tuple[bool, int, bool, bool]:
        whole = path.relative_to(folder) == media.path
        return whole, common_folders(path.absolute(), media.path), path.name == media.path.name, is_video(path.name)

    first, *others = candidates
    if others:
        best = max(map(agreement, candidates))
        same = {path.resolve(): path for path in reversed(candidates) if agreement(path) == best}
        first, *others = sorted(same.values())
    if others:
        raise InputError(
            f"{_shown(first)} and {_shown(others[0])} may both be the video {media.name!r}: keep one of them, or name "
            f"it by its path below {_shown(folder)}"
        )
    try:
        str(first.absolute()).encode()
    except UnicodeEncodeError:
        raise InputError(f"the name of {_shown(first.absolute())} is not UTF-8: rename its folder") from None
    return first


def _wrongly_found(found: Mapping[int, tuple[MediaFile, Path]], folder: Path) -> list[int]:
    """The numbers of the annotations whose file is rather that of another annotation, which names it better.

    Raises InputError if both name it as well.
    """
    by_file: dict[Path, dict[PurePath, list[int]]] = {}
    for number, (media, path) in found.items():
        by_file.setdefault(path, {}).setdefault(media.path, []).append(number)
    wrong: list[int] = []
    for path, names in by_file.items():
        if len(names) == 1:
            continue
        right = [name for name in names if _describes(name, path)]
        if len(right) != 1:
            first, second, *_ = right or names
            raise InputError(
                f"'{first}' and '{second}' would both be {_shown(path)}: name each video in one way, by its path below "
                f"{_shown(folder)}"
            )
        wrong += (number for name, numbers in names.items() if name not in right for number in numbers)
    return wrong


def _describes(name: PurePath, path: Path) -> bool:
    """Whether all of `name` is in the path: its folders, and its suffix if it has one."""
    return common_folders(path.absolute(), name) == len(name.parent.parts) and name.name in (
        path.name,
        strip_suffix(path.name),
    )


def _shown(path: Path) -> str:
    return storable.text(str(path))
