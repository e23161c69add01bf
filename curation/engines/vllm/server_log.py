"""The log of a model server: kept in a small file, with its last step and its last error."""

from __future__ import annotations

import os
import re
import threading
from collections import deque
from pathlib import Path

FILE_BYTES = 1 << 20
"""The file is rotated at this size; the previous one is kept."""
KEPT_LINES = 500

# vLLM's prefix of a log line: "(EngineCore pid=7) INFO 11-25 02:18:34 [core.py:402] ".
_ORIGIN = re.compile(r"^\(\S+ pid=\d+\) ")
_LEVEL = re.compile(r"^(?P<level>[A-Z]+) \d\d-\d\d [\d:]+ \[[^]]*\] ?")
_PROGRESS = re.compile(r"(?>.*?\d%).*\d/\d")
_ERROR = re.compile(r"^(?:[\w.]*(?:Error|Exception|Exit|Interrupt)|\S+: error): \S|(?:died|exited) unexpectedly")
# Errors that only follow from an earlier one.
_CONSEQUENCE = re.compile(r"initialization failed|[Ss]ee (?:root cause|stack trace)|EngineDeadError")


class ServerLog:
    """The output of successive servers, in `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._lock = threading.Lock()
        self._lines: deque[str] = deque(maxlen=KEPT_LINES)
        self._step = ""

    def follow(self, output: int) -> threading.Thread:
        """Read the pipe `output` to its end, in a thread, forgetting earlier output. The caller still owns it."""
        with self._lock:
            self._lines.clear()
            self._step = ""
        thread = threading.Thread(target=self._read, args=(os.dup(output),), name="server log", daemon=True)
        thread.start()
        return thread

    @property
    def step(self) -> str:
        """The server's current step, in its own words; "" before any output."""
        with self._lock:
            return self._step

    def reason(self) -> str:
        """The error that ended the server, as far as its output shows; else its last line."""
        with self._lock:
            lines = list(self._lines)
        errors = [i for i, line in enumerate(lines) if _ERROR.search(line)]
        causes = [i for i in errors if not _CONSEQUENCE.search(lines[i])] or errors
        if not causes:
            return lines[-1] if lines else ""
        at = causes[-1]
        detail = lines[at + 1] if "validation error" in lines[at] and at + 1 < len(lines) else lines[at]
        return detail.removeprefix("Value error, ").partition(" [type=")[0][:500]

    def _read(self, output: int) -> None:
        rest = b""
        with os.fdopen(output, "rb", 0) as pipe:
            while chunk := pipe.read(1 << 16):
                self._keep(chunk)
                *lines, rest = re.split(rb"[\r\n]+", rest + chunk)
                for line in lines:
                    self._take_line(line.decode(errors="replace"))
                rest = rest[-(1 << 16) :]
        self._take_line(rest.decode(errors="replace"))

    def _take_line(self, line: str) -> None:
        line = _ORIGIN.sub("", line)
        level = _LEVEL.match(line)
        text = line[level.end() :] if level else line
        if not text.strip():
            return
        with self._lock:
            self._lines.append(text.strip())
            if (level and level["level"] == "INFO" and "args: " not in text) or _PROGRESS.match(text):
                self._step = text.strip()[:160]

    def _keep(self, chunk: bytes) -> None:
        if self.path.exists() and self.path.stat().st_size > FILE_BYTES:
            self.path.replace(self.path.with_suffix(".log.1"))
        with self.path.open("ab") as file:
            file.write(chunk)
