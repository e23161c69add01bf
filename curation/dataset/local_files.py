"""The files of a dataset on this machine's disk: written completely or not at all, and flushed.

A power cut may lose whatever was not flushed: the content of a file, and its name in its folder.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from obstore.exceptions import AlreadyExistsError

_FLUSHES = 8  # at once: the file system writes its journal once for several


def write(path: Path, data: bytes | Path, *, create: bool, flush: bool) -> None:
    """Write `data` (bytes, or a finished file that nobody changes any more) to `path`, flushed with its folder.

    Without `flush`, that is left to a later call of `flush`. Raises OSError; with `create`, AlreadyExistsError.
    """
    missing = [folder for folder in path.parents if not folder.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    torn = path.with_name(f"{path.name}#{secrets.randbelow(10**15)}")  # a name that stores do not list
    try:
        if isinstance(data, Path):
            _link_or_copy(data, torn)
        else:
            torn.write_bytes(data)
        if flush:
            _flush(torn)
        if create:
            os.link(torn, path)
        else:
            torn.replace(path)
    except FileExistsError:
        raise AlreadyExistsError(f"{path} already exists") from None
    finally:
        torn.unlink(missing_ok=True)
    for folder in (path.parent, *(folder.parent for folder in missing)) if flush else ():
        _flush(folder)


def flush(files: Iterable[Path], folders: Iterable[Path]) -> None:
    """Flush these files, then these folders, from the deepest up. Raises FileNotFoundError."""
    deepest_first = sorted(folders, key=lambda folder: (-len(folder.parts), folder))
    with ThreadPoolExecutor(_FLUSHES, "flush") as pool:
        for paths in (files, deepest_first):
            list(pool.map(_flush, paths))


def _link_or_copy(source: Path, target: Path) -> None:
    try:
        target.hardlink_to(source)
    except OSError:  # another file system, or one without links
        shutil.copyfile(source, target)


def _flush(path: Path) -> None:
    fd = os.open(path, os.O_RDONLY)
    try:
        os.fsync(fd)
    except OSError as error:
        if error.errno != errno.EINVAL or not path.is_dir():  # some file systems have no flush for folders
            raise
    finally:
        os.close(fd)
