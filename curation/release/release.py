"""Releases: some clips of one or several datasets, frozen under a name, in a small JSON file.

`releases/<name>.json` lies in the first dataset. It names the version of every table, which is pinned, the condition
that chose the clips, the share of the videos that is held out, and a digest over all rows.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Annotated, Any

from obstore.exceptions import AlreadyExistsError
from pydantic import Field, TypeAdapter, ValidationError

from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.dataset.pins import NAME
from curation.errors import DatasetError, UsageError, one_line

FOLDER = "releases/"
MOST_BYTES = 2**20
_NAMED = re.compile(rf"(.+)@({NAME.pattern})", re.DOTALL)
_FILE = re.compile(rf"(.+)/{FOLDER}({NAME.pattern})\.json", re.DOTALL)


@dataclass(frozen=True)
class FrozenDataset:
    """A dataset of a release: the version of each table, the pin that keeps them, and its last settings by then."""

    uri: str
    pin: str
    versions: Mapping[str, int]
    settings: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Release:
    """What a release's file holds.

    `digest` is that of all its rows (`release_digest`), `clips`, `videos` and `seconds` are how much they are, and
    `held_out` is the share of the videos that is not trained on.
    """

    name: Annotated[str, Field(pattern=f"^(?:{NAME.pattern})$")]
    datasets: tuple[FrozenDataset, ...]
    where: str | None
    held_out: Annotated[float, Field(ge=0, le=1)]
    clips: int
    videos: int
    seconds: float
    digest: str
    code_version: str
    created_at: str


_RELEASE = TypeAdapter(Release)


def check_name(name: str) -> str:
    """`name`, if a release may have it. Raises UsageError."""
    if not NAME.fullmatch(name):
        raise UsageError(f"'{name}' is not a valid name for a release; use letters, digits, '.', '_' and '-'")
    return name


def path_of_release(name: str) -> str:
    return f"{FOLDER}{name}.json"


def write_release(dataset: Dataset, release: Release) -> None:
    """Write its file, only if there is none of this name. Raises UsageError."""
    data = json.dumps(asdict(release), indent=2, ensure_ascii=False).encode() + b"\n"
    try:
        put(dataset.store, path_of_release(release.name), data, create=True, flush=True)
    except AlreadyExistsError:
        raise taken(dataset, release.name) from None


def taken(dataset: Dataset, name: str) -> UsageError:
    """The error that there is a release of this name."""
    return UsageError(f"{dataset.uri} has a release '{name}', which stays as it is; take another name")


def names_of_releases(dataset: Dataset) -> list[str]:
    """The names of the releases in a dataset."""
    paths = (path.removeprefix(FOLDER) for path, _, _ in dataset.list(FOLDER))
    return sorted(path.removesuffix(".json") for path in paths if path.endswith(".json"))


def read_release(dataset: Dataset, name: str) -> Release:
    """The release of that name in `dataset`, wherever that is now. Raises UsageError if there is none; DatasetError."""
    try:
        data = dataset.get(path_of_release(check_name(name)))
    except FileNotFoundError:
        names = names_of_releases(dataset)
        known = f"there are {', '.join(names)}" if names else "there are none"
        raise UsageError(f"{dataset.uri} has no release '{name}'; {known}") from None
    found = _parsed(data, f"{dataset.uri}/{path_of_release(name)}")
    first, *others = found.datasets
    return replace(found, datasets=(replace(first, uri=dataset.uri), *others))


def _parsed(data: bytes, where: str) -> Release:
    try:
        found = _RELEASE.validate_json(data)
    except ValidationError as error:
        raise DatasetError(f"{where} is not a release: {one_line(error, 200)}") from None
    if not found.datasets:
        raise DatasetError(f"{where} is not a release: it names no dataset")
    return found


def release_at(location: str) -> Release | None:
    """The release that `location` names: DIR@NAME, or its file; None if it is that of a dataset.

    A release's file works anywhere; in a dataset, it is that dataset's. Raises UsageError, DatasetError.
    """
    is_local = "://" not in location
    if is_local and Path(location).is_dir():
        return None
    if named := _FILE.fullmatch(str(Path(location).absolute()) if is_local else location) or _NAMED.fullmatch(location):
        dataset = Dataset(named[1])
        if dataset.exists():
            return read_release(dataset, named[2])
    if is_local and location.endswith(".json") and Path(location).is_file():
        return _parsed(_small_file(Path(location)), location)
    return None


def _small_file(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(MOST_BYTES)
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}") from None
