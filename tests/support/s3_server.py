"""moto's S3 on loopback, as a process of its own. It says its port, and ends when its standard input does.

    python -m tests.support.s3_server LOG [--no-conditions] [--keys]

A line of LOG is an answer: its method, path and bytes. With --no-conditions it overwrites what is to be created only
if absent, as some S3-compatible servers do; with --keys it knows of no access key.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

if "--keys" in sys.argv:
    os.environ["INITIAL_NO_AUTH_ACTION_COUNT"] = "0"

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from werkzeug.serving import WSGIRequestHandler, make_server

Environ = dict[str, Any]
Start = Callable[..., Any]


class Server:
    """moto's application between our log and a lock."""

    def __init__(self, log: Path, conditions: bool) -> None:
        self._log = log.open("a", buffering=1)
        self._conditions = conditions
        self._moto = DomainDispatcherApplication(create_backend_app)
        self._lock = threading.Lock()

    def __call__(self, environ: Environ, start: Start) -> Iterable[bytes]:
        def start_logged(status: str, headers: list[tuple[str, str]], *rest: Any) -> Any:
            size = dict(headers).get("Content-Length", "0") if environ["REQUEST_METHOD"] != "HEAD" else "0"
            self._log.write(f"{environ['REQUEST_METHOD']}\t{environ['PATH_INFO']}\t{size}\n")
            return start(status, headers, *rest)

        if "HTTP_IF_NONE_MATCH" not in environ:
            return self._moto(environ, start_logged)
        if not self._conditions:
            del environ["HTTP_IF_NONE_MATCH"]
            return self._moto(environ, start_logged)
        with self._lock:  # S3 looks and writes at once; moto looks, then writes
            return self._moto(environ, start_logged)


class Quiet(WSGIRequestHandler):
    def log_request(self, code: int | str = "-", size: int | str = "-") -> None:
        pass


def main() -> None:
    server = make_server(
        "127.0.0.1",
        0,
        Server(Path(sys.argv[1]), "--no-conditions" not in sys.argv),
        threaded=True,
        request_handler=Quiet,
    )
    threading.Thread(target=server.serve_forever, daemon=True).start()
    sys.stdout.write(f"{server.server_port}\n")
    sys.stdout.flush()
    sys.stdin.read()
    os._exit(0)


if __name__ == "__main__":
    main()
