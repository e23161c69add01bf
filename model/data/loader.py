"""Loads clips as batches of frames and tokens, in worker processes."""

from __future__ import annotations

import contextlib
import errno
import math
import multiprocessing
import signal
import threading
import time
import warnings
from collections import ChainMap
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from random import Random
from typing import Any

import numpy as np
import torch
from torch._C import _error_if_any_worker_fails
from torch.utils.data import DataLoader, Dataset

from curation.clip_tokenizer import END_TOKEN, encode
from curation.errors import DatasetError
from curation.ids import source_id
from curation.media.picture_box import WHOLE, pixels_in
from model.data.augment import apply_view, centre_view, random_view
from model.data.clips import ClipRow, Clips
from model.data.frame_buffer import FrameBuffer
from model.data.frame_reader import BrokenMedia, sample_times
from model.data.media_cache import Media
from model.data.sampler import Draw, seed_of

ATTEMPTS = 10  # clips to try in place of one that cannot be read
NO_CLIP = -1
"""In `Batch.index`: nothing stands in place of a clip that cannot be read."""
_OWN_FAULTS = (errno.ENOSPC, errno.EDQUOT, errno.EMFILE, errno.ENFILE)  # of this machine: every other clip has them too
PREFETCH = 2  # batches that each worker prepares ahead of the trainer
DEATH_S = 5.0  # for the death of a worker to be reported, once a connection to it is broken
STALL_S = 600.0  # without a batch, before the run gives up
NAMED_FILES = 5  # in a message
MIN_JUDGED_CLIPS = 1000  # judge the share of unreadable clips from this many on (or all, if the run has fewer)


@dataclass(frozen=True)
class Augmentation:
    """Random augmentation in training: square crops of these relative sides, mirroring, and times of frames."""

    crops: Sequence[float]
    flip: bool
    stratified: bool = True
    """frames at random times, one in each of equal parts of the clip; else in the middles of these"""


@dataclass(frozen=True)
class ClipDataset(Dataset[dict[str, Any]]):
    """A map-style dataset: (index of a clip, seed) → sample. The same draw gives the same sample in any process.

    `frames` frames are sampled over the whole clip, cropped by its box if it has one, and resized to `size` pixels a
    side; texts have `context` tokens.
    Without `augmentation`, frames are the middles of equal parts of the clip, cropped at the centre.
    """

    clips: Clips
    media: Media
    frames: int
    size: int
    context: int = 77
    augmentation: Augmentation | None = None

    @property
    def frame_shape(self) -> tuple[int, int, int, int]:
        """Of a clip's frames as they lie in memory: (T, size, size, 3), one byte each."""
        return self.frames, self.size, self.size, 3

    def __len__(self) -> int:
        return len(self.clips)

    def __getitem__(self, draw: Draw) -> dict[str, Any]:
        """A sample, with the fields of Batch; its texts are strings.

        In training, a clip that cannot be read is replaced by another one, the same each time; without augmentation by
        nothing: its index is NO_CLIP. Raises DatasetError after ATTEMPTS, and for faults of this machine.
        """
        drawn, seed = draw
        replacements = Random(seed_of("others", seed))
        index = drawn
        unreadable: dict[str, str] = {}
        for _ in range(ATTEMPTS):
            clip = self.clips[index]
            try:
                return self._sample(clip, Random(seed)) | {"index": index, "drawn": drawn, "unreadable": unreadable}
            except (BrokenMedia, OSError) as error:
                if getattr(error, "errno", None) in _OWN_FAULTS:
                    raise DatasetError(f"cannot read clips: {error}") from error
                unreadable[clip.media_uri] = str(error).partition("\n")[0]
            if self.augmentation is None:
                return self._nothing() | {"index": NO_CLIP, "drawn": drawn, "unreadable": unreadable}
            index = replacements.randrange(len(self.clips))
        raise DatasetError(f"{ATTEMPTS} clips in a row cannot be read: {list_files(unreadable)}")

    def _nothing(self) -> dict[str, Any]:
        """Black frames without texts."""
        frames = torch.zeros(self.frame_shape, dtype=torch.uint8)
        without = {"subtitle": "", "caption": "", "has_subtitle": False, "has_caption": False}
        return {"frames": frames, **without, "video": 0, "times": [0.0] * self.frames, "view": (0, 0, 0, 0)}

    def _sample(self, clip: ClipRow, random: Random) -> dict[str, Any]:
        stratified = self.augmentation is not None and self.augmentation.stratified
        times = sample_times(clip.start, clip.end, self.frames, random if stratified else None)
        pixels = self.media.read(clip.media_uri, times, self.size, clip.media_digest).pixels
        left, top, height, width = pixels_in(clip.box or WHOLE, *pixels.shape[2:])
        if self.augmentation:
            view = random_view(height, width, self.augmentation.crops, self.augmentation.flip, random)
        else:
            view = centre_view(height, width)
        view = view.moved(left, top)
        return {
            "frames": apply_view(pixels, view, self.size).movedim(1, -1),  # [T, size, size, 3], their order in memory
            "subtitle": clip.subtitle or "",
            "caption": clip.caption or "",
            "has_subtitle": clip.subtitle is not None,
            "has_caption": clip.caption is not None,
            "video": seed_of("video", source_id(clip.video_id)),
            "times": times,
            "view": (view.left, view.top, view.side, int(view.flip)),
        }


def tokenize(texts: Sequence[str], context: int = 77) -> torch.Tensor:
    """`texts` as tokens of CLIP's vocabulary, int64 [texts, context]; longer texts are cut.

    Each ends with the end token, followed by padding that CLIP ignores.

    >>> tokenize(["a dog"], context=6)
    tensor([[49406,   320,  1929, 49407, 49407, 49407]])
    """
    rows = torch.full((len(texts), context), END_TOKEN)
    for row, text in zip(rows, texts, strict=True):
        tokens = encode(text)[: context - 1]  # a longer text loses its end mark, too: the padding is its own
        row[: len(tokens)] = torch.tensor(tokens)
    return rows


@dataclass(frozen=True)
class Batch:
    """Samples that go through the model together."""

    frames: torch.Tensor
    """uint8 [B, T, 3, size, size] (in memory [B, T, size, size, 3]); normalise them on the model's device"""
    subtitle: torch.Tensor
    caption: torch.Tensor
    """int64 [B, context]"""
    has_subtitle: torch.Tensor
    has_caption: torch.Tensor
    """bool [B]: a clip without one of the texts trains on the other only"""
    video: torch.Tensor
    """int64 [B]: a number for each video; ranges cut from one video have the same"""
    index: torch.Tensor
    """int64 [B]: indices of the clips, in Clips; or NO_CLIP"""
    drawn: torch.Tensor
    """int64 [B]: indices of the clips that were drawn; differs from `index` where one was replaced"""
    times: torch.Tensor
    """float64 [B, T]: seconds on the clock of the stored media"""
    view: torch.Tensor
    """int64 [B, 4]: left, top, side, and whether mirrored"""
    unreadable: Mapping[str, str]
    """media that could not be read: reason by URI"""

    def __len__(self) -> int:
        return len(self.index)

    def __reduce__(self) -> tuple[Any, ...]:
        """Between processes by value, as it is small without its frames."""
        values = {f.name: getattr(self, f.name) for f in fields(self)}
        return _batch, ({n: v.numpy() if isinstance(v, torch.Tensor) else v for n, v in values.items()},)


def _batch(values: Mapping[str, Any]) -> Batch:
    arrays: dict[str, Any] = {n: torch.from_numpy(v) if isinstance(v, np.ndarray) else v for n, v in values.items()}
    return Batch(**arrays)


@dataclass(frozen=True)
class StoredBatch:
    """A batch whose frames lie in a buffer, or in the batch itself if there is none."""

    batch: Batch
    """with its frames only if there is no buffer"""
    shape: tuple[int, ...]
    buffer: FrameBuffer | None
    offset: int
    pinned: bool

    def load(self) -> Batch:
        """The batch with its frames."""
        if self.buffer is None:
            return self.batch
        frames = self.buffer.read(self.shape, self.offset, self.pinned)
        return replace(self.batch, frames=frames.movedim(-1, 2))


@dataclass(frozen=True)
class _BatchReader(Dataset[Any]):
    """What a worker does: (offset, draws) → a batch, whose frames are in `buffer` from that offset on."""

    clips: ClipDataset
    buffer: FrameBuffer | None

    def __getitems__(self, request: tuple[int, list[Draw]]) -> tuple[int, Batch] | DatasetError:
        """Called by DataLoader. Returns a DatasetError rather than raise it, which would print a worker's traceback."""
        first, draws = request
        samples, offset = [], first
        try:
            for draw in draws:
                sample = self.clips[draw]
                if self.buffer is not None:  # at once, so that a worker holds the frames of one clip
                    offset = self.buffer.write(sample["frames"], offset)
                    sample["frames"] = torch.empty(0, dtype=torch.uint8)
                samples.append(sample)
        except DatasetError as error:
            return error
        return first, _collate(samples, self.clips.context)


def _collate(samples: Sequence[dict[str, Any]], context: int) -> Batch:
    by_name = {name: [sample[name] for sample in samples] for name in samples[0]}
    frames, unreadable = torch.stack(by_name.pop("frames")), by_name.pop("unreadable")
    texts = {kind: tokenize(by_name.pop(kind), context) for kind in ("subtitle", "caption")}
    return Batch(
        # transposing after the copy is four times as fast
        frames=frames.movedim(-1, 2) if frames.ndim > 2 else frames,
        unreadable=dict(ChainMap(*unreadable)),
        **texts,
        **{name: torch.from_numpy(np.array(values)) for name, values in by_name.items()},
    )


def load_batches(clips: ClipDataset, batches: Iterable[list[Draw]], workers: int) -> Iterator[Batch]:
    """Load `batches` of draws, in that order, in `workers` processes (0: in this one). Raises DatasetError."""
    return (stored.load() for stored in store_batches(clips, batches, workers))


def store_batches(
    clips: ClipDataset, batches: Iterable[list[Draw]], workers: int, held: int = 0, pinned: bool = False
) -> Iterator[StoredBatch]:
    """Like `load_batches`, but each batch is to be loaded: once, before the next one is asked for.

    With `held`, the last `held` batches can be loaded, any number of times, and the workers read as many ahead. Their
    frames are on disk, not in memory. No batch may be larger than the first one.

    Workers are spawned: a forked one cannot use the object store, and one from a fork server would outlive a trainer
    that is killed.
    """
    ahead = _read_ahead(workers, held)
    buffer = FrameBuffer(on_disk=held > 0) if held or workers else None
    worker_options: dict[str, Any] = {
        "multiprocessing_context": "spawn",
        "prefetch_factor": ahead // max(1, workers),
        "timeout": STALL_S,
    }
    with warnings.catch_warnings():
        # More workers than PyTorch suggests are the user's choice.
        warnings.filterwarnings("ignore", "This DataLoader will create")
        loader: DataLoader[Any] = DataLoader(
            _BatchReader(clips, buffer),
            batch_sampler=_requests(batches, math.prod(clips.frame_shape), max(1, held) + ahead),
            collate_fn=_as_it_is,
            num_workers=workers,
            worker_init_fn=_init_worker,
            **(worker_options if workers else {}),
        )
    handler, others = signal.getsignal(signal.SIGCHLD), set(multiprocessing.active_children())
    iterator = iter(loader)
    processes = set(multiprocessing.active_children()) - others
    if _in_main_thread():
        signal.signal(signal.SIGCHLD, handler)  # not PyTorch's: see _worker_deaths_interrupt
    try:
        while (found := _next(iterator)) is not None:
            offset, batch = found
            yield StoredBatch(batch, (len(batch), *clips.frame_shape), buffer, offset, pinned)
    finally:
        del iterator  # ends its worker processes,
        for process in processes:  # but for those that are stuck, as they ignore SIGTERM
            process.kill()


def disk_bytes(held: int, workers: int, micro_batch: int, frames: int, size: int) -> int:
    """Bytes on disk that `store_batches` takes for `held` batches and those read ahead."""
    return (held + _read_ahead(workers, held)) * micro_batch * frames * size**2 * 3 if held else 0


def _read_ahead(workers: int, held: int) -> int:
    return workers * max(PREFETCH, -(-held // max(1, workers)))


def _requests(batches: Iterable[list[Draw]], clip_bytes: int, places: int) -> Iterator[Any]:
    """Each batch as (offset of its place in a buffer, draws); the places are used in turn.

    While the trainer asks for a batch, the workers may have the following ones, and it may hold earlier ones: `places`
    is the number of both.
    """
    stride = 0
    for number, draws in enumerate(batches):
        stride = stride or len(draws) * clip_bytes
        yield number % places * stride, draws


def _as_it_is(batch: Any) -> Any:
    return batch


def _next(iterator: Iterator[tuple[int, Batch] | DatasetError]) -> tuple[int, Batch] | None:
    try:
        with _worker_deaths_interrupt():
            found = next(iterator, None)
    except (RuntimeError, ConnectionError, EOFError, FileNotFoundError) as error:  # a worker was killed or is stuck
        raise DatasetError(f"no more clips are coming in: {' '.join(str(_death_behind(error)).split())}") from error
    if isinstance(found, DatasetError):
        raise found
    return found


def _death_behind(error: Exception) -> Exception:
    """The error of a worker's death, if that is why a connection to it broke: it is reported a little later."""
    deadline = time.monotonic() + DEATH_S
    while not isinstance(error, RuntimeError) and time.monotonic() < deadline:
        try:
            _error_if_any_worker_fails()
        except RuntimeError as death:
            return death
        time.sleep(0.05)
    return error


@contextlib.contextmanager
def _worker_deaths_interrupt() -> Iterator[None]:
    """Have the death of a worker process raise RuntimeError while a batch is waited for, and at no other time.

    PyTorch's own handler raises in whatever the main thread runs: in the middle of a step, or of a checkpoint.
    """
    if not _in_main_thread():
        yield
        return
    before = signal.signal(signal.SIGCHLD, lambda *_: _error_if_any_worker_fails())
    try:
        _error_if_any_worker_fails()  # those that died since
        yield
    finally:
        signal.signal(signal.SIGCHLD, before)


def _in_main_thread() -> bool:
    return threading.current_thread() is threading.main_thread()


def _init_worker(worker: int) -> None:
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGUSR1):  # the trainer handles them, and ends its workers
        signal.signal(number, signal.SIG_IGN)


@dataclass
class UnreadableClips:
    """Counts the clips that could not be read, and ends a run with too many of them.

    Up to `max_share` of the clips drawn may be replaced; the run draws `total` clips.
    """

    max_share: float
    total: int
    drawn: int = 0
    replaced: int = 0
    files: dict[str, str] = field(default_factory=dict)

    def add(self, drawn: int, replaced: int, files: Mapping[str, str]) -> None:
        """Count clips, and name the files of those replaced. Raises DatasetError above the share."""
        self.drawn += drawn
        self.replaced += replaced
        self.files.update(files)
        if self.replaced > self.max_share * max(self.drawn, min(MIN_JUDGED_CLIPS, self.total)):
            raise DatasetError(
                f"{self.replaced} of {self.drawn} clips cannot be read, more than data.max_missing "
                f"({self.max_share:g}): {list_files(self.files)}"
            )


def list_files(files: Mapping[str, str]) -> str:
    """The first few unreadable files, with the reasons.

    >>> list_files({"media/a.mp4": "No such file", "media/b.mp4": "moov atom not found"})
    'media/a.mp4 (No such file); media/b.mp4 (moov atom not found)'
    """
    shown = [f"{file} ({reason})" for file, reason in sorted(files.items())[:NAMED_FILES]]
    return "; ".join(shown) + (f"; and {len(files) - NAMED_FILES} more" if len(files) > NAMED_FILES else "")
