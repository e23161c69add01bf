"""From the index of a clip to what the model is trained on: frames and tokens, in batches."""

from __future__ import annotations

import signal
from collections import ChainMap, deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from random import Random
from typing import Any, Self

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, get_worker_info

from curation.clip_tokenizer import clip_tokenizer
from curation.errors import DatasetError
from model.data.augment import centre_view, random_view, show
from model.data.clips import ClipRow, Clips
from model.data.frame_reader import BrokenMedia, clip_times, read_frames
from model.data.media_cache import Media
from model.data.sampler import Draw, seed_of

ATTEMPTS = 10  # clips that are tried in place of one that cannot be read
AHEAD = 2  # batches that each worker makes ahead of the trainer
ROOMS = AHEAD + 1  # a batch is made once the one that is as many before it is copied
STALL_S = 600.0  # without a batch, before the run gives up
NAMED = 5  # files that a message names
GRACE = 1000  # clips: a share is not judged by fewer, where a run has as many


@dataclass(frozen=True)
class Augmentation:
    """What is random in training: times within their parts of the clip, squares of these sides, mirroring."""

    crops: Sequence[float]
    flip: bool


@dataclass(frozen=True)
class Samples(Dataset[dict[str, Any]]):
    """A map-style dataset: (index of a clip, seed) → sample. The same draw gives the same sample in any process.

    `frames` are sampled from the whole of each clip and shown in `size` pixels a side; texts have `context` tokens.
    Without `augmentation` they are taken from the middles of equal parts, and the view is the centre.
    """

    clips: Clips
    media: Media
    frames: int
    size: int
    context: int = 77
    augmentation: Augmentation | None = None

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """A sample: a dict of the fields of Batch, its texts as they are.

        A clip that cannot be read is replaced by another one, the same each time.
        """
        drawn, seed = draw
        others = Random(seed_of("others", seed))
        index = drawn
        unreadable: dict[str, str] = {}
        for _ in range(ATTEMPTS):
            clip = self.clips[index]
            try:
                return self._sample(clip, Random(seed)) | {"index": index, "drawn": drawn, "unreadable": unreadable}
            except (BrokenMedia, OSError) as error:
                unreadable[clip.media_uri] = str(error).partition("\n")[0]
            index = others.randrange(len(self.clips))
        raise DatasetError(f"{ATTEMPTS} clips in a row cannot be read: {named(unreadable)}")

    def __getitems__(self, draws: Sequence[Draw]) -> list[dict[str, Any]] | DatasetError:
        """What PyTorch's loader asks for. An error is handed on: raised in a worker it would become a traceback."""
        try:
            return [self[draw] for draw in draws]
        except DatasetError as error:
            return error

    def _sample(self, clip: ClipRow, random: Random) -> dict[str, Any]:
        times = clip_times(clip.start, clip.end, self.frames, random if self.augmentation else None)
        found = read_frames(self.media.open(clip.media_uri), times)
        height, width = found.pixels.shape[2:]
        if self.augmentation:
            view = random_view(height, width, self.augmentation.crops, self.augmentation.flip, random)
        else:
            view = centre_view(height, width)
        return {
            "frames": show(found.pixels, view, self.size).movedim(1, -1),  # as they lie in memory
            "subtitle": clip.subtitle or "",
            "caption": clip.caption or "",
            "has_subtitle": clip.subtitle is not None,
            "has_caption": clip.caption is not None,
            "times": times,
            "view": (view.left, view.top, view.side, int(view.flip)),
        }

    def collate(self, samples: Sequence[dict[str, Any]] | DatasetError) -> Batch | DatasetError:
        """One batch of several samples; in a worker, in memory that it shares with the trainer."""
        if isinstance(samples, DatasetError):
            return samples
        by_name = {name: [sample[name] for sample in samples] for name in samples[0]}
        frames, unreadable = by_name.pop("frames"), by_name.pop("unreadable")
        texts = {kind: tokens(by_name.pop(kind), self.context) for kind in ("subtitle", "caption")}
        return Batch(
            # turned round after they are copied, which is four times as fast
            frames=torch.stack(frames, out=_room(frames)).movedim(-1, 2),
            unreadable=dict(ChainMap(*unreadable)),
            **texts,
            **{name: torch.from_numpy(np.array(values)) for name, values in by_name.items()},
        )


_rooms: deque[torch.Tensor] = deque()


def _room(pictures: Sequence[torch.Tensor]) -> torch.Tensor | None:
    """Where a worker puts the frames of its next batch together: memory that it shares with the trainer.

    Making that costs fifteen times what filling it does, so there is some for each batch on its way, used in turn.
    """
    if get_worker_info() is None:
        return None
    if len(_rooms) < ROOMS:
        _rooms.append(torch.empty((len(pictures), *pictures[0].shape), dtype=torch.uint8).share_memory_())
    else:
        _rooms.rotate(-1)
    return _rooms[-1][: len(pictures)]


def tokens(texts: Sequence[str], context: int = 77) -> torch.Tensor:
    """`texts` in CLIP's own vocabulary, int64 [texts, context].

    A longer one is cut and ends with the end token all the same; after it comes padding, which CLIP does not look at.
    """
    encoded = clip_tokenizer()(list(texts), padding="max_length", truncation=True, max_length=context)
    return torch.tensor(encoded["input_ids"])


@dataclass(frozen=True)
class Batch:
    """Samples that go through the model together."""

    frames: torch.Tensor
    """uint8 [B, T, 3, size, size] (in memory [B, T, size, size, 3]): to be normalised where the model runs"""
    subtitle: torch.Tensor
    caption: torch.Tensor
    """int64 [B, context]"""
    has_subtitle: torch.Tensor
    has_caption: torch.Tensor
    """bool [B]: a clip without one of the texts trains on the other alone"""
    index: torch.Tensor
    """int64 [B]: which clips these are, as indices of Clips"""
    drawn: torch.Tensor
    """int64 [B]: which clips were drawn; another one where that one could not be read"""
    times: torch.Tensor
    """float64 [B, T]: seconds on the clock of the stored media"""
    view: torch.Tensor
    """int64 [B, 4]: left, top, side, and whether mirrored"""
    unreadable: Mapping[str, str]
    """the media that could not be read, each with the reason"""

    def __len__(self) -> int:
        return len(self.frames)

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes: the frames by shared memory, the rest by value, since it is little."""
        values = {f.name: getattr(self, f.name) for f in fields(self) if f.name != "frames"}
        return _batch, (self.frames, {n: v.numpy() if isinstance(v, torch.Tensor) else v for n, v in values.items()})

    def to(self, device: torch.device) -> Self:
        return self._with(lambda tensor: tensor.to(device, non_blocking=True))

    def pin_memory(self) -> Self:
        return self._with(lambda tensor: tensor.pin_memory())

    def _with(self, function: Any) -> Self:
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return type(self)(**{n: function(v) if isinstance(v, torch.Tensor) else v for n, v in values.items()})


def _batch(frames: torch.Tensor, values: Mapping[str, Any]) -> Batch:
    arrays: dict[str, Any] = {n: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for n, v in values.items()}
    return Batch(frames=frames, **arrays)


def read(samples: Samples, batches: Iterable[list[Draw]], workers: int, pin_memory: bool = False) -> Iterator[Batch]:
    """The samples of `batches`, in that order, made by so many processes (0: by this one). Raises DatasetError.

    The processes are spawned: a forked one cannot use the object store, and one of a fork server would outlive a
    trainer that was killed.
    """
    apart: dict[str, Any] = {"multiprocessing_context": "spawn", "prefetch_factor": AHEAD, "timeout": STALL_S}
    loader: DataLoader[dict[str, Any]] = DataLoader(
        samples,
        batch_sampler=batches,
        collate_fn=samples.collate,
        pin_memory=pin_memory,
        num_workers=workers,
        worker_init_fn=_begin,
        **(apart if workers else {}),
    )
    coming = iter(loader)
    seen: deque[torch.Tensor] = deque(maxlen=ROOMS * workers)  # so that their memory is mapped once
    try:
        while (batch := _next(coming)) is not None:
            if workers and not pin_memory:  # pinning copies as well
                seen.append(batch.frames)
                batch = replace(batch, frames=batch.frames.clone())
            yield batch
    finally:
        del coming  # and its processes with it


def _next(coming: Iterator[Batch | DatasetError]) -> Batch | None:
    try:
        batch = next(coming, None)
    except RuntimeError as error:  # a process was killed, or is stuck
        raise DatasetError(f"clips stopped coming in: {' '.join(str(error).split())}") from error
    if isinstance(batch, DatasetError):
        raise batch
    return batch


def _begin(worker: int) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the trainer's: it ends its workers


@dataclass
class MissingClips:
    """Counts the clips that could not be read, and ends a run in which they are too many.

    `share` of the clips drawn may be replaced by others; `total` clips will be drawn in all.
    """

    share: float
    total: int
    drawn: int = 0
    replaced: int = 0
    files: dict[str, str] = field(default_factory=dict)

    def add(self, batch: Batch) -> None:
        """Count a batch. Raises DatasetError, which names files, past the share."""
        self.drawn += len(batch)
        self.replaced += int((batch.index != batch.drawn).sum())
        self.files.update(batch.unreadable)
        if self.replaced > self.share * max(self.drawn, min(GRACE, self.total)):
            raise DatasetError(
                f"{self.replaced} of {self.drawn} clips cannot be read, more than data.max_missing ({self.share:g}): "
                f"{named(self.files)}"
            )


def named(files: Mapping[str, str]) -> str:
    """The first few of the files that could not be read, with the reasons."""
    shown = [f"{file} ({reason})" for file, reason in sorted(files.items())[:NAMED]]
    return "; ".join(shown) + (f"; and {len(files) - NAMED} more" if len(files) > NAMED else "")
