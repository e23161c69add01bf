"""Where a secret has got to: in which files, in whatever encoding or compression."""

from __future__ import annotations

import base64
import binascii
import bz2
import contextlib
import json
import re
import threading
import zlib
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

import psutil
import pyarrow.parquet as pq

_BASE64 = re.compile(rb"[A-Za-z0-9+/_-]{24,}={0,2}")


def holds(data: bytes, secret: str, depth: int = 3) -> bool:
    """Whether `data` holds `secret`: as it is, encoded or compressed, on several levels."""
    if any(form in data for form in _forms(secret)):
        return True
    return depth > 0 and any(holds(inner, secret, depth - 1) for inner in _unpacked(data))


def _forms(secret: str) -> Iterator[bytes]:
    text = secret.encode()
    yield from (
        text,
        text[::-1],
        quote(secret, safe="").encode(),
        json.dumps(secret)[1:-1].encode(),
        text.hex().encode(),
    )
    yield from (secret.encode("utf-16-le"), "".join(f"%{byte:02X}" for byte in text).encode())
    for shift in range(3):  # where the secret may begin within base64's groups
        inner = base64.b64encode(b"\0" * shift + text)[4 if shift else 0 : -4]
        yield from (inner, inner.replace(b"+", b"-").replace(b"/", b"_"))


def _unpacked(data: bytes) -> Iterator[bytes]:
    for run in _BASE64.findall(data):
        with contextlib.suppress(binascii.Error, ValueError):
            plain = run.rstrip(b"=").replace(b"-", b"+").replace(b"_", b"/")
            decoded = base64.b64decode(plain + b"=" * (-len(plain) % 4))
            yield decoded
            for open_ in (zlib.decompress, bz2.decompress):
                with contextlib.suppress(zlib.error, OSError, ValueError):
                    yield open_(decoded)


def files_with(folder: Path, secret: str) -> list[Path]:
    """The files in `folder` that hold `secret`, in their names too."""
    return [file for file in folder.rglob("*") if holds(_content(file), secret)]


def _content(file: Path) -> bytes:
    data = str(file).encode() + (file.read_bytes() if file.is_file() else b"")
    if file.suffix == ".parquet":
        data += repr(pq.ParquetFile(file).read().to_pylist()).encode()
    return data


class ArgumentWatch:
    """Collects the argument lists of this process's children, and theirs, between enter and exit."""

    def __init__(self) -> None:
        self.seen: set[str] = set()
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)

    def __enter__(self) -> ArgumentWatch:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()

    def _watch(self) -> None:
        while not self._ended.wait(0.1):
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.Error):
                    self.seen.add("\0".join(process.cmdline()))
