"""Settings of a training run: one frozen object, resolved once; unknown keys are refused."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, field_validator, model_validator

from curation.config import Section, check, merge, read
from curation.errors import VidlaError
from curation.records import Scale

AttentionKind = Literal["hta", "frame", "joint", "divided"]
Precision = Literal["bf16", "fp32"]
DecayRate = Annotated[float, Field(ge=0, lt=1)]


class TrainingError(VidlaError):
    """A training run that cannot start or continue."""


class ModelSettings(Section):
    """The two towers. Their sizes come from `weights`; U, V and r apply to `hta` only."""

    weights: str = Field(
        description="initial weights: the directory of a trained VidLA, or a CLIP: a folder or file of transformers, "
        "open_clip or OpenAI, or a name on the Hugging Face hub"
    )
    revision: str | None = Field(None, description="the revision of `weights` on the hub")
    temperature: float | None = Field(
        None, description="initial temperature of the loss; unset: that of `weights` (0.01 in OpenAI's CLIP)", ge=0.01
    )
    attention: AttentionKind = Field(
        "hta", description="hierarchical temporal attention (hta), or a baseline: frame, joint or divided"
    )
    frames: int = Field(12, description="T: frames that the model sees of each clip", ge=1)
    levels: int = Field(3, description="U: levels of the hierarchy", ge=0)
    tokens: int = Field(4, description="V: [MST] tokens per level", ge=1)
    temporal_scale: int = Field(2, description="r: level u sees every r^u-th frame", ge=1)
    image_size: int | None = Field(
        None, description="height and width of a frame, in pixels; unset: as in `weights`", ge=1
    )
    patches_see_cls: bool = Field(True, description="patches attend to [CLS], as in CLIP and in the paper's mask")
    levels_see: Literal["lower", "higher"] = Field(
        "lower",
        description="which other levels an [MST] attends to: lower as in the paper's equation, higher as in a figure",
    )


class DataSettings(Section):
    """Which clips to read, and how to sample and augment them."""

    where: str | None = Field(None, description="SQL condition on the columns of `clips`")
    captions_where: str | None = Field(
        None, description="SQL condition on the columns of `clips`: other clips are without their caption"
    )
    subtitles_where: str | None = Field(
        None, description="SQL condition on the columns of `clips`: other clips are without their subtitle"
    )
    policy: str | None = Field(
        None, description="read only the clips and texts that this policy keeps, which `vidla filter` has applied"
    )
    scales: dict[Scale, float] | None = Field(
        None, description="sampling weight of each scale, e.g. {short = 1, long = 2}; unset: every clip alike"
    )
    subset: float = Field(
        1.0, description="fraction of the videos to train on; nested: the videos in 0.01 are in 0.1", gt=0, le=1
    )
    held_out: float = Field(
        0.01, description="fraction of the videos that is held out from training, for evaluation", ge=0, lt=1
    )
    crops: tuple[Annotated[float, Field(gt=0, le=1)], ...] = Field(
        (1.0, 0.8), description="sides of random square crops, as fractions of the shorter side; empty: centre crop"
    )
    flip: bool = Field(True, description="mirror half of the clips")
    frame_times: Literal["stratified", "uniform"] = Field(
        "stratified",
        description="in training: a random time in each of T equal parts of the clip (stratified), or the middle of "
        "each, as in evaluation (uniform)",
    )
    crop_bars: bool = Field(
        False,
        description="crop black bars first, by the table `timelines`; clips of videos that have no row there stay",
    )
    workers: int = Field(2, description="worker processes that read clips", ge=0)
    max_missing: float = Field(
        0.01, description="fraction of clips that may be missing or broken before the run fails", ge=0, le=1
    )
    cache_bytes: int = Field(
        20 * 2**30, description="size limit of this machine's cache of a remote dataset's media", gt=0
    )
    cache_folder: str | None = Field(None, description="folder of that cache; unset: in the user's cache folder")
    allow_changed: bool = Field(
        False,
        description="resume although the dataset has changed since the checkpoint, on the version that the run pinned",
    )

    @field_validator("scales")
    @classmethod
    def _check_weights(cls, scales: dict[Scale, float] | None) -> dict[Scale, float] | None:
        if scales is not None and not (scales and min(scales.values()) >= 0 < max(scales.values())):
            raise ValueError("weights must be 0 or more, with at least one above 0")
        return scales


class OptimizerSettings(Section):
    """AdamW and its schedule: linear warm-up, then a cosine from `lr` to `final_lr`."""

    lr: float = Field(2e-5, description="peak learning rate", gt=0)
    final_lr: float = Field(4e-8, description="learning rate at the end", ge=0)
    betas: tuple[DecayRate, DecayRate] = Field((0.9, 0.999), description="AdamW's decay rates of the two moments")
    weight_decay: float = Field(0.02, description="for all parameters but biases, gains and the temperature", ge=0)
    warmup: float = Field(
        0.01, description="fraction of the steps over which the learning rate rises from 0", ge=0, le=1
    )
    clip_norm: float = Field(10.0, description="clip gradients to this norm", gt=0)
    lr_factors: dict[str, Annotated[float, Field(ge=0)]] = Field(
        {},
        description="factors on the learning rate by the beginning of a parameter's name, or for `new` ones, which "
        'CLIP lacks; 0 freezes, e.g. {new = 10, text = 0, "video.layers.0" = 0}',
    )


class TrainSettings(Section):
    """All settings of a training run."""

    preset: Literal["pretraining", "retrieval"] = Field(
        "pretraining", description="which set of defaults to start from"
    )
    model: ModelSettings
    data: DataSettings = DataSettings()
    optimizer: OptimizerSettings = OptimizerSettings()
    epochs: float = Field(3.0, description="passes over the clips; an epoch draws as many clips as there are", gt=0)
    steps: int | None = Field(None, description="steps to train; unset: as many as `epochs` take", ge=1)
    batch: int = Field(4096, description="clips per step, over all processes", ge=1)
    micro_batch: int = Field(
        32,
        description="clips per forward pass and process; those of all processes are contrasted with each other",
        ge=1,
    )
    gradient_cache: bool = Field(False, description="contrast the whole batch, at the cost of a second forward pass")
    gather: Literal["global", "local"] = Field(
        "global", description="logits that a process computes: all, or those of its own clips (local: less memory)"
    )
    mask_equal_texts: bool = Field(
        True, description="clips whose texts are equal are not contrasted with each other by that text"
    )
    mask_same_video: bool = Field(False, description="clips of one video are not contrasted with each other")
    precision: Precision = Field("bf16", description="precision of the forward pass; parameters stay in float32")
    compile: bool = Field(False, description="torch.compile the layers: slower to start, then faster")
    activation_checkpointing: bool = Field(
        False, description="recompute activations in the backward pass, to save memory"
    )
    seed: int = Field(
        0,
        description="seed of the order of clips, of augmentation and of randomly initialised parameters",
        ge=-(2**63),
        lt=2**63,
    )
    non_finite: Literal["stop", "skip"] = Field(
        "stop", description="on a step whose loss is not finite: stop the run, or skip the step"
    )
    checkpoint_every: int = Field(1000, description="steps between checkpoints", ge=1)
    checkpoint_minutes: float = Field(
        30.0, description="minutes between checkpoints, if `checkpoint_every` takes longer", gt=0
    )
    keep: int = Field(3, description="number of latest checkpoints to keep, in addition to the best", ge=1)
    evaluate_every: int = Field(1000, description="steps between evaluations on the held-out videos", ge=1)
    evaluate_clips: int = Field(
        1000, description="held-out clips of each scale to evaluate on, at most, drawn from all of them by hash", ge=1
    )
    tracker: Literal["tensorboard", "wandb"] | None = Field(
        None, description="where to plot metrics, besides the log: tensorboard or wandb (Weights & Biases)"
    )

    @model_validator(mode="after")
    def _divisible(self) -> TrainSettings:
        if self.batch % self.micro_batch and not self.gradient_cache:
            raise ValueError(
                f"batch ({self.batch}) must be a multiple of micro_batch ({self.micro_batch}), or gradient_cache true"
            )
        return self

    def contrasted(self, processes: int) -> int:
        """The number of clips that are contrasted with each other."""
        return self.batch if self.gradient_cache else self.micro_batch * processes


PRESETS: dict[str, dict[str, Any]] = {
    "pretraining": {},
    "retrieval": {
        "model": {"frames": 32},
        "data": {"crops": (), "flip": False, "frame_times": "uniform"},
        "optimizer": {"lr": 1e-5, "final_lr": 1e-6, "weight_decay": 0.2},
        "epochs": 5.0,
        "batch": 128,
        "micro_batch": 16,
        "gradient_cache": True,
    },
}
"""The paper's hyperparameters: pretraining on clips (the defaults), and finetuning for retrieval (for B/16 with a batch
of 196). Warm-up, precision, stratified frames and the epochs of finetuning are not in the paper."""

CHANGEABLE = frozenset(
    (
        "data.workers",
        "data.max_missing",
        "data.cache_bytes",
        "data.cache_folder",
        "data.allow_changed",
        "micro_batch",  # as long as the run contrasts as many clips: run_folder.py
        "non_finite",
        "checkpoint_every",
        "checkpoint_minutes",
        "keep",
        "evaluate_every",
        "evaluate_clips",
        "tracker",
    )
)
"""Settings that may change when a run is resumed."""


def resolve_training(file: Path | None = None, assignments: Sequence[str] = ()) -> TrainSettings:
    """Defaults, then the preset, then `file` (TOML), then `assignments` ("section.key=value"): checked and frozen.

    Raises ConfigError.
    """
    raw = merge({"model": {}}, read(file, assignments))
    preset = raw.get("preset")
    return check(TrainSettings, merge(PRESETS.get(preset, {}) if isinstance(preset, str) else {}, raw))
