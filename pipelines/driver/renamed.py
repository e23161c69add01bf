"""Requests whose id in the list has changed: their videos get the new id, and nothing of them is made again."""

from __future__ import annotations

import logging
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from curation.dataset.commits import Committer
from curation.dataset.dataset import Dataset, rows_of
from curation.dataset.edits import replacing, requests_with, rows_with
from curation.dataset.forget import ForgottenKeys
from curation.dataset.media_paths import checked, media_uri_of
from curation.dataset.parts import PartWriter
from curation.dataset.renames import Renaming, rename
from curation.ids import digest, own_video_id
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
select v.video_id, v.media_uri, v.recipe as media, s.recipe as tilings, c.recipe as captions, r.n as uncaptioned
from videos v
left join (select video_id, max(recipe) as recipe from segments group by video_id) s using (video_id)
left join (select video_id, max(recipe) as recipe from captions group by video_id) c using (video_id)
left join (select video_id, count(*) as n from rejects where stage = 'caption' group by video_id) r using (video_id)
"""


def rename_videos(
    writer: Committer,
    settings: Settings,
    changed: Mapping[str, VideoRequest],
    others: Iterable[VideoRequest],
    token: str,
) -> int:
    """Commit the new ids of `changed` requests of the dataset, by request_key; returns how many videos they rename.

    `others` are about to come. A request is left as it is, so that it is downloaded again, if its new id is taken, if
    another request has led to its video too, or if it would be downloaded again anyway.
    """
    dataset = writer.dataset
    known = requests_with(dataset, changed)
    edits = {key: was for key, was in known.items() if was.id != changed[key].id and was.refused is None}
    videos = _videos(dataset, settings, _unclaimed(dataset, edits, changed, others)) if edits else {}
    if not videos:
        return 0
    made = {r["video_id"]: r for rows in dataset.stream(_MADE) for r in rows.to_pylist() if r["video_id"] in videos}
    texts = wanted_texts(settings).digest
    renamings = {each: video.renaming(made.get(each, {}), settings, texts) for each, video in videos.items()}
    renamings = {each: renaming for each, renaming in renamings.items() if _has_copies(dataset, renaming)}
    parts = PartWriter(dataset.store, writer.lineage, settings.run.part_bytes)
    replaced = rename(dataset, parts, renamings)
    requests = {videos[each].now.request_key: videos[each].now for each in renamings}
    parts.add([Row(request, digest("request", key)) for key, request in requests.items()])
    writer.commit(token, parts.finish(), [*replaced, replacing(dataset, "requests", "request_key", requests)])
    log.info("%d requests have another id in the list: their videos are renamed", len(requests))
    return len(renamings)


def _has_copies(dataset: Dataset, renaming: Renaming) -> bool:
    """Copy the stored media to its new name; whether that was there."""
    try:
        for former, name in renaming.media.items():
            dataset.copy(checked(former), name)
    except FileNotFoundError as error:
        log.warning("%s is made again under its new id: %s", renaming.video_id, error)
        return False
    return True


def _unclaimed(
    dataset: Dataset,
    edits: Mapping[str, VideoRequest],
    changed: Mapping[str, VideoRequest],
    others: Iterable[VideoRequest],
) -> dict[str, tuple[VideoRequest, VideoRequest]]:
    """By key, the requests as they are and with their new id alone, except where one for other media has that id."""
    claims: defaultdict[str | None, set[str]] = defaultdict(set)
    for request in (*changed.values(), *others):
        claims[request.id].add(request.uri)
    wanted = {id_ for key in edits if (id_ := changed[key].id) is not None}
    for rows in rows_with(dataset, "requests", "id", wanted):
        for row in rows_of(rows):
            claims[row["id"]].add(row["uri"])
    pairs = {key: (was, replace(was, id=changed[key].id)) for key, was in edits.items()}
    return {key: (was, now) for key, (was, now) in pairs.items() if now.id is None or claims[now.id] == {now.uri}}


def _videos(
    dataset: Dataset, settings: Settings, edits: Mapping[str, tuple[VideoRequest, VideoRequest]]
) -> dict[str, _Video]:
    """By former video_id, the videos that keep what they have."""
    requests_of = Counter(dataset.read("downloads", ["video_id"])["video_id"].to_pylist())
    forgotten = ForgottenKeys.load(dataset)
    videos: dict[str, _Video] = {}
    for rows in rows_with(dataset, "downloads", "request_key", edits):
        for row in rows_of(rows):
            video = _Video(*edits[row["request_key"]], row)
            is_free = video.new_id == row["video_id"] or not requests_of[video.new_id]
            is_free = is_free and not forgotten.has_video(video.new_id)
            if is_free and requests_of[row["video_id"]] == 1 and video.is_fetched(settings):
                videos[row["video_id"]] = video
                requests_of[video.new_id] += video.new_id != row["video_id"]
    return videos


@dataclass(frozen=True)
class _Video:
    """A request as it was, and with its new id; and the row of its download."""

    was: VideoRequest
    now: VideoRequest
    download: Mapping[str, Any]

    @property
    def new_id(self) -> str:
        """The id of the video: its site's, if that has given it one, whatever the list says."""
        row, former = self.download, str(self.download["video_id"])
        by_list = former == own_video_id(self.was.id, row["source_digest"], row["start"], row["end"])
        return own_video_id(self.now.id, row["source_digest"], row["start"], row["end"]) if by_list else former

    def is_fetched(self, settings: Settings) -> bool:
        """Whether the download is up to date, or only its subtitles are not."""
        return bool({self.download["digest"], self.download["material"]} & self._fetched(settings).keys())

    def _fetched(self, settings: Settings) -> dict[str, str]:
        """By former digest, those of the download."""
        return {
            download_digest(self.was, settings): download_digest(self.now, settings),
            material_digest(self.was, settings): material_digest(self.now, settings),
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
        media = made.get("media_uri")
        moved = {media: media_uri_of(self.new_id, new[0])} if media and self.new_id != row["video_id"] else {}
        return Renaming(self.new_id, fetched | dict(zip(former, new, strict=True)), moved)
