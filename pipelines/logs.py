"""Structured logs: one JSON object a line, with the video that it is about, and without secrets."""

from __future__ import annotations

import contextlib
import contextvars
import io
import json
import logging
import sys
from collections.abc import Iterator
from datetime import UTC, datetime

from curation.tables import Dataset
from curation.uris import redact

log = logging.getLogger(__name__)

subject: contextvars.ContextVar[str | None] = contextvars.ContextVar("subject", default=None)
"""The video or request that this thread is working on."""


class JsonLines(logging.Formatter):
    """A log record as a line of JSON."""

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "subject": subject.get(),
            "message": redact(record.getMessage()),
        }
        if record.exc_info:
            line["traceback"] = redact(self.formatException(record.exc_info))
        return json.dumps({key: value for key, value in line.items() if value is not None}, ensure_ascii=False)


class StderrToLog(io.TextIOBase):
    """Takes the place of standard error while libraries that print there are at work: their lines are logged."""

    def write(self, text: str) -> int:
        for line in filter(None, map(str.strip, text.splitlines())):
            log.info("%s", line)
        return len(text)


@contextlib.contextmanager
def log_to(dataset: Dataset, run_id: str) -> Iterator[None]:
    """Log to `logs/<run_id>.jsonl` in a dataset on disk, else to standard error."""
    if dataset.folder is None:
        handler: logging.Handler = logging.StreamHandler(sys.stderr)
    else:
        (dataset.folder / "logs").mkdir(exist_ok=True)
        handler = logging.FileHandler(dataset.folder / "logs" / f"{run_id}.jsonl", delay=True)
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
