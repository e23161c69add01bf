"""Buckets of a real S3-compatible server on loopback (tests/support/s3_server.py)."""

from __future__ import annotations

import signal
import subprocess
import sys
import uuid
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from types import TracebackType
from typing import Self
from urllib.request import Request, urlopen

import obstore
from obstore.store import ObjectStore, from_url

from tests.support.project import ROOT


class S3Server:
    """A server in a child process; `environment` has the settings that a client needs."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.log = folder / "requests.txt"
        self._options = options

    def __enter__(self) -> Self:
        command = [sys.executable, "-m", "tests.support.s3_server", self.log, *self._options]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE}
        self._process = subprocess.Popen(command, cwd=ROOT, text=True, **pipes)  # type: ignore[call-overload]
        self.endpoint = f"http://127.0.0.1:{int(self._process.stdout.readline())}"
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._process.kill()
        self._process.communicate()

    def stop(self) -> None:
        """Stop answering until `go_on`."""
        self._process.send_signal(signal.SIGSTOP)

    def go_on(self) -> None:
        self._process.send_signal(signal.SIGCONT)

    @property
    def environment(self) -> dict[str, str]:
        keys = {"AWS_ACCESS_KEY_ID": "vidla", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "us-east-1"}
        return keys | {"AWS_ENDPOINT": self.endpoint, "AWS_ALLOW_HTTP": "true"}

    def bucket(self) -> Bucket:
        """A new, empty bucket."""
        name = f"b{uuid.uuid4().hex}"
        urlopen(Request(f"{self.endpoint}/{name}", method="PUT")).close()
        return Bucket(self, name)


@dataclass(frozen=True)
class Bucket:
    """A bucket of `server`."""

    server: S3Server
    name: str

    @property
    def uri(self) -> str:
        return f"s3://{self.name}"

    @cached_property
    def _store(self) -> ObjectStore:
        config = {n.lower(): value for n, value in self.server.environment.items() if n != "AWS_ALLOW_HTTP"}
        return from_url(self.uri, config=config, client_options={"allow_http": True})  # type: ignore[call-overload]

    def put(self, path: str, data: bytes | Path) -> None:
        obstore.put(self._store, path, data)

    def upload(self, folder: Path) -> None:
        """Upload every file of `folder` under its relative path."""
        for path in folder.rglob("*"):
            if path.is_file():
                self.put(str(path.relative_to(folder)), path)

    def answers(self) -> list[tuple[str, str, int]]:
        """Method, path in the bucket (of a listing: the bucket's) and number of bytes of every answer so far."""
        lines = (line.split("\t") for line in self.server.log.read_text().splitlines())
        above = f"/{self.name}/"
        mine = ((m, path, size) for m, path, size in lines if f"{path}/".startswith(above))
        return [(m, path.removeprefix(above), int(size)) for m, path, size in mine]

    def given(self) -> Counter[str]:
        """The bytes sent of each file so far."""
        counted: Counter[str] = Counter()
        for method, path, size in self.answers():
            if method == "GET":
                counted[path] += size
        return counted
