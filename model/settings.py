"""What a training run can be told: one frozen object, resolved once, unknown keys refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from curation.config import Section, check, merge, read
from curation.errors import VidlaError
from curation.records import Scale

AttentionKind = Literal["hta", "frame", "joint", "divided"]


class TrainingError(VidlaError):
    """A training run that cannot begin or go on."""


class ModelSettings(Section):
    """The two towers. Their sizes are those of what they start from; U, V and r count for `hta` alone."""

    weights: str = Field(
        description="what to start from: the directory of a trained VidLA, or a CLIP (a directory, or a name on a hub) "
        "that transformers loads as CLIPModel"
    )
    revision: str | None = Field(None, description="its revision on the hub")
    attention: AttentionKind = Field(
        "hta", description="hierarchical temporal attention, or one of the attentions that it is compared with"
    )
    frames: int = Field(12, description="T: frames of a clip that the model sees", ge=1)
    levels: int = Field(3, description="U: levels of the hierarchy", ge=0)
    tokens: int = Field(4, description="V: [MST] tokens of a level", ge=1)
    temporal_scale: int = Field(2, description="r: level u sees every r^u-th frame", ge=1)
    image_size: int | None = Field(
        None, description="pixels of a frame's side; as in what it starts from if unset", ge=1
    )
    patches_see_cls: bool = Field(True, description="patches attend to [CLS], as in CLIP and in the paper's mask")
    levels_see: Literal["lower", "higher"] = Field(
        "lower", description="which other levels an [MST] attends to: lower as in the equation, higher as in a figure"
    )


class DataSettings(Section):
    """Which clips, and how a sample is made of one."""

    where: str | None = Field(None, description="SQL condition on the columns of `clips`")
    scales: dict[Scale, float] | None = Field(
        None, description="share of each scale in what is drawn, e.g. {short = 1, long = 2}; all clips alike if unset"
    )
    subset: float = Field(1.0, description="share of the videos, nested: what is in 0.01 is in 0.1", gt=0, le=1)
    held_out: float = Field(
        0.01, description="share of the videos that are kept from training, for evaluation", ge=0, lt=1
    )
    crops: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (1.0, 0.8), description="sides of the square that is cut out, as shares of the shorter side; the centre if none"
    )
    flip: bool = Field(True, description="mirror a clip half of the time")
    workers: int = Field(2, description="processes that read clips", ge=0)
    max_missing: float = Field(
        0.01, description="share of clips that may be missing or broken before the run fails", ge=0, le=1
    )
    cache_bytes: int = Field(20 * 2**30, description="room for media of a remote dataset on this machine", gt=0)
    cache_folder: str | None = Field(None, description="where that is; in the user's folder for caches if unset")
    allow_changed: bool = Field(
        False,
        description="go on though the dataset has changed since the checkpoint, with the version that the run pinned",
    )

    @field_validator("scales")
    @classmethod
    def _shares(cls, scales: dict[Scale, float] | None) -> dict[Scale, float] | None:
        if scales is not None and not (scales and min(scales.values()) >= 0 < max(scales.values())):
            raise ValueError("give at least one scale a share above 0, and none one below")
        return scales


class OptimizerSettings(Section):
    """AdamW and its schedule: warm-up, then a cosine from `lr` to `final_lr`."""

    lr: float = Field(2e-5, description="highest learning rate", gt=0)
    final_lr: float = Field(4e-8, description="learning rate at the end", ge=0)
    betas: tuple[float, float] = Field((0.9, 0.999), description="decay of the two moments")
    weight_decay: float = Field(0.02, description="of everything but biases, gains and the temperature", ge=0)
    warmup: float = Field(0.01, description="share of the steps in which the learning rate rises from 0", ge=0, le=1)
    clip_norm: float = Field(10.0, description="gradients are scaled down to this norm", gt=0)


class TrainSettings(Section):
    """A training run."""

    preset: Literal["pretraining", "retrieval"] = Field("pretraining", description="where the defaults come from")
    model: ModelSettings
    data: DataSettings = DataSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    epochs: float = Field(3.0, description="times that as many clips are drawn as there are", gt=0)
    batch: int = Field(4096, description="clips of one step, over all processes", ge=1)
    micro_batch: int = Field(
        32, description="clips of one forward pass of one process; those of all processes are contrasted", ge=1
    )
    gradient_cache: bool = Field(
        False, description="contrast the whole batch with itself, for a second forward pass of each clip"
    )
    gather: Literal["global", "local"] = Field(
        "global", description="the part of the logits that a process computes: all, or its own clips' (less memory)"
    )
    precision: Literal["bf16", "fp32"] = Field("bf16", description="of the forward pass; parameters are in float32")
    compile: bool = Field(False, description="compile the model: slow to begin, then faster")
    activation_checkpointing: bool = Field(
        False, description="keep less of the forward pass in memory, and compute it again"
    )
    seed: int = Field(0, description="of the order of clips, of augmentation, and of parameters that start at random")
    non_finite: Literal["stop", "skip"] = Field("stop", description="what becomes of a step whose loss is not finite")
    checkpoint_every: int = Field(1000, description="steps from one checkpoint to the next", ge=1)
    keep: int = Field(3, description="latest checkpoints that are kept, beside the best", ge=1)
    evaluate_every: int = Field(1000, description="steps from one evaluation on the held-out videos to the next", ge=1)

    evaluate_clips: int = Field(1000, description="held-out clips of each scale, at most, in such an evaluation", ge=1)

    @model_validator(mode="after")
    def _divisible(self) -> TrainSettings:
        if self.batch % self.micro_batch:
            raise ValueError(f"batch ({self.batch}) must be a multiple of micro_batch ({self.micro_batch})")
        return self


PRESETS: dict[str, dict[str, Any]] = {
    "pretraining": {},
    "retrieval": {
        "model": {"frames": 32},
        "data": {"crops": (), "flip": False},
        "optimizer": {"lr": 1e-5, "final_lr": 1e-6, "weight_decay": 0.2},
        "epochs": 5.0,
        "batch": 128,
    },
}
"""What the paper trains with: pretraining on clips, which the defaults are, and finetuning for retrieval (batch 196 for
B/16). Not in the paper: warm-up, precision, and the epochs of finetuning."""

CHANGEABLE = frozenset(
    (
        "data.workers",
        "data.max_missing",
        "data.cache_bytes",
        "data.cache_folder",
        "data.allow_changed",
        "non_finite",
        "checkpoint_every",
        "keep",
        "evaluate_every",
        "evaluate_clips",
    )
)
"""What a run that goes on may be told otherwise than it was when it began."""


def resolve_training(file: Path | None = None, assignments: Sequence[str] = ()) -> TrainSettings:
    """The defaults, those of the preset, `file` (TOML), `assignments` ("section.key=value"): checked and frozen.

    Raises ConfigError.
    """
    raw = merge({"model": {}}, read(file, assignments))
    preset = raw.get("preset")
    return check(TrainSettings, merge(PRESETS.get(preset, {}) if isinstance(preset, str) else {}, raw))
