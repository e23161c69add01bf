"""vLLM servers that tests start: settings, inspection and provocation of them, and commands that use one."""

from __future__ import annotations

import http.client
import json
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from curation import guard
from curation.engines.vllm import rendezvous
from curation.engines.vllm.shared_server import VllmServer, server_command, server_environment
from curation.settings import EngineSettings, VllmSettings
from tests.support.watching import free_port, is_closed, is_gone, wait_until

Serve = Callable[..., VllmServer]
"""The type of the fixture `serve`."""


def settings(python: Path | str, *extra_args: str, **vllm: Any) -> EngineSettings:
    return EngineSettings(
        kind="vllm", model="nobody/nothing", vllm=VllmSettings(python=str(python), extra_args=extra_args, **vllm)
    )


class Connection(http.client.HTTPConnection):
    """A connection to the server of a base URL whose host is the name of a socket below TMPDIR."""

    def connect(self) -> None:
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        path = socket_of(self.host)
        if path is None:
            raise ConnectionRefusedError
        with rendezvous.reachable(path.parent) as folder:
            self.sock.connect(f"{folder}/{path.name}")


def socket_of(name: str) -> Path | None:
    return next(Path(tempfile.gettempdir()).glob(f"vidla-vllm-*/*/{name}"), None)


def name_of(base_url: str) -> str:
    return base_url.removeprefix("http://").removesuffix("/v1")


def get(base_url: str, path: str) -> Any:
    connection = Connection(name_of(base_url), timeout=60)
    connection.request("GET", path)
    return json.load(connection.getresponse())


def post(base_url: str, path: str, key: str, body: Any) -> Any:
    connection = Connection(name_of(base_url), timeout=360)
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    connection.request("POST", path, json.dumps(body), headers)
    return json.load(connection.getresponse())


def _listens(base_url: str) -> bool:
    connection = Connection(name_of(base_url), timeout=60)
    try:
        connection.connect()
    except OSError:
        return False
    finally:
        connection.close()
    return True


def provoke(base_url: str, path: str) -> None:
    """Send a request that may break the connection."""
    connection = Connection(name_of(base_url), timeout=1)
    try:
        connection.request("GET", path)
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        pass
    finally:
        connection.close()


def starts(stand_in: Path) -> int:
    return len((stand_in.parent / "starts").read_text().splitlines())


def assert_nothing_left(pids: list[int], base_url: str) -> None:
    wait_until(lambda: all(map(is_gone, pids)))
    wait_until(lambda: not _listens(base_url))


@contextmanager
def served_on_loopback(settings: EngineSettings, log: Path) -> Iterator[str]:
    """The base URL of a vLLM as people start one themselves: on a port, without a key."""
    port = free_port()
    command = server_command(settings, "unresolved")
    at = command.index("--uds")
    command[at : at + 2] = ["--host", "127.0.0.1", "--port", str(port)]
    with log.open("wb") as output:
        fd = output.fileno()
        server = guard.Process(command, 0, stdout=fd, stderr=fd, environment=server_environment(log.parent), grace_s=9)
        try:
            wait_until(lambda: server.popen.poll() is not None or not is_closed(port), 1200)
            assert server.popen.poll() is None, log.read_text(errors="replace")[-2000:]
            yield f"http://127.0.0.1:{port}/v1"
        finally:
            server.finish()


# --- commands ---------------------------------------------------------------------------------------------------------


def start_command(settings: EngineSettings) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.vllm_command", json.dumps(settings.revealed())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def tell(command: subprocess.Popen[str], word: str) -> None:
    assert command.stdin is not None
    command.stdin.write(f"{word}\n")
    command.stdin.flush()


def key_of(command: subprocess.Popen[str]) -> str:
    tell(command, "key")
    assert command.stdout is not None
    return command.stdout.readline().strip()


def url_of(command: subprocess.Popen[str]) -> str:
    tell(command, "ready")
    assert command.stdout is not None
    return command.stdout.readline().strip()
