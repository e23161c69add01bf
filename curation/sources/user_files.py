"""Files that the user named: opened once, never through a link, and known again by their digest."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from io import BufferedReader
from pathlib import Path

from curation.ids import digest_of
from curation.rejects import Kind, Rejected
from curation.uris import path_of


def path_below(folder: Path, name: str) -> Path:
    """The path that a list states in `folder`, which has no links in it: a path from there, or a file: URI.

    Links are resolved. Raises Rejected if it leads out of the folder.
    """
    try:
        path = (folder / (path_of(name) if name[:5].lower() == "file:" else Path(name))).resolve()
    except (OSError, ValueError, RuntimeError):  # a null character, a loop of links
        raise Rejected(Kind.INVALID_REQUEST, "not a path of a file") from None
    if not path.is_relative_to(folder):
        raise Rejected(Kind.REFUSED, f"the file is not below --files-under {folder}")
    return path


def open_local(path: Path) -> BufferedReader:
    """`path`, which has no links in it, open for reading.

    Raises Rejected unless it is a regular file: not a link, pipe or device, and not behind a link that has since taken
    the place of a folder.
    """
    file = _opened(path)
    if Path(f"/proc/self/fd/{file.fileno()}").readlink() != path:
        file.close()
        raise Rejected(Kind.REFUSED, f"{path} is reached by a link that was not there when it was listed")
    return file


def _opened(path: Path) -> BufferedReader:
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    except FileNotFoundError:
        raise Rejected(Kind.NOT_FOUND, f"no file {path}") from None
    except OSError as error:
        raise Rejected(Kind.REFUSED, f"cannot read {path}: {error.strerror}") from None
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise Rejected(Kind.REFUSED, f"{path} is not a regular file")
    return os.fdopen(fd, "rb")


@contextmanager
def unchanged(path: Path, digest: str, folder: Path) -> Iterator[Path]:
    """A name in `folder` for the file at `path`, whatever replaces it meanwhile. Raises Rejected if its digest differs.

    The name has the suffix of `path`, by which some formats are recognised.
    """
    with _opened(path) as file:
        if digest_of(file) != digest:
            way_out = (
                "put the former file back and `vidla retry`, or, if it is the dataset's own, `vidla verify --repair`"
            )
            raise Rejected(Kind.SOURCE_GONE, f"{path} has changed since it was downloaded; {way_out}")
        name = folder / f"opened{path.suffix}"
        name.symlink_to(f"/proc/{os.getpid()}/fd/{file.fileno()}")
        try:
            yield name
        finally:
            name.unlink()
