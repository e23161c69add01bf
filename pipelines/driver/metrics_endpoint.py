"""What a run counts, and the load of its model servers, as metrics in the OpenMetrics text format, over HTTP."""

from __future__ import annotations

import contextlib
import functools
import threading
from collections.abc import Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

from curation.engines.load import Snapshot, load
from curation.errors import UsageError
from pipelines.driver.stage_progress import RunProgress
from pipelines.driver.time_left import TimeLeft

PATH = "/metrics"
CONTENT_TYPE = "application/openmetrics-text; version=1.0.0; charset=utf-8"
_SERVERS = (
    ("requests_pending", "gauge", "requests to model servers without an answer yet, in flight or not", "pending"),
    ("requests_in_flight", "gauge", "requests that servers are working on", "in_flight"),
    ("requests_answered", "counter", "requests answered", "requests"),
    ("requests_failed", "counter", "requests refused or given up", "failures"),
    ("requests_repeated", "counter", "times that a request was sent again", "retries"),
)
COUNTERS = {
    "done": "items done",
    "rejected": "items rejected",
    "clips": "clips that were cut, or that got their texts",
    "captions": "frames captioned",
    "requests": "requests for texts, those of finished items",
    "failures": "requests without an answer, those of finished items",
    "retries": "times that such a request was sent again",
    "reused": "texts that were taken from where they existed",
    "input_tokens": "tokens in, those of finished items",
    "output_tokens": "tokens out, those of finished items",
    "bytes": "bytes of source media fetched or decoded",
}
"""The counters of each stage, named as Beam's."""


def as_text(now: Snapshot, counts: Mapping[tuple[str, str], int], under_way: Mapping[str, int], left: TimeLeft) -> str:
    """The metrics in the OpenMetrics text format: of servers, by stage (those of `under_way`), and the time left.

    >>> counts = {("download", "done"): 2}
    >>> print(as_text(Snapshot(pending=3), counts, {"download": 1}, TimeLeft(60.0)), end="")  # doctest: +ELLIPSIS
    # TYPE vidla_requests_pending gauge
    # HELP vidla_requests_pending requests to model servers without an answer yet, in flight or not
    vidla_requests_pending 3
    ...
    vidla_done_total{stage="download"} 2
    ...
    # EOF
    """
    lines = []
    for name, kind, meaning, field in _SERVERS:
        lines += [*_head(name, kind, meaning), f"vidla_{name}{'_total' * (kind == 'counter')} {getattr(now, field)}"]
    for name, meaning in COUNTERS.items():
        lines += _head(name, "counter", meaning)
        lines += [f'vidla_{name}_total{{stage="{stage}"}} {counts.get((stage, name), 0)}' for stage in under_way]
    lines += _head("items_under_way", "gauge", "items that are worked on now")
    lines += [f'vidla_items_under_way{{stage="{stage}"}} {items}' for stage, items in under_way.items()]
    lines += _head("time_left_seconds", "gauge", "the time that the run still takes, as estimated", "seconds")
    lines += [f"vidla_time_left_seconds {left.seconds:.0f}"]
    lines += _head("time_left_is_bound", "gauge", "1 if the run takes longer than that, nobody knows how much; else 0")
    lines += [f"vidla_time_left_is_bound {int(not left.is_complete)}"]
    return "\n".join([*lines, "# EOF\n"])


def _head(name: str, kind: str, meaning: str, unit: str = "") -> list[str]:
    lines = [f"# TYPE vidla_{name} {kind}", f"# HELP vidla_{name} {meaning}"]
    return [*lines, f"# UNIT vidla_{name} {unit}"] if unit else lines


class _Handler(BaseHTTPRequestHandler):
    timeout = 10.0

    def __init__(self, progress: RunProgress, *arguments: object) -> None:
        self._progress = progress
        super().__init__(*arguments)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        found = self.path.partition("?")[0] == PATH
        body = self._progress_as_text().encode() if found else b""
        self.send_response(200 if found else 404)
        self.send_header("Content-Type", CONTENT_TYPE if found else "text/plain")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def _progress_as_text(self) -> str:
        under_way = {stage.stage.value: stage.under_way.items for stage in self._progress.now()}
        return as_text(load.snapshot(), self._progress.counts(), under_way, self._progress.time_left())

    def log_message(self, *_: object) -> None:
        pass


@contextlib.contextmanager
def metrics_at(address: str | None, progress: RunProgress) -> Iterator[None]:
    """Answer GET /metrics at `address` (HOST:PORT) within the context; nowhere if it is None. Raises UsageError."""
    if address is None:
        yield
        return
    host, _, port = address.rpartition(":")
    try:
        server = ThreadingHTTPServer((host.strip("[]"), int(port)), functools.partial(_Handler, progress))
    except (OSError, ValueError, OverflowError) as error:
        raise UsageError(f"run.metrics: cannot listen at {address}: {error}") from None
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, name="metrics", daemon=True).start()
    try:
        yield
    finally:
        server.shutdown()
        server.server_close()
