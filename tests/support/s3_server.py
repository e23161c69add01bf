"""moto's S3 on loopback, in a separate process. It prints its port, and ends when its standard input closes.

    python -m tests.support.s3_server LOG [--no-conditions] [--keys]

Each line of LOG is an answer: method, path and bytes. With --no-conditions it ignores "create only if absent" and
overwrites, as some S3-compatible servers do; with --keys it rejects every access key.
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
    """moto's application with a log, and a lock around conditional writes."""

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
        with self._lock:  # S3 checks and writes atomically; moto checks, then writes
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
