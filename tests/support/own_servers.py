"""vLLM servers that tests start: settings, inspection and provocation of them, and commands that use one."""

from __future__ import annotations

import http.client
import json
import subprocess
import sys
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

from curation.engines.vllm.shared_server import VllmServer
from curation.settings import EngineSettings, VllmSettings
from tests.support.watching import is_closed, is_gone, wait_until

Serve = Callable[..., VllmServer]
"""The type of the fixture `serve`."""


def settings(python: Path | str, *extra_args: str, **vllm: Any) -> EngineSettings:
    return EngineSettings(
        kind="vllm", model="nobody/nothing", vllm=VllmSettings(python=str(python), extra_args=extra_args, **vllm)
    )


def get(base_url: str, path: str) -> Any:
    with urllib.request.urlopen(base_url.removesuffix("/v1") + path, timeout=60) as answer:
        return json.load(answer)


def provoke(base_url: str, path: str) -> None:
    """Send a request that may break the connection."""
    connection = http.client.HTTPConnection("127.0.0.1", port_of(base_url), timeout=1)
    try:
        connection.request("GET", path)
        connection.getresponse()
    except (OSError, http.client.HTTPException):
        pass
    finally:
        connection.close()


def port_of(base_url: str) -> int:
    return int(base_url.split(":")[2].split("/")[0])


def starts(stand_in: Path) -> int:
    return len((stand_in.parent / "starts").read_text().splitlines())


def assert_nothing_left(pids: list[int], base_url: str) -> None:
    wait_until(lambda: all(map(is_gone, pids)))
    wait_until(lambda: is_closed(port_of(base_url)))


# --- commands ---------------------------------------------------------------------------------------------------------


def start_command(settings: EngineSettings) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "tests.support.vllm_command", json.dumps(settings.revealed())]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True)


def tell(command: subprocess.Popen[str], word: str) -> None:
    assert command.stdin is not None
    command.stdin.write(f"{word}\n")
    command.stdin.flush()


def url_of(command: subprocess.Popen[str]) -> str:
    tell(command, "ready")
    assert command.stdout is not None
    return command.stdout.readline().strip()
