"""Which videos a model was trained on, so that it is not evaluated on them by mistake."""

from __future__ import annotations

from collections.abc import Collection, Iterator
from pathlib import Path

from curation.errors import UsageError
from curation.ids import source_id
from model.data.clips import Clips
from model.training.run_folder import TRAIN_CLIPS, RunMetadata, read_metadata, run_folder_of


def check_not_trained_on(source: Path, videos: Collection[str]) -> None:
    """Raises UsageError if the model of `source`, a run or a checkpoint of one, was trained on one of `videos`.

    So it does if a run was, whose model that run started from. Ranges of one video count as that video. Of a model
    without its run nothing is known.
    """
    names = {source_id(video) for video in videos}
    for run in _runs(source):
        seen = sorted(names.intersection(map(source_id, Clips(run / TRAIN_CLIPS).videos())))
        if seen:
            raise UsageError(
                f"{len(seen)} of the {len(names)} videos, such as {seen[0]}, are among those that {run} was trained "
                f"on: evaluate on others, or say --trained-on to evaluate on these too"
            )


def _runs(source: Path) -> Iterator[Path]:
    """The folder of the run of `source`, then of the run that its initial weights are of, and so on."""
    folder, known = run_folder_of(source), set[Path]()
    while folder is not None and folder not in known and (folder / TRAIN_CLIPS).exists():
        known.add(folder)
        yield folder
        match read_metadata(folder):
            case RunMetadata(settings={"model": {"weights": str(weights)}}):
                folder = run_folder_of(Path(weights))
            case _:
                folder = None
