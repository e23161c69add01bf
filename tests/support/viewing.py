"""`vidla view` as users start it, and requests to it as anybody may send them."""

from __future__ import annotations

import contextlib
import http.client
import re
import signal
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlencode, urlsplit


@dataclass(frozen=True)
class Answer:
    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def text(self) -> str:
        return self.body.decode()


@dataclass(frozen=True)
class Shown:
    """A view that is running, at `address`, which ends with a slash, in the process `pid`."""

    address: str
    pid: int

    @property
    def path(self) -> str:
        return urlsplit(self.address).path

    def get(self, page: str = "", /, headers: Mapping[str, str] = {}, **query: str) -> Answer:
        """The answer to a GET of one of its pages."""
        return self.ask("GET", self.path + page + ("?" + urlencode(query) if query else ""), headers)

    def ask(self, method: str, path: str, headers: Mapping[str, str] = {}, body: str | None = None) -> Answer:
        """The answer to any request."""
        parts = urlsplit(self.address)
        connection = http.client.HTTPConnection(str(parts.hostname), parts.port, timeout=60)
        with contextlib.closing(connection):
            connection.request(method, path, body, dict(headers))
            answer = connection.getresponse()
            named = {name.lower(): value for name, value in answer.getheaders()}
            return Answer(answer.status, named, answer.read())


@contextlib.contextmanager
def shown(dataset: Path | str, *arguments: str) -> Iterator[Shown]:
    """`vidla view` of a dataset, ended as by Ctrl-C."""
    command = [sys.executable, "-m", "vidla", "view", str(dataset), *arguments]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            found = re.search(r"http://\S+/", line)
            assert found, line + process.stdout.read()
            yield Shown(found[0], process.pid)
        finally:
            process.send_signal(signal.SIGINT)
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(30)
            process.kill()
