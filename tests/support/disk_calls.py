"""What a process does to the files of a folder, call by call, and what a power cut would leave of it at each of them.

A small library is loaded before all others and writes down each call that makes, names, removes or flushes a file.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest

_SOURCE = Path(__file__).with_suffix(".c")


@dataclass(frozen=True)
class Call:
    """A call: `flush`, `flush folder`, `open`, `rename`, `link`, `mkdir` or `remove`; `copy` has a flushed content."""

    what: str
    path: Path
    other: Path
    copy: Path


def calls_of(command: Sequence[str], watched: Path, folder: Path) -> list[Call]:
    """What `command` does to the files below `watched`, in order. Skips the test where there is no C compiler."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler, with which to see a process's calls")
    library, log = folder / "calls.so", folder / "log"
    subprocess.run(["cc", "-shared", "-fPIC", "-O1", "-w", "-o", library, _SOURCE, "-ldl"], check=True)
    loaded = {"LD_PRELOAD": str(library), "DISK_CALLS_WATCHED": str(watched), "DISK_CALLS_LOG": str(log)}
    subprocess.run(command, check=True, timeout=240, env={**os.environ, **loaded})
    lines = (line.split("\t") for line in log.read_text().splitlines())
    return [Call(what, Path(path), Path(other), Path(f"{log}.{number}")) for what, path, other, number in lines]


@dataclass
class Disk:
    """A model of the disk: the folder as programs see it, and what of it is certain to outlive a power cut."""

    top: Path
    names: dict[Path, int] = field(default_factory=dict)  # what programs see: every file and folder, by its inode
    folders: dict[Path, dict[str, int]] = field(default_factory=dict)  # names in each folder, when it was last flushed
    contents: dict[int, Path] = field(default_factory=dict)  # by inode, a copy of what was flushed
    _inodes: int = 0

    def play(self, call: Call) -> None:
        """Take in the next call."""
        if call.what in ("open", "mkdir"):
            if call.path not in self.names:
                self._inodes += 1
                self.names[call.path] = self._inodes
        elif call.what == "link":
            self.names[call.other] = self.names[call.path]
        elif call.what == "rename":
            self.names[call.other] = self.names.pop(call.path)
        elif call.what == "remove":
            self.names.pop(call.path, None)
        elif call.what == "flush":
            self.contents[self.names[call.path]] = call.copy
        else:
            self.folders[call.path] = {p.name: i for p, i in self.names.items() if p.parent == call.path}

    def leave(self, target: Path, *, names: bool) -> None:
        """Write into `target` what a power cut leaves, at worst; with `names`, those that were not flushed survive."""
        for path, inode in self._named() if names else self._certain(self.top):
            place = target / path.relative_to(self.top)
            if any(p.parent == path for p in self.names) or path in self.folders:
                place.mkdir(parents=True, exist_ok=True)
            elif inode in self.contents:
                place.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(self.contents[inode], place)
            else:
                place.parent.mkdir(parents=True, exist_ok=True)
                place.write_bytes(b"")

    def _named(self) -> Iterator[tuple[Path, int]]:
        return iter(sorted(self.names.items()))

    def _certain(self, folder: Path) -> Iterator[tuple[Path, int]]:
        for name, inode in self.folders.get(folder, {}).items():
            yield folder / name, inode
            yield from self._certain(folder / name)
