"""Requests whose id in the list has changed: their videos get the new id, and nothing of them is made again."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any

from curation.dataset.commits import Committer
from curation.dataset.dataset import Dataset, rows_of
from curation.dataset.edits import replacing, requests_with, rows_with
from curation.dataset.forget import ForgottenKeys
from curation.dataset.media_paths import checked, media_uri_of
from curation.dataset.object_store import explained
from curation.dataset.parts import PartWriter
from curation.dataset.renames import Renaming, rename
from curation.ids import digest, is_own, listed_id, own_video_id
from curation.recipes import identity
from curation.records import Row, VideoRequest
from curation.rejects import Kind
from curation.row_digests import (
    clips_digest,
    download_digest,
    material_digest,
    media_digest,
    reject_digest,
    segment_reject_digest,
    tiling_digest,
    timeline_digest,
)
from curation.settings import Settings
from pipelines.worker.text_engines import wanted_texts

log = logging.getLogger(__name__)

_MADE = """
select v.video_id, v.media_uri, v.digest as stored, v.recipe as media, s.recipe as tilings, c.recipe as captions,
    r.n as uncaptioned
from videos v
left join (select video_id, max(recipe) as recipe from segments group by video_id) s using (video_id)
left join (select video_id, max(recipe) as recipe from captions group by video_id) c using (video_id)
left join (select video_id, count(*) as n from rejects where stage = 'caption' group by video_id) r using (video_id)
"""

_WAITING = """
select request_key from requests
where refused is not null and id is not null and request_key in (select request_key from downloads)
"""


def rename_videos(
    writer: Committer, settings: Settings, changed: Mapping[str, VideoRequest], listed: Collection[str], token: str
) -> int:
    """Commit the new ids of `changed` requests of the dataset, by request_key, as one mapping: ids may be swapped.

    Videos whose requests were refused for an id that is free by now get it too. A request is left as it is if its new
    id is taken, or if another request has led to its video too. `listed` are the keys of the run's inputs.
    """
    dataset = writer.dataset
    edits = _free(dataset, _edits(dataset, changed), listed)
    videos = _movable(dataset, _videos(dataset, edits))
    if not videos:
        return 0
    made = {r["video_id"]: r for rows in dataset.stream(_MADE) for r in rows.to_pylist() if r["video_id"] in videos}
    texts = wanted_texts(settings).digest
    renamings = {each: video.renaming(made.get(each, {}), settings, texts) for each, video in videos.items()}
    renamings = {each: _with_copies(dataset, renaming) for each, renaming in renamings.items()}
    parts = PartWriter(dataset.store, writer.lineage, settings.run.part_bytes)
    replaced = rename(dataset, parts, renamings)
    requests = {video.now.request_key: video.now for video in videos.values()}
    parts.add([Row(request, digest("request", key)) for key, request in requests.items()])
    writer.commit(token, parts.finish(), [*replaced, replacing(dataset, "requests", "request_key", requests)])
    log.info("%d requests have another id in the list: their videos are renamed", len(requests))
    return len(renamings)


def _with_copies(dataset: Dataset, renaming: Renaming) -> Renaming:
    """Copy the stored media to its new name; without that, only the download is kept, from which it is made again."""
    try:
        for former, name in renaming.media.items():
            dataset.copy(checked(former), name)
    except FileNotFoundError as error:
        log.warning("%s is made again under its new id: %s", renaming.video_id, explained(error))
        return replace(renaming, is_lost=True)
    return renaming


Edit = tuple[VideoRequest, VideoRequest]
"""A request as it is, and with its new id alone."""


def _edits(dataset: Dataset, changed: Mapping[str, VideoRequest]) -> dict[str, Edit]:
    """By key, in the order of the list, the requests with another id; then those that wait for theirs."""
    waiting = [key for key in dataset.sql(_WAITING)["request_key"].to_pylist() if key not in changed]
    known = requests_with(dataset, [*changed, *waiting])
    new_ids = {key: request.id for key, request in changed.items() if key in known}
    edits = {key: (known[key], replace(known[key], id=id_)) for key, id_ in new_ids.items() if known[key].id != id_}
    return edits | {key: (known[key], known[key]) for key in waiting}


def _free(dataset: Dataset, edits: Mapping[str, Edit], listed: Collection[str]) -> dict[str, Edit]:
    """The edits, except where a request for other media has that id: one that stays, or an earlier one of these."""
    wanted = {now.id for _, now in edits.values() if now.id is not None}
    others = [row for rows in rows_with(dataset, "requests", "id", wanted) for row in rows_of(rows)]
    others = [row for row in others if row["request_key"] not in edits and row["refused"] is None]
    found = rows_with(dataset, "downloads", "request_key", [row["request_key"] for row in others])
    owning = {key for rows in found for key in rows["request_key"].to_pylist()}.union(listed)
    owners = {row["id"]: row["uri"] for row in others if row["request_key"] in owning}
    return {
        key: (was, now)
        for key, (was, now) in edits.items()
        if now.id is None or owners.setdefault(now.id, now.uri) == now.uri
    }


def _videos(dataset: Dataset, edits: Mapping[str, Edit]) -> dict[str, _Video]:
    """By former video_id, the videos that these requests alone have led to, and whose new names are not forgotten."""
    requests_of = Counter(dataset.read("downloads", ["video_id"])["video_id"].to_pylist()) if edits else Counter[str]()
    forgotten = ForgottenKeys.load(dataset)
    rows = (row for rows in rows_with(dataset, "downloads", "request_key", edits) for row in rows_of(rows))
    videos = {row["request_key"]: _Video(*edits[row["request_key"]], row) for row in rows}
    in_order = (videos[key] for key in edits if key in videos)
    return {
        video.former: video
        for video in in_order
        if requests_of[video.former] == 1 and not forgotten.has_video(video.new_id)
    }


def _movable(dataset: Dataset, videos: dict[str, _Video]) -> dict[str, _Video]:
    """Those whose new names are free once all of them have moved; of several with one new name, the first."""
    names = {video.new_id for video in videos.values()}
    found = rows_with(dataset, "downloads", "video_id", names)
    taken = {video_id for rows in found for video_id in rows["video_id"].to_pylist()}
    while True:
        firsts: dict[str, str] = {}
        for former, video in videos.items():
            leaves = video.new_id in videos and videos[video.new_id].new_id != video.new_id
            if video.new_id == former or leaves or video.new_id not in taken:
                firsts.setdefault(video.new_id, former)
        movable = {former: videos[former] for former in videos if firsts.get(videos[former].new_id) == former}
        if len(movable) == len(videos):
            return movable
        videos = movable


@dataclass(frozen=True)
class _Video:
    """A request as it was, and with its new id; and the row of its download."""

    was: VideoRequest
    now: VideoRequest
    download: Mapping[str, Any]

    @property
    def former(self) -> str:
        return str(self.download["video_id"])

    @property
    def new_id(self) -> str:
        """The id of the video: its site's, if that has given it one, whatever the list says."""
        row = self.download
        own = own_video_id(self.now.id, row["source_digest"], row["start"], row["end"])
        return own if is_own(self.former) else self.former

    @property
    def _fetched_as(self) -> VideoRequest:
        """The request for which the download was made: before it, refused ones may have had other ids since."""
        row = self.download
        if not is_own(self.former) or self.former == own_video_id(
            self.was.id, row["source_digest"], row["start"], row["end"]
        ):
            return self.was
        return replace(self.was, id=listed_id(self.former))

    def _fetched(self, settings: Settings) -> dict[str, str]:
        """By former digest, those of the download."""
        return {
            download_digest(self._fetched_as, settings): download_digest(self.now, settings),
            material_digest(self._fetched_as, settings): material_digest(self.now, settings),
        }

    def renaming(self, made: Mapping[str, Any], settings: Settings, texts: str) -> Renaming:
        """What its rows become, given what was `made` of it (a row of _MADE); outdated digests stay as they are."""
        row, fetched = self.download, self._fetched(settings)
        changed = {name: fetched.get(row[name], row[name]) for name in ("digest", "material")}
        captions = identity(texts, made.get("captions"))
        rejected = {0, made.get("uncaptioned") or 0}

        def later(download: str, material: str | None) -> list[str]:
            """The digests of all that follows from the download, in the same order for each."""
            media = media_digest(download, settings, material, row["recipe"])
            stored = identity(media, made.get("media"))
            tilings = tiling_digest(stored, row["words"], settings)
            clips = [clips_digest(identity(tilings, made.get("tilings")), captions, n) for n in sorted(rejected)]
            segment_rejects = [segment_reject_digest(kind, media, settings) for kind in Kind]
            return [media, timeline_digest(stored), tilings, *clips, *segment_rejects, *map(reject_digest, clips)]

        former, new = later(row["digest"], row["material"]), later(changed["digest"], changed["material"])
        digests = fetched | dict(zip(former, new, strict=True))
        moved: dict[str, str] = {}
        if "media_uri" in made and self.new_id != self.former:
            moved[made["media_uri"]] = media_uri_of(self.new_id, digests.get(made["stored"], made["stored"]))
        return Renaming(self.new_id, digests, moved)
