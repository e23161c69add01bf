"""The object store of a dataset: connecting, retrying, and explaining its errors.

All clients read the server and the credentials from environment variables: AWS_… for s3://, GOOGLE_… for gs://
(docs/object-stores.md).
"""

from __future__ import annotations

import contextlib
import errno
import functools
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import obstore
import pyarrow as pa
from deltalake.exceptions import CommitFailedError
from obstore.exceptions import AlreadyExistsError, BaseError
from obstore.store import LocalStore, ObjectStore, from_url
from pyarrow.fs import FileSystem, GcsFileSystem, S3FileSystem, SubTreeFileSystem

from curation.dataset import local_files
from curation.errors import DatasetError, disk_is_full, one_line

if TYPE_CHECKING:
    from obstore import Bytes
    from obstore.store import BackoffConfig, RetryConfig

BLOCK = 8 * 2**20
# A single request times out after half a minute.
_BACKOFF_S, _LONGEST_BACKOFF_S = 0.2, 10.0
_RETRIES, _PATIENCE_S = 20, 60.0  # for a store that fails during a run
_FIRST_RETRIES, _FIRST_PATIENCE_S = 2, 10.0  # for one that may not exist at all


@dataclass(frozen=True)
class Connection:
    """A store, and deltalake's options for the same store."""

    store: ObjectStore
    options: dict[str, str]


@functools.cache
def connect(uri: str, patient: bool) -> Connection:
    """The remote store at a URI, after it has answered once.

    Raises obstore's errors, within seconds if the server or bucket does not exist or denies access. `patient` decides
    whether to wait for the store if it becomes unreachable later.
    """
    first = from_url(uri, retry_config=_retries(_FIRST_RETRIES, _FIRST_PATIENCE_S))
    next(iter(obstore.list(first, "commits/", chunk_size=1)), None)
    retries, patience_s = (_RETRIES, _PATIENCE_S) if patient else (_FIRST_RETRIES, _FIRST_PATIENCE_S)
    options = {
        "max_retries": str(retries),
        "retry_timeout": f"{patience_s:g}s",
        "backoff_config.init_backoff": f"{1000 * _BACKOFF_S:g}ms",
        "backoff_config.max_backoff": f"{_LONGEST_BACKOFF_S:g}s",
    }
    store = from_url(uri, retry_config=_retries(retries, patience_s))
    return Connection(store, options)


def _retries(max_retries: int, patience_s: float) -> RetryConfig:
    backoff: BackoffConfig = {
        "init_backoff": timedelta(seconds=_BACKOFF_S),
        "max_backoff": timedelta(seconds=_LONGEST_BACKOFF_S),
        "base": 2,
    }
    return {"max_retries": max_retries, "retry_timeout": timedelta(seconds=patience_s), "backoff": backoff}


def arrow_files(uri: str) -> FileSystem:
    """The files at a remote URI through Arrow's own client, configured by the same environment variables."""
    parts = urlsplit(uri)
    if parts.scheme == "gs":
        return SubTreeFileSystem(parts.netloc + parts.path, GcsFileSystem())
    variable = os.environ.get
    endpoint = urlsplit(variable("AWS_ENDPOINT") or variable("AWS_ENDPOINT_URL") or "")
    client = S3FileSystem(
        region=variable("AWS_REGION") or variable("AWS_DEFAULT_REGION"),
        endpoint_override=endpoint.netloc or None,
        scheme=endpoint.scheme or "https",
        anonymous=variable("AWS_SKIP_SIGNATURE", "").lower() in ("1", "true"),
    )
    return SubTreeFileSystem(parts.netloc + parts.path, client)


def fetch(store: ObjectStore, path: str, target: Path) -> None:
    """Copy a file of the store to this machine's disk. Raises FileNotFoundError and obstore's errors."""
    with target.open("wb") as file:
        for block in blocks(store, path):
            file.write(block)


def blocks(store: ObjectStore, path: str, start: int = 0, end: int | None = None, most: int = BLOCK) -> Iterator[Bytes]:
    """A file of the store, or its bytes from `start` up to `end`, in blocks of `most` bytes.

    Each block is a separate request with its own timeout. Raises FileNotFoundError and obstore's errors.
    """
    stop = obstore.head(store, path)["size"] if end is None else end
    for at in range(start, stop, most):
        yield obstore.get_range(store, path, start=at, end=min(at + most, stop))


# --- errors ---------------------------------------------------------------------------------------------------------

_WAYS_OUT = (
    (
        re.compile(r"(?i)<Code>NoSuchBucket|The specified bucket does not exist"),
        "there is no such bucket: create it, or name another",
    ),
    (
        re.compile(r"(?i)169\.254\.169\.254|metadata\.google\.internal|MissingCredentials|no credentials"),
        "no credentials were found: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, "
        "or GOOGLE_APPLICATION_CREDENTIALS for gs://",
    ),
    (
        re.compile(
            r"\b40[13] (Forbidden|Unauthorized)|lacked the necessary privileges|valid authentication", re.IGNORECASE
        ),
        "access is denied: give credentials that may list, read, write and delete there",
    ),
    (
        re.compile(r"(?i)BadScheme|URL scheme is not allowed|builder error"),
        "AWS_ENDPOINT is not an https:// URL: for plain http:// set AWS_ALLOW_HTTP=true",
    ),
    (
        re.compile(r"(?i)conditional put is disabled|\b501 Not Implemented"),
        "it does not support creating a file only if it is absent (conditional puts), which commits need: "
        "enable that, or use another store",
    ),
    (
        re.compile(r"(?i)error sending request|tcp connect error|operation timed out|dns error"),
        "it does not answer: make sure that it runs and can be reached (AWS_ENDPOINT, network)",
    ),
)
_REQUEST = re.compile(r"(?<!\w)\w++ https?://[^\s?]+")
_CODE = re.compile(r"<Code>(\w+)</Code>")


def explained(error: BaseException) -> str:
    """An error of obstore or deltalake in one line, beginning with what to do, if known."""
    text = re.sub(r"\x1b\[\d+m|↳", "", str(error).partition("\n\nDebug source")[0])
    line = " ".join(text.split())
    for pattern, way_out in _WAYS_OUT:
        if pattern.search(f"{line} {error}"):
            return f"{way_out} ({_brief(line)})"
    return line


def is_of_store(error: BaseException) -> bool:
    """Whether an error of obstore or of deltalake's file system is one of the store, other than a missing file."""
    return isinstance(error, (BaseError, NotImplementedError)) or (
        isinstance(error, OSError) and not isinstance(error, FileNotFoundError) and "Error performing" in str(error)
    )


def _brief(line: str) -> str:
    """The part of a long message that names the failed request, and the server's error code."""
    request, code = _REQUEST.search(line.partition("performing ")[2]), _CODE.search(line)
    parts = [request[0] if request else "", code[1] if code else ""]
    return ": ".join(filter(None, parts)) or line[:200]


def put(store: ObjectStore, path: str, data: bytes | Path, *, create: bool = False, flush: bool = False) -> None:
    """Write a file completely or not at all; a `Path` is one that nobody changes any more.

    With `flush` it outlives a power cut. Other files on a local disk do so once they are committed; a remote store
    does not answer before. Raises DatasetError; with `create`, AlreadyExistsError if it exists.
    """
    with write_errors(path):
        if isinstance(store, LocalStore) and store.prefix is not None:
            local_files.write(Path(store.prefix) / path, data, create=create, flush=flush)
        else:
            obstore.put(store, path, data, mode="create" if create else "overwrite")


def copy(store: ObjectStore, path: str, target: str) -> None:
    """Copy a file within a store; on a local disk it is a second name. Raises FileNotFoundError, DatasetError."""
    missing: FileNotFoundError | None = None
    with write_errors(target):
        try:
            obstore.copy(store, path, target)
        except FileNotFoundError as error:
            missing = error
    if missing:
        raise missing


# The stores on a local disk keep the number of an error in their text alone; a server's text has another beginning.
_LOCAL_DISK_FULL = re.compile(
    rf"Generic LocalFileSystem error\b.*\(os error ({errno.ENOSPC}|{errno.EDQUOT})\)", re.DOTALL
)


def _disk_is_full(error: BaseException) -> bool:
    return disk_is_full(error) or _LOCAL_DISK_FULL.match(str(error)) is not None


@contextlib.contextmanager
def write_errors(what: str) -> Iterator[None]:
    """Turn errors of the storage into a one-line DatasetError."""
    try:
        yield
    except (AlreadyExistsError, CommitFailedError):
        raise  # another process was first
    except (BaseError, OSError, NotImplementedError) as error:
        hint = "; the disk is full: everything committed is intact, make room and run again"
        raise DatasetError(f"cannot write {what}: {explained(error)}{hint if _disk_is_full(error) else ''}") from error


@contextlib.contextmanager
def read_errors(what: str) -> Iterator[None]:
    """Turn errors of a store, and of a damaged part, into a one-line DatasetError.

    A missing file stays a FileNotFoundError.
    """
    try:
        yield
    except pa.ArrowInvalid as error:
        raise DatasetError(f"{what} is damaged: {one_line(error)}; `vidla verify` finds and repairs it") from error
    except (BaseError, OSError) as error:
        if is_of_store(error):
            raise DatasetError(f"cannot read {what}: {explained(error)}") from error
        raise
