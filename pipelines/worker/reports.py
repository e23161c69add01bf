"""Reports of workers in other processes to the driver, on any runner: small files in the dataset.

Beam's metrics arrive when a job has ended. So each worker process writes `progress/<run>/<wave>/<stage>/<process>.json`
every few seconds: the outcome of each of its items, by key, what it works on, the load of its servers, and how often
sites refused it.
The driver reads these files and deletes them in the end. Workers that find a file `stop` in that folder halt; the file
`rests` names the sites that all of them are to leave alone.
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
from curation.sources import site_limits
from curation.sources.site_limits import rests_due
from pipelines.worker.tally import Tally
from pipelines.worker.work_items import Context

log = logging.getLogger(__name__)

REPORT_S = 2.0
_STOP = "stop"
_RESTS = "rests"


def _stage_of(token: str) -> str:
    """
    >>> str(_stage_of("20260101T000000-abcd:3:caption:2"))
    'caption'
    """
    return next((stage for stage in Stage if stage in token.split(":")), "")


def _folder(token: str) -> str:
    return f"progress/{token.replace(':', '/')}"


def _process_of(path: str) -> str:
    return path.rpartition("/")[2].removesuffix(".json")


class WorkerReporter:
    """In a worker process: reports its progress to the driver, and halts it on request, between enter and exit."""

    def __init__(self, tally: Tally, halt: Callable[[], None]) -> None:
        self._tally = tally
        self._halt = halt
        self.process = f"{socket.gethostname()}-{os.getpid()}-{secrets.token_hex(4)}"
        self._stages: dict[str, Context] = {}  # by token
        self._ended: set[str] = set()  # tokens of stages that cannot go on
        self._last: dict[str, str] = {}  # by token, the last report
        self._seen: dict[str, int] = {}  # by token, the number of the last commit read
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
        """Report that a stage cannot go on; the driver then ends it in the other workers."""
        self._ended.add(context.token)

    def _run(self) -> None:
        while not self._closing.wait(REPORT_S):
            for token, context in list(self._stages.items()):
                try:
                    self._report(token, context)
                    why = self._reason_to_halt(token, context)
                except Exception:  # the work continues; if the storage stays away, it ends by itself
                    log.exception("cannot report to the driver")
                    continue
                if why:
                    log.warning("%s; this worker halts", why)
                    self._halt()
                    return

    def _report(self, token: str, context: Context) -> None:
        report = {
            "outcomes": self._tally.outcomes(token),
            **self._tally.report(_stage_of(token)),
            "load": load.counts(),
            "refusals": site_limits.refusals(),
            "ended": token in self._ended,
        }
        text = json.dumps(report)
        if text != self._last.get(token):
            put(context.dataset.store, f"{_folder(token)}/{self.process}.json", text.encode())
            self._last[token] = text

    def _reason_to_halt(self, token: str, context: Context) -> str | None:
        if context.dataset.get_json(f"{_folder(token)}/{_STOP}") is not None:
            return "the driver ends the stage"
        if rests := context.dataset.get_json(f"{_folder(token)}/{_RESTS}"):
            site_limits.rest_with_others(rests)
        seen = self._seen.get(token, context.seen)
        for number, record in read_commits(context.dataset, seen):
            if record["kind"] == "open":
                return "another run has taken the dataset over"
            self._seen[token] = number
        return None


class ReportReader:
    """In the driver: reads the reports of the workers of a job, whose stages have these `tokens`."""

    def __init__(self, dataset: Dataset, tokens: Mapping[Stage, str], tally: Tally) -> None:
        self._dataset = dataset
        self._tokens = tokens
        self._tally = tally
        self._read: dict[str, tuple[int, datetime]] = {}  # by path, size and time
        self._loads: dict[str, Any] = {}  # by process
        self._refusals: dict[str, Mapping[str, tuple[int, int]]] = {}  # by process, then site
        self._rests: dict[str, int] = {}  # by site
        self.ended = False  # some worker cannot go on

    def look(self) -> None:
        """Read the reports that are new or have changed."""
        for stage, token in self._tokens.items():
            self._look(stage, token)
        self._let_rest()

    def _let_rest(self) -> None:
        """Have all workers leave those sites alone that have refused them often enough together."""
        sites = {site for refusals in self._refusals.values() for site in refusals}
        due = {
            site: rests_due(refusals[site] for refusals in self._refusals.values() if site in refusals)
            for site in sites
        }
        if any(rests > self._rests.get(site, 0) for site, rests in due.items()):
            self._rests = due
            for token in self._tokens.values():
                put(self._dataset.store, f"{_folder(token)}/{_RESTS}", json.dumps(due).encode())

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
            self._tally.take_report(_process_of(path), stage, report)
            self._loads[path] = report.get("load", {})
            load.merge(path, self._loads[path])
            self._refusals[_process_of(path)] = report.get("refusals", {})  # the same in each of its stages
            self.ended = self.ended or bool(report.get("ended"))

    def stop(self) -> None:
        """Have the workers halt."""
        for token in self._tokens.values():
            put(self._dataset.store, f"{_folder(token)}/{_STOP}", b"{}")

    def clear(self) -> None:
        """Delete the files of a job that has ended; nothing of it is in flight any more."""
        for path, counts in self._loads.items():
            self._tally.forget_process(_process_of(path))
            load.merge(path, {**counts, "in_flight": 0, "pending": 0})
        for folder in map(_folder, self._tokens.values()):
            self._clear(folder)

    def _clear(self, path: str) -> None:
        with contextlib.suppress(Exception):  # the next run deletes them otherwise
            self._dataset.delete([file for file, _, _ in self._dataset.list(f"{path}/")])
        if self._dataset.folder is not None:
            emptied = self._dataset.folder / path
            with contextlib.suppress(OSError):  # up to the first that is not empty
                for folder in (emptied, *emptied.parents[:3]):
                    folder.rmdir()
