"""The driver's state: only the ids of settled videos, which columns show; all the needs of the others."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.dataset.commits import Replacement, read_commits
from curation.dataset.dataset import Dataset
from curation.dataset.edits import replacing
from curation.dataset.parts import PartWriter
from curation.dataset.writer import Writer
from curation.ids import digest, digests
from curation.recipes import RECIPES, Step, identity
from curation.records import Download, Row
from curation.rejects import Kind, Stage
from curation.row_digests import (
    FORMER_FORMAT,
    clips_digest,
    download_digest,
    download_reject_digest,
    media_digest,
    reject_digest,
    segment_reject_digest,
    tiling_digest,
)
from curation.settings import Settings, resolve
from curation.sources.targets import FetchTarget
from pipelines.driver.known_rows import Retry
from pipelines.driver.part_index import VideoParts
from pipelines.driver.plan import make_plan
from pipelines.driver.state import State
from pipelines.worker.text_engines import WantedTexts
from pipelines.worker.work_items import BY_VIDEO, DownloadItem
from tests.support.dataset_files import ENGINE, download_of, made_of, reject_of, request_of, stored_media
from tests.support.segmented import as_fetched, segment_videos

SETTINGS = resolve()
ORIGIN = {"model": ENGINE["model"], "prompt_digest": ENGINE["prompt_digest"], "sampling": "{}"}
TEXTS = WantedTexts("the digest of all that makes texts", {"maker": "the captioner", **ORIGIN})
OTHER_TEXTS = WantedTexts("another prompt", TEXTS.captions)
IDS = [download_of(number).video_id for number in range(4)]


def tiling_of(number: int, settings: Settings = SETTINGS) -> str:
    request = request_of(number)
    download = as_fetched(download_of(number), request, settings)
    media = media_digest(download_digest(request, settings), settings, download.material)
    return tiling_digest(identity(media, RECIPES[Step.MEDIA]), download.words, settings)


def give_texts(dataset: Dataset, number: int, uncaptioned: int = 0) -> None:
    """The clips of a video, as the last stage leaves them, and rejects for `uncaptioned` of its frames."""
    made = clips_digest(identity(tiling_of(number), RECIPES[Step.TILINGS]), TEXTS.digest, uncaptioned)
    with Writer(dataset, "texts", {}) as writer:
        parts = PartWriter(dataset.store, writer.lineage, 1 << 30)
        clips = made_of(number, stored_media())["clips"]
        parts.add(Row(record, made) for record in clips)
        for frame in range(uncaptioned):
            row = reject_of(f"{IDS[number]}.{frame}", IDS[number], "", Stage.CAPTION, "engine")
            parts.add([Row(row, reject_digest("caption"))])
        writer.commit(f"texts:{number}", parts.finish())


def load(dataset: Dataset, settings: Settings = SETTINGS, texts: WantedTexts = TEXTS) -> State:
    return State.load(dataset, settings, texts)


def update(state: State, after: int) -> None:
    for _, record in read_commits(state.dataset, after):
        state.update(record.get("tables", {}))


@pytest.fixture
def dataset(tmp_path: Path) -> Dataset:
    """Videos 0 and 1 have their texts, 2 has all but one caption, 3 awaits them."""
    dataset = segment_videos(tmp_path / "data", SETTINGS, range(4))
    for number in range(3):
        give_texts(dataset, number, uncaptioned=int(number == 2))
    return dataset


def test_what_needs_nothing_is_known_by_its_name_alone(dataset: Dataset) -> None:
    state = load(dataset)
    assert state.settled == {IDS[0], IDS[1]}
    assert set(state.by_video) == {IDS[2], IDS[3]}
    assert len(state.downloads) == len(state.videos) == len(state.segments) == 2
    assert [state.needs(video_id) for video_id in IDS] == [None, None, None, Stage.CAPTION]
    plan = make_plan(state, {})
    assert (len(plan.downloads), plan.segment, plan.text) == (0, [], [IDS[3]])
    assert state.typical_bytes() == 10


@pytest.mark.parametrize(
    ("change", "texts", "needed"),
    [
        ((), OTHER_TEXTS, Stage.CAPTION),
        (("tilings.shot_cost=0.7",), TEXTS, Stage.SEGMENT),
        (("media.crf=20",), TEXTS, Stage.SEGMENT),
        (("frames.every_s=5",), TEXTS, Stage.SEGMENT),
    ],
)
def test_a_change_of_settings_unsettles_every_video(
    dataset: Dataset, change: tuple[str, ...], texts: WantedTexts, needed: str
) -> None:
    state = load(dataset, resolve(None, change), texts)
    assert state.settled == set()
    assert {state.needs(video_id) for video_id in IDS} == {needed}


def test_other_downloads_are_fetched_anew_and_take_the_place_of_the_old(dataset: Dataset) -> None:
    settings = resolve(None, ["download.format=best"])
    state = load(dataset, settings)
    assert state.settled == set(), "its request is not done with"
    items = list(make_plan(state, {}).downloads)
    assert len(items) == 4
    for item in items:
        number = IDS.index(str(item.old_video))
        assert item == DownloadItem(
            request_of(number), None, download_digest(request_of(number), settings), 0, redo=True, old_video=IDS[number]
        )


def test_what_the_former_default_format_fetched_stays(dataset: Dataset) -> None:
    state = load(dataset, resolve(None, [f"download.format={FORMER_FORMAT}"]))
    assert state.settled == load(dataset).settled == {IDS[0], IDS[1]}
    assert SETTINGS.download.format != FORMER_FORMAT
    assert not load(dataset, resolve(None, ["download.format=b"])).settled


def test_media_whose_source_is_gone_is_fetched_again_by_one_request_a_video(dataset: Dataset) -> None:
    state = load(dataset, resolve(None, ["media.crf=20"]))
    plan = make_plan(state, {})
    assert (len(plan.downloads), plan.segment, plan.fetched_again) == (4, [], 4)
    assert sorted(plan.downloads.redone()) == sorted(request_of(number).request_key for number in range(4))


def test_media_whose_request_is_lost_with_its_source_leaves_nothing_to_fetch(dataset: Dataset) -> None:
    with Writer(dataset, "lost", {}) as writer:
        keys = dataset.read("requests", ["request_key"])["request_key"].to_pylist()
        writer.commit("lost", [], [replacing(dataset, "requests", "request_key", keys)])
    state = load(dataset, resolve(None, ["media.crf=20"]))
    assert state.unfetched.num_rows == 0
    assert len(make_plan(state, {}).downloads) == 0


def test_a_second_request_for_a_settled_video_needs_nothing(dataset: Dataset) -> None:
    state = load(dataset)
    twin = request_of(9)
    with Writer(dataset, "twin", {}) as writer:
        parts = PartWriter(dataset.store, writer.lineage, 1 << 30)
        parts.add([Row(twin, digest("request"))])
        download: Download = dataclasses.replace(download_of(0), request_key=twin.request_key, uri=twin.uri)
        parts.add([Row(download, download_digest(twin, SETTINGS))])
        writer.commit("twin", parts.finish())
        update(state, writer.lineage.epoch)
    assert state.fetched([DownloadItem(twin, None, "")]) == [IDS[0]]
    assert state.needs(IDS[0]) is None
    assert load(dataset).settled == {IDS[0], IDS[1]}


def test_what_is_finished_with_is_let_go(dataset: Dataset) -> None:
    state = load(dataset)
    state.locate([IDS[3]])
    before = max(number for number, _ in read_commits(dataset, 0))
    give_texts(dataset, 3)
    update(state, before)
    assert state.item(IDS[3], Stage.CAPTION).parts["clips"]
    assert state.needs(IDS[3]) is None
    state.forget([IDS[3]])
    assert state.settled == {IDS[0], IDS[1], IDS[3]}
    assert set(state.by_video) == {IDS[2]}
    assert IDS[3] not in state.segments


@pytest.mark.parametrize(
    ("stage", "kind", "its_own", "others"),
    [
        (Stage.SEGMENT, Kind.TOO_SHORT, "tilings.short.min_s=3", ["tilings.short.target_s=9", "media.max_damage=0.5"]),
        (Stage.SEGMENT, Kind.TOO_LONG, "media.max_duration_s=9", ["media.max_pixels=99", "tilings.shot_cost=0.1"]),
        (Stage.SEGMENT, Kind.CORRUPT, "media.max_damage=0.5", ["media.max_duration_s=9", "frames.every_s=5"]),
        (Stage.SEGMENT, Kind.UNREADABLE, "media.crf=30", ["media.max_damage=0.5", "tilings.short.min_s=3"]),
        (Stage.DOWNLOAD, Kind.TOO_LARGE, "download.max_bytes=9", ["download.max_duration_s=9"]),
        (Stage.DOWNLOAD, Kind.NOT_FOUND, "download.format=b", ["download.max_bytes=9", "download.allow_private=true"]),
    ],
)
def test_a_reject_is_reconsidered_when_the_policy_of_its_kind_changes(
    tmp_path: Path, stage: Stage, kind: Kind, its_own: str, others: list[str]
) -> None:
    dataset, request, download = Dataset(str(tmp_path)), request_of(0), download_of(0)
    fetched = download_digest(request, SETTINGS)
    with Writer(dataset, "reject", {}) as writer:
        parts = PartWriter(dataset.store, writer.lineage, 1 << 30)
        parts.add([Row(request, digest("request"))])
        key, made = request.request_key, download_reject_digest(kind, fetched, SETTINGS)
        if stage == Stage.SEGMENT:
            key, made = download.video_id, segment_reject_digest(kind, media_digest(fetched, SETTINGS, None), SETTINGS)
            parts.add([Row(download, fetched)])
        parts.add([Row(reject_of(key, None, request.uri, stage, kind), made)])
        writer.commit("reject", parts.finish())
    assert [len(make_plan(load(dataset, resolve(None, [other])), {})) for other in others] == [0] * len(others)
    assert len(make_plan(load(dataset, resolve(None, [its_own])), {})) == 1


def test_requests_become_items_with_their_rejects_and_their_secrets(dataset: Dataset) -> None:
    new, lost, other = request_of(5), request_of(6), request_of(7)
    asked = FetchTarget.of(new, f"{new.uri}?token=hush")
    with Writer(dataset, "ask", {}) as writer:
        parts = PartWriter(dataset.store, writer.lineage, 1 << 30)
        parts.add(Row(record, digest("request")) for record in [new, lost, other])
        for request, attempts, made in ((lost, 2, download_digest(lost, SETTINGS)), (other, 3, "of other settings")):
            row = dataclasses.replace(
                reject_of(request.request_key, None, request.uri, Stage.DOWNLOAD, "timeout"),
                attempts=attempts,
                retryable=True,
            )
            parts.add([Row(row, download_reject_digest(row.kind, made, SETTINGS))])
        writer.commit("ask", parts.finish())
    state = load(dataset)
    expected = {request: download_digest(request, SETTINGS) for request in (new, lost, other)}
    plan = make_plan(state, {new.request_key: asked})
    first = DownloadItem(new, asked, expected[new])
    again = DownloadItem(other, None, expected[other], attempts=3, redo=True)
    assert sorted(plan.downloads, key=lambda item: item.attempts) == [first, again]
    assert plan.downloads[:1][0] == plan.downloads[0] == next(iter(plan.downloads))
    assert [len(plan.downloads[at:]) for at in range(3)] == [2, 1, 0]
    retried = make_plan(state, {}, Retry())
    lost_again = DownloadItem(lost, None, expected[lost], attempts=2, redo=True)
    assert sorted(retried.downloads, key=lambda item: item.attempts) == [lost_again, again]


def test_places_are_what_looking_through_all_parts_would_find(dataset: Dataset) -> None:
    places = VideoParts(dataset)
    places.look_for(IDS)

    def looked_through(video_id: str) -> dict[str, tuple[str, ...]]:
        found = {
            table: tuple(sorted(p for p in dataset.live_parts(table) if video_id in videos_in(dataset, table, p)))
            for table in BY_VIDEO
        }
        return {table: parts for table, parts in found.items() if parts}

    assert {v: places.of(v) for v in IDS} == {v: looked_through(v) for v in IDS}
    assert places.of("nobody") == {}
    before = max(number for number, _ in read_commits(dataset, 0))
    with Writer(dataset, "rewrite", {}) as writer:  # removes the segments of one video and moves those of the others
        parts = frozenset(dataset.live_parts("segments"))
        writer.commit("rewrite", [], [Replacement("segments", ("video_id",), frozenset({(IDS[0],)}), parts)])
    for _, record in read_commits(dataset, before):
        for table, share in record.get("tables", {}).items():
            places.remove(part["path"] for part in share["remove"])
            for part in share["add"]:
                places.add(table, part["path"], videos_in(dataset, table, part["path"]))
    assert {v: places.of(v) for v in IDS} == {v: looked_through(v) for v in IDS}
    assert "segments" not in places.of(IDS[0])


def videos_in(dataset: Dataset, table: str, path: str) -> list[str]:
    return [str(v) for v in dataset.read_part(table, path, ["video_id"])["video_id"].unique().to_pylist()]


def test_only_what_is_not_new_is_looked_for(dataset: Dataset) -> None:
    places = VideoParts(dataset)
    places.follow(["new"])
    places.add("videos", "part-1", ["new", IDS[0]])
    places.look_for(["new"])
    assert places.of("new") == {"videos": ("part-1",)}
    places.look_for([IDS[0]])
    assert "part-1" not in places.of(IDS[0])["videos"], "the tables say where it is, and they have no such part"
    places.forget(["new"])
    assert places.of("new") == {}


# --- digests of columns ---------------------------------------------------------------------------------------------


@given(st.lists(st.tuples(st.none() | st.text(), st.none() | st.text()), max_size=5), st.text(), st.floats(0, 1))
def test_a_column_of_digests_is_the_digest_of_each_row(
    rows: list[tuple[str | None, str | None]], text: str, number: float
) -> None:
    first, second = (pa.chunked_array([pa.array([row[at] for row in rows], pa.string())]) for at in (0, 1))
    found = digests(text, first, {"%s": number}, second)
    assert found.to_pylist() == [digest(text, a, {"%s": number}, b) for a, b in rows]
