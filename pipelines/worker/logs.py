"""Structured logs: one JSON object per line, with the video that it concerns, and without secrets."""

from __future__ import annotations

import contextlib
import contextvars
import io
import json
import logging
import sys
import tempfile
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

from curation import storable
from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.errors import DatasetError
from curation.uris import redact

log = logging.getLogger(__name__)

COPY_S = 60.0

subject: contextvars.ContextVar[str | None] = contextvars.ContextVar("subject", default=None)
"""The video or request that this thread works on."""


class JsonLines(logging.Formatter):
    """Formats a log record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "subject": subject.get(),
            "message": redact(record.getMessage()[: storable.TEXT_CHARS]),
        }
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info)[: storable.TEXT_CHARS])
        text = json.dumps({key: value for key, value in line.items() if value is not None}, ensure_ascii=False)
        return storable.text(text)


class StderrToLog(io.TextIOBase):
    """Replaces standard error while libraries that print there are at work: their lines are logged."""

    def write(self, text: str) -> int:
        for line in filter(None, map(str.strip, text.splitlines())):
            log.info("%s", line)
        return len(text)


@contextlib.contextmanager
def log_to(dataset: Dataset, run_id: str) -> Iterator[None]:
    """Log to `logs/<run_id>.jsonl` in the dataset."""
    with (
        _file(dataset, f"logs/{run_id}.jsonl") as file,
        _logging(logging.FileHandler(file, encoding="utf-8", delay=True)),
    ):
        yield


@contextlib.contextmanager
def _file(dataset: Dataset, path: str) -> Iterator[Path]:
    """A local file for the log `path` of the dataset; copied to a remote one every minute and at the end."""
    if dataset.folder is not None:
        file = dataset.folder / path
        file.parent.mkdir(exist_ok=True)
        yield file
        return
    file = Path(tempfile.mkdtemp(prefix="vidla-log-")) / Path(path).name
    store = Dataset(dataset.uri, patient=False).store
    ended = threading.Event()

    def copy() -> None:
        copied, last = 0, False
        while not last:
            last = ended.wait(COPY_S)
            with contextlib.suppress(DatasetError, FileNotFoundError):  # no connection, or nothing was logged
                size = file.stat().st_size
                if size > copied:
                    put(store, path, file)
                    copied = size
                if last:
                    file.unlink()

    copying = threading.Thread(target=copy, name="log", daemon=True)
    copying.start()
    try:
        yield file
    finally:
        ended.set()
        copying.join()
        if file.exists():
            sys.stderr.write(f"the log could not be put into {dataset.uri}; it is in {file}\n")
        else:
            file.parent.rmdir()


@contextlib.contextmanager
def _logging(handler: logging.Handler) -> Iterator[None]:
    handler.setFormatter(JsonLines())
    root = logging.getLogger()
    root.addHandler(handler)
    level, root.level = root.level, logging.INFO
    for chatty in ("apache_beam", "asyncio", "urllib3"):
        logging.getLogger(chatty).setLevel(logging.WARNING)
    try:
        yield
    finally:
        root.removeHandler(handler)
        root.level = level
        handler.close()


@contextlib.contextmanager
def redacting() -> Iterator[None]:
    """Keep secrets out of the logs that other handlers pass on, such as those of a worker to its runner."""

    def redacted(record: logging.LogRecord) -> bool:
        text = record.getMessage()
        if record.exc_info:
            text = f"{text}\n{logging.Formatter().formatException(record.exc_info)}"
        record.msg, record.args, record.exc_info = redact(text[: storable.TEXT_CHARS]), (), None
        return True

    handlers = [handler for handler in logging.getLogger().handlers if not isinstance(handler.formatter, JsonLines)]
    for handler in handlers:
        handler.addFilter(redacted)
    try:
        yield
    finally:
        for handler in handlers:
            handler.removeFilter(redacted)
