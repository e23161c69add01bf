"""The checksums of an export's files, by which it is checked wherever it has been copied to: `b2sum -c B2SUMS`."""

from __future__ import annotations

import hashlib
import json
import tarfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from curation.errors import UsageError
from curation.export.cutting import TEMPORARY
from curation.export.manifest import MANIFEST

SUMS = "B2SUMS"


@dataclass
class CheckReport:
    """What was looked at, and what is wrong, one line each."""

    files: int = 0
    size: int = 0
    clips: int = 0
    faults: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Before:
    """The checksums by name as of the end of the last export, and when that was, in nanoseconds."""

    digests: Mapping[str, str]
    written_ns: int


def take_back(out: Path) -> Before:
    """Remove the checksums, since an export is about to change the files: one that is killed leaves none."""
    sums = out / SUMS
    if not sums.exists():
        return Before({}, 0)
    before = Before(dict(_read(sums)), sums.stat().st_mtime_ns)
    sums.unlink()
    return before


def write_sums(out: Path, before: Before) -> None:
    """Write the checksum of every file, as `b2sum` does; those of files that have not changed are known."""
    lines = []
    for path in files_of(out):
        name, status = path.relative_to(out).as_posix(), path.stat()
        is_new = max(status.st_mtime_ns, status.st_ctime_ns) >= before.written_ns  # a rename changes the latter alone
        lines.append(f"{_digest(path) if is_new or name not in before.digests else before.digests[name]}  {name}\n")
    written = out / f"{TEMPORARY}{SUMS}"
    written.write_text("".join(lines), encoding="utf-8")
    written.replace(out / SUMS)


def check(out: Path, progress: Callable[[int], None] = lambda done: None) -> CheckReport:
    """Read every file of an export. Raises UsageError if there is none, or if it was not finished."""
    if not (out / MANIFEST).is_file():
        raise UsageError(f"{out} is not an export: it has no {MANIFEST}")
    if not (out / SUMS).is_file():
        raise UsageError(f"the export in {out} was not finished: repeat its command")
    report, listed = CheckReport(), dict(_read(out / SUMS))
    for path in sorted(out.rglob("*")):
        name = path.relative_to(out).as_posix()
        if any(part.startswith(TEMPORARY) for part in path.relative_to(out).parts):
            report.faults.append(f"{name} is left of an export that was killed")
        elif path.is_file() and name != SUMS and name not in listed:
            report.faults.append(f"{name} is not of this export")
    for name, digest in listed.items():
        path = out / name
        if path.is_file():
            report.files, report.size = report.files + 1, report.size + path.stat().st_size
        try:
            report.clips += _read_clips(path, digest)
        except _Fault as fault:
            report.faults.append(f"{name} {fault}")
        progress(1)
    return report


def files_of(out: Path) -> Iterator[Path]:
    """The files of an export, in order, without their checksums."""
    for path in sorted(out.rglob("*")):
        if path.is_file() and path.name != SUMS:
            yield path


def _read(sums: Path) -> Iterator[tuple[str, str]]:
    for line in sums.read_text(encoding="utf-8").splitlines():
        digest, _, name = line.partition("  ")
        yield name, digest


def _digest(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "blake2b").hexdigest()


class _Fault(Exception):
    """What is wrong with a file, to follow its name."""


def _read_clips(path: Path, digest: str) -> int:
    """Read a file as its readers do; returns the number of clips in it. Raises _Fault."""
    if not path.is_file():
        raise _Fault("is missing")
    if _digest(path) != digest:
        raise _Fault("is not what was written")
    try:
        if path.suffix == ".json":
            json.loads(path.read_bytes())
        elif path.suffix == ".parquet":
            pq.read_metadata(path)
        elif path.suffix == ".tar":
            return clips_in(path)
    except (OSError, ValueError, tarfile.TarError, pa.ArrowException) as error:
        raise _Fault(f"cannot be read: {error}") from None
    return int(path.suffix == ".mp4")


def clips_in(shard: Path) -> int:
    """The number of clips in a shard of a WebDataset."""
    with tarfile.open(shard) as tar:
        return sum(name.endswith(".mp4") for name in tar.getnames())
