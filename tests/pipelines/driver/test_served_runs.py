"""All text stages against a real vLLM: every text is where it belongs, whatever is killed meanwhile."""

from __future__ import annotations

import dataclasses
import hashlib
import io
import json
import random
import re
import signal
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import jsonschema
import psutil
import pytest
from PIL import Image

from curation.dataset.dataset import Dataset
from curation.engines.interface import Completion, Engine, Failure, Sampling, TextRequest
from curation.engines.load import load
from curation.engines.openai.engine import open_openai
from curation.engines.vllm.shared_server import open_vllm
from curation.ids import content_digest
from curation.prompts import Prompt
from curation.secret import REVEAL
from curation.settings import EngineSettings, resolve
from curation.texts.limits import TextLimits
from tests.conftest import SERVED_MODEL, VIDLA
from tests.support.own_servers import served_on_loopback
from tests.support.segmented import CAPTIONS, Rows, run, segment_videos
from tests.support.watching import is_gone, wait_until

pytestmark = pytest.mark.slow

VIDEOS = 12
STATUSES = {"ok", "repaired", "truncated", "refused", "unparseable", "empty"}
SHAPE = {
    "type": "object",
    "properties": {"said": {"type": "string", "maxLength": 40}},
    "required": ["said"],
    "additionalProperties": False,
}
WORDS = ["oak", "fir", "elm", "ash", "birch", "poplar", "walnut", "chestnut", "sycamore"]
BRIEF = (
    "captions.max_tokens=12",
    "summaries.captions.max_tokens=16",
    "summaries.subtitles.max_tokens=16",
    *(f"{texts}.attempts=2" for texts in ("captions", "summaries.captions", "summaries.subtitles")),
    "run.wave_videos=3",
    "run.text_waves=2",
)


def assignments(engine: EngineSettings, *more: str) -> list[str]:
    """Options for an engine that makes both kinds of text, short ones, in waves that are soon committed."""
    engine = engine.model_copy(update={"max_in_flight": 16})
    given = dict(_flat(engine.model_dump(mode="json", exclude_defaults=True, context={REVEAL: True})))
    both = [f"{texts}.engine.{key}={value}" for texts in ("captions", "summaries") for key, value in given.items()]
    return [*both, *BRIEF, *more]


def _flat(section: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, str]]:
    for key, value in section.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", json.dumps(value)


def at(*urls: str, **more: Any) -> EngineSettings:
    return EngineSettings(kind="openai", model=SERVED_MODEL, base_urls=urls, **more)


# --- datasets -------------------------------------------------------------------------------------------------------


def jpeg(seed: str) -> bytes:
    """A small picture, different for every seed."""
    picture, file = Image.frombytes("RGB", (4, 2), hashlib.sha256(seed.encode()).digest()[:24]), io.BytesIO()
    picture.resize((64, 36)).save(file, "JPEG")
    return file.getvalue()


def pictured(rows: Rows) -> Rows:
    """Every frame gets its own picture, except the first of video 0, whose image is corrupt."""
    frames = list(rows["frames"])
    for number, frame in enumerate(frames):
        image = jpeg(frame.frame_id) if (frame.video_id, number) != ("list-v0", 0) else b"JPEG"
        frames[number] = dataclasses.replace(frame, image=image, image_digest=content_digest(image))
    return {**rows, "frames": frames}


def waiting(location: Path, videos: int = VIDEOS) -> Dataset:
    """A dataset that awaits its texts."""
    return segment_videos(location, resolve(), range(videos), pictured)


def rows(dataset: Dataset, query: str) -> list[dict[str, Any]]:
    return [dict(row) for row in dataset.sql(query).to_pylist()]


def count(dataset: Dataset, table: str) -> int:
    return dataset.read(table).num_rows


def told(dataset: Dataset) -> dict[str, list[dict[str, Any]]]:
    """The texts and the rejects, whichever engine and run made them."""
    return {
        table: rows(dataset, f"select {columns} from {table} order by all")
        for table, columns in (
            ("captions", "frame_id, video_id, time, status, text, raw_text"),
            ("summaries", "clip_id, kind, status, text, raw_text"),
            ("clips", "clip_id, subtitle_text, caption_text, subtitle_status, caption_status"),
            ("rejects", "stage, key, kind"),
        )
    }


def asked(dataset: Dataset) -> list[dict[str, Any]]:
    """The number of requests sent for the rows of the tables, by stage, over all runs."""
    return rows(
        dataset, "select stage, sum(requests)::int n, sum(failures)::int failed from usage group by stage order by all"
    )


@pytest.fixture(scope="module")
def undisturbed(text_server: str, tmp_path_factory: pytest.TempPathFactory) -> Dataset:
    """A dataset whose texts a server made without any trouble."""
    settings = resolve(None, assignments(at(text_server)))
    dataset = waiting(tmp_path_factory.mktemp("undisturbed") / "dataset")
    assert run(dataset, settings) == 0
    assert count(dataset, "captions") == VIDEOS * CAPTIONS - 1
    assert [row["kind"] for row in rows(dataset, "select kind from rejects")] == ["unreadable"]
    return dataset


# --- commands -------------------------------------------------------------------------------------------------------


@contextmanager
def curating(dataset: Dataset, given: Iterable[str]) -> Iterator[subprocess.Popen[str]]:
    """`vidla curate` on a dataset; killed if it still runs in the end."""
    command = [VIDLA, "curate", "--dataset", dataset.uri, *(f"--set={assignment}" for assignment in given)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.kill()


def family_of(process: subprocess.Popen[str]) -> dict[psutil.Process, str]:
    """The processes below a command, with their command lines."""
    family = {}
    for member in psutil.Process(process.pid).children(recursive=True):
        with suppress(psutil.Error):  # it is gone by now
            family[member] = " ".join(member.cmdline()).strip()  # some are padded
    return family


def new(before: Mapping[psutil.Process, str], process: subprocess.Popen[str]) -> dict[psutil.Process, str]:
    """The processes that a command has started since."""
    return {member: line for member, line in family_of(process).items() if member not in before}


def assert_nothing_left(*families: Mapping[psutil.Process, str]) -> None:
    """None of these processes, among which each family has a server."""
    assert all(any("api_server" in line for line in family.values()) for family in families)
    wait_until(lambda: all(is_gone(member.pid) for family in families for member in family))


def wait_for_captions(dataset: Dataset, process: subprocess.Popen[str], more_than: int = 0) -> None:
    """Wait until some captions are committed, while others are being made."""

    def some() -> bool:
        assert process.poll() is None, process.communicate()[1]
        return count(dataset, "captions") > more_than

    wait_until(some, 800)
    assert count(dataset, "captions") < VIDEOS * CAPTIONS - 1


def said_by(process: subprocess.Popen[str]) -> str:
    """The standard error of a command that has ended by itself."""
    said = process.communicate(timeout=840)[1]
    assert "Traceback" not in said
    return said


# --- each its own -----------------------------------------------------------------------------------------------------


def echo(name: str, words: str, *images: bytes) -> TextRequest:
    """A request that has one answer: the JSON {"id": name}."""
    only = {"type": "object", "properties": {"id": {"enum": [name]}}, "required": ["id"], "additionalProperties": False}
    prompt = Prompt("echo", 1, "You answer in JSON.", "{{ words }}", output_schema=only)
    return TextRequest(name, prompt, {"words": words}, Sampling(max_tokens=64), images)


def echoes(number: int) -> tuple[list[TextRequest], set[str]]:
    """Requests of shuffled lengths, some with images; and the names of those that the server must refuse."""
    dice, asked, bad = random.Random(4), [], set()
    for n in range(number):
        name = " ".join([str(n), *dice.choices(WORDS, k=dice.choice((0, 0, 0, 1, 5)))])
        images = [jpeg(name)] * dice.choice((0, 0, 1, 2))
        words = " ".join(dice.choices(WORDS, k=dice.choice((1, 5, 10, 50))))
        if n % 40 == 7:
            bad.add(name)
            words = "7 " * 4000  # more tokens than the model takes
        elif n % 40 == 27:
            bad.add(name)
            images = [jpeg(name), jpeg(name)[:200]]
        asked.append(echo(name, words, *images))
    dice.shuffle(asked)
    return asked, bad


def check_echoes(engine: Engine, asked: Sequence[TextRequest], bad: Collection[str]) -> None:
    """Ask from eight threads in batches of all sizes. Every answer is its request's own; bad ones fail, asked once."""
    dice, left, parts = random.Random(5), list(asked), []
    while left:
        size = dice.choice((1, 3, 10, 40))
        parts.append(left[:size])
        del left[:size]
    with ThreadPoolExecutor(8) as pool:
        answered = [answer for answers in pool.map(engine.complete, parts, timeout=1500) for answer in answers]
    assert [answer.id for answer in answered] == [request.id for request in asked]
    failures = [answer for answer in answered if isinstance(answer, Failure)]
    assert {failure.id for failure in failures} == bad
    too_long = {request.id for request in asked if request.variables["words"].startswith("7 7 ")}
    assert {failure.id for failure in failures if failure.retryable} == too_long, "with another context they may fit"
    for answer in answered:
        if isinstance(answer, Completion):
            assert json.loads(answer.text) == {"id": answer.id}
            assert answer.finish_reason == "stop"


@pytest.mark.timeout(1800)
@pytest.mark.parametrize("number", [80, pytest.param(500, marks=pytest.mark.long)])
def test_every_request_gets_its_own_answer(text_server: str, number: int) -> None:
    asked, bad = echoes(number)
    load.clear()
    engine = open_openai(at(text_server, max_in_flight=32))
    try:
        check_echoes(engine, asked, bad)
    finally:
        engine.close()
    total = load.snapshot()
    assert (total.requests, total.failures, total.retries) == (number - len(bad), len(bad), 0)
    assert len(bad) == number // 20


@pytest.mark.long
@pytest.mark.timeout(2700)
def test_every_request_gets_its_own_answer_though_the_server_dies(vllm_settings: EngineSettings) -> None:
    asked, bad = echoes(500)
    before = set(psutil.Process().children(recursive=True))
    load.clear()
    engine = open_vllm(vllm_settings.model_copy(update={"max_in_flight": 32}))

    def kill(answers: int) -> None:
        wait_until(lambda: load.snapshot().requests > answers, 1200)
        family = set(psutil.Process().children(recursive=True)) - before
        next(member for member in family if "VLLM::EngineCore" in member.cmdline()).kill()

    try:
        with ThreadPoolExecutor(1) as pool:
            killed = pool.submit(lambda: [kill(100), kill(300)])
            check_echoes(engine, asked, bad)
            killed.result(1)
    finally:
        engine.close()
    total = load.snapshot()
    assert (total.requests, total.failures) == (500 - len(bad), len(bad))
    assert total.retries > 0
    wait_until(lambda: set(psutil.Process().children(recursive=True)) <= before)


# --- in the shape that is wanted --------------------------------------------------------------------------------------


@pytest.mark.parametrize("free_text_first", [pytest.param(False, marks=pytest.mark.long), True])
def test_answers_come_in_the_shape_that_prompts_want(text_server: str, tmp_path: Path, free_text_first: bool) -> None:
    videos, folder = 3, tmp_path / "prompts"
    folder.mkdir()
    for name, words in (
        ("caption-frame", "Describe this frame."),
        ("summarize-subtitles", "<text>{{ text }}</text>"),
        ("summarize-captions", "{% for caption in captions %}<caption>{{ caption }}</caption>{% endfor %}"),
    ):
        front = {"id": name, "version": 1, "output_schema": SHAPE, "free_text_first": free_text_first}
        system = "You say it in one sentence of at most {{ max_words }} words."
        (folder / f"{name}.md").write_text(f"---\n{json.dumps(front)}\n---\n# System\n{system}\n# User\n{words}\n")
    longer = [f"{texts}.max_tokens=64" for texts in ("captions", "summaries.captions", "summaries.subtitles")]
    settings = resolve(None, assignments(at(text_server), *longer, f"run.prompts={json.dumps(str(folder))}"))
    dataset = waiting(tmp_path / "dataset", videos)
    assert run(dataset, settings) == 0

    texts = rows(dataset, "select text, raw_text, status from captions union all by name from summaries")
    limits = TextLimits(settings.summaries.max_words, settings.summaries.max_clip_tokens)
    assert {row["status"] for row in texts} <= STATUSES
    for row in texts:
        assert (row["text"] is None) == (row["status"] in ("refused", "unparseable", "empty"))
        if row["status"] not in ("refused", "empty"):  # the server holds the model to the shape
            assert row["raw_text"] and jsonschema.Draft202012Validator(SHAPE).is_valid(json.loads(row["raw_text"]))
    assert count(dataset, "captions") == videos * CAPTIONS - 1
    assert len(rows(dataset, "select distinct clip_id from summaries where kind = 'subtitles'")) == 2 * videos
    for row in rows(dataset, "select subtitle_text, caption_text from clips where scale != 'short'"):
        assert all(limits.hold(text) for text in row.values() if text)
    least = 2 if free_text_first else 1
    (captions, _) = asked(dataset)
    assert captions["n"] >= least * (videos * CAPTIONS - 1) + 1


# --- what is there ----------------------------------------------------------------------------------------------------


def test_what_is_there_is_not_asked_for_again(
    text_server: str, undisturbed: Dataset, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = count(undisturbed, "usage")
    assert run(undisturbed, resolve(None, assignments(at(text_server)))) == 0
    assert "Nothing to do" in capsys.readouterr().out
    assert count(undisturbed, "usage") == before

    taking = resolve(None, assignments(at(text_server), f"run.reuse={json.dumps([undisturbed.uri])}"))
    dataset = waiting(tmp_path / "dataset")
    assert run(dataset, taking) == 0
    assert told(dataset) == told(undisturbed)
    corrupt = {"stage": "caption", "n": 1, "failed": 1}  # its texts cannot be reused
    assert asked(dataset) == [corrupt, {"stage": "summarize", "n": 0, "failed": 0}]


# --- it is killed ---------------------------------------------------------------------------------------------------


@pytest.mark.long
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("victim", ["VLLM::EngineCore", "-m"])
def test_a_server_that_is_killed_in_mid_run_costs_nothing(
    vllm_settings: EngineSettings, undisturbed: Dataset, tmp_path: Path, victim: str
) -> None:
    dataset = waiting(tmp_path / "dataset")
    with curating(dataset, assignments(vllm_settings)) as process:
        wait_for_captions(dataset, process)
        first = family_of(process)
        (killed,) = (member for member, line in first.items() if re.match(rf"(\S+ )?{victim}( |$)", line))
        killed.kill()
        wait_until(lambda: any(line == "VLLM::Worker" for line in new(first, process).values()), 600)
        second = new(first, process)
        said = said_by(process)
    assert process.returncode == 0, said
    assert told(dataset) == told(undisturbed)
    assert asked(dataset) == asked(undisturbed)
    (again,) = rows(dataset, "select sum(retries)::int n from usage")
    assert again["n"] > 0
    assert_nothing_left(first, second)


@pytest.mark.long
@pytest.mark.timeout(1800)
def test_a_server_that_stays_away_ends_the_run_and_the_next_one_goes_on(
    vllm_settings: EngineSettings, text_server: str, undisturbed: Dataset, tmp_path: Path
) -> None:
    dataset = waiting(tmp_path / "dataset")
    with ExitStack() as server:
        url = server.enter_context(served_on_loopback(vllm_settings, tmp_path / "server.log"))
        with curating(dataset, assignments(at(url, patience_s=5.0))) as process:
            wait_for_captions(dataset, process)
            server.close()
            said = said_by(process)
    assert process.returncode == 1
    assert re.search(rf"^vidla: {url} has not answered for \d+ s .* the same command goes on from there$", said, re.M)
    made = told(dataset)["captions"]
    assert 0 < len(made) < VIDEOS * CAPTIONS - 1
    assert all(caption in told(undisturbed)["captions"] for caption in made)
    assert asked(dataset) != asked(undisturbed)

    with curating(dataset, assignments(at(text_server, patience_s=5.0))) as process:
        said = said_by(process)
    assert process.returncode == 0, said
    assert told(dataset) == told(undisturbed)
    assert asked(dataset) == asked(undisturbed), "what was answered before is not asked again"
    assert len(rows(dataset, "select distinct run_id from usage")) == 2


@pytest.mark.timeout(2700)
@pytest.mark.parametrize("kind", ["openai", pytest.param("vllm", marks=pytest.mark.long)])
def test_a_run_that_is_killed_and_stopped_comes_to_the_same_as_one_that_is_not(
    kind: str, vllm_settings: EngineSettings, text_server: str, undisturbed: Dataset, tmp_path: Path
) -> None:
    dataset = waiting(tmp_path / "dataset")
    given = assignments(vllm_settings if kind == "vllm" else at(text_server))
    for by in (signal.SIGKILL, signal.SIGINT):
        with curating(dataset, given) as process:
            wait_for_captions(dataset, process, more_than=count(dataset, "captions"))
            family = family_of(process)
            process.send_signal(by)
            said = said_by(process)
        if by == signal.SIGINT:
            assert process.returncode == 130
            assert said.splitlines()[-1].endswith("the same command goes on from there")
        if kind == "vllm":
            assert_nothing_left(family)
    with curating(dataset, given) as process:
        said = said_by(process)
    assert process.returncode == 0, said
    assert told(dataset) == told(undisturbed)
    assert asked(dataset) == asked(undisturbed), "what is committed is not asked for again"
    assert len(rows(dataset, "select distinct run_id from usage")) == 3
