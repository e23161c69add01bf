"""Forgetting: a video, URL or channel is removed from all rows, files and older versions, and never fetched again.

The table `forgotten` remembers it by digests alone. They also identify older files that still hold something of it, so
that the next call finishes one that was interrupted.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Self

from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset, rows_of
from curation.dataset.object_store import put
from curation.dataset.parts import PartWriter
from curation.dataset.pins import parts_at, pins
from curation.dataset.vacuum import parts_on_disk
from curation.dataset.writer import Writer
from curation.errors import UsageError
from curation.ids import digest
from curation.records import ForgottenKey, Row
from curation.schema import TABLES
from curation.uris import InvalidUri, canonical, is_redacted

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

    def has_request(self, request_key: str, uri: str) -> bool:
        """Whether a request is for something forgotten, as far as that is known before fetching."""
        return self._has_any(("request", request_key), ("uri", uri))

    def has_video(self, video_id: str, channel: str | None = None, channel_id: str | None = None) -> bool:
        """Whether a video was forgotten: itself, the whole video that it is a range of, or its channel."""
        whole = video_id.partition("~")[0]
        return self._has_any(("video", video_id), ("video", whole), ("channel", channel), ("channel", channel_id))

    def has_row(self, row: Values) -> bool:
        """Whether a row of any table is about something forgotten."""
        about = [("video", row.get("video_id")), ("request", row.get("request_key"))]
        return self._has_any(*about, ("video", row.get("key")), ("request", row.get("key")))

    def _has_any(self, *names: tuple[str, str | None]) -> bool:
        return any(_key(kind, name) in self.keys for kind, name in names if name)


def _key(kind: str, name: str) -> str:
    return digest("forgotten", kind, name)


@dataclass(frozen=True)
class ForgetReport:
    """The numbers of deleted items; `broken` names the pinned versions that lost parts and cannot be read any more."""

    videos: int
    requests: int
    parts: int
    media: int
    sources: int
    broken: tuple[str, ...]


def forget(writer: Writer, kind: TargetKind, name: str) -> ForgetReport:
    """Forget a video (by id, including ranges of it), a URL, or a channel (by name or id), and never fetch it again.

    If it is interrupted, a second call finishes it. Raises UsageError for a malformed URL.
    """
    dataset = writer.dataset
    if kind == "uri" and not name.startswith("file:"):
        try:
            name = canonical(name)
        except InvalidUri as error:
            raise UsageError(str(error)) from None
    found = _find(dataset, kind, name)
    _scrub_logs(dataset, found)
    _commit(writer, {(kind, name), *found.all()}, found)
    return _delete(writer, ForgottenKeys.load(dataset), found)


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


def _find(dataset: Dataset, kind: TargetKind, name: str) -> _Found:
    """The videos, requests, URIs and channels to forget, from the current tables and all older parts on disk."""
    found = _Found()
    matches = _matcher(kind, name)
    for table in ("requests", "downloads", "videos", "rejects", "usage"):
        for row in filter(matches, _rows(dataset, table, _on_disk(dataset, table))):
            found.videos.update(_of(row, "video_id"))
            if kind == "uri":
                found.requests.update(_of(row, "key" if row.get("stage") == "download" else "request_key"))
            if kind == "channel" and row.get("channel") == name:
                found.channels.update(_of(row, "channel_id"))
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


def _matcher(kind: TargetKind, name: str) -> Callable[[Values], bool]:
    if kind == "video":
        return lambda row: row.get("video_id") == name or str(row.get("video_id")).startswith(f"{name}~")
    columns = ("uri", "webpage_uri") if kind == "uri" else ("channel", "channel_id")
    return lambda row: any(row.get(column) == name for column in columns)


def _of(row: Values, column: str) -> Iterable[str]:
    return [row[column]] if row.get(column) else []


def _on_disk(dataset: Dataset, table: str) -> list[str]:
    return [name for name, _ in parts_on_disk(dataset, table)]


def _rows(dataset: Dataset, table: str, parts: Iterable[str]) -> Iterator[Values]:
    """The columns of each row that identify its video, request or channel."""
    columns = [c for c in (*_COLUMNS, "stage") if c in TABLES[table].schema.names]
    for part in parts:
        yield from rows_of(dataset.read_part(table, part, columns))


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


def _commit(writer: Writer, names: Collection[tuple[str, str]], found: _Found) -> None:
    """Remove all rows about it from the tables and remember its digests, in one commit."""
    dataset = writer.dataset
    known = ForgottenKeys.load(dataset).keys
    parts = PartWriter(dataset.store, writer.lineage, part_bytes=1 << 30)
    keys = [ForgottenKey(key=_key(kind, name), kind=kind) for kind, name in sorted(names)]
    new = [key for key in keys if key.key not in known]
    parts.add(Row(key, digest("forgotten")) for key in new)
    replacements = [
        Replacement(name, (column,), frozenset((v,) for v in values), frozenset(dataset.live_parts(name)))
        for name, table in TABLES.items()
        for column, values in (
            ("video_id", found.videos),
            ("request_key", found.requests),
            *([("key", found.videos | found.requests)] if name in ("rejects", "usage") else []),
        )
        if column in table.schema.names and values
    ]
    writer.commit(f"{writer.lineage.run_id}:forget", parts.finish(), replacements)


def _delete(writer: Writer, forgotten: ForgottenKeys, found: _Found) -> ForgetReport:
    """Delete every file that holds something forgotten by this call, or by an earlier one that was interrupted.

    Current parts hold none of it. Old parts are deleted last: they show which other files to delete.
    """
    dataset = writer.dataset
    parts: dict[str, set[str]] = {}
    sources: set[str] = set()
    for table in TABLES:
        live = dataset.live_parts(table)
        for part in (p for p in _on_disk(dataset, table) if p not in live):
            held = [row for row in _rows(dataset, table, [part]) if forgotten.has_row(row)]
            if held:
                parts.setdefault(table, set()).add(part)
            sources.update(u for row in held for u in _of(row, "source_uri") if u.startswith("sources/"))
    existing = {path for path, _, _ in dataset.list("sources/")}
    media = [path for path, _, _ in dataset.list("media/") if forgotten.has_video(Path(path).name.partition(".")[0])]
    broken = tuple(name for name, versions in pins(dataset).items() if _uses(dataset, versions, parts))
    writer.check()
    dataset.delete([*sorted(sources), *media])
    dataset.delete(f"{table}/{name}" for table, names in parts.items() for name in names)
    return ForgetReport(
        videos=len(found.videos),
        requests=len(found.requests),
        parts=sum(map(len, parts.values())),
        media=len(media),
        sources=len(sources & existing),
        broken=broken,
    )


def _uses(dataset: Dataset, versions: Mapping[str, int], parts: Mapping[str, Collection[str]]) -> bool:
    return any(parts_at(dataset, table, versions[table]) & set(names) for table, names in parts.items())
