"""Training VidLA: on one process, or on several that torchrun starts."""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, ExitStack, nullcontext
from itertools import islice
from typing import TextIO

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from curation.clip_tokenizer import clip_tokenizer
from curation.errors import ConfigError, DatasetError
from model.data.augment import normalise
from model.data.clips import Clips, DatasetVersion, Share, reopen, select
from model.data.loader import Augmentation, Batch, MissingClips, Samples, read
from model.data.media_cache import media_of
from model.data.sampler import Batches, Order
from model.distributed import Processes
from model.evaluation.evaluate import Encoder, autocast, evaluate_clips
from model.network.architecture import ModelError
from model.network.initial import initial_model
from model.network.text import LEGACY_EOS
from model.network.vidla import VidLA
from model.settings import TrainingError, TrainSettings
from model.training import checkpoint, gradient_cache
from model.training.checkpoint import Progress
from model.training.losses import clamp_logit_scale, vidla_loss
from model.training.metrics import Monitor, StepFigures
from model.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from model.training.run_folder import TrainingRun

NAMED_CLIPS = 8  # that a message names; the log has all
SHARES: tuple[Share, Share] = ("train", "held_out")


class Trainer:
    """A run, from its latest checkpoint on. Every process has one, and all of them do the same together."""

    def __init__(self, run: TrainingRun, processes: Processes) -> None:
        """Raises DatasetError, ConfigError, ModelError and TrainingError, each with one line."""
        self.run, self.settings, self.processes = run, run.settings, processes
        found, self.faults = processes.first_does(lambda: checkpoint.latest(run.checkpoints))
        torch.manual_seed(self.settings.seed)
        model = initial_model(self.settings.model) if found is None else VidLA.load(found.folder)
        check_vocabulary(model, self.settings.model.weights)
        self.model = model.to(processes.device)
        if self.settings.activation_checkpointing:
            self.model.checkpoint_activations()
        if self.settings.compile:
            self.model.compile_layers()
        self.optimizer = make_optimizer(self.model, self.settings.optimizer)
        self.step = 0
        if found is not None:
            checkpoint.restore(found, self.model, self.optimizer, processes)
            self.step = found.progress.step
        self.version = self._version(run.version if found is None else found.progress.version)
        self.clips, self.held_out = self._select()
        self.order = order_of(self.clips, self.settings)
        self.steps = steps_of(self.order, self.settings)
        self.parallel = distributed(self.model, processes)
        self.monitor: Monitor | None = None
        scores = processes.first_does(lambda: checkpoint.scores(run.checkpoints)).values()
        self._best = max((score for score in scores if score is not None), default=None)

    # --- the algorithm ----------------------------------------------------------------------------------------------

    def train_step(self, pieces: Sequence[Batch]) -> tuple[float, float]:
        """A step on this process's part of a batch, in pieces of `micro_batch`. Gives the loss and the gradient's norm.

        With the gradient cache all clips of the batch are contrasted with each other. Without, those of one piece are,
        over all processes, and the gradient is the mean over the pieces.
        """
        self.optimizer.zero_grad()
        own_loss = self._backward_cached(pieces) if self.settings.gradient_cache else self._backward(pieces)
        loss = float(self.processes.mean(own_loss))
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.optimizer.clip_norm))
        if math.isfinite(loss) and math.isfinite(norm):
            set_learning_rate(self.optimizer, learning_rate(self.step, self.steps, self.settings.optimizer))
            self.optimizer.step()
            clamp_logit_scale(self.model.logit_scale)
        return loss, norm

    def _backward(self, pieces: Sequence[Batch]) -> Tensor:
        losses = []
        for number, piece in enumerate(pieces, 1):
            with self._unsynchronised() if number < len(pieces) else nullcontext():
                loss = self._loss(self.encode(piece), has_text(piece), self.model.logit_scale) / len(pieces)
                loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _backward_cached(self, pieces: Sequence[Batch]) -> Tensor:
        has = torch.cat([has_text(piece) for piece in pieces])
        return gradient_cache.backward(
            self.encode,
            lambda features, scale: self._loss(features, has, scale),
            pieces,
            self.model.logit_scale,
            self._unsynchronised,
        )

    def encode(self, piece: Batch) -> Tensor:
        """Features (B, 3, D) of a piece's clips, their subtitles and their captions; in float32."""
        device, video = self.processes.device, self.model.config.video
        frames = piece.frames.to(device, non_blocking=True)
        texts = torch.cat([piece.subtitle, piece.caption]).to(device, non_blocking=True)
        with autocast(device, self.settings.precision):
            of_clips, of_texts = self.parallel(normalise(frames, video.image_mean, video.image_std), texts)
        subtitles, captions = of_texts.chunk(2)
        return torch.stack([of_clips, subtitles, captions], dim=1).float()

    def _loss(self, features: Tensor, has: Tensor, logit_scale: Tensor) -> Tensor:
        return vidla_loss(features, has.to(features.device), logit_scale, self.settings.gather)

    def _unsynchronised(self) -> AbstractContextManager[None]:
        """Gradients stay in this process meanwhile."""
        if isinstance(self.parallel, DistributedDataParallel):
            return self.parallel.no_sync()
        return nullcontext()

    # --- the run ----------------------------------------------------------------------------------------------------

    def train(self, file: TextIO) -> None:
        """Train to the end, with progress in `file`. Raises DatasetError and TrainingError."""
        processes, settings = self.processes, self.settings
        if self.step >= self.steps:
            return
        batches = Batches(self.order, self.step, self.steps, settings.micro_batch, processes.rank, processes.size)
        missing = MissingClips(settings.data.max_missing, len(batches) * settings.micro_batch)
        with ExitStack() as stack:
            if processes.first:
                begun = Monitor(self.run.folder, self.step, self.steps, processes.device, file)
                self.monitor = stack.enter_context(begun)
                for fault in self.faults:
                    self.monitor.event(self.step, "checkpoint", f"ignored: {fault}")
            stream = read(self._samples(self.clips, True), batches, settings.data.workers, self._pinned)
            try:
                while self.step < self.steps:
                    self._next_step(stream, batches.pieces, missing)
                    self._keep()
            except torch.OutOfMemoryError:
                raise TrainingError(
                    "the device is out of memory: lower micro_batch (gradient_cache=true keeps the batch as it is), or "
                    "set activation_checkpointing=true"
                ) from None
            except RuntimeError as error:
                if not type(error).__module__.startswith(("torch._dynamo", "torch._inductor")):
                    raise
                reason = str(error).strip().partition("\n")[0]
                raise TrainingError(f"the model cannot be compiled ({reason}): set compile=false") from error

    def _next_step(self, stream: Iterator[Batch], count: int, missing: MissingClips) -> None:
        began = time.monotonic()
        pieces = list(islice(stream, count))
        waited = time.monotonic() - began
        for piece in pieces:
            missing.add(piece)
        loss, norm = self.train_step(pieces)
        self.step += 1
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._not_finite(pieces, loss, norm)
        elif self.monitor is not None:
            self.monitor.step(
                StepFigures(
                    step=self.step,
                    loss=loss,
                    gradient_norm=norm,
                    learning_rate=self.optimizer.param_groups[0]["lr"],
                    temperature=math.exp(-float(self.model.logit_scale.detach())),
                    clips=self.settings.batch,
                    seconds=time.monotonic() - began,
                    waiting=waited,
                    unreadable=missing.replaced,
                )
            )

    def _not_finite(self, pieces: Sequence[Batch], loss: float, norm: float) -> None:
        """The parameters are as they were before this step. Raises TrainingError where it is to stop the run."""
        own = [self.clips[int(index)].clip_id for piece in pieces for index in piece.index]
        clips = [clip for part in self.processes.collect(own) for clip in part]
        more = f" and {len(clips) - NAMED_CLIPS} more" if len(clips) > NAMED_CLIPS else ""
        text = (
            f"step {self.step} has a loss of {loss:g} and a gradient of norm {norm:g}; its clips are "
            f"{', '.join(clips[:NAMED_CLIPS])}{more}"
        )
        if self.monitor is not None:
            self.monitor.event(self.step, "not_finite", text, clips=clips)
        if self.settings.non_finite == "stop":
            raise TrainingError(f"{text}: lower optimizer.lr, or go on without such steps with non_finite=skip")

    def _keep(self) -> None:
        """Evaluate and write a checkpoint, where it is time to."""
        settings, last = self.settings, self.step == self.steps
        due = last or self.step % settings.evaluate_every == 0
        score = self._evaluate() if due and len(self.held_out) else None
        better = score is not None and (self._best is None or score > self._best)
        if not (last or better or self.step % settings.checkpoint_every == 0):
            return
        if better:
            self._best = score
        progress = Progress(self.step, self.version, settings.model_dump(mode="json"), score)
        checkpoint.save(self.run.checkpoints, self.model, self.optimizer, progress, self.processes, settings.keep)

    def _evaluate(self) -> float | None:
        settings = self.settings
        encoder = Encoder(self.model, self.processes, settings.precision, settings.micro_batch, settings.data.workers)
        try:
            with torch.compiler.set_stance("force_eager"):  # the figures are then those of `vidla evaluate`
                samples = self._samples(self.held_out, False)
                found = evaluate_clips(encoder, samples, settings.evaluate_clips, resamples=0)
        except DatasetError as error:  # no reason to lose what is trained
            if self.monitor is not None:
                self.monitor.event(self.step, "not_evaluated", f"step {self.step} is not evaluated: {error}")
            return None
        if self.monitor is not None:
            self.monitor.evaluated(self.step, found.scalars(), f"R@1 {found.score:.1%}, text to video")
        return self.processes.collect(found.score)[0]  # the same in all, to the last bit

    # --- what it is made of -----------------------------------------------------------------------------------------

    def _version(self, version: DatasetVersion) -> DatasetVersion:
        """The version of the dataset to go on with; it may have to be pinned, once."""
        run, changed = self.run, self.settings.data.allow_changed
        name = run.folder.resolve().name
        return self.processes.first_does(lambda: reopen(run.dataset, version, name, changed))

    def _select(self) -> tuple[Clips, Clips]:
        """The clips to train on, and those held out: one process writes them down, then all read them."""
        run, version, folder = self.run, self.version, self.run.folder / "clips"

        def write() -> tuple[Clips, ...]:
            return tuple(select(run.dataset, version, run.settings.data, s, folder / f"{s}.arrow") for s in SHARES)

        train, held_out = self.processes.first_does(write)
        return train, held_out

    def _samples(self, clips: Clips, training: bool) -> Samples:
        config, data = self.model.config, self.settings.data
        media = media_of(self.run.dataset, data.cache_folder, data.cache_bytes)
        augmentation = Augmentation(data.crops, data.flip) if training else None
        return Samples(clips, media, config.video.frames, config.video.image_size, config.text.context, augmentation)

    @property
    def _pinned(self) -> bool:
        """Whether batches wait in memory from which the device can copy by itself."""
        return bool(self.processes.device.type == "cuda")


def has_text(piece: Batch) -> Tensor:
    """(B, 2): whether a clip has a subtitle, and a caption."""
    return torch.stack([piece.has_subtitle, piece.has_caption], dim=1)


def distributed(model: VidLA, processes: Processes) -> VidLA | DistributedDataParallel:
    """`model`, such that the gradients of all processes are averaged in each."""
    if processes.size == 1:
        return model
    devices = [processes.device] if processes.device.type == "cuda" else None
    return DistributedDataParallel(model, devices, broadcast_buffers=False, gradient_as_bucket_view=True)


def check_vocabulary(model: VidLA, weights: str) -> None:
    """Raises ModelError for a text tower that was made for other tokens than CLIP's."""
    text, tokenizer = model.config.text, clip_tokenizer()
    if text.vocabulary < len(tokenizer) or text.eos_token not in (tokenizer.eos_token_id, LEGACY_EOS):
        raise ModelError(
            f"{weights}: texts are written in CLIP's vocabulary of {len(tokenizer)} tokens, which end with "
            f"{tokenizer.eos_token_id}; this text tower has {text.vocabulary}, which end with {text.eos_token}"
        )


def order_of(clips: Clips, settings: TrainSettings) -> Order:
    return Order(clips.counts, settings.batch, settings.seed, settings.data.scales)


def steps_of(order: Order, settings: TrainSettings) -> int:
    """Steps of the whole run. Raises ConfigError where there is none."""
    steps = int(settings.epochs * order.steps)
    if not steps:
        raise ConfigError(f"epochs ({settings.epochs:g}) is less than one step: an epoch has {order.steps} steps")
    return steps
