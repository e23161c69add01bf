"""The driver's view of a dataset while a run writes to it: the videos that may need work, and where their rows are.

A dataset may hold millions of videos that need nothing. They are recognised in columns when the run begins, and only
their ids are kept. Only videos that may need work are Python objects.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from curation.dataset.dataset import Dataset, lookup, rows_of
from curation.recipes import RECIPES, Step, identities, identity
from curation.rejects import Kind, Stage
from curation.row_digests import (
    clips_digest,
    clips_digests,
    download_digests,
    material_digests,
    media_digest,
    media_digests,
    reject_digest,
    segment_reject_digests,
    tiling_digest,
    tiling_digests,
    timeline_digest,
    timeline_digests,
)
from curation.settings import Settings
from pipelines.driver.gated import closed_requests, refused_requests
from pipelines.driver.known_rows import Downloaded, Rejection, Retry, is_retried
from pipelines.driver.older_texts import videos_with_older_texts, videos_with_other_captions
from pipelines.driver.part_index import VideoParts
from pipelines.driver.reuse import TextParts, places_of_texts
from pipelines.worker.text_engines import WantedTexts
from pipelines.worker.work_items import BY_VIDEO, DownloadItem, VideoItem

DOWNLOADED = list(Downloaded.__dataclass_fields__)
NO_REQUESTS = pa.table({name: pa.array([], pa.string()) for name in ("request_key", "expected", "material")})
REJECTION = list(Rejection.__dataclass_fields__)
_LAST = {"clips": 1, "rejects": 2}  # of a commit: texts, after their segments; rejects, which outrank a download


@dataclass
class State:
    """The tables' keys and digests, kept up to date as a run commits. Not thread-safe."""

    dataset: Dataset
    settings: Settings
    texts: WantedTexts
    seen: int = 0  # the number of the last commit that it knows of
    refresh: frozenset[Step] = frozenset()  # steps whose rows of older recipes are out of date
    stale_texts: set[str] = field(default_factory=set)  # of videos: such, of another origin, or older than the clips
    caption_recipes: dict[str, int] = field(default_factory=dict)  # of videos with captions of recipe 2 or later
    settled: set[str] = field(default_factory=set)  # videos that need nothing; the fields below leave them out
    undownloaded: set[str] = field(default_factory=set)  # videos with rows but no download, as after a repair
    downloads: dict[str, Downloaded] = field(default_factory=dict)  # by request_key
    by_video: dict[str, tuple[Downloaded, ...]] = field(default_factory=dict)  # one for each request
    videos: dict[str, str] = field(default_factory=dict)  # identities of rows by video_id, as in the next two
    segments: dict[str, str] = field(default_factory=dict)
    clips: dict[str, str] = field(default_factory=dict)
    timelines: dict[str, str] = field(default_factory=dict)  # known only if they are refreshed
    measured: set[str] = field(default_factory=set)  # videos whose timelines this run has refreshed, or tried to
    rejects: dict[tuple[str, str], Rejection] = field(default_factory=dict)  # by stage and key, of all videos
    textless: dict[str, dict[tuple[str, str], Rejection]] = field(default_factory=dict)  # of texts, by video_id
    reopened: frozenset[str] = frozenset()  # requests whose subtitles are asked for again
    fetched_since: dict[str, str] = field(default_factory=dict)  # videos of rejected requests that have what they need
    sources: set[str] = field(default_factory=set)
    closed: frozenset[str] = frozenset()  # requests outside the gate, by what is known of their pages
    # requests without an up-to-date download, and the digests that one, and its media, would have
    unfetched: pa.Table = field(default_factory=lambda: NO_REQUESTS)
    fetched_count: int = 0  # all downloads, those of settled videos included
    fetched_bytes: int = 0
    reused: Sequence[TextParts] = ()  # where texts are taken from
    video_parts: VideoParts = field(init=False)

    def __post_init__(self) -> None:
        self.video_parts = VideoParts(self.dataset)

    @classmethod
    def load(
        cls,
        dataset: Dataset,
        settings: Settings,
        texts: WantedTexts,
        refresh: frozenset[Step] = frozenset(),
        reopened: frozenset[str] = frozenset(),
        closed: frozenset[str] | None = None,
    ) -> State:
        """What the tables hold now; `closed` requests are looked up, unless they are given. Raises ConfigError."""
        closed = closed_requests(dataset, settings) if closed is None else closed
        state = cls(dataset, settings, texts, refresh=refresh, reopened=reopened, closed=closed)
        state._look_for_recipes()
        state._take("rejects", dataset.live_parts("rejects"))
        state.sources = {path for path, _, _ in dataset.list("sources/")}
        downloads = dataset.read("downloads", DOWNLOADED)
        state._count(downloads)
        refused = refused_requests(dataset)
        state._compare(downloads, refused)
        columns, made_at = ("digest", "recipe", "created_at"), dict[str, pa.ChunkedArray]()
        for table in state._made:
            maxima = ", ".join(f"max({column}) as {column}" for column in columns)
            rows = dataset.sql(f"select video_id, {maxima} from {table} group by video_id")
            state._look_for_undownloaded(table, rows, downloads)
            digests, recipes, made_at[table] = (lookup(downloads["video_id"], rows, column) for column in columns)
            downloads = downloads.append_column(table, identities(digests, recipes))
        # Videos cut again since: whatever the digests of their clips say, captions may be of other frames.
        older = pc.fill_null(pc.less(made_at["clips"], made_at["segments"]), False)
        state.stale_texts.update(downloads["video_id"].filter(older).to_pylist())
        settled = state._settled(downloads)
        state.settled.update(settled.to_pylist())
        state._look_for_fetched_since(downloads, refused)
        pending = pc.invert(pc.is_in(downloads["video_id"], settled))
        for row in rows_of(downloads.filter(pending)):
            state._downloaded(Downloaded(**{name: row[name] for name in DOWNLOADED}))
            for table, digests in state._made.items():
                if row[table] is not None:
                    digests[str(row["video_id"])] = str(row[table])
        return state

    @property
    def _made(self) -> dict[str, dict[str, str]]:
        """By table, the identities of what is made of a video, by video_id."""
        made = {"videos": self.videos, "segments": self.segments, "clips": self.clips}
        return made | ({"timelines": self.timelines} if Step.TIMELINES in self.refresh else {})

    def _look_for_undownloaded(self, table: str, rows: pa.Table, downloads: pa.Table) -> None:
        """Keep what is known of videos whose download was lost: once they are downloaded again, they may be done."""
        known = self._made[table]
        for row in rows_of(rows.filter(pc.invert(pc.is_in(rows["video_id"], downloads["video_id"])))):
            known[row["video_id"]] = identity(row["digest"], row["recipe"])
            self.undownloaded.add(row["video_id"])

    def _compare(self, downloads: pa.Table, refused: pa.ChunkedArray) -> None:
        """Find the requests without an up-to-date download, other than `refused` ones."""
        requests = self.dataset.read("requests", ["request_key", "id", "subtitles"])
        requests = requests.filter(pc.invert(pc.is_in(requests["request_key"], refused)))
        expected = as_column(download_digests(requests, self.settings))
        made = downloads.append_column("identity", identities(downloads["digest"], downloads["recipe"]))
        missing = pc.invert(self._is_one_of(lookup(requests["request_key"], made, "identity"), expected, Step.DOWNLOAD))
        requests = requests.append_column("expected", expected).filter(missing)
        materials = as_column(material_digests(requests, self.settings))
        self.unfetched = requests.append_column("material", materials).select(NO_REQUESTS.schema.names)

    def _look_for_fetched_since(self, downloads: pa.Table, refused: pa.ChunkedArray) -> None:
        """Find the rejected requests, other than `refused` ones, that have an up-to-date download."""
        rejected = pa.array([key for stage, key in self.rejects if stage == Stage.DOWNLOAD], pa.string())
        rows = downloads.filter(pc.is_in(downloads["request_key"], rejected))
        for excepted in (self.unfetched["request_key"], refused):
            rows = rows.filter(pc.invert(pc.is_in(rows["request_key"], excepted)))
        self.fetched_since.update(zip(*(rows[c].to_pylist() for c in ("request_key", "video_id")), strict=True))

    def _settled(self, downloads: pa.Table) -> pa.Array:
        """The ids of the videos that need nothing, as far as columns alone show; none with a reject is included."""
        rejected = {r.video_id or key for (stage, key), r in self.rejects.items() if stage != Stage.DOWNLOAD}
        open_ = pc.or_(
            pc.is_in(downloads["request_key"], self.unfetched["request_key"]),
            pc.is_in(downloads["video_id"], pa.array(rejected, pa.string())),
        )
        open_ = pc.or_(open_, pc.is_in(downloads["request_key"], pa.array(self.reopened, pa.string())))
        media = media_digests(downloads, self.settings)
        tilings = tiling_digests(downloads["videos"], downloads["words"], self.settings)
        clips = as_column(clips_digests(downloads["segments"], self._texts_of(downloads["video_id"]), 0))
        done = as_column(pa.repeat(True, len(downloads)))
        made_by = {"videos": (media, Step.MEDIA), "segments": (tilings, Step.TILINGS), "clips": (clips, Step.SUMMARIES)}
        if Step.TIMELINES in self.refresh:
            made_by["timelines"] = (as_column(timeline_digests(downloads["videos"])), Step.TIMELINES)
        for table, (expected, step) in made_by.items():
            done = pc.and_(done, self._is_one_of(downloads[table], expected, step))
        if pc.any(pc.is_valid(downloads["clips"])).as_py() or self.textless or self.undownloaded:
            redo_failed = [key for stage, key in self.rejects if stage == Stage.CAPTION]
            self.stale_texts |= videos_with_other_captions(self.dataset, self.texts, redo_failed)
        open_ = pc.or_(open_, pc.is_in(downloads["video_id"], pa.array(self.stale_texts, pa.string())))
        settled = pc.unique(downloads["video_id"].filter(pc.and_(done, pc.invert(open_))))
        return settled.filter(pc.invert(pc.is_in(settled, downloads["video_id"].filter(open_))))

    def _recipes(self, step: Step) -> range:
        """The recipes of a step whose rows are up to date."""
        return range(RECIPES[step] if step in self.refresh else 1, RECIPES[step] + 1)

    def _is_one_of(self, made: pa.ChunkedArray, digests: pa.ChunkedArray, step: Step) -> pa.ChunkedArray:
        """Whether each row that was `made` has the digest that it would have today, and an up-to-date recipe."""
        matches = as_column(pa.repeat(False, len(made)))
        for recipe in self._recipes(step):
            of_recipe = identities(digests, as_column(pa.repeat(recipe, len(digests))))
            matches = pc.or_(matches, pc.fill_null(pc.equal(made, of_recipe), False))
        return matches

    def _texts_of(self, video_ids: pa.ChunkedArray) -> str | pa.ChunkedArray:
        """`texts` for each video, with the recipe of its captions if that is the second or later."""
        if not self.caption_recipes:
            return self.texts.digest
        recipes = pa.array([self.caption_recipes.get(video_id) for video_id in video_ids.to_pylist()], pa.int64())
        return identities(as_column(pa.repeat(self.texts.digest, len(video_ids))), as_column(recipes))

    def _identities(self, digest: str, step: Step) -> set[str]:
        """The identities of up-to-date rows with that digest."""
        return {identity(digest, recipe) for recipe in self._recipes(step)}

    def _look_for_recipes(self) -> None:
        """Find the videos whose texts are of an older recipe to be refreshed, and the recipes of their captions."""
        self.stale_texts |= videos_with_older_texts(self.dataset, self.refresh)
        if RECIPES[Step.CAPTIONS] > 1:
            query = "select video_id, max(recipe) as recipe from captions where recipe > 1 group by video_id"
            self.caption_recipes = {row["video_id"]: row["recipe"] for row in rows_of(self.dataset.sql(query))}

    def update(self, tables: Mapping[str, Mapping[str, Iterable[Mapping[str, Any]]]]) -> None:
        """Apply a commit, given as in its record: by table, the parts that it adds and removes.

        Commits must come in order, since one may rewrite the parts of another.
        """
        for table in sorted(tables, key=lambda name: _LAST.get(name, 0)):
            added = [part["path"] for part in tables[table]["add"]]
            if table in BY_VIDEO:
                self.video_parts.remove(part["path"] for part in tables[table]["remove"])
                for part in added:
                    videos = self.dataset.distinct(table, part, ["video_id"])["video_id"].drop_null().to_pylist()
                    unsettled = [v for v in videos if v not in self.settled]
                    if table == "downloads":
                        new = (v for v in unsettled if v not in self.by_video and v not in self.undownloaded)
                        self.video_parts.follow(new)
                    self.video_parts.add(table, part, unsettled)
            self._take(table, added)

    def locate(self, video_ids: Iterable[str]) -> None:
        """Find the parts that hold rows of these videos; must precede `item`."""
        self.video_parts.look_for(video_ids)

    def forget(self, video_ids: Iterable[str]) -> None:
        """Drop everything about these videos that this run no longer needs; those that need nothing are settled."""
        for video_id in video_ids:
            self.video_parts.forget([video_id])
            if video_id not in self.textless and self.needs(video_id) is None:
                for download in self.by_video.pop(video_id, ()):
                    self.downloads.pop(download.request_key, None)
                for known in self._made.values():
                    known.pop(video_id, None)
                self.caption_recipes.pop(video_id, None)
                self.settled.add(video_id)

    def item(self, video_id: str, stage: Stage, retry: Retry | None = None) -> VideoItem:
        uri = min((d.uri for d in self.downloads_of(video_id)), default="")
        sources = (d.source_digest for d in self.downloads_of(video_id))
        same, elsewhere = places_of_texts(self.reused, video_id, sources)
        attempts = rejection.attempts if (rejection := self.rejects.get((stage, video_id))) else 0
        parts = self.video_parts.of(video_id)
        return VideoItem(video_id, uri, parts, attempts, retry is not None, elsewhere, tuple(same), self.refresh)

    def fetched(self, items: Iterable[DownloadItem]) -> list[str]:
        """The videos that these items led to. Where fetching again failed, it is the video as it was."""
        keys = (item.key for item in items if self._is_kept(item))
        return list(dict.fromkeys(self.downloads[key].video_id for key in keys if key in self.downloads))

    def _is_kept(self, item: DownloadItem) -> bool:
        rejection = self.rejects.get((Stage.DOWNLOAD, item.key))
        return rejection is None or (item.redo and rejection.kind != Kind.DUPLICATE)

    def downloaded(self, items: Iterable[DownloadItem]) -> list[Downloaded]:
        """The downloads of these items, except of rejected ones."""
        done = (item.key for item in items if (Stage.DOWNLOAD, item.key) not in self.rejects)
        return [self.downloads[key] for key in done if key in self.downloads]

    def old_parts(self, items: Iterable[DownloadItem | VideoItem]) -> dict[str, frozenset[str]]:
        """By table, the parts that may hold rows which the work on these items replaces."""
        old: dict[str, set[str]] = {}
        items = list(items)
        if redone := [item for item in items if isinstance(item, DownloadItem) and item.redo]:
            old.update((table, set(self.dataset.live_parts(table))) for table in ("downloads", "rejects"))
        if any(isinstance(item, DownloadItem) and item.paged for item in items):
            old["pages"] = set(self.dataset.live_parts("pages"))
        superseded = [self.video_parts.of(item.old_video) for item in redone if item.old_video is not None]
        for parts_by_table in (*superseded, *(item.parts for item in items if isinstance(item, VideoItem))):
            for table, parts in parts_by_table.items():
                old.setdefault(table, set()).update(parts)
        return {table: frozenset(parts) for table, parts in old.items()}

    # --- the needs of a video ---------------------------------------------------------------------------------------

    def needs(self, video_id: str, retry: Retry | None = None) -> str | None:
        """The first stage that a downloaded video still needs; None if it is done, or rejected and not retried."""
        if video_id in self.settled:
            return None
        rejection = self.rejects.get((Stage.SEGMENT, video_id))
        if rejection is not None and self.is_refused(video_id, rejection) and not is_retried(rejection, retry):
            return None
        if not self.is_cut(video_id) or self.lacks_timeline(video_id):
            return Stage.SEGMENT
        textless = self.textless.get(video_id, {}).values()
        if video_id in self.stale_texts or any(is_retried(r, retry) for r in textless):
            return Stage.CAPTION
        texts = identity(self.texts.digest, self.caption_recipes.get(video_id))
        expected = clips_digest(self.segments[video_id], texts, sum(r.stage == Stage.CAPTION for r in textless))
        made = self.clips.get(video_id) in self._identities(expected, Step.SUMMARIES)
        return None if made or any(r.digest == reject_digest(expected) for r in textless) else Stage.CAPTION

    def can_be_cut(self, video_id: str, retry: Retry | None = None) -> bool:
        """Whether it needs the segment stage, and there is media for that."""
        if self.needs(video_id, retry) != Stage.SEGMENT:
            return False
        return self.has_media(video_id) or self.has_source(video_id)

    def is_retried(self, video_id: str, retry: Retry) -> bool:
        """Whether `retry` includes a reject of the video: also one of fetching its source again."""
        keys = [(Stage.SEGMENT, video_id), *((Stage.DOWNLOAD, d.request_key) for d in self.downloads_of(video_id))]
        rejects = (*map(self.rejects.get, keys), *self.textless.get(video_id, {}).values())
        return any(is_retried(rejection, retry) for rejection in rejects)

    def is_cut(self, video_id: str) -> bool:
        """Whether the stored media and the tilings are up to date."""
        media, made = self.videos.get(video_id, ""), self.segments.get(video_id)
        tilings = (tiling_digest(media, d.words, self.settings) for d in self.downloads_of(video_id))
        return self.has_media(video_id) and any(made in self._identities(t, Step.TILINGS) for t in tilings)

    def lacks_timeline(self, video_id: str) -> bool:
        """Whether the timeline of a video's stored media is to be refreshed."""
        if Step.TIMELINES not in self.refresh or video_id in self.measured:
            return False
        wanted = timeline_digest(self.videos.get(video_id, ""))
        return self.timelines.get(video_id) not in self._identities(wanted, Step.TIMELINES)

    def has_media(self, video_id: str) -> bool:
        """Whether the stored media is up to date."""
        return any(self.videos.get(video_id) in self._identities(d, Step.MEDIA) for d in self.media_digests(video_id))

    def is_refused(self, video_id: str, rejection: Rejection) -> bool:
        """Whether the single pass, or tiling, would still reject a video."""
        digests = (segment_reject_digests(rejection.kind, m, self.settings) for m in self.media_digests(video_id))
        return any(rejection.digest in some for some in digests)

    def source_bytes(self, video_id: str) -> int:
        """The size of a downloaded video's source media."""
        return max((d.source_bytes for d in self.downloads_of(video_id)), default=0)

    def has_source(self, video_id: str) -> bool:
        """Whether a source of the video is still in the dataset, or is a file that the user named."""
        uris = (d.source_uri for d in self.downloads_of(video_id))
        return any(not uri.startswith("sources/") or uri in self.sources for uri in uris)

    def media_digests(self, video_id: str) -> set[str]:
        """The digests that an up-to-date row of `videos` may have: one for each request of the video."""
        return {media_digest(d.digest, self.settings, d.material, d.recipe) for d in self.downloads_of(video_id)}

    def downloads_of(self, video_id: str) -> tuple[Downloaded, ...]:
        """A video's downloads: one for each request that led to it."""
        return self.by_video.get(video_id, ())

    def typical_bytes(self) -> int:
        """The mean size of the downloads so far, in bytes; 0 before the first."""
        return self.fetched_bytes // self.fetched_count if self.fetched_count else 0

    # --- taking rows in ---------------------------------------------------------------------------------------------

    def _take(self, table: str, paths: Iterable[str]) -> None:
        digests = self._made.get(table, {})
        for path in paths if table in self._made else ():
            rows = self.dataset.distinct(table, path, ["video_id", "digest", "recipe"])
            for video_id, *made in zip(*(rows[name].to_pylist() for name in rows.schema.names), strict=True):
                if video_id in self.settled:
                    continue
                digests[video_id] = identity(*made)
                if table == "clips":
                    self.stale_texts.discard(video_id)
                if table == "segments":
                    self.rejects.pop((Stage.SEGMENT, video_id), None)  # it no longer holds
                    self.stale_texts.add(video_id)
        for path in paths if table == "captions" and RECIPES[Step.CAPTIONS] > 1 else ():
            for row in rows_of(self.dataset.distinct(table, path, ["video_id", "recipe"])):
                if (row["recipe"] or 1) > self.caption_recipes.get(row["video_id"], 1):
                    self.caption_recipes[row["video_id"]] = row["recipe"]
        for path in paths if table == "downloads" else ():
            self._count(rows := self.dataset.read_part(table, path, DOWNLOADED))
            for row in rows_of(rows):
                self._downloaded(Downloaded(**row))
                self.rejects.pop((Stage.DOWNLOAD, row["request_key"]), None)
                self.sources.add(row["source_uri"])
        for path in paths if table == "rejects" else ():
            for row in rows_of(self.dataset.read_part(table, path, REJECTION)):
                rejection = Rejection(**row)
                self.rejects[rejection.stage, rejection.key] = rejection
                if rejection.stage in (Stage.CAPTION, Stage.SUMMARIZE) and rejection.video_id is not None:
                    textless = self.textless.setdefault(rejection.video_id, {})
                    textless[rejection.stage, rejection.key] = rejection

    def _downloaded(self, download: Downloaded) -> None:
        self.downloads[download.request_key] = download
        others = [d for d in self.downloads_of(download.video_id) if d.request_key != download.request_key]
        self.by_video[download.video_id] = (*others, download)

    def _count(self, downloads: pa.Table) -> None:
        self.fetched_count += len(downloads)
        self.fetched_bytes += pc.sum(downloads["source_bytes"]).as_py() or 0


def as_column(array: pa.Array) -> pa.ChunkedArray:
    return pa.chunked_array([array])
