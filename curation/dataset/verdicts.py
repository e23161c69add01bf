"""People's verdicts: each a small file that needs no lease, until the next writer takes it into the table `labels`."""

from __future__ import annotations

import json
import logging
import secrets
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime

import pyarrow as pa
import pyarrow.dataset
from pydantic import TypeAdapter, ValidationError

from curation.dataset.commits import Committer
from curation.dataset.dataset import Dataset
from curation.dataset.object_store import put, read_errors
from curation.dataset.parts import PartWriter
from curation.errors import UsageError
from curation.ids import content_digest, digest, forgotten_key
from curation.labels import RATINGS, TEXTS, VERDICTS, Label
from curation.records import Row
from curation.schema import TABLES, to_row

FOLDER = "verdicts/"
MOST_BYTES = 16_384
LONGEST_NOTE = 2_000  # characters
_LABEL = TypeAdapter(Label)

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Judged:
    """What a verdict is on: a clip, or one of its texts, and in an audit, which."""

    clip_id: str
    video_id: str
    text: str | None = None
    content: str | None = None
    audit: str | None = None
    version: str | None = None


def judge(dataset: Dataset, judged: Judged, verdict: str, note: str, rater: str) -> Label:
    """Keep a verdict. Raises UsageError for an unknown one, DatasetError if it cannot be written."""
    known = VERDICTS if judged.text is None else RATINGS
    if verdict not in known or judged.text not in (None, *TEXTS):
        raise UsageError(f"'{verdict}' is not a verdict here; choose one of {', '.join(known)}")
    if len(note) > LONGEST_NOTE:
        raise UsageError(f"the note is longer than {LONGEST_NOTE:,} characters")
    now = datetime.now(UTC)
    label = Label(
        label_id=f"{now:%Y%m%dT%H%M%S%f}-{secrets.token_hex(4)}",
        clip_id=judged.clip_id,
        video_id=judged.video_id,
        text=judged.text,
        text_digest=None if judged.content is None else content_digest(judged.content.encode()),
        verdict=verdict,
        note=note.strip() or None,
        rater=rater,
        audit=judged.audit,
        version=judged.version,
        judged_at=now.isoformat(timespec="seconds"),
    )
    data = json.dumps(asdict(label), ensure_ascii=False).encode()
    put(dataset.store, f"{FOLDER}{label.label_id}.json", data, create=True, flush=True)
    return label


def waiting(dataset: Dataset) -> dict[str, Label]:
    """The verdicts that no writer has taken in yet, by path, the first one first. Others' files are passed over."""
    return dict(sorted(_readable(dataset)))


def _readable(dataset: Dataset) -> Iterator[tuple[str, Label]]:
    for path, size, _ in dataset.list(FOLDER):
        try:
            if size <= MOST_BYTES:
                yield path, _LABEL.validate_json(dataset.get(path))
        except FileNotFoundError:  # a writer has taken it in
            continue
        except ValidationError:
            log.warning("%s/%s is not a verdict", dataset.uri, path)


def labels_now(dataset: Dataset, labels: pyarrow.dataset.Dataset | None = None) -> pa.Table:
    """The table `labels`, or `labels` themselves, with the verdicts that wait for a writer."""
    names = [field.name for field in TABLES["labels"].schema if field.name in Label.__dataclass_fields__]
    with read_errors(f"{dataset.uri}/labels"):
        taken = (dataset.arrow("labels") if labels is None else labels).to_table(columns=names)
    known = set(taken["label_id"].to_pylist())
    rows = [to_row(label) for label in waiting(dataset).values() if label.label_id not in known]
    return pa.concat_tables([taken, pa.Table.from_pylist(rows, taken.schema)])


def take_in(writer: Committer) -> int:
    """Add the waiting verdicts to `labels` in one commit, and delete their files; returns how many.

    Those on what has been forgotten are deleted alone. A killed writer's files are known by their ids.
    """
    dataset = writer.dataset
    found = waiting(dataset)
    if not found:
        return 0
    forgotten = set(dataset.read("forgotten", ["key"])["key"].to_pylist())
    known = set(dataset.read("labels", ["label_id"])["label_id"].to_pylist())
    new = [
        label
        for label in found.values()
        if label.label_id not in known and forgotten_key("video", label.video_id) not in forgotten
    ]
    if new:
        parts = PartWriter(dataset.store, writer.lineage, part_bytes=1 << 30)
        parts.add(Row(label, digest("label")) for label in new)
        ids = digest("labels", *(label.label_id for label in new))
        writer.commit(f"{writer.lineage.run_id}:labels:{ids}", parts.finish())
    dataset.delete(found)
    return len(new)
