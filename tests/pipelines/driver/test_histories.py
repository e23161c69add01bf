"""Whatever happened to a dataset before: after a run, its tables are those of one undisturbed run of that command.

A machine tries histories of runs on real tables and commits, whose work is cheap (support/pure_work.py): changes of
settings and back, lists that grow and shrink, runs that are killed at any of their writes, outages, and the commands
between the runs. Each failure that it finds becomes a case of its own here.
"""

from __future__ import annotations

import contextlib
import functools
import json
import shutil
import tempfile
from pathlib import Path
from typing import Any

import pyarrow.compute as pc
import pytest
from hypothesis import HealthCheck, seed, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from curation import schema
from curation.dataset.books import balance
from curation.dataset.compact import compact
from curation.dataset.dataset import Dataset
from curation.dataset.forget import forget, look, undo
from curation.dataset.pins import pin, pins, unpin
from curation.dataset.vacuum import vacuum
from curation.dataset.verify import verify
from curation.dataset.writer import Writer
from curation.errors import UsageError, VidlaError
from curation.rejects import Stage
from tests.support.histories import (
    CHANGES,
    MEMORY,
    MISTYPED,
    SECONDS,
    Killed,
    Texts,
    check,
    check_kept,
    killed,
    number_of,
    run,
)
from tests.support.pure_work import World

FIRST = (1, 2, 3)
NUMBERS = st.sampled_from(sorted(SECONDS))
WRITES = st.integers(1, 30), st.sampled_from(["before", "after", "stop"])


_FOLDER = tempfile.TemporaryDirectory(prefix="vidla-histories-", dir=MEMORY)  # removed at exit


@functools.cache
def begun() -> Path:
    """A dataset of the first videos."""
    location = Path(_FOLDER.name, "dataset")
    assert run(World(list(FIRST), dict(SECONDS)), location) == 0
    assert Dataset(str(location)).read("clips").num_rows
    return location


class Histories(RuleBasedStateMachine):
    """The histories of a dataset whose runs differ from the first one in one thing at a time."""

    changes = st.sampled_from(list(CHANGES)).map(lambda name: (name,))

    @initialize()
    def begin(self) -> None:
        self.folder = Path(tempfile.mkdtemp(dir=_FOLDER.name))
        self.location = self.folder / "dataset"
        shutil.copytree(begun(), self.location)
        self.world = World(list(FIRST), dict(SECONDS))
        self.forgotten = set[int]()
        self.last: tuple[str, ...] = ()
        self.outage = False
        self.writers = 0

    def teardown(self) -> None:
        try:
            self.complete(self.last)
        finally:
            shutil.rmtree(self.folder)

    def complete(self, changes: tuple[str, ...], *, prune: bool = False) -> None:
        self.last = changes
        asked = set(self.world.listed) | (set() if prune else self.requested())
        assert run(self.world, self.location, *changes, prune=prune) == 0, "the books balance"
        if self.outage:
            assert run(self.world, self.location, *changes, retry=True) == 0
            self.outage = False
        stated = {column: self.stated(column) for column in ("metadata", "ids")}
        check(self.location, asked - self.forgotten, *changes, **stated)

    def requested(self) -> set[int]:
        """What runs have asked for so far, those that were killed too."""
        return set(self.known("request_key"))

    def stated(self, column: str) -> dict[int, str]:
        """By number, what the list says of its videos, and has said of those that it does not name any more."""
        listed = {n: it for n, it in getattr(self.world, column).items() if n in self.world.listed}
        former = self.known({"ids": "id"}.get(column, column))
        return listed | {n: it for n, it in former.items() if n not in self.world.listed and it is not None}

    def known(self, column: str) -> dict[int, Any]:
        """By number, what the dataset has in a column of the requests."""
        rows = Dataset(str(self.location)).read("requests").to_pylist()
        return {number: row[column] for row in rows if (number := number_of(row)) != MISTYPED}

    def has_read_ids(self) -> bool:
        """Whether all videos of the dataset have the ids that they are to have."""
        return all(self.id_of(number) == id_ for number, id_ in self.known("id").items())

    @rule(change=st.data())
    def curate(self, change: Any) -> None:
        self.complete(change.draw(self.changes))

    @rule(change=st.data(), at=WRITES[0], how=WRITES[1], one_job=st.booleans())
    def curate_and_kill(self, change: Any, at: int, how: str, one_job: bool) -> None:
        self.last = change.draw(self.changes)
        with killed(at, how), contextlib.suppress(Killed, VidlaError):
            run(self.world, self.location, *self.last, one_job=one_job)

    @rule(change=st.data())
    def curate_a_wave_in_one_job(self, change: Any) -> None:
        self.last = change.draw(self.changes)
        run(self.world, self.location, *self.last, one_job=True)

    @rule(change=st.data(), at=WRITES[0], how=WRITES[1])
    def curate_in_an_outage(self, change: Any, at: int, how: str) -> None:
        """Of the models, for all requests or some, or of the site of a video."""
        self.last, self.outage = change.draw(self.changes), True
        self.world.mute, self.world.picky, self.world.gone = how == "before", how == "after", {at % 4 + 1}
        before = Texts.of(self.location)
        run(self.world, self.location, *self.last)
        check_kept(before, self.location)
        assert not balance(Dataset(str(self.location))).imbalances(tuple(Stage))
        self.world.mute, self.world.picky, self.world.gone = False, False, set()

    @rule()
    def curate_and_prune(self) -> None:
        self.complete(self.last, prune=True)

    @rule(number=NUMBERS, topic=st.sampled_from(["bees", "trams"]))
    def edit(self, number: int, topic: str) -> None:
        self.world.metadata[number] = json.dumps({"topic": topic})

    @rule(number=st.sampled_from(FIRST[:2]), suffix=st.sampled_from(["", "b"]), at=WRITES[0], how=WRITES[1])
    def give_other_id(self, number: int, suffix: str, at: int, how: str) -> None:
        """The run that reads it may be killed."""
        if number not in self.forgotten and number in self.world.listed:
            self.world.ids[number] = self.id_of(number).removesuffix("b") + suffix
            self.read_and_kill(at, how)

    @rule(order=st.permutations(sorted(SECONDS)), at=WRITES[0], how=WRITES[1])
    def give_ids_of_others(self, order: list[int], at: int, how: str) -> None:
        """Some listed videos swap their ids, or pass them on; the run that reads it may be killed."""
        if not self.forgotten:
            listed = [number for number in order if number in self.world.listed]
            self.world.ids |= dict(zip(sorted(listed), map(self.id_of, listed), strict=True))
            self.read_and_kill(at, how)

    @rule(number=NUMBERS, at=WRITES[0], how=WRITES[1])
    def mistype(self, number: int, at: int, how: str) -> None:
        """The URL of a video that is new, for one run, which may be killed."""
        if number not in self.requested() | self.forgotten:
            self.list_another(number)
            self.world.mistyped = {number}
            self.read_and_kill(at, how)
            self.world.mistyped = set()

    def id_of(self, number: int) -> str:
        return self.world.ids.get(number, f"v{number}")

    def read_and_kill(self, at: int, how: str) -> None:
        with killed(at, how), contextlib.suppress(Killed, VidlaError):
            run(self.world, self.location, *self.last)

    @rule(number=NUMBERS)
    def list_another(self, number: int) -> None:
        if number not in self.world.listed:
            self.world.listed.append(number)

    @rule(number=NUMBERS)
    def list_no_more(self, number: int) -> None:
        if self.has_read_ids():  # what has left the list keeps its id
            self.world.listed = [each for each in self.world.listed if each != number] or [1]

    @rule(number=NUMBERS)
    def forget(self, number: int) -> None:
        if not self.has_read_ids():
            return
        with self.writer() as writer:
            broken = forget(writer, "video", f"list-{self.id_of(number)}", ahead=True).broken
        for pinned in broken:
            unpin(Dataset(str(self.location)), pinned)
        self.forgotten.add(number)

    @rule(number=NUMBERS)
    def undo(self, number: int) -> None:
        if number in self.forgotten:
            with self.writer() as writer:
                undo(writer, "video", f"list-{self.id_of(number)}")
            self.forgotten.remove(number)
            if number not in self.world.listed:
                self.world.listed.append(number)

    @rule(what=st.sampled_from(["compact", "vacuum", "pin", "verify"]))
    def keep_house(self, what: str) -> None:
        dataset = Dataset(str(self.location))
        if what == "pin" and not pins(dataset):
            pin(dataset, "a")
        if what == "verify":
            assert not verify(dataset).faults
        if what in ("compact", "vacuum"):
            with self.writer() as writer:
                (compact if what == "compact" else vacuum)(writer)

    def writer(self) -> Writer:
        self.writers += 1
        return Writer(Dataset(str(self.location)), f"writer-{self.writers}", {})


class LongHistories(Histories):
    """The histories of one whose runs differ in any number of things."""

    changes = st.lists(st.sampled_from(list(CHANGES)), max_size=3, unique=True).map(lambda names: tuple(sorted(names)))


def try_all(machine: type[Histories], histories: int, steps: int) -> None:
    checks = [HealthCheck.too_slow, HealthCheck.data_too_large, HealthCheck.filter_too_much]
    chosen = settings(
        max_examples=histories, stateful_step_count=steps, deadline=None, suppress_health_check=checks, database=None
    )
    run_state_machine_as_test(machine, settings=chosen)  # type: ignore[no-untyped-call]


@pytest.mark.slow
@pytest.mark.parametrize("number", range(4))
def test_some_histories(number: int) -> None:
    try_all(seed(number)(type("SomeHistories", (Histories,), {})), 13, 3)


@pytest.mark.long
@pytest.mark.timeout(2_000)
@pytest.mark.parametrize("number", range(100))
def test_a_thousand_histories(number: int) -> None:
    """Of which each test takes ten."""
    try_all(seed(number)(type("SomeLongHistories", (LongHistories,), {})), 10, 6)


# --- cases, some of which it found ----------------------------------------------------------------------------------


@pytest.fixture
def first(tmp_path: Path) -> Path:
    """A copy of a dataset of the first videos."""
    return Path(shutil.copytree(begun(), tmp_path / "dataset"))


def run_and_kill(at: int, *arguments: Any) -> None:
    with killed(at, "after") as dead, contextlib.suppress(Killed, VidlaError):
        run(*arguments)
    assert dead


FIRST_COMMIT = 3
"""The writes of a run on segmented videos until its first commit is in both of its tables."""


@pytest.mark.slow
@pytest.mark.hostile("failures")
@pytest.mark.parametrize(("writes", "one_job"), [(14, False), (4, True)])
def test_what_a_killed_run_fetched_and_the_next_one_fetches_again_is_deleted(
    writes: int, one_job: bool, first: Path
) -> None:
    world = World(list(FIRST), dict(SECONDS))
    run_and_kill(writes, world, first, "download")
    assert list(first.glob("sources/*"))
    run(world, first, one_job=one_job)
    assert not list(first.glob("sources/*"))


@pytest.mark.slow
@pytest.mark.hostile("failures")
def test_back_to_the_first_prompt_after_a_run_that_was_killed_between_captions_and_clips(first: Path) -> None:
    world = World(list(FIRST), dict(SECONDS))
    run_and_kill(FIRST_COMMIT, world, first, "captions' sampling")
    asked = world.asked
    assert asked
    run(world, first)
    check(first, FIRST)
    assert world.asked == asked, "the table's earlier versions have its texts"


@pytest.mark.slow
@pytest.mark.hostile("failures")
def test_a_run_that_fails_while_it_opens_the_dataset_leaves_it_free(first: Path) -> None:
    world = World(list(FIRST), dict(SECONDS))
    run_and_kill(FIRST_COMMIT - 1, world, first, "words")  # a commit is made, and not yet in its tables
    run_and_kill(2, world, first)  # the opening is made, and a table's share
    run(world, first)
    check(first, FIRST)


@pytest.mark.slow
def test_captions_of_another_revision_go_although_media_is_made_again_and_its_clips_are_there(first: Path) -> None:
    """As after a run that was killed between captions and clips."""
    world = World(list(FIRST), dict(SECONDS))
    run(world, first, "captions' revision", "download", stages=[Stage.DOWNLOAD, Stage.SEGMENT, Stage.CAPTION])
    run(world, first)
    check(first, FIRST)


@pytest.mark.slow
@pytest.mark.hostile("failures")
def test_a_commit_that_a_killed_run_has_not_brought_to_all_tables_is_no_fault(first: Path) -> None:
    run_and_kill(FIRST_COMMIT - 1, World(list(FIRST), dict(SECONDS)), first, "words")
    report = verify(Dataset(str(first)))
    assert report.unfinished and not report.faults
    run(World(list(FIRST), dict(SECONDS)), first)
    report = verify(Dataset(str(first)))
    assert not report.unfinished and not report.faults


@pytest.mark.slow
@pytest.mark.hostile("failures")
@pytest.mark.parametrize("how", ["after", pytest.param("before", marks=pytest.mark.long)])
@pytest.mark.parametrize("change", ["tilings", pytest.param("download", marks=pytest.mark.long)])
def test_what_is_told_before_a_run_counts_on_the_commit_that_a_killed_one_left(
    change: str, how: str, first: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    """Wherever it was killed, the announcement is that of the tables as the next writer makes them."""

    def told(location: Path) -> tuple[str, str]:
        capfd.readouterr()
        run(world, location, "captions' model", dry=True)
        with contextlib.suppress(UsageError):
            run(world, location, "captions' model", yes=False, stages=[])
        out, err = capfd.readouterr()
        return out, err

    world, unfinished = World(list(FIRST), dict(SECONDS)), 0
    for at in range(1, 16):
        location = Path(shutil.copytree(first, first.with_name(f"{at}")))
        with killed(at, how) as dead, contextlib.suppress(Killed, VidlaError):
            run(world, location, change)
        if not dead:
            break
        unfinished += bool(verify(Dataset(str(location))).unfinished)
        settled = Path(shutil.copytree(location, first.with_name(f"{at}-settled")))
        with Writer(Dataset(str(settled)), "another", {}):
            pass
        said = told(location)
        assert said == told(settled), at
        assert "It needs --yes" in said[0]
    assert unfinished


@pytest.mark.slow
@pytest.mark.parametrize("change", [[], ["tilings"]])
def test_replacements_that_a_corrected_list_causes_are_asked_about(
    change: list[str], first: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    world = World(list(FIRST), dict(SECONDS))
    assert run(world, first, yes=False) == 0
    world.subtitles[1] = "https://videos.example/1.vtt"
    world.ids[2] = "v2b"
    files = sorted(first.rglob("*"))
    with pytest.raises(UsageError, match=r"texts of a served model .* are replaced"):
        run(world, first, *change, yes=False)
    asked = capfd.readouterr().err.splitlines()
    assert "2 requests have changed in the inputs" in asked
    run(world, first, *change, dry=True)
    told = capfd.readouterr().out.splitlines()
    assert sorted(first.rglob("*")) == files
    made, inputs = (next(line for line in told if line.startswith(begin)) for begin in ("Made again: ", "inputs: "))
    assert made in asked and "1 downloads of subtitles alone" in made
    assert inputs == "inputs: 2 changed, 1 the same; 1 videos are renamed"
    assert any(line.startswith("It needs --yes") for line in told)
    assert told[-1].startswith("1 videos to download, ")
    assert run(world, first, *change) == 0
    assert inputs in capfd.readouterr().err


@pytest.mark.slow
@pytest.mark.parametrize("stages", [2, 3])
def test_cuts_without_texts_that_would_be_refused_now_balance(stages: int, first: Path) -> None:
    world = World(list(FIRST), dict(SECONDS))
    run(world, first, "shortest clip", stages=list(Stage)[:stages])
    assert run(world, first) == 0
    check(first, FIRST)
    assert run(world, first, "shortest clip") == 0
    check(first, FIRST, "shortest clip")


@pytest.mark.long
@pytest.mark.hostile("failures")
def test_the_captions_of_another_model_in_a_dataset_of_an_older_version_are_made_again(
    first: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def without_maker(record: Any) -> dict[str, Any]:
        row = schema.to_row(record)
        return {**row, "maker": None} if "maker" in row else row

    world = World(list(FIRST), dict(SECONDS))
    with monkeypatch.context() as patch:
        patch.setattr("curation.dataset.parts.to_row", without_maker)
        run_and_kill(FIRST_COMMIT, world, first, "captions' model")
    run(world, first)
    check(first, FIRST)


@pytest.mark.slow
def test_an_earlier_prompt_takes_its_texts_back_until_vacuum_deletes_them(first: Path) -> None:
    world = World(list(FIRST), dict(SECONDS))
    run(world, first, "captions' sampling")
    asked = world.asked
    run(world, first)
    assert world.asked == asked
    check(first, FIRST)
    with Writer(Dataset(str(first)), "vacuum", {}) as writer:
        vacuum(writer)
    run(world, first, "captions' sampling")
    assert world.asked == 2 * asked


@pytest.mark.slow
@pytest.mark.parametrize("ids", [{}, {1: "v1b"}])
def test_a_video_that_was_pruned_and_comes_back_takes_its_texts_back(ids: dict[int, str], first: Path) -> None:
    """Even under another id, as long as its source is the same."""
    run(World([2, 3], dict(SECONDS)), first, prune=True)
    check(first, (2, 3))
    world = World(list(FIRST), dict(SECONDS), ids=ids)
    run(world, first)
    check(first, FIRST, ids=ids)
    assert (world.fetches, world.asked) == (1, 0)


@pytest.mark.slow
def test_a_video_of_the_same_source_as_another_asks_for_no_text_again(first: Path) -> None:
    world = World([*FIRST, 4], {**SECONDS, 4: SECONDS[1]}, copies={4: 1})
    run(world, first, keep_duplicates=True)
    assert world.asked == 0
    texts = "select substr(clip_id, 8) as place, caption_text, subtitle_text from clips where video_id = 'list-v{}'"
    copied, original = (Dataset(str(first)).sql(f"{texts.format(n)} order by all") for n in (4, 1))
    assert copied.num_rows and copied.equals(original)


@pytest.mark.long
def test_a_damaged_earlier_version_costs_only_its_texts(first: Path) -> None:
    world, dataset = World(list(FIRST), dict(SECONDS)), Dataset(str(first))
    before = dataset.live_parts("captions")
    run(world, first, "captions' sampling")
    for part in before.keys() - dataset.live_parts("captions").keys():
        (first / "captions" / part).write_bytes(b"no Parquet")
    asked = world.asked
    run(world, first)
    assert world.asked > asked
    check(first, FIRST)


@pytest.mark.slow
@pytest.mark.hostile("failures")
def test_between_the_commits_of_another_tiling_the_books_say_which_rows_are_outdated(first: Path) -> None:
    world = World(list(FIRST), dict(SECONDS))
    run_and_kill(FIRST_COMMIT, world, first, "tilings")
    books = balance(Dataset(str(first)))
    assert "clips of 2 videos are outdated" in "\n".join(books.lines())
    assert books.imbalances() == []
    assert run(world, first, "tilings") == 0
    check(first, FIRST, "tilings")
    assert (world.fetches, world.passes) == (0, 0), "not even for the video that is too short"


@pytest.mark.slow
@pytest.mark.parametrize("change", ["words", "language"])
def test_other_words_fetch_and_encode_nothing(change: str, first: Path) -> None:
    world = World(list(FIRST), dict(SECONDS))
    for last in (change, "nothing"):
        run(world, first, last)
        check(first, FIRST, last)
    assert (world.fetches, world.passes) == (0, 0)


@pytest.mark.slow
def test_media_is_kept_where_subtitles_that_it_needs_cannot_be_had(first: Path) -> None:
    world = World(list(FIRST), dict(SECONDS), gone={1})
    run(world, first, "language")
    dataset = Dataset(str(first))
    assert dataset.sql("select video_id from clips where video_id = 'list-v1'").num_rows > 0
    assert dataset.read("rejects", ["key"]).num_rows > 1
    world.gone = set()
    run(world, first, "language", retry=True)
    check(first, FIRST, "language")
    assert (world.fetches, world.passes) == (0, 0)


@pytest.mark.slow
@pytest.mark.parametrize(
    "change",
    ["download", "language", *(pytest.param(change, marks=pytest.mark.long) for change in ("media", "shortest clip"))],
)
def test_the_reject_of_a_redo_that_failed_goes_when_the_settings_go_back(change: str, first: Path) -> None:
    world = World(list(FIRST), dict(SECONDS))
    if change == "shortest clip":  # of which the third video has one, until they are to be longer
        run(world, first, change)
    else:
        world.gone = {1, 2, 3}
    last = () if change == "shortest clip" else (change,)
    run(world, first, *last)
    assert Dataset(str(first)).read("rejects").num_rows > 0
    run(world, first, *(() if last else (change,)))
    check(first, FIRST, *(() if last else (change,)))


@pytest.mark.slow
@pytest.mark.parametrize("change", ["media", "shortest clip"])
def test_a_source_that_could_not_be_fetched_again_is_retried(change: str, first: Path) -> None:
    world = World(list(FIRST), dict(SECONDS), gone={1, 3})
    run(world, first, change)
    world.gone = set()
    run(world, first, change, retry=True)
    check(first, FIRST, change)


@pytest.mark.long
def test_what_was_forgotten_asked_for_and_allowed_again_is_made(first: Path) -> None:
    world, dataset = World(list(FIRST), dict(SECONDS)), Dataset(str(first))
    with Writer(dataset, "forget", {}) as writer:
        forget(writer, "video", "list-v1")
    run(world, first)
    check(first, (2, 3))
    with Writer(dataset, "undo", {}) as writer:
        undo(writer, "video", "list-v1")
    run(world, first)
    check(first, FIRST)


@pytest.mark.long
def test_the_reject_of_a_frame_that_no_clip_uses_any_more_goes(first: Path, capsys: pytest.CaptureFixture[str]) -> None:
    world = World(list(FIRST), dict(SECONDS), mute=True)
    run(world, first, "frames captioned")
    rejected = Dataset(str(first)).read("rejects", ["key"]).num_rows
    run(world, first)
    assert Dataset(str(first)).read("rejects", ["key"]).num_rows < rejected
    capsys.readouterr()
    run(world, first)
    assert "Nothing to do" in capsys.readouterr().out


@pytest.mark.slow
@pytest.mark.hostile("failures")
@pytest.mark.parametrize("change", ["captions' model", "captions' prompt", "summaries' model"])
@pytest.mark.parametrize("outage", ["mute", "picky"])
def test_the_texts_of_a_redo_that_failed_stay_until_a_retry_replaces_them(
    change: str, outage: str, first: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    dataset, before = Dataset(str(first)), Texts.of(first)
    frames = set(dataset.read("captions")["frame_id"].to_pylist())
    status = run(World(list(FIRST), dict(SECONDS), mute=outage == "mute", picky=outage == "picky"), first, change)
    said = capsys.readouterr()
    check_kept(before, first)
    assert set(dataset.read("captions")["frame_id"].to_pylist()) == frames
    assert set(dataset.read("rejects").filter(pc.field("stage") != Stage.SEGMENT)["kind"].to_pylist()) == {"engine"}
    assert "failed (engine): the former ones stay, and `vidla retry` makes them again" in said.out
    assert (status, "was answered" in said.err) == ((1, True) if outage == "mute" else (0, False))
    world = World(list(FIRST), dict(SECONDS))
    run(world, first, change)
    assert world.asked == 0, "rejects are not tried again by themselves"
    assert not verify(dataset).faults
    run(world, first, change, retry=True)
    check(first, FIRST, change)


@pytest.mark.slow
@pytest.mark.hostile("failures")
def test_clips_stay_where_a_whole_video_fails(first: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise RuntimeError("a fault")

    before, world = Texts.of(first), World(list(FIRST), dict(SECONDS))
    with monkeypatch.context() as patch:
        patch.setattr("pipelines.stages.summarize.summarize_video", fail)
        run(world, first, "summaries' model")
    check_kept(before, first)
    assert before.told == Texts.of(first).told
    run(world, first, "summaries' model")
    assert world.asked == 0, "rejects are not tried again by themselves"
    run(world, first, "summaries' model", retry=True)
    check(first, FIRST, "summaries' model")


@pytest.mark.slow
@pytest.mark.hostile("failures")
def test_no_text_about_other_footage_stays(first: Path) -> None:
    run(World(list(FIRST), dict(SECONDS), mute=True), first, "download")
    now = Texts.of(first)
    assert now.images and not now.captioned and not now.told
    run(World(list(FIRST), dict(SECONDS)), first, "download", retry=True)
    check(first, FIRST, "download")


@pytest.mark.slow
@pytest.mark.hostile("failures")
@pytest.mark.parametrize("outage", ["mute", "picky"])
def test_after_a_redo_that_failed_the_former_settings_ask_for_nothing(outage: str, first: Path) -> None:
    run(World(list(FIRST), dict(SECONDS), mute=outage == "mute", picky=outage == "picky"), first, "captions' model")
    world = World(list(FIRST), dict(SECONDS))
    run(world, first)
    check(first, FIRST)
    assert world.asked == 0


@pytest.mark.slow
def test_another_id_renames_rows_and_media(first: Path) -> None:
    world, dataset = World(list(FIRST), dict(SECONDS)), Dataset(str(first))
    for ids in ({1: "v1b"}, {1: "v1", 2: "v2b"}):
        world.ids = ids
        run(world, first)
        check(first, FIRST, ids=ids)
        assert {
            path for path in dataset.read("videos")["media_uri"].to_pylist() if not (first / path).is_file()
        } == set()
        assert not verify(dataset).faults
    assert (world.fetches, world.passes, world.asked) == (0, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("at", [3, 8])
def test_a_run_that_is_killed_while_it_renames_is_finished_by_the_next_one(at: int, first: Path) -> None:
    world = World(list(FIRST), dict(SECONDS), ids={1: "v1b", 2: "v2b"})
    with killed(at, "after"), contextlib.suppress(Killed, VidlaError):
        run(world, first)
    run(world, first)
    check(first, FIRST, ids=world.ids)
    assert (world.fetches, world.passes, world.asked) == (0, 0, 0)


@pytest.mark.slow
@pytest.mark.parametrize("change", ["nothing", "download", "media", "captions' prompt"])
@pytest.mark.parametrize("ids", [{1: "v2", 2: "v1"}, {1: "v2", 2: "new"}, {1: "v3", 3: "v2", 2: "v1"}], ids=str)
def test_ids_that_are_swapped_or_passed_on_are_one_mapping(ids: dict[int, str], change: str, first: Path) -> None:
    world, dataset = World(list(FIRST), dict(SECONDS), ids=ids), Dataset(str(first))
    spent = total(dataset)
    for count in (1, 2):
        assert run(world, first, change) == 0
        check(first, FIRST, change, ids=ids)
        assert not verify(dataset).faults
        if change == "nothing":
            assert (world.fetches, world.passes, world.asked, total(dataset)) == (0, 0, 0, spent)
        with Writer(dataset, f"vacuum-{count}", {}) as writer:
            vacuum(writer)


def total(dataset: Dataset) -> tuple[Any, ...]:
    """What was spent so far."""
    (row,) = dataset.sql("select count(*) as n, sum(requests) as asked, sum(bytes) as bytes from usage").to_pylist()
    return tuple(row.values())


@pytest.mark.slow
def test_swapped_videos_whose_stored_media_is_gone_are_made_again_in_the_same_run(first: Path) -> None:
    world = World(list(FIRST), dict(SECONDS), ids={1: "v2", 2: "v1"})
    for path in first.glob("media/*/list-v1.*"):
        path.unlink()
    assert run(world, first) == 0
    check(first, FIRST, ids=world.ids)
    assert (world.fetches, world.passes) == (1, 1)
    assert not verify(Dataset(str(first))).faults


@pytest.mark.slow
@pytest.mark.parametrize("at", range(1, 20, 2))
def test_a_run_that_is_killed_while_ids_are_swapped_is_finished_by_the_next_one(at: int, first: Path) -> None:
    world = World(list(FIRST), dict(SECONDS), ids={1: "v2", 2: "v1"})
    with killed(at, "after"), contextlib.suppress(Killed, VidlaError):
        run(world, first)
    assert run(world, first) == 0
    check(first, FIRST, ids=world.ids)
    assert (world.fetches, world.passes, world.asked) == (0, 0, 0)


@pytest.mark.slow
def test_the_usage_of_a_removed_video_stays_when_another_gets_its_id(first: Path) -> None:
    dataset = Dataset(str(first))
    world, spent = World([1, 3], dict(SECONDS)), total(dataset)
    assert run(world, first, prune=True) == 0
    world.ids = {1: "v2"}
    for _ in range(2):
        assert run(world, first) == 0
        check(first, world.listed, ids=world.ids)
        assert balance(dataset).imbalances() == []
    assert total(dataset) == spent
    with Writer(dataset, "forget", {}) as writer:
        forget(writer, "video", "list-v2")
    assert (
        dataset.sql("select * from usage where 'list-v1' in (key, video_id) or 'list-v2' in (key, video_id)").num_rows
        == 0
    )
    assert total(dataset)[0] > 0, "the removed video's, and the third's"


@pytest.mark.slow
@pytest.mark.parametrize(("kind", "name"), [("video", "list-v2"), ("uri", "https://videos.example/watch/1")])
def test_what_had_another_id_is_forgotten_under_that_too(kind: Any, name: str, first: Path) -> None:
    """And the video that has that id now is not."""
    world, dataset = World(list(FIRST), dict(SECONDS), ids={1: "v2", 2: "v1"}), Dataset(str(first))
    former = {path.name for path in first.glob("media/*/list-v1.*")}
    assert former and run(world, first) == 0
    with Writer(dataset, "forget", {}) as writer:
        assert look(dataset, kind, name).videos == ("list-v2",)
        forget(writer, kind, name)
    assert run(world, first) == 0
    check(first, (2, 3), ids=world.ids)
    assert former.isdisjoint(path.name for path in first.glob("media/*/*"))
    live = set(dataset.live_parts("videos"))
    for path in first.glob("videos/*.parquet"):
        rows = dataset.read_part("videos", path.name).to_pylist()
        assert path.name in live or all(row["uri"] != "https://videos.example/watch/1" for row in rows)
    assert not verify(dataset).faults


@pytest.mark.slow
@pytest.mark.parametrize("prune", [False, True])
def test_a_corrected_url_is_fetched_under_the_same_id(prune: bool, first: Path) -> None:
    world = World([*FIRST, 4], dict(SECONDS), mistyped={4})
    run(world, first)
    world.mistyped = set()
    for _ in range(2):
        assert run(world, first, prune=prune) == 0
        check(first, world.listed)
    assert world.fetches == 2


@pytest.mark.slow
def test_an_id_that_is_waited_for_is_given_once_it_is_free(first: Path) -> None:
    """The second video wants the first one's, which stays, and the third one's wants the second's."""
    world = World(list(FIRST), dict(SECONDS), ids={2: "v1", 3: "v2"})
    run(world, first)
    assert not Dataset(str(first)).sql("select * from videos where video_id not in ('list-v1', 'list-v2')").num_rows
    world.ids = {1: "new", 2: "v1", 3: "v2"}
    assert run(world, first) == 0
    check(first, FIRST, ids=world.ids)
    assert (world.fetches, world.passes, world.asked) == (0, 0, 0)


@pytest.mark.slow
def test_the_id_of_another_video_is_refused_as_ever(first: Path) -> None:
    world = World(list(FIRST), dict(SECONDS), ids={1: "v2"})
    run(world, first)
    dataset = Dataset(str(first))
    rejects = dataset.sql("select message from rejects where kind = 'id_taken'").to_pylist()
    assert [row["message"].split(" is that of ")[0] for row in rejects] == ["its id v2"]
    world.ids = {}
    run(world, first)
    check(first, FIRST)
