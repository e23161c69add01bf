"""Trains VidLA, in one process or in several started by torchrun."""

from __future__ import annotations

import math
import time
from collections import ChainMap
from contextlib import AbstractContextManager, ExitStack, nullcontext
from pathlib import Path
from typing import TextIO

import torch
from torch import Tensor
from torch.nn.parallel import DistributedDataParallel

from curation.errors import ConfigError, DatasetError
from model.data.augment import normalise
from model.data.clips import Clips, DatasetVersion, Split
from model.data.loader import Augmentation, Batch, ClipDataset, StoredBatch, UnreadableClips, list_files, store_batches
from model.data.sampler import EpochSampler, TrainBatchSampler
from model.distributed import World
from model.evaluation.evaluate import Encoder, autocast, evaluate_clips
from model.network.flops import peak_flops, training_flops
from model.network.initial import check_vocabulary, initial_model
from model.network.vidla import VidLA
from model.settings import TrainingError, TrainSettings
from model.training import checkpoint, gradient_cache
from model.training.checkpoint import Checkpoint, Progress
from model.training.losses import clamp_logit_scale, vidla_loss
from model.training.metrics import Monitor, StepMetrics
from model.training.negatives import groups_of
from model.training.optimizer import learning_rate, make_optimizer, set_learning_rate
from model.training.pieces import Pieces, Totals, has_text
from model.training.run_folder import TrainingRun, open_run
from model.training.source import Source, media_of, resume_version, select_clips
from model.training.stop_signals import StopSignals, TrainingStopped
from model.training.trackers import open_tracker

NAMED_CLIPS = 8  # in a message; the log has all
SPLITS: tuple[Split, Split] = ("train", "held_out")


class Trainer:
    """Runs training from the latest checkpoint on. Every process has one, and they work in step."""

    def __init__(self, run: TrainingRun, world: World, signals: StopSignals | None = None) -> None:
        """Raises DatasetError, ConfigError, ModelError and TrainingError, each with a one-line message.

        Raises TrainingStopped if `signals` are open and receive one.
        """
        self.run, self.settings, self.world, self.signals = run, run.settings, world, signals or StopSignals()
        resumed, self.faults = self.signals.run_on_main(lambda: checkpoint.latest(run.checkpoints), world)
        torch.manual_seed(self.settings.seed)
        self.model = self.signals.run(lambda: load_model(self.settings, resumed), world).to(world.device)
        if self.settings.activation_checkpointing:
            self.model.checkpoint_activations()
        if self.settings.compile:
            self.model.compile_layers()
        self.optimizer = make_optimizer(self.model, self.settings.optimizer)
        self.step = 0
        if resumed is not None:
            checkpoint.restore(resumed, self.model, self.optimizer, world)
            self.step = resumed.progress.step
        self.version = self._resume_version(run.version if resumed is None else resumed.progress.version)
        self.clips, self.held_out = self._select()
        self.sampler = make_sampler(self.clips, self.settings)
        self.steps = count_steps(self.sampler, self.settings)
        self.parallel = wrap_ddp(self.model, world)
        self._flops = training_flops(self.model.config)
        self._peak_flops = peak_flops(world.device, self.settings.precision)
        self._saved_step, self._saved_at = self.step, time.monotonic()
        self._score: float | None = None  # of this step
        is_scored = resumed is None or resumed.progress.score is not None
        self._unscored = None if is_scored or not self._is_evaluated() else resumed
        self.monitor: Monitor | None = None
        scores = world.run_on_main(lambda: checkpoint.scores(run.checkpoints)).values()
        self._best = max((score for score in scores if score is not None), default=None)

    # --- the algorithm ----------------------------------------------------------------------------------------------

    def train_step(self, pieces: Pieces) -> tuple[float, float]:
        """Take a step on this process's micro-batches, as they come. Returns the loss and the gradient's norm.

        With the gradient cache, all clips of the batch are contrasted with each other. Without it, only those of one
        micro-batch are, over all processes, and the gradient is the mean over micro-batches.
        """
        self.optimizer.zero_grad()
        cached = needs_cache(self.settings, self.world.size)
        own_loss = self._backward_cached(pieces) if cached else self._backward(pieces)
        loss = float(self.world.mean(own_loss))
        norm = float(torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.settings.optimizer.clip_norm))
        if math.isfinite(loss) and math.isfinite(norm):
            set_learning_rate(self.optimizer, learning_rate(self.step, self.steps, self.settings.optimizer))
            self.optimizer.step()
            clamp_logit_scale(self.model.logit_scale)
        return loss, norm

    def _backward(self, pieces: Pieces) -> Tensor:
        losses = []
        for number, piece in enumerate(pieces, 1):
            with self._no_sync() if number < len(pieces) else nullcontext():
                texts = has_text(piece.batch), self._groups(piece.batch)
                loss = self._loss(self.encode(piece), *texts, self.model.logit_scale)
                loss = loss / len(pieces)
                loss.backward()
            losses.append(loss.detach())
        return torch.stack(losses).sum()

    def _backward_cached(self, pieces: Pieces) -> Tensor:
        def loss(features: Tensor, scale: Tensor) -> Tensor:
            groups = torch.cat([self._groups(batch) for batch in pieces.batches])
            return self._loss(features, pieces.has_text, groups, scale)

        return gradient_cache.backward(
            self.encode,
            loss,
            pieces,
            self.model.logit_scale,
            self._no_sync,
        )

    def encode(self, piece: StoredBatch) -> Tensor:
        """Features (B, 3, D) of a micro-batch's clips, subtitles and captions, in float32."""
        if self.world.size == 1:  # several processes finish the step, since they have to stop at the same one
            self.signals.check()
        micro_batch = piece.load()
        device, video = self.world.device, self.model.config.video
        frames = micro_batch.frames.to(device, non_blocking=True)
        texts = torch.cat([micro_batch.subtitle, micro_batch.caption]).to(device, non_blocking=True)
        with autocast(device, self.settings.precision):
            clip_features, text_features = self.parallel(normalise(frames, video.image_mean, video.image_std), texts)
        subtitle_features, caption_features = text_features.chunk(2)
        return torch.stack([clip_features, subtitle_features, caption_features], dim=1).float()

    def _groups(self, micro_batch: Batch) -> Tensor:
        return groups_of(micro_batch, self.settings.mask_equal_texts, self.settings.mask_same_video)

    def _loss(self, features: Tensor, has_text: Tensor, groups: Tensor, logit_scale: Tensor) -> Tensor:
        most = -(-self.settings.batch // self.world.size) if self.settings.gradient_cache else 0
        texts, groups = has_text.to(features.device), groups.to(features.device)
        return vidla_loss(features, texts, logit_scale, self.settings.gather, most, groups)

    def _no_sync(self) -> AbstractContextManager[None]:
        """While this is open, gradients are not averaged over processes."""
        if isinstance(self.parallel, DistributedDataParallel):
            return self.parallel.no_sync()
        return nullcontext()

    # --- the run ----------------------------------------------------------------------------------------------------

    def train(self, file: TextIO) -> None:
        """Train to the end and show progress in `file`.

        Raises DatasetError, TrainingError, UsageError for a tracker that cannot be used, and TrainingStopped, after a
        checkpoint, when a signal asks for it.
        """
        if self.step >= self.steps and self._unscored is None:
            return
        with ExitStack() as stack:
            if self.world.is_main:
                self.monitor = stack.enter_context(self._open_monitor(file))
            stack.enter_context(self.signals)
            try:
                if self._unscored is not None:
                    self._make_up(self._unscored)
                self._take_steps()
            except TrainingStopped as stopped:
                if self.step > self._saved_step:
                    self._save()
                raise TrainingStopped(
                    f"{stopped} after step {self.step} of {self.steps}; the same command goes on from there"
                ) from None
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

    def _open_monitor(self, file: TextIO) -> Monitor:
        run, settings, processes = self.run, self.settings, self.world.size
        tracker = settings.tracker and open_tracker(
            settings.tracker, run.folder, run.version.pin, self.step, settings.model_dump(mode="json")
        )
        monitor = Monitor(run.folder, self.step, self.steps, self.world.device, file, tracker)
        for fault in self.faults:
            monitor.log_event(self.step, "checkpoint", f"ignored: {fault}")
        if left_out := self.clips.unreadable | self.held_out.unreadable:
            text = f"{len(left_out)} videos cannot be read and are left out: {list_files(left_out)}"
            monitor.log_event(self.step, "unreadable", text)
        by = "1 process" if processes == 1 else f"{processes} processes"
        monitor.print(f"contrasts {settings.contrasted(processes):,} clips with each other, by {by}")
        return monitor

    def _take_steps(self) -> None:
        world, settings = self.world, self.settings
        batches = make_batches(self.sampler, self.step, self.steps, settings, world.rank, world.size)
        unreadable = UnreadableClips(settings.data.max_missing, (self.steps - self.step) * settings.batch)
        held = batches.micro_batches if needs_cache(settings, world.size) else 0
        dataset, pinned = self._clip_dataset(self.clips, True), world.device.type == "cuda"
        stream = store_batches(dataset, batches, settings.data.workers, held, pinned)
        has_texts = self.clips.has_texts
        while self.step < self.steps:
            totals = self._next_step(Pieces(stream, batches.micro_batches, has_texts), unreadable)
            if totals.stop and self.step < self.steps:
                self.signals.stop()
            self._evaluate_and_save(totals.save)

    def _next_step(self, pieces: Pieces, unreadable: UnreadableClips) -> Totals:
        world, settings, began = self.world, self.settings, time.monotonic()
        loss, norm = self.train_step(pieces)
        totals = pieces.totals(
            world,
            self._groups,
            together=settings.gradient_cache,
            stop=self.signals.received is not None,
            save=world.is_main and time.monotonic() - self._saved_at > 60 * settings.checkpoint_minutes,
        )
        files = ChainMap(*world.all_gather(pieces.unreadable)) if totals.replaced else {}
        unreadable.add(totals.clips, totals.replaced, files)
        self.step, self._score = self.step + 1, None
        if not (math.isfinite(loss) and math.isfinite(norm)):
            self._not_finite(pieces, loss, norm)
        elif self.monitor is not None:
            seconds = time.monotonic() - began
            flops = self._flops * settings.batch / world.size / seconds
            self.monitor.log_step(
                StepMetrics(
                    step=self.step,
                    loss=loss,
                    gradient_norm=norm,
                    learning_rate=learning_rate(self.step - 1, self.steps, self.settings.optimizer),
                    temperature=math.exp(-float(self.model.logit_scale.detach())),
                    clips=settings.batch,
                    seconds=seconds,
                    waiting=totals.waiting,
                    processes=world.size,
                    unreadable=unreadable.replaced,
                    without_contrast=totals.without_contrast,
                    tflops=flops / 1e12,
                    mfu=None if self._peak_flops is None else flops / self._peak_flops,
                )
            )
        return totals

    def _not_finite(self, pieces: Pieces, loss: float, norm: float) -> None:
        """Report a step that left the parameters unchanged. Raises TrainingError if it must stop the run."""
        own_clips = [self.clips[index].clip_id for index in pieces.clips]
        clips = [clip for of_rank in self.world.all_gather(own_clips) for clip in of_rank]
        more = f" and {len(clips) - NAMED_CLIPS} more" if len(clips) > NAMED_CLIPS else ""
        text = (
            f"step {self.step} has a loss of {loss:g} and a gradient of norm {norm:g}; its clips are "
            f"{', '.join(clips[:NAMED_CLIPS])}{more}"
        )
        if self.monitor is not None:
            self.monitor.log_event(self.step, "not_finite", text, clips=clips)
        if self.settings.non_finite == "stop":
            raise TrainingError(f"{text}: lower optimizer.lr, or skip such steps with non_finite=skip")

    def _is_evaluated(self) -> bool:
        """Whether the model is evaluated at this step."""
        due = self.step == self.steps or self.step % self.settings.evaluate_every == 0
        return due and len(self.held_out) > 0

    def _make_up(self, unscored: Checkpoint) -> None:
        """Evaluate the model that the run goes on with: it was stopped when that was due."""
        self._evaluate()
        if (score := self._score) is not None:
            self.world.run_on_main(lambda: checkpoint.record_score(unscored, score))

    def _evaluate_and_save(self, due_by_time: bool) -> None:
        """Evaluate and write a checkpoint when they are due."""
        better = self._is_evaluated() and self._evaluate()
        if better or due_by_time or self.step == self.steps or self.step % self.settings.checkpoint_every == 0:
            self._save()

    def _save(self) -> None:
        settings = self.settings
        progress = Progress(self.step, self.version, settings.model_dump(mode="json"), self._score)
        checkpoint.save(self.run.checkpoints, self.model, self.optimizer, progress, self.world, settings.keep)
        self._saved_step, self._saved_at = self.step, time.monotonic()

    def _evaluate(self) -> bool:
        """Find the model's score, if it can be evaluated; whether it is the best so far."""
        self._score = self._measure()
        better = self._score is not None and (self._best is None or self._score > self._best)
        if better:
            self._best = self._score
        return better

    def _measure(self) -> float | None:
        settings = self.settings
        encoder = Encoder(self.model, self.world, settings.precision, settings.micro_batch, settings.data.workers)
        stoppable = self.signals.raising() if self.world.size == 1 else nullcontext()
        try:
            with stoppable, torch.compiler.set_stance("force_eager"):  # for the same figures as `vidla evaluate`
                dataset = self._clip_dataset(self.held_out, False)
                evaluation = evaluate_clips(encoder, dataset, settings.evaluate_clips, resamples=0)
        except DatasetError as error:  # not a reason to lose the training
            if self.monitor is not None:
                self.monitor.log_event(self.step, "not_evaluated", f"step {self.step} is not evaluated: {error}")
            return None
        if self.monitor is not None:
            self.monitor.log_evaluation(self.step, evaluation.scalars(), f"R@1 {evaluation.score:.1%}, text to video")
        return self.world.all_gather(evaluation.score)[0]  # the same in all processes, to the last bit

    # --- setup ------------------------------------------------------------------------------------------------------

    def _resume_version(self, version: DatasetVersion) -> DatasetVersion:
        """The version of the dataset to continue on; the main process may have to pin it."""
        run, changed = self.run, self.settings.data.allow_changed
        name = run.folder.resolve().name
        return self.world.run_on_main(lambda: resume_version(run.dataset, version, name, changed))

    def _select(self) -> tuple[Clips, Clips]:
        """The clips to train on, and those held out: the main process writes them, then all read them."""
        run, version, folder = self.run, self.version, self.run.folder / "clips"

        def write() -> tuple[Clips, ...]:
            return tuple(
                select_clips(run.dataset, version, run.settings.data, s, folder / f"{s}.arrow") for s in SPLITS
            )

        train, held_out = self.signals.run_on_main(write, self.world)
        return train, held_out

    def _clip_dataset(self, clips: Clips, training: bool) -> ClipDataset:
        config, data = self.model.config, self.settings.data
        media = media_of(self.run.dataset, data)
        augmentation = Augmentation(data.crops, data.flip, data.frame_times == "stratified") if training else None
        return ClipDataset(
            clips, media, config.video.frames, config.video.image_size, config.text.context, augmentation
        )


def set_up(folder: Path, dataset: Source, settings: TrainSettings, world: World, signals: StopSignals) -> Trainer:
    """Open the run in `folder`, and make its trainer. Call it in all processes, with `signals` open.

    Raises the errors of open_run and Trainer, and TrainingStopped when a signal asks for it.
    """
    try:
        run = open_run(folder, dataset, settings, world)
        signals.agree(world)
        return Trainer(run, world, signals)
    except TrainingStopped as stopped:
        raise TrainingStopped(f"{stopped} before it took a step; the same command goes on") from None


def load_model(settings: TrainSettings, resumed: Checkpoint | None) -> VidLA:
    """The model to go on with, or to begin with. Raises ModelError."""
    model = initial_model(settings.model) if resumed is None else VidLA.load(resumed.folder)
    check_vocabulary(model, settings.model.weights)
    return model


def wrap_ddp(model: VidLA, world: World) -> VidLA | DistributedDataParallel:
    """`model` in DDP if there are several processes, so that their gradients are averaged."""
    if world.size == 1:
        return model
    devices = [world.device] if world.device.type == "cuda" else None
    return DistributedDataParallel(model, devices, forward_sync_buffers=False, gradient_as_bucket_view=True)


def make_sampler(clips: Clips, settings: TrainSettings) -> EpochSampler:
    return EpochSampler(clips.counts, settings.batch, settings.seed, settings.data.scales)


def make_batches(
    sampler: EpochSampler, first: int, last: int, settings: TrainSettings, rank: int, world_size: int
) -> TrainBatchSampler:
    """The micro-batches of process `rank`; uneven ones only with the gradient cache, which contrasts all at once."""
    return TrainBatchSampler(sampler, first, last, settings.micro_batch, rank, world_size, settings.gradient_cache)


def needs_cache(settings: TrainSettings, world_size: int) -> bool:
    """Whether steps go through the gradient cache: not if each process encodes its part of the batch at once."""
    return settings.gradient_cache and settings.micro_batch * world_size < settings.batch


def count_steps(sampler: EpochSampler, settings: TrainSettings) -> int:
    """The number of steps of the whole run. Raises ConfigError if it is 0."""
    steps = settings.steps or int(settings.epochs * sampler.steps)
    if not steps:
        raise ConfigError(f"epochs ({settings.epochs:g}) is less than one step: an epoch has {sampler.steps} steps")
    return steps
