"""A stand-in for Google Cloud Storage on loopback: it keeps the files that the Dataflow runner stages, and answers 404
to everything else."""

from __future__ import annotations

import base64
import json
import re
import threading
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import google_crc32c
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa


@dataclass
class CloudStorage:
    """`objects` holds the uploads by gs:// URI; `environment` directs Google's clients here."""

    folder: Path  # for the key of a made-up account
    objects: dict[str, bytes] = field(default_factory=dict)

    def __enter__(self) -> CloudStorage:
        handler = type("Handler", (_Handler,), {"storage": self})
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self._server.daemon_threads = True
        threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True).start()
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        return self

    @property
    def environment(self) -> dict[str, str]:
        key = rsa.generate_private_key(public_exponent=65537, key_size=2048).private_bytes(
            serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
        )
        account = {
            "type": "service_account",
            "project_id": "a-project",
            "client_email": "nobody@a-project.example",
            "private_key": key.decode(),
            "token_uri": f"{self.url}/token",
        }
        file = self.folder / "account.json"
        file.write_text(json.dumps(account))
        return {"STORAGE_EMULATOR_HOST": self.url, "GOOGLE_APPLICATION_CREDENTIALS": str(file)}

    def __exit__(self, *error: object) -> None:
        self._server.shutdown()
        self._server.server_close()


class _Handler(BaseHTTPRequestHandler):
    storage: CloudStorage
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        bucket = re.fullmatch(r"/storage/v1/b/([^/]+)", urlsplit(self.path).path)
        if bucket:
            kept = {"retentionDurationSeconds": "0"}
            self._answer(200, {"kind": "storage#bucket", "name": bucket[1], "softDeletePolicy": kept})
        else:
            self._answer(404, {"error": {"code": 404, "message": "there is no such object"}})

    def do_POST(self) -> None:
        """The start of a resumable upload, or a request for a token."""
        body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
        if self.path == "/token":
            self._answer(200, {"access_token": "a-token", "token_type": "Bearer", "expires_in": 3600})
            return
        asked = urlsplit(self.path)
        bucket = asked.path.split("/")[5]
        query = parse_qs(asked.query)
        name = query["name"][0] if "name" in query else json.loads(body)["name"]
        self._answer(200, {}, ("Location", f"{self.storage.url}/resumed/{bucket}/{name}"))

    def do_PUT(self) -> None:
        """The data of an upload, in one piece."""
        data = self.rfile.read(int(self.headers["Content-Length"]))
        bucket, _, name = unquote(self.path).removeprefix("/resumed/").partition("/")
        self.storage.objects[f"gs://{bucket}/{name}"] = data
        checksum = base64.b64encode(google_crc32c.Checksum(data).digest()).decode()
        self._answer(200, {"bucket": bucket, "name": name, "size": str(len(data)), "crc32c": checksum})

    def _answer(self, status: int, content: dict[str, Any], *headers: tuple[str, str]) -> None:
        body = json.dumps(content).encode()
        self.send_response(status)
        for name, value in (("Content-Type", "application/json"), ("Content-Length", str(len(body))), *headers):
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *arguments: Any) -> None:
        pass
