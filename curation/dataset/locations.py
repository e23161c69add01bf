"""Where a dataset is: its location, as people give it, as a URI."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import unquote, urlsplit

from curation.errors import UsageError

_SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)


def uri_of(location: str) -> str:
    """`location`, a path or a file://, s3:// or gs:// URI, as a URI without a trailing slash. Raises UsageError.

    >>> uri_of("s3://bucket/data/"), uri_of("/data/clips")
    ('s3://bucket/data', 'file:///data/clips')
    """
    if _SCHEME.match(location):
        uri = location.rstrip("/")
    else:
        _check_path(location)
        uri = Path(location).absolute().as_uri()
    if uri.startswith("file://"):
        _check_path(unquote(urlsplit(uri).path, errors="surrogateescape"))
    return uri


def _check_path(path: str) -> None:
    """Raises UsageError for a path on disk that a table's log cannot hold."""
    shown = path.encode(errors="backslashreplace").decode()
    if shown != path:
        raise UsageError(f"the name of the dataset is not UTF-8: {shown}; rename the folder")
    if "%" in Path(path).absolute().as_posix():
        raise UsageError(f"the path of the dataset has a '%', which is read as an escape: {path}; rename the folder")
