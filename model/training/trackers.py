"""Sends metrics to TensorBoard or to Weights & Biases."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Protocol

from curation.errors import UsageError, one_line
from curation.extras import require

PROJECT = "vidla"


class Tracker(Protocol):
    """Where metrics are plotted."""

    def log(self, step: int, scalars: Mapping[str, float]) -> None: ...

    def close(self) -> None: ...


def open_tracker(
    kind: Literal["tensorboard", "wandb"], folder: Path, run_id: str, first: int, settings: Mapping[str, Any]
) -> Tracker:
    """A tracker of the run `run_id` in `folder`, which goes on after step `first`.

    Raises UsageError if its package is missing, or if Weights & Biases does not let the user in.
    """
    require(kind, f"tracker={kind}")
    return TensorBoard(folder, first) if kind == "tensorboard" else WeightsAndBiases(folder, run_id, settings)


class TensorBoard:
    """Writes into `folder`/tensorboard; what was there of later steps is hidden."""

    def __init__(self, folder: Path, first: int) -> None:
        from torch.utils.tensorboard import SummaryWriter

        self._writer = SummaryWriter(str(folder / "tensorboard"), purge_step=first + 1)

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        for name, value in scalars.items():
            self._writer.add_scalar(name, value, step)

    def close(self) -> None:
        self._writer.close()


class WeightsAndBiases:
    """Plots over `step`, a metric of its own, since wandb drops what is logged again after a run went back."""

    def __init__(self, folder: Path, run_id: str, settings: Mapping[str, Any]) -> None:
        import wandb

        try:
            self._run = wandb.init(
                project=PROJECT,
                id=run_id,
                name=folder.resolve().name,
                dir=str(folder),
                config=dict(settings),
                resume="allow",
                settings=wandb.Settings(console="off", silent=True),
            )
        except wandb.Error as error:
            reason = one_line(error, 200)
            raise UsageError(f"tracker=wandb: {reason}; `wandb login` first, or set WANDB_MODE=offline") from None
        self._run.define_metric("*", step_metric="step")

    def log(self, step: int, scalars: Mapping[str, float]) -> None:
        self._run.log({"step": step, **scalars})

    def close(self) -> None:
        self._run.finish()
