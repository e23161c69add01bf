"""`--prune`: the requests that the inputs do not name any more, with what came of them. Nothing is banned."""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

import pyarrow as pa
import pyarrow.compute as pc

from curation.dataset.commits import Committer
from curation.dataset.dataset import Dataset
from curation.dataset.edits import removal
from curation.errors import UsageError
from curation.records import Reject
from curation.sources.requests import Inputs

SHOWN = 5  # URIs


@dataclass(frozen=True)
class Unnamed:
    """Requests by request_key and URI, and the number of videos that they led to."""

    requests: dict[str, str]
    videos: int

    def line(self) -> str:
        """The numbers and some URIs, in one line."""
        uris = list(self.requests.values())
        some = ", ".join([*uris[:SHOWN], *(["…"] if len(uris) > SHOWN else [])])
        return f"{len(uris)} requests that the inputs do not name, with {self.videos} videos: {some}"


def all_named(inputs: Inputs) -> Inputs:
    """The inputs, read to their end: what they name is known. Raises UsageError if it is not, InputError."""
    answers = list(inputs)
    if unlisted := [url for url, whole in inputs.playlists.items() if not whole]:
        raise UsageError(f"--prune: nothing is done, since not all of {', '.join(unlisted)} could be listed")
    if refused := [answer.message for answer in answers if isinstance(answer, Reject)]:
        others = f", and {len(refused) - 1} more" if len(refused) > 1 else ""
        raise UsageError(f"--prune: nothing is done, since a row was refused: {refused[0]}{others}")
    return replace(inputs, readers=[iter(answers)])


def unnamed(dataset: Dataset, named: Collection[str]) -> Unnamed:
    """The requests other than those `named`, by request_key."""
    requests = dataset.read("requests", ["request_key", "uri"])
    gone = [key not in named for key in requests["request_key"].to_pylist()]
    left = requests.filter(pa.array(gone, pa.bool_()))
    keys = left["request_key"]
    downloads = dataset.read("downloads", ["request_key", "video_id"])
    videos = pc.count_distinct(downloads["video_id"].filter(pc.is_in(downloads["request_key"], keys))).as_py()
    return Unnamed(dict(zip(keys.to_pylist(), left["uri"].to_pylist(), strict=True)), videos)


def prune(writer: Committer, gone: Unnamed) -> None:
    """Remove them from all tables in one commit; a video that a named request leads to as well stays."""
    writer.commit(f"{writer.lineage.run_id}:prune", [], removal(writer.dataset, gone.requests))
