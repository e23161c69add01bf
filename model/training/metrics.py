"""What a training run shows and writes down while it goes on: a bar or plain lines, log.jsonl, TensorBoard."""

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

PLAIN_INTERVAL_S = 10.0
SHOWN_STEPS = 20  # what is shown is the mean of so many


@dataclass(frozen=True)
class StepFigures:
    """One step: `clips` over all processes; seconds in all, and of these waiting for data, of this process."""

    step: int
    loss: float
    gradient_norm: float
    learning_rate: float
    temperature: float
    clips: int
    seconds: float
    waiting: float
    unreadable: int = 0


class Monitor:
    """Shows `steps` steps in `file`, and writes to `folder`; one that goes on after `first` forgets what came later."""

    def __init__(self, folder: Path, first: int, steps: int, device: torch.device, file: TextIO) -> None:
        self.steps = steps
        self.device = device
        self.console = Console(file=file)
        self._recent: deque[StepFigures] = deque(maxlen=SHOWN_STEPS)
        self._shown = time.monotonic()
        _forget(folder / "log.jsonl", first)
        self._log = (folder / "log.jsonl").open("a", encoding="utf-8")
        self._board = _board(folder / "tensorboard", first)
        self._bar = Progress(
            TextColumn("training"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[figures]}"),
            TimeRemainingColumn(),
            console=self.console,
        )
        self._task = self._bar.add_task("", total=steps, completed=first, figures="")

    def __enter__(self) -> Self:
        if self.console.is_terminal:
            self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        self._log.close()
        if self._board is not None:
            self._board.close()

    def step(self, figures: StepFigures) -> None:
        """A step is done."""
        self._recent.append(figures)
        memory = memory_bytes(self.device)
        self._write(asdict(figures) | {"memory_bytes": memory})
        if self._board is not None:
            for name in ("loss", "gradient_norm", "learning_rate", "temperature"):
                self._board.add_scalar(f"train/{name}", getattr(figures, name), figures.step)
            self._board.add_scalar("speed/clips_per_second", figures.clips / figures.seconds, figures.step)
            self._board.add_scalar("speed/share_waiting_for_data", figures.waiting / figures.seconds, figures.step)
            self._board.add_scalar("speed/memory_bytes", memory, figures.step)
        self._bar.update(self._task, completed=figures.step, figures=self.line())
        late = time.monotonic() - self._shown > PLAIN_INTERVAL_S
        if not self.console.is_terminal and (late or figures.step in (1, self.steps)):
            self._shown = time.monotonic()
            self.say(f"step {figures.step}/{self.steps} | {self.line()}")

    def evaluated(self, step: int, figures: Mapping[str, float], text: str) -> None:
        """The model was evaluated after so many steps."""
        self._write({"step": step, "evaluation": dict(figures)})
        if self._board is not None:
            for name, value in figures.items():
                self._board.add_scalar(f"held_out/{name}", value, step)
        self.say(f"step {step}, held-out clips: {text}")

    def event(self, step: int, kind: str, text: str, **details: Any) -> None:
        """Something happened that should be known."""
        self._write({"step": step, "event": kind, "message": text, **details})
        self.say(text)

    def say(self, text: str) -> None:
        self.console.print(text, markup=False, highlight=False, soft_wrap=True)

    def line(self) -> str:
        """The figures of the last steps, in a line."""
        recent = self._recent
        seconds = max(1e-9, sum(step.seconds for step in recent))
        return (
            f"loss {sum(step.loss for step in recent) / max(1, len(recent)):.3f} | "
            f"{sum(step.clips for step in recent) / seconds:.1f} clips/s | "
            f"{sum(step.waiting for step in recent) / seconds:.0%} waiting for data | "
            f"{memory_bytes(self.device) / 2**30:.1f} GiB"
        )

    def _write(self, record: Mapping[str, Any]) -> None:
        self._log.write(json.dumps(record) + "\n")
        self._log.flush()


def memory_bytes(device: torch.device) -> int:
    """The most memory that was in use so far: of the device, or of this process where there is none."""
    if device.type == "cuda":
        return int(torch.cuda.max_memory_allocated(device))
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def _board(folder: Path, first: int) -> Any:
    """TensorBoard's writer, where it is installed (vidla[train])."""
    with suppress(ImportError):
        from torch.utils.tensorboard import SummaryWriter

        return SummaryWriter(str(folder), purge_step=first + 1)
    return None


def _forget(log: Path, after: int) -> None:
    """Drop the lines of steps after `after`, and what a killed run has left of a line."""
    if not log.exists():
        return
    kept = []
    for line in log.read_text(encoding="utf-8").splitlines():
        with suppress(ValueError):
            if json.loads(line)["step"] <= after:
                kept.append(line)
    part = log.with_suffix(".part")
    part.write_text("".join(f"{line}\n" for line in kept), encoding="utf-8")
    part.replace(log)
