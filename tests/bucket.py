"""A bucket on loopback that can be read as one of S3's is: the part of its protocol that reading needs."""

from __future__ import annotations

import re
import threading
from collections import Counter
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import unquote

SETTINGS = {"AWS_ALLOW_HTTP": "true", "AWS_SKIP_SIGNATURE": "true", "AWS_REGION": "us-east-1"}


@dataclass
class Bucket:
    """Serves the files of `folder` as s3://bucket/…; `environment` is what a client needs. Counts what it gives."""

    folder: Path
    given: Counter[str] = field(default_factory=Counter)

    def __enter__(self) -> Bucket:
        handler = type("Handler", (_Handler,), {"bucket": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        return self

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    @property
    def environment(self) -> dict[str, str]:
        return SETTINGS | {"AWS_ENDPOINT": f"http://127.0.0.1:{self._server.server_port}"}


class _Handler(BaseHTTPRequestHandler):
    bucket: Bucket
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        path = self.bucket.folder / unquote(self.path.partition("?")[0]).removeprefix("/bucket/")
        if not path.is_file():
            self._answer(404, b"<Error><Code>NoSuchKey</Code></Error>")
            return
        data, size = path.read_bytes(), path.stat().st_size
        asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
        if not asked:
            self._answer(200, data)
            return
        first, last = int(asked[1]), min(int(asked[2]), size - 1)
        if first > last:
            self._answer(416, b"")
            return
        self.bucket.given[path.name] += last + 1 - first
        self._answer(206, data[first : last + 1], ("Content-Range", f"bytes {first}-{last}/{size}"))

    def _answer(self, status: int, body: bytes, *headers: tuple[str, str]) -> None:
        self.send_response(status)
        every = (
            ("Content-Length", str(len(body))),
            ("ETag", '"1"'),
            ("Last-Modified", "Wed, 01 Jan 2025 00:00:00 GMT"),
        )
        for name, value in (*every, *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass
