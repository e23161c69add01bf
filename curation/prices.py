"""What machines, servers, tokens and storage cost, and how fast they are: users give their own figures in a file."""

from __future__ import annotations

from pathlib import Path
from typing import TypeVar

import numpy as np
import numpy.typing as npt
from pydantic import Field

from curation.config import Section, check, merge, read
from curation.rejects import Stage

TEXT_STAGES = (Stage.CAPTION, Stage.SUMMARIZE)
RUNNERS = ("flink", "dataflow")
STARTING_SHARE = 0.05  # share of the time that waves may spend on starting their stages
Number = TypeVar("Number", float, npt.NDArray[np.float64])


class Prices(Section):
    """Costs and speeds of machines: replace every figure by your own."""

    as_of: str = Field("2025", description="date of these prices; the defaults are round figures from memory")
    currency: str = Field("USD", description="of all prices here")
    processors: int = Field(16, description="processors of a machine that downloads and segments", ge=1)
    utilisation: float = Field(0.85, description="share of its processors that is kept busy", gt=0, le=1)
    flink_hour: float = Field(0.8, description="price per hour of such a machine in your Flink cluster", ge=0)
    dataflow_hour: float = Field(1.15, description="price per hour of such a Dataflow worker, memory included", ge=0)
    flink_start_s: float = Field(14.0, description="seconds for a stage of a wave to start (12 to 16 measured)")
    dataflow_start_s: float = Field(240.0, description="the same on Dataflow, machines and containers included")
    caption_tokens_s: float = Field(
        150.0, description="output tokens per second of a caption server, with images", gt=0
    )
    caption_flink_hour: float = Field(0.85, description="price per hour of a caption server, GPU included", ge=0)
    caption_dataflow_hour: float = Field(1.25, description="the same as a Dataflow worker", ge=0)
    summarize_tokens_s: float = Field(600.0, description="output tokens per second of a summary server", gt=0)
    summarize_flink_hour: float = Field(0.85, description="price per hour of a summary server, GPU included", ge=0)
    summarize_dataflow_hour: float = Field(1.25, description="the same as a Dataflow worker", ge=0)
    caption_tokens: float = Field(15.0, description="output tokens of a caption, assumed for the built-in engine", gt=0)
    summarize_tokens: float = Field(25.0, description="the same for a summary; both are the paper's", gt=0)
    request_processor_s: float = Field(
        0.005, description="processor seconds on our machines for each of these requests", ge=0
    )
    caption_input_million: float = Field(
        0.0,
        description="price per million input tokens of a caption model that is paid by the token",
        ge=0,
    )
    caption_output_million: float = Field(0.0, description="the same for its output tokens", ge=0)
    summarize_input_million: float = Field(0.0, description="the same for the input tokens of a summary model", ge=0)
    summarize_output_million: float = Field(0.0, description="the same for its output tokens", ge=0)
    storage_gb_month: float = Field(0.02, description="price per month of 10^9 bytes", ge=0)

    def machine_hours(self, processor_s: Number) -> Number:
        """The hours of a machine that give this much processor time."""
        return processor_s / (3600 * self.processors * self.utilisation * (1 - STARTING_SHARE))

    def server_hours(self, stage: str, output_tokens: Number) -> Number:
        """The hours of a server for that text stage that generate these tokens."""
        return output_tokens / (self._of(stage, "tokens_s") * 3600 * (1 - STARTING_SHARE))

    def money(
        self, stage: str, processor_s: Number, input_tokens: Number, output_tokens: Number, runner: str = RUNNERS[0]
    ) -> Number:
        """The price of a stage's processor time, and of its tokens, which a served model counts."""
        money = self.machine_hours(processor_s) * self._of(runner, "hour")
        if stage not in TEXT_STAGES:
            return money
        tokens = input_tokens * self._of(stage, "input_million") + output_tokens * self._of(stage, "output_million")
        return money + self.server_hours(stage, output_tokens) * self._of(stage, f"{runner}_hour") + tokens / 1e6

    def _of(self, stage_or_runner: str, name: str) -> float:
        return float(getattr(self, f"{stage_or_runner}_{name}"))


def read_prices(file: Path | None) -> Prices:
    """The prices in `file` (TOML), over the defaults. Raises ConfigError."""
    return check(Prices, merge(Prices().model_dump(), read(file, ())))
