"""The load of the model servers as metrics in Prometheus's text format, over HTTP, to scale the servers by."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from curation.engines.load import Snapshot, load
from curation.errors import UsageError

PATH = "/metrics"
_METRICS = (
    ("vidla_requests_pending", "gauge", "requests to model servers without an answer yet, in flight or not", "pending"),
    ("vidla_requests_in_flight", "gauge", "requests that servers are working on", "in_flight"),
    ("vidla_requests_answered_total", "counter", "requests answered", "requests"),
    ("vidla_requests_failed_total", "counter", "requests refused or given up", "failures"),
    ("vidla_requests_repeated_total", "counter", "times that a request was sent again", "retries"),
    ("vidla_input_tokens_total", "counter", "tokens in", "input_tokens"),
    ("vidla_output_tokens_total", "counter", "tokens out", "output_tokens"),
)


def as_text(now: Snapshot) -> str:
    """The metrics in Prometheus's text format.

    >>> as_text(Snapshot(pending=3)).splitlines()[2]
    'vidla_requests_pending 3'
    """
    return "".join(
        f"# HELP {name} {meaning}\n# TYPE {name} {kind}\n{name} {getattr(now, field)}\n"
        for name, kind, meaning, field in _METRICS
    )


class _Handler(BaseHTTPRequestHandler):
    timeout = 10.0

    def do_GET(self) -> None:
        found = self.path == PATH
        body = as_text(load.snapshot()).encode() if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", "text/plain; version=0.0.4")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def metrics_at(address: str | None) -> Iterator[None]:
    """Answer GET /metrics at `address` (HOST:PORT) within the context; nowhere if it is None. Raises UsageError."""
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    try:
        server = ThreadingHTTPServer((host.strip("[]"), int(port)), _Handler)
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(f"run.metrics: cannot listen at {address}: {error}") from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
