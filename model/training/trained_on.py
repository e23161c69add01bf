"""Which videos a model was trained on, so that it is not evaluated on them by mistake."""

from __future__ import annotations

from collections.abc import Collection, Iterator, Mapping
from pathlib import Path, PurePath

from curation.errors import UsageError
from model.data.clips import Clips
from model.evaluation.video_names import may_be_same, plain_id
from model.network.hub import PREFIX
from model.training.run_folder import TRAIN_CLIPS, RunMetadata, read_metadata, run_folder_of


def check_not_trained_on(source: Path, videos: Mapping[str, Path | None] | Collection[str]) -> None:
    """Raises UsageError if the model of `source`, a run or a checkpoint of one, was trained on one of `videos`.

    So it does if a run was, whose model that run started from, or if that run cannot be found. Videos are known by
    their ids, however spelled, and by their files where `videos` has these, too. Ranges of one video count as that
    video. Of a model without its run nothing is known.
    """
    files = videos if isinstance(videos, Mapping) else dict.fromkeys(videos)
    wanted: dict[PurePath, set[Path]] = {}
    for video, file in files.items():
        wanted.setdefault(plain_id(video), set()).update(() if file is None else (file.resolve(),))
    for run in _runs(source):
        seen = sorted(map(str, _seen(Clips(run / TRAIN_CLIPS), wanted)))
        if seen:
            raise UsageError(
                f"{len(seen)} of the {len(wanted)} videos, such as {seen[0]}, are among those that {run} was trained "
                f"on: evaluate on others, or say --trained-on to evaluate on these too"
            )


def _seen(clips: Clips, wanted: Mapping[PurePath, set[Path]]) -> Iterator[PurePath]:
    """Those of the `wanted` videos, by their ids, that are among the clips."""
    trained: dict[str, set[PurePath]] = {}
    for plain in map(plain_id, set(clips.videos())):
        trained.setdefault(plain.name, set()).add(plain)
    files = set[Path]()
    if any(wanted.values()):
        files = {Path(uri).resolve() for uri in set(clips.media_uris()) if Path(uri).is_absolute()}
    for video, own in wanted.items():
        if own & files or any(may_be_same(video, other) for other in trained.get(video.name, ())):
            yield video


def _runs(source: Path) -> Iterator[Path]:
    """The folder of the run of `source`, then of the run that its initial weights are of, and so on.

    Raises UsageError once one of these cannot be found.
    """
    folder: Path | None = run_folder_of(source)
    known = set[Path]()
    while folder is not None and folder.resolve() not in known and (folder / TRAIN_CLIPS).exists():
        known.add(folder.resolve())
        yield folder
        metadata = read_metadata(folder)
        weights = None if metadata is None else _initial_weights(folder, metadata)
        folder = None if weights is None else run_folder_of(weights)


def _initial_weights(run: Path, metadata: RunMetadata) -> Path | None:
    """The path of the weights that a run began from; None if they are of the hub. Raises UsageError if they are gone.

    A relative path counts from the folder in which the run was started; that is not known, but may be above the run.
    """
    given = str(metadata.settings.get("model", {}).get("weights", ""))
    recorded = given if metadata.began_from == "" else metadata.began_from
    if recorded is None or given.startswith(PREFIX):
        return None
    places = (Path(recorded), *(folder / given for folder in (run.resolve(), *run.resolve().parents)))
    found = next((place for place in places if place.is_absolute() and place.exists()), None)
    if found is None and (metadata.began_from or Path(given).is_absolute() or given.count("/") != 1):
        raise UsageError(
            f"{run} began from {recorded}, which cannot be found, so it is not known what that was trained on: put it "
            f"back, or say --trained-on to evaluate all the same"
        )
    return found  # NAME/MODEL that is nowhere is one on the hub
