"""Logs the metrics of a training run: a progress bar or plain lines, log.jsonl, and a tracker."""

from __future__ import annotations

import json
import resource
import time
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TextIO

import torch
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from model.training.trackers import Tracker

PLAIN_INTERVAL_S = 10.0
AVERAGED_STEPS = 20  # in the summary
_TRAIN_SCALARS = ("loss", "gradient_norm", "learning_rate", "temperature")


@dataclass(frozen=True)
class StepMetrics:
    """One step over all processes; `seconds` are those of the main one."""

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float
    temperature: float
    clips: int
    seconds: float
    waiting: float
    """seconds of waiting for data, summed over `processes`"""
    processes: int
    unreadable: int
    """clips of the run so far that could not be read and were replaced"""
    without_contrast: int
    """losses, one for each piece and kind of text that the run has, that had nothing to contrast (pieces.py)"""
    tflops: float
    """10^12 model operations per second and process"""
    mfu: float | None
    """model FLOPs utilisation: that as a share of what the device can do at most, if it is known"""

    @property
    def share_waiting(self) -> float:
        return self.waiting / max(1e-9, self.seconds * self.processes)


class Monitor:
    """Shows progress up to step `steps` in `file` and logs to `folder`; log lines after step `first` are dropped."""

    def __init__(
        self, folder: Path, first: int, steps: int, device: torch.device, file: TextIO, tracker: Tracker | None = None
    ) -> None:
        self.steps = steps
        self.device = device
        self.console = Console(file=file)
        self._recent: deque[StepMetrics] = deque(maxlen=AVERAGED_STEPS)
        self._last_line_at = time.monotonic()
        _truncate_log(folder / "log.jsonl", first)
        self._log = (folder / "log.jsonl").open("a", encoding="utf-8")
        self._tracker = tracker
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[summary]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task = self._bar.add_task("", total=steps, completed=first, summary="")

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._log.close()
        if self._tracker is not None:
            self._tracker.close()

    def log_step(self, metrics: StepMetrics) -> None:
        """Log a step that is done."""
        self._recent.append(metrics)
        memory = memory_bytes(self.device)
        self._write(asdict(metrics) | {"memory_bytes": memory})
        self._scalars(
            metrics.step,
            {
                **{f"train/{name}": getattr(metrics, name) for name in _TRAIN_SCALARS},
                "speed/clips_per_second": metrics.clips / metrics.seconds,
                "speed/share_waiting_for_data": metrics.share_waiting,
                "speed/memory_bytes": memory,
                "speed/tflops": metrics.tflops,
                **({} if metrics.mfu is None else {"speed/model_flops_utilisation": metrics.mfu}),
                "data/unreadable": metrics.unreadable,
                "data/without_contrast": metrics.without_contrast,
            },
        )
        self._bar.update(self._task, completed=metrics.step, summary=self.summary())
        due = time.monotonic() - self._last_line_at > PLAIN_INTERVAL_S
        if not self.console.is_terminal and (due or metrics.step in (1, self.steps)):
            self._last_line_at = time.monotonic()
            self.print(f"step {metrics.step}/{self.steps} | {self.summary()}")

    def log_evaluation(self, step: int, scalars: Mapping[str, float], text: str) -> None:
        """Log an evaluation of the model after `step` steps."""
        self._write({"step": step, "evaluation": dict(scalars)})
        self._scalars(step, {f"held_out/{name}": value for name, value in scalars.items()})
        self.print(f"step {step}, held-out clips: {text}")

    def log_event(self, step: int, kind: str, text: str, **details: Any) -> None:
        """Log an event that the user should know about."""
        self._write({"step": step, "event": kind, "message": text, **details})
        self.print(text)

    def print(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def summary(self) -> str:
        """The averages of the last steps, in one line."""
        recent = self._recent
        count, seconds = max(1, len(recent)), max(1e-9, sum(step.seconds for step in recent))
        used = [step.mfu * step.seconds for step in recent if step.mfu is not None]
        lonely = sum(step.without_contrast for step in recent)
        parts = [
            f"loss {sum(step.loss for step in recent) / count:.3f}",
            f"{sum(step.clips for step in recent) / seconds:.1f} clips/s",
            f"{sum(step.share_waiting * step.seconds for step in recent) / seconds:.0%} waiting for data",
            *([f"{sum(used) / seconds:.0%} MFU"] if used else []),
            *([f"{lonely} losses without contrast"] if lonely else []),
            f"{memory_bytes(self.device) / 2**30:.1f} GiB",
        ]
        return " | ".join(parts)

    def _write(self, record: Mapping[str, Any]) -> None:
        self._log.write(json.dumps(record) + "\n")
        self._log.flush()

    def _scalars(self, step: int, scalars: Mapping[str, float]) -> None:
        if self._tracker is not None:
            self._tracker.log(step, scalars)


def memory_bytes(device: torch.device) -> int:
    """Peak memory so far: of the device, or of this process on a CPU."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _truncate_log(log: Path, after: int) -> None:
    """Drop the lines of steps after `after`, and a partial line that a killed run has left."""
    if not log.exists():
        return
    kept = []
    for line in log.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError, KeyError, TypeError):
            if json.loads(line)["step"] <= after:
                kept.append(line)
    part = log.with_suffix(".part")
    part.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    part.replace(log)
