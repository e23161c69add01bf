"""Lists that people edit between runs: what changes in the tables, without a download."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from curation.dataset.dataset import Dataset
from curation.dataset.edits import replacing
from curation.dataset.rehearsal import Rehearsal
from curation.dataset.writer import Writer
from curation.errors import InputError, UsageError
from curation.ids import new_run_id, video_id_of
from curation.records import Download, VideoRequest
from curation.rejects import Kind, Stage
from curation.row_digests import download_digest
from curation.schema import from_row
from curation.settings import Settings
from curation.sources.requests import Inputs, read_inputs
from curation.sources.targets import reject_input
from pipelines.driver.curate import curate
from pipelines.driver.intake import Intake, take_in
from pipelines.driver.known_rows import Downloaded
from pipelines.driver.prune import prune, unnamed
from pipelines.driver.same_bytes import SameBytes, accept_duplicates
from pipelines.driver.state import DOWNLOADED, State
from tests.support.cheap_work import cheap_work
from tests.support.dataset_files import commit_rows, download_of, made_of
from tests.support.segmented import TEXTS

SETTINGS = Settings()


def url_of(number: int) -> str:
    return f"https://videos.example/watch/{number}"


def rows_but_lineage(dataset: Dataset, table: str) -> list[str]:
    """The rows of a table, without what differs from run to run: read as a whole, and by its parts."""
    rows = dataset.read(table).to_pylist()
    by_part = [row for part in dataset.live_parts(table) for row in dataset.read_part(table, part).to_pylist()]
    assert sorted(map(repr, rows)) == sorted(map(repr, by_part))
    return sorted(repr({k: v for k, v in row.items() if k not in ("run_id", "created_at")}) for row in rows)


def written(dataset: Dataset) -> list[str]:
    """Every file of the dataset."""
    assert dataset.folder is not None
    return sorted(str(path) for path in dataset.folder.rglob("*") if path.is_file())


class Lists:
    """A dataset and its lists."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.dataset = Dataset(str(folder / "d"))

    def write(self, *rows: dict[str, Any], name: str = "list.jsonl") -> Path:
        path = self.folder / name
        path.write_text("".join(json.dumps(row) + "\n" for row in rows))
        return path

    def read(self, *inputs: Path) -> Intake:
        """What a run does first; a rehearsal has found the same, and written nothing."""
        names, rehearsal = [str(i) for i in inputs], Rehearsal(self.dataset)
        files = written(self.dataset)
        rehearsed = take_in(rehearsal, SETTINGS, read_inputs(names, SETTINGS.download))
        assert written(self.dataset) == files
        with Writer(self.dataset, new_run_id(), {}) as writer:
            intake = take_in(writer, SETTINGS, read_inputs(names, SETTINGS.download))
        assert rehearsed.line() == intake.line()
        for table in ("requests", "downloads", "videos", "clips", "rejects"):
            found = rows_but_lineage(rehearsal.dataset, table)
            assert found == rows_but_lineage(self.dataset, table), table
        return intake

    def make(self) -> None:
        """Rows as a run makes them, of all requests that are pending."""
        with Writer(self.dataset, new_run_id(), {}) as writer:
            for at, key in enumerate(self.pending()):
                (row,) = self.rows(f"select * from requests where request_key = '{key}'")
                request = from_row(VideoRequest, row)
                rows = made_of(at, b"")
                video_id = video_id_of("list", request.id or key, request.start, request.end)
                common = {"video_id": video_id, "metadata": request.metadata}
                download = replace(
                    download_of(at), request_key=key, uri=request.uri, start=request.start, end=request.end, **common
                )
                (clip,) = [replace(clip, clip_id=video_id, **common) for clip in rows["clips"][:1]]
                video = replace(rows["videos"][0], uri=request.uri, **common)
                commit_rows(writer, f"made:{key}", {"downloads": [download], "videos": [video], "clips": [clip]})

    def pending(self) -> list[str]:
        """The keys of the requests that a run would download."""
        done = self.rows("select request_key k from downloads union select key k from rejects where stage = 'download'")
        unfetched: list[str] = State.load(self.dataset, SETTINGS, TEXTS).unfetched["request_key"].to_pylist()
        return [key for key in unfetched if key not in {row["k"] for row in done}]

    def rows(self, query: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = self.dataset.sql(query).to_pylist()
        return found

    def topics(self, table: str) -> dict[str | None, int]:
        query = f"select metadata->>'topic' as topic, count(*) as n from {table} group by all"
        return {row["topic"]: row["n"] for row in self.rows(query)}


@pytest.fixture
def lists(tmp_path: Path) -> Lists:
    return Lists(tmp_path)


# --- rows that change -----------------------------------------------------------------------------------------------


def test_changed_metadata_is_everywhere_and_nothing_is_downloaded(lists: Lists) -> None:
    talks = [{"url": url_of(n), "topic": "bees", "title": f"Talk {n}"} for n in range(4)]
    assert lists.read(lists.write(*talks)).line() == "inputs: 4 new"
    lists.make()
    query = "select video_id, digest, created_at, run_id from clips order by all"
    before = lists.rows(query)
    talks[1]["topic"] = "wasps"
    del talks[2]["topic"], talks[2]["title"]
    assert lists.read(lists.write(*talks, talks[0])).line() == "inputs: 2 changed, 2 the same, 1 duplicates"
    for table in ("requests", "downloads", "videos", "clips"):
        assert lists.topics(table) == {"bees": 2, "wasps": 1, None: 1}, table
    assert lists.rows(query) == before
    assert lists.pending() == []
    assert lists.read(lists.write(*talks)).line() == "inputs: 4 the same"


def test_metadata_of_a_video_that_two_requests_led_to_is_that_of_the_first_by_key(lists: Lists) -> None:
    lists.read(lists.write(*({"url": url_of(n), "topic": "bees"} for n in range(2))))
    with Writer(lists.dataset, new_run_id(), {}) as writer:
        keys = sorted(lists.pending())
        found = [replace(download_of(0), request_key=key, metadata='{"topic": "bees"}') for key in keys]
        commit_rows(writer, "made", {"downloads": found, "videos": made_of(0, b"")["videos"]})
    by_key = {row["request_key"]: row["uri"] for row in lists.rows("select request_key, uri from requests")}
    lists.read(lists.write({"url": by_key[keys[1]], "topic": "second"}))
    assert lists.topics("videos") == {"bees": 1}
    lists.read(lists.write({"url": by_key[keys[0]], "topic": "first"}))
    assert lists.topics("videos") == {"first": 1}
    assert lists.topics("downloads") == {"first": 1, "second": 1}


@pytest.mark.parametrize("change", [{"id": "new"}, {"subtitles": "https://videos.example/new.vtt"}])
def test_a_changed_id_or_subtitle_is_downloaded_again(lists: Lists, change: dict[str, str]) -> None:
    rows = [{"url": url_of(n), "id": str(n), "subtitles": f"https://videos.example/{n}.vtt"} for n in range(2)]
    lists.read(lists.write(*rows))

    def expected() -> dict[str, str]:
        requests = (from_row(VideoRequest, row) for row in lists.rows("select * from requests"))
        return {request.uri: download_digest(request, SETTINGS) for request in requests}

    before = expected()
    rows[1].update(change)
    assert lists.read(lists.write(*rows)).line() == "inputs: 1 changed, 1 the same"
    assert {uri for uri, value in expected().items() if value != before[uri]} == {url_of(1)}


def test_what_states_nothing_changes_nothing(lists: Lists) -> None:
    lists.read(lists.write({"url": url_of(1), "id": "a", "topic": "bees"}))
    (lists.folder / "list.txt").write_text(f"{url_of(1)}\n")
    assert lists.read(lists.folder / "list.txt").line() == "inputs: 1 the same"
    assert lists.rows("select id, metadata from requests") == [{"id": "a", "metadata": '{"topic": "bees"}'}]


def test_a_row_that_states_more_outranks_an_earlier_one_that_states_nothing(lists: Lists) -> None:
    (lists.folder / "list.txt").write_text(f"{url_of(1)}\n")
    rows = [{"url": url_of(1), "id": "a"}, {"url": url_of(1), "id": "a"}]
    assert lists.read(lists.folder / "list.txt", lists.write(*rows)).line() == "inputs: 1 new, 2 duplicates"
    assert lists.rows("select id from requests") == [{"id": "a"}]


def test_subtitles_that_appear_beside_a_file_change_its_request(lists: Lists) -> None:
    (lists.folder / "a.mp4").touch()
    lists.read(lists.folder / "a.mp4")
    (lists.folder / "a.en.vtt").touch()
    assert lists.read(lists.folder / "a.mp4").line() == "inputs: 1 changed"
    assert lists.rows("select subtitle_language l from requests") == [{"l": "en"}]


# --- refused rows ---------------------------------------------------------------------------------------------------


def refusals(lists: Lists) -> list[tuple[str, str]]:
    rows = lists.rows("select kind, message from rejects order by message")
    return [(row["kind"], row["message"].partition(": ")[0]) for row in rows]


@pytest.mark.hostile("lists")
def test_refused_rows_are_never_downloaded_and_keep_their_message(lists: Lists) -> None:
    bad = [{"url": "ftp://a.example/1"}, {"url": url_of(1), "start": "soon"}, {"url": "file:///etc/passwd"}]
    assert lists.read(lists.write(*bad, {"url": url_of(2)})).line() == "inputs: 1 new, 3 refused"
    before = lists.rows("select key, kind, message, attempts from rejects order by message")
    assert len(before) == 3
    changed = SETTINGS.model_copy(update={"download": SETTINGS.download.model_copy(update={"max_bytes": 7})})
    for settings in (SETTINGS, changed):
        unfetched = State.load(lists.dataset, settings, TEXTS).unfetched["request_key"].to_pylist()
        assert set(unfetched).isdisjoint(row["key"] for row in before) and len(unfetched) == 1
    assert lists.read(lists.folder / "list.jsonl").line() == "inputs: 1 the same, 3 refused"
    assert lists.rows("select key, kind, message, attempts from rejects order by message") == before


@pytest.mark.hostile("lists")
def test_rows_that_an_older_version_refused_are_never_downloaded(lists: Lists) -> None:
    rows = lists.write({"url": "ftp://a.example/1"}, {"url": url_of(1)})
    lists.read(rows)
    with Writer(lists.dataset, new_run_id(), {}) as writer:
        (row,) = lists.rows("select * from requests where refused is not null")
        older = replace(from_row(VideoRequest, row), refused=None)
        replaced = replacing(lists.dataset, "requests", "request_key", [older.request_key])
        commit_rows(writer, "older", {"requests": [older]}, [replaced])
    before = lists.rows("select * from requests order by all")
    for _ in range(2):
        unfetched = State.load(lists.dataset, SETTINGS, TEXTS).unfetched["request_key"].to_pylist()
        assert older.request_key not in unfetched and len(unfetched) == 1
        assert lists.read(rows).line() == "inputs: 1 the same, 1 refused"
    assert lists.rows("select * from requests order by all") == before


def test_a_refused_row_that_is_corrected_leaves_no_trace(lists: Lists) -> None:
    good, bad = {"url": url_of(1)}, {"url": url_of(2), "end": "soon"}
    lists.read(lists.write(good, bad))
    assert refusals(lists) == [("invalid_request", "list.jsonl, row 2")]
    lists.read(lists.write({"url": url_of(3)}, good, bad))
    assert refusals(lists) == [("invalid_request", "list.jsonl, row 3")]
    lists.read(lists.write(good, name="other.jsonl"))
    assert len(refusals(lists)) == 1
    lists.read(lists.write({"url": url_of(3)}, good, {**bad, "end": "0:07"}))
    assert refusals(lists) == []
    assert len(lists.rows("select * from requests")) == len(lists.pending()) == 3


def test_a_playlist_that_could_not_be_listed_leaves_no_trace_once_it_is(lists: Lists) -> None:
    url = "https://a.example/playlist"
    fault = reject_input(Kind.SERVER_ERROR, "listing the playlist failed after 0 entries", url, url, "playlist")
    for found, whole, left in (([fault], False, 1), ([], False, 1), ([], True, 0)):
        with Writer(lists.dataset, new_run_id(), {}) as writer:
            take_in(writer, SETTINGS, Inputs([iter(found)], playlists={url: whole}))
        assert len(lists.rows("select * from rejects")) == len(lists.rows("select * from requests")) == left
    assert lists.pending() == []


# --- rows that clash ------------------------------------------------------------------------------------------------


def test_one_url_with_two_ids_is_refused_and_names_the_other(lists: Lists) -> None:
    rows = [{"url": url_of(1), "id": "a"}, {"url": url_of(1), "id": "b"}, {"url": url_of(1), "id": "a", "topic": "x"}]
    for line in ("1 new, 1 duplicates, 1 refused", "1 the same, 1 duplicates, 1 refused"):
        assert lists.read(lists.write(*rows)).line() == f"inputs: {line}"
        (reject,) = lists.rows("select * from rejects")
        assert (reject["kind"], reject["uri"]) == ("duplicate", url_of(1))
        assert reject["message"] == ("list.jsonl, row 2: an earlier row asks for the same URL and range, with the id a")
        assert len(lists.pending()) == 1
    lists.read(lists.write(*rows[:1]))
    assert lists.rows("select * from rejects") == []


def test_what_distinguishes_two_files_is_a_part_of_the_request(lists: Lists) -> None:
    rows = [{"url": f"https://a.example/get?md5={n}"} for n in ("a", "b")]
    assert lists.read(lists.write(*rows)).line() == "inputs: 2 new"


@pytest.mark.parametrize("name", ["list.jsonl", "list.txt"])
def test_urls_that_differ_in_their_signatures_alone_are_no_silent_loss(lists: Lists, name: str) -> None:
    urls = [f"https://a.example/get?md5={n}&expires=1700000000&utm_source={n}" for n in ("a", "b", "a")]
    path = lists.write(*({"url": url} for url in urls), name=name)
    if name == "list.txt":
        path.write_text("".join(f"{url}\n" for url in urls))
    for line in ("1 new", "1 the same"):
        assert lists.read(path).line() == f"inputs: {line}, 1 duplicates, 1 refused"
        (reject,) = lists.rows("select kind, message from rejects")
        assert reject["kind"] == "duplicate" and reject["message"].startswith(f"{name}, row 2: ")
        assert "another signature" in reject["message"]


def taken(lists: Lists) -> list[tuple[str, str]]:
    query = "select uri, message from rejects where kind = 'id_taken' order by uri"
    return [(row["uri"], row["message"]) for row in lists.rows(query)]


def test_an_id_that_another_url_has_is_taken_until_it_is_free(lists: Lists) -> None:
    one, two, ranged = (
        {"url": url_of(1), "id": "a"},
        {"url": url_of(2), "id": "a"},
        {"url": url_of(1), "id": "a", "end": 5},
    )
    refused = [(url_of(2), f"its id a is that of {url_of(1)}")]
    for _ in range(2):
        lists.read(lists.write(one, two, ranged))
        assert taken(lists) == refused
        assert len(lists.pending()) == 2
    lists.make()
    lists.read(lists.write(two, name="other.jsonl"))
    assert taken(lists) == refused
    lists.read(lists.write(one, {**two, "id": "b"}, ranged))
    assert taken(lists) == []
    assert len(lists.pending()) == 1
    lists.read(lists.write({**one, "id": "b"}, {**two, "id": "a"}))
    assert len(taken(lists)) == 1, "the range of the first URL still has the id a"


def test_two_rows_may_swap_their_ids(lists: Lists) -> None:
    lists.read(lists.write({"url": url_of(1), "id": "a"}, {"url": url_of(2), "id": "b"}))
    lists.make()
    lists.read(lists.write({"url": url_of(1), "id": "b"}, {"url": url_of(2), "id": "a"}))
    assert taken(lists) == []
    assert lists.rows("select uri, id from requests order by uri") == [
        {"uri": url_of(1), "id": "b"},
        {"uri": url_of(2), "id": "a"},
    ]
    assert lists.rows("select uri, video_id from downloads order by uri") == [
        {"uri": url_of(1), "video_id": "list-b"},
        {"uri": url_of(2), "video_id": "list-a"},
    ]


def test_a_row_that_has_left_the_list_without_a_video_owns_no_id(lists: Lists) -> None:
    """As a URL that was wrong, and is corrected."""
    wrong, right = ({"url": url_of(n), "id": "a"} for n in (1, 2))
    lists.read(lists.write(wrong))
    for _ in range(2):
        lists.read(lists.write(right))
        assert taken(lists) == [(url_of(1), f"its id a is that of {url_of(2)}")]
        assert len(lists.pending()) == 1
    lists.make()
    lists.read(lists.write(wrong))
    assert taken(lists) == [(url_of(1), f"its id a is that of {url_of(2)}")]


def test_a_list_in_which_a_row_was_refused_is_not_enough_to_prune(lists: Lists) -> None:
    good, file = {"url": url_of(1)}, {"url": "bees.mp4"}
    before = None
    for rows in ((good, {"url": url_of(2)}), (good, file, file)):
        names, options = [str(lists.write(*rows))], {"prune": True, "yes": True}
        with cheap_work(), contextlib.nullcontext() if before is None else pytest.raises(UsageError) as refused:
            curate(names, lists.dataset.uri, SETTINGS, (Stage.DOWNLOAD,), [], 0.0, 2.0, **options)
        before = before or sorted(lists.folder.rglob("*"))
    assert "nothing is done, since a row was refused: list.jsonl, row 2: " in str(refused.value)
    assert "\n" not in str(refused.value)
    assert sorted(lists.folder.rglob("*")) == before


# --- the same bytes -------------------------------------------------------------------------------------------------


def fetched(lists: Lists, writer: Writer, **sources: str) -> list[Downloaded]:
    """Downloads of these requests, by id, of these bytes; a run has just made them."""
    rows: Sequence[Download] = [
        replace(
            download_of(0),
            request_key=key,
            video_id=f"list-{key}",
            uri=f"https://a.example/{key}",
            source_digest=source,
        )
        for key, source in sources.items()
    ]
    commit_rows(writer, f"fetched {sources}", {"downloads": rows})
    found = lists.rows(f"select {', '.join(DOWNLOADED)} from downloads".replace(" end", ' "end"'))
    by_key = {row["request_key"]: Downloaded(**row) for row in found}
    return [by_key[key] for key in sources]


def test_the_same_bytes_under_two_ids_are_made_once(lists: Lists) -> None:
    with Writer(lists.dataset, "run-1", {}) as writer:
        fetched(lists, writer, old="x", older="x")
    with Writer(lists.dataset, "run-2", {}) as writer:
        same = SameBytes(writer, SETTINGS)
        assert not same.reject(fetched(lists, writer, a="1", b="2"), "first")
        assert same.reject(fetched(lists, writer, c="2", d="3", e="3", f="x"), "second")
        assert not same.reject(fetched(lists, writer, g="4"), "third")
    kept = lists.rows("select request_key k from downloads order by all")
    assert [row["k"] for row in kept] == ["a", "b", "d", "g", "old", "older"]
    rejects = lists.rows("select key, kind, message from rejects order by key")
    expected = {"c": "b, the video list-b; ", "e": "d, the video list-d; ", "f": "old"}
    assert [(row["key"], row["kind"]) for row in rejects] == [(key, "duplicate") for key in expected]
    for row in rejects:
        assert row["message"].startswith(f"the same bytes as https://a.example/{expected[row['key']]}")


def test_duplicates_are_accepted_where_both_are_wanted(lists: Lists) -> None:
    lists.read(lists.write({"url": url_of(1)}, {"url": url_of(2), "id": "a"}, {"url": url_of(2), "id": "b"}))
    with Writer(lists.dataset, "run-2", {}) as writer:
        keys = dict(zip("ab", lists.pending(), strict=True))
        assert SameBytes(writer, SETTINGS).reject(fetched(lists, writer, **{key: "x" for key in keys.values()}), "t")
        assert len(lists.rows("select * from rejects")) == 2
        accept_duplicates(writer)
    assert [row["kind"] for row in lists.rows("select kind from rejects")] == ["duplicate"], "the row that clashes"
    assert len(lists.pending()) == 1


# --- rows that are gone ---------------------------------------------------------------------------------------------


def test_what_no_input_names_is_kept_unless_it_is_pruned(lists: Lists) -> None:
    lists.read(lists.write(*({"url": url_of(n), "topic": str(n)} for n in range(4)), {"url": "ftp://a.example"}))
    lists.make()
    left = lists.write({"url": url_of(1), "topic": "1"}, {"url": url_of(9)})
    intake = lists.read(left)
    assert lists.topics("clips") == {"0": 1, "1": 1, "2": 1, "3": 1}
    gone = unnamed(lists.dataset, intake.seen)
    assert gone.line().startswith(
        "3 requests that the inputs do not name, with 3 videos: https://videos.example/watch/"
    )
    with Writer(lists.dataset, new_run_id(), {}) as writer:
        prune(writer, gone)
    for table in ("downloads", "videos", "clips"):
        assert lists.topics(table) == {"1": 1}, table
    assert lists.topics("requests") == {"1": 1, None: 1}
    assert lists.rows("select * from forgotten") == lists.rows("select * from rejects") == []
    assert (
        lists.read(lists.write({"url": url_of(0)}, {"url": url_of(1), "topic": "1"})).line()
        == "inputs: 1 new, 1 the same"
    )


def test_a_video_that_another_request_leads_to_is_not_pruned(lists: Lists) -> None:
    lists.read(lists.write(*({"url": url_of(n)} for n in range(2))))
    with Writer(lists.dataset, new_run_id(), {}) as writer:
        found = [replace(download_of(0), request_key=key) for key in lists.pending()]
        commit_rows(writer, "made", {"downloads": found, "videos": made_of(0, b"")["videos"]})
        prune(writer, unnamed(lists.dataset, lists.pending()[:1] or [found[0].request_key]))
    assert len(lists.rows("select * from downloads")) == len(lists.rows("select * from videos")) == 1


# --- whole runs -----------------------------------------------------------------------------------------------------


@pytest.mark.slow
def test_a_list_of_which_every_row_is_refused_fails_and_says_so(
    lists: Lists, capsys: pytest.CaptureFixture[str]
) -> None:
    good = lists.write({"url": url_of(1)})
    bad = lists.write({"url": "ftp://a.example/1"}, {"url": "no url"}, name="bad.jsonl")
    for inputs, status in (([good], 0), ([good, bad], 1), ([bad], 1)):
        with cheap_work():
            names = [str(path) for path in inputs]
            assert curate(names, lists.dataset.uri, SETTINGS, (Stage.DOWNLOAD,), [], 0.0, 1.0) == status
    assert f"every row of {bad} is refused" in capsys.readouterr().err
    assert curate([str(bad)], lists.dataset.uri, SETTINGS, (Stage.DOWNLOAD,), [], 0.0, 1.0, dry=True) == 1
    assert f"every row of {bad} would be refused" in capsys.readouterr().err


def test_nothing_that_can_be_read_leaves_no_dataset(lists: Lists) -> None:
    (lists.folder / "films").mkdir()
    (lists.folder / "list.csv").write_text("link\nhttps://a.example/1\n")
    (lists.folder / "list.parquet").write_bytes(b"PAR1 not really")
    for name in ("films", "none.txt", "list.csv", "list.parquet", lists.write().name):
        with pytest.raises(InputError):
            curate([str(lists.folder / name)], lists.dataset.uri, SETTINGS, (Stage.DOWNLOAD,), [], 0.0, 1.0)
        assert not (lists.folder / "d").exists()
