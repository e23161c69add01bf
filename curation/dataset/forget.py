"""Forgetting: a video, URL or channel is removed from all rows, files and older versions, and never fetched again.

The table `forgotten` remembers it by digests alone. They also identify older files that still hold something of it, so
that the next call finishes one that was interrupted. `look` says what there is to forget, `undo` takes it back.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from curation.dataset.dataset import Dataset, rows_of
from curation.dataset.edits import replacing
from curation.dataset.kept_parts import FOLDER, keep_the_rest, kept_parts, pins_that_need, without_it
from curation.dataset.object_store import put
from curation.dataset.parts import PartWriter
from curation.dataset.quarantine import set_aside_files
from curation.dataset.vacuum import parts_on_disk, uncommitted_files
from curation.dataset.writer import Writer
from curation.errors import UsageError
from curation.ids import digest, forgotten_key, source_id
from curation.records import ForgottenKey, Row
from curation.rejects import Kind
from curation.schema import TABLES
from curation.uris import InvalidUri, forms, is_redacted, unredacted

TargetKind = Literal["video", "uri", "channel"]
Values = Mapping[str, Any]
_COLUMNS = ("request_key", "video_id", "key", "uri", "webpage_uri", "channel", "channel_id", "source_uri")


@dataclass(frozen=True)
class ForgottenKeys:
    """The digests of everything that must not be fetched again; workers get a copy."""

    keys: frozenset[str]

    @classmethod
    def load(cls, dataset: Dataset) -> Self:
        return cls(frozenset(dataset.read("forgotten", ["key"])["key"].to_pylist()))

    def has_request(self, request_key: str, uri: str, url: str | None = None) -> bool:
        """Whether a request is for something forgotten, as far as that is known before fetching.

        `uri` is the stored form of its URL, `url` the one to fetch, if it is known.
        """
        whole = unredacted(url) if url and is_redacted(uri) else None
        return self._has_any(("request", request_key), ("uri", uri), ("uri", whole))

    def has_video(self, video_id: str, channel: str | None = None, channel_id: str | None = None) -> bool:
        """Whether a video was forgotten: itself, the whole video that it is a range of, or its channel."""
        return self._has_any(
            ("video", video_id), ("video", source_id(video_id)), ("channel", channel), ("channel", channel_id)
        )

    def has_row(self, row: Values) -> bool:
        """Whether a row of any table is about something forgotten."""
        about = [("video", row.get("video_id")), ("request", row.get("request_key"))]
        return self._has_any(*about, ("video", row.get("key")), ("request", row.get("key")))

    def _has_any(self, *names: tuple[str, str | None]) -> bool:
        return any(forgotten_key(kind, name) in self.keys for kind, name in names if name)


@dataclass(frozen=True)
class Findings:
    """What there is to forget: ids of videos, keys of requests, numbers of stored media and sources.

    `pins` names the pinned versions that hold some of it (`without_it` says what becomes of them). `known`: it was
    forgotten before.
    """

    videos: tuple[str, ...]
    requests: tuple[str, ...]
    media: int
    sources: int
    pins: tuple[str, ...]
    known: bool

    def __bool__(self) -> bool:
        return bool(self.videos or self.requests or self.known)


@dataclass(frozen=True)
class ForgetReport:
    """The numbers of deleted items; `swept`: files that no table names, left by killed runs.

    `broken` names the pinned versions that lost parts.
    """

    videos: int
    requests: int
    parts: int
    media: int
    sources: int
    swept: int
    broken: tuple[str, ...]

    def line(self) -> str:
        """The whole in one line."""
        swept = f", and {self.swept} file(s) that killed runs had left" if self.swept else ""
        return (
            f"Forgotten, and not to be fetched again: {self.videos} video(s) of {self.requests} request(s). "
            f"Deleted: {self.parts} parts, {self.media} media file(s), {self.sources} source(s){swept}"
        )

    def warnings(self) -> list[str]:
        """A line for each pinned version, or release, that held some of it."""
        return [without_it(name, "held") for name in self.broken]


def look(dataset: Dataset, kind: TargetKind, *names: str) -> Findings:
    """What `forget` would remove. Writes nothing. Raises UsageError for a malformed URL."""
    plain = {_plain_name(kind, name) for name in names}
    found = _find(dataset, kind, plain)
    forgotten = ForgottenKeys.load(dataset)
    doomed = ForgottenKeys(forgotten.keys | {forgotten_key(*each) for each in found.all()})
    former = _names_of(dataset, doomed)
    parts, sources = _held(dataset, doomed, former)
    return Findings(
        videos=tuple(sorted(found.videos)),
        requests=tuple(sorted(found.requests)),
        media=len(_media_of(dataset, doomed, former)),
        sources=sum(path in sources for path, _, _ in dataset.list("sources/")),
        pins=pins_that_need(dataset, parts),
        known=any(forgotten_key(kind, name) in forgotten.keys for name in plain),
    )


def forget(writer: Writer, kind: TargetKind, *names: str, ahead: bool = False) -> ForgetReport:
    """Forget videos (by id, including ranges of them), URLs, or channels (by name or id), and never fetch them again.

    If it is interrupted, a second call finishes it. Raises UsageError for a malformed URL and, unless `ahead`, if none
    is in the dataset: a name may be misspelt.
    """
    dataset = writer.dataset
    plain = {_plain_name(kind, name) for name in names}
    found = _find(dataset, kind, plain)
    known = ForgottenKeys.load(dataset).keys
    if not ahead and not any(found.all()) and not any(forgotten_key(kind, name) in known for name in plain):
        raise UsageError(nothing_of(dataset, kind))
    _scrub_logs(dataset, found)
    _commit(writer, {(kind, name) for name in plain}, found)
    return _delete(writer, ForgottenKeys.load(dataset), found)


def nothing_of(dataset: Dataset, kind: TargetKind) -> str:
    what = {"video": "video", "uri": "request or page with this URL", "channel": "channel of this name or id"}[kind]
    return f"{dataset.uri} has no such {what}; --ahead forbids to fetch it all the same"


def undo(writer: Writer, kind: TargetKind, name: str) -> dict[str, int]:
    """Allow again what was forgotten under this name, with all that the same call forgot; the numbers by kind.

    What was deleted stays deleted. Requests that were refused as forgotten are tried again, and refused again if others
    forbid them. Raises UsageError if it was not forgotten, or was together with its channel.
    """
    dataset = writer.dataset
    rows = dataset.read("forgotten").to_pylist()
    named = next((row for row in rows if row["key"] == forgotten_key(kind, _plain_name(kind, name))), None)
    if named is None:
        raise UsageError(f"{dataset.uri} has not forgotten it; `vidla forget DIR --list` shows what it has")
    same_call = [row for row in rows if (row["run_id"], row["created_at"]) == (named["run_id"], named["created_at"])]
    if kind != "channel" and any(row["kind"] == "channel" for row in same_call):
        raise UsageError("it was forgotten with its channel: undo that")
    allowed = replacing(dataset, "forgotten", "key", (row["key"] for row in same_call))
    refused = replacing(dataset, "rejects", "kind", [Kind.FORGOTTEN])
    writer.commit(f"{writer.lineage.run_id}:undo:{named['key']}", [], [allowed, refused])
    return dict(Counter(row["kind"] for row in same_call))


def _plain_name(kind: TargetKind, name: str) -> str:
    """The name to look for. A URL's has its secrets: by them it differs from others of the same redacted form."""
    if kind != "uri" or name.startswith("file:"):
        return name
    try:
        return unredacted(name)
    except InvalidUri as error:
        raise UsageError(str(error)) from None


# --- finding --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class _Found:
    videos: set[str] = field(default_factory=set)
    requests: set[str] = field(default_factory=set)
    uris: set[str] = field(default_factory=set)
    channels: set[str] = field(default_factory=set)

    def all(self) -> Iterator[tuple[str, str]]:
        """Kind and name of everything to remember."""
        yield from (("video", v) for v in self.videos)
        yield from (("request", r) for r in self.requests)
        yield from (("channel", c) for c in self.channels)
        # A redacted URI may stand for several videos; the request's key distinguishes them.
        yield from (("uri", u) for u in self.uris if not is_redacted(u))


def _find(dataset: Dataset, kind: TargetKind, names: Collection[str]) -> _Found:
    """The videos, requests, URIs and channels to forget, from the current tables and all older parts on disk."""
    found = _Found()
    requests = [_requests_of(dataset, name) for name in names if kind == "uri"]
    matches = _matcher(kind, frozenset(names), frozenset().union(*requests))
    former: set[str] = set()  # an id in an older part may be that of another video now
    for table in ("requests", "pages", "downloads", "videos", "rejects", "usage"):
        live = dataset.live_parts(table)
        for part, row in ((p, row) for p in _on_disk(dataset, table) for row in _rows(dataset, table, [p])):
            if not matches(row):
                continue
            (found.videos if part in live else former).update(_of(row, "video_id"))
            if kind == "uri":
                found.requests.update(_of(row, "key" if row.get("stage") == "download" else "request_key"))
            if kind == "channel" and row.get("channel") in names:
                found.channels.update(_of(row, "channel_id"))
    found.videos.update(former.difference(dataset.read("downloads", ["video_id"])["video_id"].to_pylist()))
    leading = {
        row["request_key"]
        for row in _rows(dataset, "downloads", _on_disk(dataset, "downloads"))
        if row["video_id"] in found.videos
    }
    elsewhere = {
        row["request_key"]
        for row in _rows(dataset, "downloads", dataset.live_parts("downloads"))
        if row["request_key"] in leading and row["video_id"] not in found.videos
    }
    found.requests.update(leading - elsewhere)  # keep a request whose URL now leads to another video
    for row in _rows(dataset, "requests", _on_disk(dataset, "requests")):
        if row["request_key"] in found.requests:
            found.uris.add(row["uri"])
    return found


def _requests_of(dataset: Dataset, name: str) -> frozenset[str]:
    """The keys of the requests for a URL, whatever the form in which it is stored."""
    if name.startswith("file:"):
        return frozenset()
    url = forms(name)
    return frozenset(
        row["request_key"]
        for part in _on_disk(dataset, "requests")
        for row in rows_of(dataset.read_part("requests", part, ["request_key", "uri", "start", "end"]))
        if row["uri"] in (name, url.stored)
        and row["request_key"] == digest("request", url.identity, row["start"], row["end"])
    )


def _matcher(kind: TargetKind, names: frozenset[str], requests: frozenset[str]) -> Callable[[Values], bool]:
    if kind == "video":
        return lambda row: row.get("video_id") in names or source_id(str(row.get("video_id"))) in names
    if kind == "channel":
        return lambda row: not names.isdisjoint((row.get("channel"), row.get("channel_id")))
    return lambda row: (
        not names.isdisjoint((row.get("uri"), row.get("webpage_uri")))
        or row.get("request_key") in requests
        or (row.get("stage") == "download" and row.get("key") in requests)
    )


def _of(row: Values, column: str) -> Iterable[str]:
    return [row[column]] if row.get(column) else []


def _on_disk(dataset: Dataset, table: str) -> list[str]:
    kept = (f"{FOLDER}{name}" for name, _ in kept_parts(dataset, table))
    return [*(name for name, _ in parts_on_disk(dataset, table)), *kept]


def _columns(table: str) -> list[str]:
    """The columns that identify a row's video, request or channel."""
    return [c for c in (*_COLUMNS, "stage") if c in TABLES[table].schema.names]


def _rows(dataset: Dataset, table: str, parts: Iterable[str]) -> Iterator[Values]:
    for part in parts:
        yield from rows_of(dataset.read_part(table, part, _columns(table)))


# --- deleting -------------------------------------------------------------------------------------------------------


def _scrub_logs(dataset: Dataset, found: _Found) -> None:
    """Remove the lines that name any of it from the dataset's logs."""
    names = {json.dumps(n, ensure_ascii=False)[1:-1] for n in (*found.videos, *found.requests, *found.uris)}
    if not names:
        return
    pattern = re.compile("|".join(rf"(?<![\w~-]){re.escape(n)}(?![\w-])" for n in sorted(names)))
    with dataset.scratch() as scratch:
        log, scrubbed = scratch / "log", scratch / "scrubbed"
        for path in [path for path, _, _ in dataset.list("logs/") if path.endswith(".jsonl")]:
            dataset.fetch(path, log)
            with log.open(encoding="utf-8") as old, scrubbed.open("w", encoding="utf-8") as new:
                new.writelines(line for line in old if not pattern.search(line))
            if scrubbed.stat().st_size < log.stat().st_size:
                put(dataset.store, path, scrubbed)


def _commit(writer: Writer, targets: Collection[tuple[str, str]], found: _Found) -> None:
    """Remove all rows about it from the tables and remember its digests, in one commit."""
    dataset = writer.dataset
    known = ForgottenKeys.load(dataset).keys
    parts = PartWriter(dataset.store, writer.lineage, part_bytes=1 << 30)
    keys = [ForgottenKey(key=forgotten_key(kind, name), kind=kind) for kind, name in sorted({*targets, *found.all()})]
    new = [key for key in keys if key.key not in known]
    parts.add(Row(key, digest("forgotten")) for key in new)
    replacements = [
        replacing(dataset, name, column, values)
        for name, table in TABLES.items()
        for column, values in (
            ("video_id", found.videos),
            ("request_key", found.requests),
            *([("key", found.videos | found.requests)] if name in ("rejects", "usage") else []),
        )
        if column in table.schema.names and values
    ]
    token = digest("forget", *sorted(forgotten_key(*target) for target in targets))
    writer.commit(f"{writer.lineage.run_id}:forget:{token}", parts.finish(), replacements)


def _delete(writer: Writer, forgotten: ForgottenKeys, found: _Found) -> ForgetReport:
    """Delete every file that holds something forgotten by this call, or by an earlier one that was interrupted.

    Current parts hold none of it. Old parts are deleted last: they show which other files to delete.
    """
    dataset = writer.dataset
    names = _names_of(dataset, forgotten)
    parts, sources = _held(dataset, forgotten, names, old_only=True)
    existing = {path for path, _, _ in dataset.list("sources/")}
    media = _media_of(dataset, forgotten, names)
    broken = pins_that_need(dataset, parts)
    writer.check()
    aside = (path for path, _ in set_aside_files(dataset))  # damaged, so that nobody knows what they hold
    dataset.delete([*sorted(sources), *media, *aside], flush=True)
    gone = keep_the_rest(dataset, parts, _columns, lambda row: _is_held(row, forgotten, names))
    dataset.delete((f"{table}/{name}" for table, names in gone.items() for name in names), flush=True)
    swept = uncommitted_files(dataset)
    writer.check()
    dataset.delete(swept, flush=True)
    return ForgetReport(
        videos=len(found.videos),
        requests=len(found.requests),
        parts=sum(map(len, parts.values())),
        media=len(media),
        sources=len(sources & existing),
        swept=len(swept),
        broken=broken,
    )


def _held(
    dataset: Dataset, forgotten: ForgottenKeys, names: Collection[str], *, old_only: bool = False
) -> tuple[dict[str, set[str]], set[str]]:
    """The parts with rows of what is forgotten, by table, and the stored sources of these rows.

    In older parts, these are also the rows of videos with one of the former `names`.
    """
    parts: dict[str, set[str]] = {}
    sources: set[str] = set()
    for table in reversed(TABLES):  # downloads, which have the former names, after what has these
        live = dataset.live_parts(table)
        for part in _on_disk(dataset, table):
            if old_only and part in live:
                continue
            former = () if part in live else names
            rows = _rows(dataset, table, [part])
            held = [row for row in rows if _is_held(row, forgotten, former)]
            if held:
                parts.setdefault(table, set()).add(part)
            sources.update(u for row in held for u in _of(row, "source_uri") if u.startswith("sources/"))
    return parts, sources


def _is_held(row: Values, forgotten: ForgottenKeys, names: Collection[str]) -> bool:
    return forgotten.has_row(row) or row.get("video_id") in names


def _names_of(dataset: Dataset, forgotten: ForgottenKeys) -> frozenset[str]:
    """The ids that videos of forgotten requests have had, which others may have by now."""
    rows = _rows(dataset, "downloads", _on_disk(dataset, "downloads"))
    return frozenset(row["video_id"] for row in rows if forgotten.has_row(row))


def _media_of(dataset: Dataset, forgotten: ForgottenKeys, names: Collection[str]) -> list[str]:
    """Stored media of forgotten videos; under one of their `names`, what no other video has now."""
    named = [(path, Path(path).name.partition(".")[0]) for path, _, _ in dataset.list("media/")]
    doomed = [path for path, name in named if forgotten.has_video(name)]
    former = {path for path, name in named if name in names}.difference(doomed)
    live = dataset.read("videos", ["media_uri"])["media_uri"].to_pylist() if former else ()
    return [*doomed, *sorted(former.difference(live))]
