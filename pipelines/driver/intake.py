"""Intake: the inputs of a run become rows of `requests`, each once; unusable ones become rejects as well.

A row of a list that has changed since it was last read changes its request, and its metadata wherever that stands.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field, replace

from curation.dataset.commits import Committer, Replacement
from curation.dataset.dataset import rows_of
from curation.dataset.edits import removal, replacing, requests_with, set_metadata
from curation.dataset.parts import PartWriter, UnwritableRow
from curation.ids import digest
from curation.records import Reject, Row, VideoRequest
from curation.rejects import Kind, Rejected, Stage
from curation.row_digests import download_digest, download_reject_digest
from curation.settings import Settings
from curation.sources.requests import Answer, Inputs, read_inputs
from curation.sources.targets import FetchTarget, reject_input
from curation.uris import unredacted
from pipelines.driver.id_clashes import settle_ids
from pipelines.driver.renamed import rename_videos
from pipelines.worker.batches import batches

log = logging.getLogger(__name__)

REQUESTS_AT_A_TIME = 10_000  # in a commit
_STATED = ("id", "subtitles", "subtitle_language", "metadata")  # by a row of a list, besides its URL and range


@dataclass
class Intake:
    """What the inputs of a run have brought.

    `targets` are, by request_key, those whose URLs differ from those in the table, which holds no secrets. `seen` has
    the key of each request, with a hash of the id and subtitles that a list states, if one does. `renamed` are those
    with another id than in the table, where they stay as they are until `settle`.
    """

    targets: dict[str, FetchTarget] = field(default_factory=dict)
    counts: Counter[str] = field(default_factory=Counter)
    seen: dict[str, int | None] = field(default_factory=dict)
    renamed: dict[str, VideoRequest] = field(default_factory=dict)
    renames: int = 0  # videos, once they are settled

    def line(self) -> str:
        """The counts in one line."""
        names = ("new", "changed", "the same", "duplicates", "refused")
        renamed = f"; {self.renames} videos are renamed" if self.renames else ""
        return f"inputs: {', '.join(f'{self.counts[name]} {name}' for name in names if self.counts[name])}{renamed}"


def add_requests(writer: Committer, settings: Settings, inputs: Sequence[str]) -> dict[str, FetchTarget]:
    """`take_in` what `inputs` name; returns the targets. Raises InputError."""
    return take_in(writer, settings, read_inputs(inputs, settings.download)).targets


def take_in(writer: Committer, settings: Settings, inputs: Inputs) -> Intake:
    """`read_in` and `settle`. Raises InputError."""
    intake = read_in(writer, settings, inputs)
    settle(writer, settings, intake)
    return intake


def read_in(writer: Committer, settings: Settings, inputs: Inputs) -> Intake:
    """Commit the requests among `inputs` that the dataset lacks, and those that have changed. Raises InputError."""
    intake = Intake()
    known = _known(writer)
    for number, answers in enumerate(batches(inputs, REQUESTS_AT_A_TIME)):
        batch = _Batch(writer, settings, intake, known)
        for answer in answers:
            batch.take(answer)
        batch.commit(f"{writer.lineage.run_id}:requests:{number}")
    _drop_corrected(writer, inputs, intake)
    return intake


def settle(writer: Committer, settings: Settings, intake: Intake) -> None:
    """Give videos the ids that the inputs have for them now, all at once, and each id to one request."""
    token = f"{writer.lineage.run_id}:requests:renamed"
    intake.renames = rename_videos(writer, settings, intake.renamed, intake.seen, f"{token}:videos")
    _Batch(writer, settings, intake, {}, changed=dict(intake.renamed)).write(token)
    settle_ids(writer, settings, intake.seen)


def _known(writer: Committer) -> dict[str, int]:
    """By request_key, a hash of what each request states."""
    rows = writer.dataset.read("requests", ["request_key", "refused", *_STATED])
    return {row["request_key"]: _hash(row["refused"], *(row[name] for name in _STATED)) for row in rows_of(rows)}


def _hash(refused: str | None, id_: str | None, *others: str | None) -> int:
    """A request with an id is refused for that alone, which is not a matter of its row."""
    return hash((refused if id_ is None else None, id_, *others))


_BARE = _hash(*[None] * 5)


def _hash_of(request: VideoRequest) -> int:
    return _hash(request.refused, *(getattr(request, name) for name in _STATED))


@dataclass
class _Batch:
    """Some answers, by request_key: new requests, those that may have changed, and the rejects of refused rows."""

    writer: Committer
    settings: Settings
    intake: Intake
    known: dict[str, int]
    new: dict[str, VideoRequest] = field(default_factory=dict)
    changed: dict[str, VideoRequest] = field(default_factory=dict)
    rejects: dict[str, Reject] = field(default_factory=dict)
    clashes: list[FetchTarget] = field(default_factory=list)

    def take(self, answer: Answer) -> None:
        if isinstance(answer, Reject):
            self._refuse(answer)
            return
        request, seen = answer.request, self.intake.seen
        key = request.request_key
        stated = hash((request.id, request.subtitles)) if answer.states else None
        other_words = stated is not None and seen.get(key) not in (None, stated)
        if key in seen and (other_words or self._is_signed_otherwise(answer)):
            self.clashes.append(answer)
            return
        if key in seen and (stated is None or seen[key] is not None):
            self.intake.counts["duplicates"] += 1
            return
        repeated = key in seen  # by a row that states nothing
        seen[key] = stated
        if _has_secrets(answer):
            self.intake.targets[key] = answer
        if key not in self.known:
            self.new[key] = request
            self.intake.counts["duplicates" if repeated else "new"] += 1
        elif self.known[key] != _hash_of(request) and (stated is not None or request.local):
            self.changed[key] = request
        else:
            self.intake.counts["the same"] += 1

    def _is_signed_otherwise(self, target: FetchTarget) -> bool:
        """Whether an earlier URL of the run differs only in what signs a URL, which may be what tells two videos."""
        first = self.intake.targets.get(target.request.request_key)
        return first is not None and unredacted(first.url.reveal()) != unredacted(target.url.reveal())

    def _refuse(self, reject: Reject) -> None:
        request = _request_of(reject)
        key = request.request_key
        if key in self.intake.seen:
            self.intake.counts["duplicates"] += 1
            return
        self.intake.seen[key] = None
        self.intake.counts["refused"] += 1
        if key not in self.known:
            self.new[key], self.rejects[key] = request, reject
        elif self.known[key] not in (_hash_of(request), _BARE):  # as older versions wrote it
            self.changed[key], self.rejects[key] = request, reject

    def commit(self, token: str) -> None:
        """Commit the batch, but for the requests with another id."""
        self._refuse_clashes()
        self._look_at_changes()
        self.write(token)

    def write(self, token: str) -> None:
        """Commit the new and the changed requests."""
        parts = PartWriter(self.writer.dataset.store, self.writer.lineage, self.settings.run.part_bytes)
        replaced = self._change(parts)
        requests = [*self.new.values(), *self.changed.values()]
        rows = [Row(request, digest("request", request.request_key)) for request in requests]
        rejects = [
            _reject_row(self.rejects[r.request_key], r, self.settings)
            for r in requests
            if r.request_key in self.rejects
        ]
        try:
            parts.add([*rows, *rejects])
        except UnwritableRow:
            _add_one_by_one(parts, rows, rejects, self.settings)
        if (written := parts.finish()) or replaced:
            self.writer.commit(token, written, replaced)
        self.known.update((request.request_key, _hash_of(request)) for request in requests)

    def _refuse_clashes(self) -> None:
        """Refuse the rows whose URL and range an earlier one has with another id, subtitles or signature."""
        others = {
            **requests_with(self.writer.dataset, {target.request.request_key for target in self.clashes}),
            **self.intake.renamed,
            **self.changed,
            **self.new,
        }
        for target in self.clashes:
            request, other = target.request, others[target.request.request_key]
            about = " and ".join(
                f"{name} {getattr(other, column) or 'none'}"
                for name, column in (("the id", "id"), ("the subtitles", "subtitles"))
                if getattr(other, column) != getattr(request, column)
            )
            row, about = target.row or "an input", about or "another signature"
            message = f"{row}: an earlier row asks for the same URL and range, with {about}"
            key = (request.request_key, request.id, request.subtitles, row if about == "another signature" else None)
            self._refuse(reject_input(Kind.DUPLICATE, message, request.uri, "duplicate", *key))

    def _look_at_changes(self) -> None:
        """Count the changed requests, drop those that are not, and put off those with another id."""
        for key, old in requests_with(self.writer.dataset, self.changed.keys() - self.rejects.keys()).items():
            if self.intake.seen[key] is None and (old.id, old.metadata) != (None, None):
                del self.changed[key]  # a file of which a list has stated more
                self.intake.counts["the same"] += 1
                continue
            self.intake.counts["changed"] += 1
            if old.id != self.changed[key].id:
                self.intake.renamed[key] = self.changed.pop(key)

    def _change(self, parts: PartWriter) -> list[Replacement]:
        """Write the changed metadata of requests that are known; returns what the changes replace."""
        if not self.changed:
            return []
        dataset = self.writer.dataset
        metadata: dict[str, str | None] = {}
        corrected = self.rejects.keys() & self.changed.keys()  # whose rejects are replaced
        for key, old in requests_with(dataset, self.changed.keys() - corrected).items():
            request = self.changed[key]
            if old.refused is not None and old.id is None:
                corrected.add(key)
            if old.id is not None:
                self.changed[key] = replace(request, refused=old.refused)  # until the ids are settled
            if old.metadata != request.metadata:
                metadata[key] = request.metadata
        replaced = [replacing(dataset, "requests", "request_key", self.changed)]
        if corrected:
            replaced.append(replacing(dataset, "rejects", "key", corrected))
        return [*replaced, *(set_metadata(dataset, parts, metadata) if metadata else ())]


def _drop_corrected(writer: Committer, inputs: Inputs, intake: Intake) -> None:
    """Remove the refused rows that the lists of `inputs` do not have any more, and former faults of its playlists."""
    rows = writer.dataset.sql(f"select key, message from rejects where stage = '{Stage.DOWNLOAD}'")
    named, listed = tuple(f"{name}, row " for name in inputs.read), inputs.listed()
    corrected = (row["key"] for row in rows_of(rows) if row["message"].startswith(named) or row["key"] in listed)
    gone = [key for key in corrected if key not in intake.seen]
    if gone:
        writer.commit(f"{writer.lineage.run_id}:corrected", [], removal(writer.dataset, gone))


def _reject_row(reject: Reject, request: VideoRequest, settings: Settings) -> Row[Reject]:
    return Row(reject, download_reject_digest(reject.kind, download_digest(request, settings), settings))


def _add_one_by_one(
    parts: PartWriter, rows: Sequence[Row[VideoRequest]], rejects: Sequence[Row[Reject]], settings: Settings
) -> None:
    """Add the rows that can be written; a request that cannot becomes a reject under its key."""
    by_key = {row.record.key: row for row in rejects}
    for row in rows:
        key = row.record.request_key
        try:
            parts.add([row, *([by_key[key]] if key in by_key else [])])
        except UnwritableRow as error:
            log.error("request %s: %s", key, error)
            reject = Rejected(Kind.UNWRITABLE, str(error)).row(Stage.DOWNLOAD, key, "")
            request = _request_of(reject)
            parts.add([Row(request, row.digest), _reject_row(reject, request, settings)])


def _has_secrets(target: FetchTarget) -> bool:
    subtitles = target.subtitles_url.reveal() if target.subtitles_url else None
    return (target.url.reveal(), subtitles) != (target.request.uri, target.request.subtitles)


def _request_of(reject: Reject) -> VideoRequest:
    """The request for an unusable input: the books count it too."""
    return VideoRequest(request_key=reject.key, uri=reject.uri, refused=reject.message)
