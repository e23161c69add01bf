"""How the driver learns what workers in other processes are doing, on any runner: by small files in the dataset.

Beam's metrics come when a job has ended. So each worker process writes `progress/<run>/<wave>/<stage>/<process>.json`
every few seconds: what each of its items came to, by key, and how busy its servers are. The driver reads and, in the
end, removes them. Where a file `stop` lies beside them, workers end what they are doing.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import secrets
import socket
import threading
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

from curation.dataset.commits import read_commits
from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put
from curation.engines.load import load
from curation.errors import DatasetError
from curation.rejects import Stage
from pipelines.worker.progress import Tally
from pipelines.worker.work_items import Context

log = logging.getLogger(__name__)

REPORT_S = 2.0
_STOP = "stop"


def _folder(token: str) -> str:
    return f"progress/{token.replace(':', '/')}"


class WorkerReporter:
    """In a worker process: tells the driver what is done in it, and asks whether to go on, between enter and exit."""

    def __init__(self, tally: Tally, halt: Callable[[], None]) -> None:
        self._tally = tally
        self._halt = halt
        self.process = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._stages: dict[str, Context] = {}  # by token
        self._ended: set[str] = set()  # tokens of stages that are to end everywhere
        self._said: dict[str, str] = {}  # by token
        self._seen: dict[str, int] = {}  # by token, the last commit that was looked at
        self._closing = threading.Event()
        self._thread = threading.Thread(target=self._run, name="reports", daemon=True)

    def __enter__(self) -> WorkerReporter:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._closing.set()
        self._thread.join()

    def take_part(self, context: Context) -> None:
        """Report on a stage from now on."""
        self._stages.setdefault(context.token, context)

    def ended(self, context: Context) -> None:
        """Nobody can go on with that stage; the driver tells the others."""
        self._ended.add(context.token)

    def _run(self) -> None:
        while not self._closing.wait(REPORT_S):
            for token, context in list(self._stages.items()):
                try:
                    self._tell(token, context)
                    why = self._why_to_end(token, context)
                except Exception:  # the work goes on without; storage that stays away ends it elsewhere
                    log.exception("no report")
                    continue
                if why:
                    log.warning("%s; nothing more is done here", why)
                    self._halt()
                    return

    def _tell(self, token: str, context: Context) -> None:
        report = {"outcomes": self._tally.outcomes(token), "load": load.counts(), "ended": token in self._ended}
        said = json.dumps(report)
        if said != self._said.get(token):
            put(context.dataset.store, f"{_folder(token)}/{self.process}.json", said.encode())
            self._said[token] = said

    def _why_to_end(self, token: str, context: Context) -> str | None:
        if context.dataset.get_json(f"{_folder(token)}/{_STOP}") is not None:
            return "the driver says stop"
        seen = self._seen.get(token, context.seen)
        for number, record in read_commits(context.dataset, seen):
            if record["kind"] == "open":
                return "another run has taken the dataset over"
            self._seen[token] = number
        return None


class ReportReader:
    """In the driver: what the workers of a job report, which does one or more stages of a wave: `tokens`, by stage."""

    def __init__(self, dataset: Dataset, tokens: Mapping[Stage, str], tally: Tally) -> None:
        self._dataset = dataset
        self._tokens = tokens
        self._tally = tally
        self._read: dict[str, tuple[int, datetime]] = {}  # by path, size and time
        self._loads: dict[str, Any] = {}  # by process
        self.ended = False  # some worker cannot go on

    def look(self) -> None:
        """Take in what is new."""
        for stage, token in self._tokens.items():
            self._look(stage, token)

    def _look(self, stage: str, token: str) -> None:
        for path, size, time in self._dataset.list(f"{_folder(token)}/"):
            if not path.endswith(".json") or self._read.get(path) == (size, time):
                continue
            self._read[path] = size, time
            try:
                report = self._dataset.get_json(path) or {}
            except (ValueError, DatasetError):
                continue  # half written, where the store writes in place
            self._tally.record(stage, token, report.get("outcomes", {}))
            self._loads[path] = report.get("load", {})
            load.merge(path, self._loads[path])
            self.ended = self.ended or bool(report.get("ended"))

    def stop(self) -> None:
        """Have the workers end what they are doing."""
        for token in self._tokens.values():
            put(self._dataset.store, f"{_folder(token)}/{_STOP}", b"{}")

    def clear(self) -> None:
        """The job has ended: nothing is in flight any more, and nobody needs its files."""
        for path, counts in self._loads.items():
            load.merge(path, {**counts, "in_flight": 0})
        for folder in map(_folder, self._tokens.values()):
            self._clear(folder)

    def _clear(self, path: str) -> None:
        with contextlib.suppress(Exception):  # else the next run clears them away
            self._dataset.delete([file for file, _, _ in self._dataset.list(f"{path}/")])
        if self._dataset.folder is not None:
            emptied = self._dataset.folder / path
            with contextlib.suppress(OSError):  # up to the first that is not empty
                for folder in (emptied, *emptied.parents[:3]):
                    folder.rmdir()
