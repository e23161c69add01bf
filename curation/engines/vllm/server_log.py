"""What a model server says while it comes up and runs: kept in a small file, with its last step and its last error."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from pathlib import Path

FILE_BYTES = 1 << 20
"""The file goes on in a new one at this size; the one before is kept beside it."""
KEPT_LINES = 500

# vLLM's "(EngineCore pid=7) INFO 11-25 02:18:34 [core.py:402] " before what it says.
_ORIGIN = re.compile(r"^\(\S+ pid=\d+\) ")
_LEVEL = re.compile(r"^(?P<level>[A-Z]+) \d\d-\d\d [\d:]+ \[[^]]*\] ?")
_PROGRESS = re.compile(r"\d+%.*\d+/\d+")
_ERROR = re.compile(r"^(?:[\w.]*(?:Error|Exception|Exit|Interrupt)|\S+: error): \S|(?:died|exited) unexpectedly")
# What is raised because something else was raised before it.
_CONSEQUENCE = re.compile(r"initialization failed|[Ss]ee (?:root cause|stack trace)|EngineDeadError")


class ServerLog:
    """The output of one server after the other, in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._step = ""

    def follow(self, output: int) -> threading.Thread:
        """Read the pipe `output` to its end, in a thread, and forget what was said before. It stays the caller's."""
        with self._lock:
            self._lines.clear()
            self._step = ""
        thread = threading.Thread(target=self._read, args=(os.dup(output),), name="server log", daemon=True)
        thread.start()
        return thread

    @property
    def step(self) -> str:
        """What the server is about, in its own words; "" if it has said nothing yet."""
        with self._lock:
            return self._step

    def reason(self) -> str:
        """The error that the server ended with, as far as its words tell; else the last of them."""
        with self._lock:
            lines = list(self._lines)
        errors = [i for i, line in enumerate(lines) if _ERROR.search(line)]
        telling = [i for i in errors if not _CONSEQUENCE.search(lines[i])] or errors
        if not telling:
            return lines[-1] if lines else ""
        at = telling[-1]
        detail = lines[at + 1] if "validation error" in lines[at] and at + 1 < len(lines) else lines[at]
        return re.sub(r"^Value error, | \[type=.*$", "", detail)[:500]

    def _read(self, output: int) -> None:
        rest = b""
        with os.fdopen(output, "rb", 0) as pipe:
            while chunk := pipe.read(1 << 16):
                self._keep(chunk)
                *lines, rest = re.split(rb"[\r\n]+", rest + chunk)
                for line in lines:
                    self._hear(line.decode(errors="replace"))
                rest = rest[-(1 << 16) :]
        self._hear(rest.decode(errors="replace"))

    def _hear(self, line: str) -> None:
        line = _ORIGIN.sub("", line)
        level = _LEVEL.match(line)
        said = line[level.end() :] if level else line
        if not said.strip():
            return
        with self._lock:
            self._lines.append(said.strip())
            if (level and level["level"] == "INFO" and "args: " not in said) or _PROGRESS.search(said):
                self._step = said.strip()[:160]

    def _keep(self, chunk: bytes) -> None:
        if self.path.exists() and self.path.stat().st_size > FILE_BYTES:
            self.path.replace(self.path.with_suffix(".log.1"))
        with self.path.open("ab") as file:
            file.write(chunk)
