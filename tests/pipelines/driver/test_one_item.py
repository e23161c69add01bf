"""One item is one item: whatever strangers write into a border, the other items of the run are made.

All inputs go through one run of several waves, whose download and single pass are cheap (support/cheap_work.py); each
case then looks for its own item.
"""

from __future__ import annotations

import json
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from aiohttp import web
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.dataset.dataset import Dataset
from curation.rejects import Stage
from curation.schema import TABLES
from curation.settings import resolve
from pipelines.driver.curate import curate
from tests.support.cheap_work import COLUMNS, cheap_work, url_of
from tests.support.hostile_values import CSV_CELLS, FILE_NAMES, JSON_VALUES, PARQUET_COLUMNS, TEXTS
from tests.support.scripted_server import Asked, ScriptedServer, say
from tests.support.web_server import ROUTES, WebServer, page

Case = tuple[str, str, str]  # the border, the field, and what is wrong with its value
FIELDS = ("url", "id", "subtitles", "start", "end", "note")
TEXT_KEYS = (*COLUMNS, "id", "extractor", "opt_out")
SOME = ("half a pair", "long", "nested lists", "many digits", "a great number", "true")
UNWRITABLE: dict[str, dict[str, Any]] = {
    "a title of another type": {"title": ["a", "list"]},
    "a number as a title": {"title": 7},
    "no digest": {"digest": None, "extractor": "Site"},
    "an opt-out of another type": {"opt_out": {"a": 1}},
}

JSONL: list[Case] = [("jsonl", "note", name) for name in JSON_VALUES]
JSONL += [("jsonl", column, name) for column in FIELDS if column != "note" for name in SOME]
CSV: list[Case] = [("csv", "note", name) for name in CSV_CELLS]
PARQUET: list[Case] = [("parquet", "note", name) for name in PARQUET_COLUMNS]
PLAYLIST: list[Case] = [("playlist", "title", name) for name in JSON_VALUES]
PLAYLIST += [("playlist", "url", name) for name in SOME]
ANSWERS: list[Case] = [("child", "every text", name) for name in TEXTS]
ANSWERS += [("child", key, "half a pair") for key in (*TEXT_KEYS, "subtitles", "language of subtitles")]
ANSWERS += [("child", "subtitles", name) for name in ("NUL", "controls", "no characters", "semicolons")]
REFUSED: list[Case] = [("child", "row", name) for name in UNWRITABLE]


@dataclass
class Inputs:
    """Inputs in a folder: of each case the number of its video, and what rejects call its row; and the good videos."""

    folder: Path
    names: list[str] = field(default_factory=list)
    videos: dict[Case, int] = field(default_factory=dict)
    rows: dict[Case, str] = field(default_factory=dict)
    good: list[int] = field(default_factory=list)
    count: int = 0  # of videos

    def url(self, case: Case | None = None) -> str:
        """The URL of one more video: of a case, or a good one."""
        self.count += 1
        if case is None:
            self.good.append(self.count)
        else:
            self.videos[case] = self.count
        return url_of(self.count)

    def answering(self, case: Case, values: Any) -> str:
        """The URL of a video of which the child answers these values."""
        url = self.url(case)
        file = self.folder / "answers" / f"{self.count}.json"
        file.parent.mkdir(exist_ok=True)
        file.write_text(json.dumps(values))
        return url

    def add(self, name: str, lines: Sequence[str | bytes]) -> None:
        path = self.folder / name
        path.write_bytes(b"\n".join(line if isinstance(line, bytes) else line.encode() for line in lines))
        self.names.append(str(path))


@dataclass
class Outcome:
    """The URIs of the videos made, the rows of `rejects`, and the log."""

    made: set[str]
    rejects: list[dict[str, Any]]
    log: str


def run(inputs: Inputs, answers: Sequence[str]) -> Outcome:
    """A run over them, whose captions and summaries are these answers in turn; all good videos are made."""

    async def script(asked: Asked) -> web.StreamResponse:
        return await say(asked, answers[len(asked.server.asked) % len(answers)])

    with ScriptedServer(script) as server, cheap_work():
        engine = ["kind=openai", "model=m", f'base_urls=["{server.url}"]']
        given = [f"{texts}.engine.{setting}" for texts in ("captions", "summaries") for setting in engine]
        given += ["run.wave_videos=100", 'download.subtitle_languages=["all"]', "subtitles.sentence_ends=pauses"]
        location = inputs.folder / "dataset"
        assert curate(inputs.names, str(location), resolve(None, given), tuple(Stage), [], 0.0, 1.0) == 0
    dataset = Dataset(str(location))
    made = set(dataset.read("videos", ["uri"])["uri"].to_pylist())
    assert not {url_of(number) for number in inputs.good} - made
    for table in TABLES:
        dataset.sql(f"select min(columns(*)::text) from {table}")  # others can read all of it
    (log,) = location.glob("logs/*.jsonl")
    return Outcome(made, dataset.read("rejects").to_pylist(), log.read_text())


# --- a table of values ----------------------------------------------------------------------------------------------


def add_jsonl(inputs: Inputs) -> None:
    lines = []
    for case in JSONL:
        lines.append(f'{{"url": "{inputs.url(case)}", "{case[1]}": {JSON_VALUES[case[2]]}}}')
        inputs.rows[case] = f"list.jsonl, row {len(lines)}"
        if len(lines) % 10 == 0:
            lines.append(json.dumps({"url": inputs.url()}))
    inputs.add("list.jsonl", [*lines, json.dumps({"url": inputs.url()})])


def add_csv(inputs: Inputs) -> None:
    lines = [b"url,note"]
    for case in CSV:
        lines.append(f"{inputs.url(case)},".encode() + CSV_CELLS[case[2]])
        inputs.rows[case] = f"list.csv, row {len(lines)}"
        lines.append(inputs.url().encode())
    inputs.add("list.csv", lines)
    inputs.add("list.txt", [b"\xff\xfe\x00", b"x" * (3 << 20), b"\xed\xa0\xbd", inputs.url()])


def add_parquet(inputs: Inputs) -> None:
    rows = []
    for case in PARQUET:
        rows.append(pa.table({"url": [inputs.url(case)], case[2]: PARQUET_COLUMNS[case[2]]}))
        inputs.rows[case] = f"list.parquet, row {len(rows)}"
    rows.append(pa.table({"url": [inputs.url()]}))
    pq.write_table(pa.concat_tables(rows, promote_options="default"), inputs.folder / "list.parquet")
    inputs.names.append(str(inputs.folder / "list.parquet"))


def add_playlist(inputs: Inputs) -> None:
    lines = []
    for case in PLAYLIST:
        value, url = JSON_VALUES[case[2]], inputs.url(case)
        given = f'"url": {value}' if case[1] == "url" else f'"url": "{url}", "metadata": {{"title": {value}}}'
        lines.append(f"{{{given}}}")
        inputs.rows[case] = f"entry {len(lines)} of the playlist"
    lines += ["{", "[]", '{"metadata": 7}', "x" * (3 << 20), json.dumps({"url": inputs.url(), "metadata": {}})]
    inputs.add("entries.jsonl", lines)
    inputs.names[-1] = f"https://playlists.example{inputs.names[-1]}"


def add_answers(inputs: Inputs) -> None:
    urls = []
    for case in ANSWERS:
        text = TEXTS[case[2]]
        values: dict[str, Any] = dict.fromkeys(TEXT_KEYS if case[1] == "every text" else [case[1]], text)
        if case[1] == "subtitles":
            values = {"subtitles": {"en": {"ext": "vtt", "data": text[:1000], "url": text, "headers": {text: text}}}}
        elif case[1] == "language of subtitles":
            values = {"subtitles": {text: {"ext": "vtt", "data": "Hello."}}}
        urls.append(inputs.answering(case, values))
    for case in REFUSED:
        urls += [inputs.answering(case, UNWRITABLE[case[2]]), inputs.url()]
    inputs.add("answers.txt", urls)


def add_files(inputs: Inputs) -> None:
    for number, name in enumerate(FILE_NAMES.values()):
        path = inputs.folder / "films" / os.fsdecode(name)
        path.parent.mkdir(exist_ok=True)
        path.write_text(f"film {number}")
        path.with_suffix(".vtt").write_text("WEBVTT\n\n00:01.000 --> 00:05.000\nHello.\n")
    inputs.names.append(str(inputs.folder / "films"))


@pytest.fixture(scope="module")
def everything(tmp_path_factory: pytest.TempPathFactory) -> tuple[Inputs, Outcome]:
    inputs = Inputs(tmp_path_factory.mktemp("hostile"))
    for add in (add_jsonl, add_csv, add_parquet, add_playlist, add_answers, add_files):
        add(inputs)
    return inputs, run(inputs, [text[:2000] for text in TEXTS.values()])


def marked(kind: str, cases: Sequence[Case]) -> list[Any]:
    return [pytest.param(case, marks=pytest.mark.hostile(kind), id="-".join(case)) for case in cases]


ALL = marked("lists", JSONL + CSV + PARQUET) + marked("pages", PLAYLIST) + marked("text", ANSWERS + REFUSED)


@pytest.mark.parametrize("case", ALL)
def test_each_item_is_made_or_rejected(everything: tuple[Inputs, Outcome], case: Case) -> None:
    inputs, outcome = everything
    url = url_of(inputs.videos[case])
    place = inputs.rows.get(case, url)
    rejected = [r for r in outcome.rejects if r["uri"] == url or r["message"].startswith(f"{place}:")]
    rejected = [r for r in rejected if r["stage"] == Stage.DOWNLOAD]
    assert (url in outcome.made) != bool(rejected), rejected
    assert all(len(r["key"]) == 32 and len(r["message"]) <= 2000 for r in rejected)
    if case in ANSWERS:
        assert not rejected
    if case in REFUSED:
        assert [r["kind"] for r in rejected] == ["unwritable"]
        assert f"{rejected[0]['key']} ({url}): a row of downloads" in outcome.log


@pytest.mark.hostile("text")
@pytest.mark.parametrize("name", FILE_NAMES)
def test_a_file_of_any_name_is_made(everything: tuple[Inputs, Outcome], name: str) -> None:
    inputs, outcome = everything
    assert (inputs.folder / "films" / os.fsdecode(FILE_NAMES[name])).as_uri() in outcome.made


# --- any values -----------------------------------------------------------------------------------------------------

WORDS = st.text(st.characters(exclude_categories=()), max_size=30) | st.sampled_from([*TEXTS.values()])
VALUES = st.recursive(
    WORDS | st.none() | st.booleans() | st.integers() | st.floats(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(WORDS, inner, max_size=3),
    max_leaves=5,
)
ROWS = st.lists(st.dictionaries(st.sampled_from(FIELDS) | WORDS, VALUES, max_size=4), min_size=8, max_size=20)
ANSWERED = st.lists(st.dictionaries(st.sampled_from(TEXT_KEYS), WORDS, max_size=4), min_size=8, max_size=20)
SAID = st.lists(WORDS, min_size=8, max_size=20)


def others_are_made(rows: list[dict[str, Any]], answers: list[dict[str, str]], said: list[str]) -> None:
    with tempfile.TemporaryDirectory() as folder:
        inputs = Inputs(Path(folder))
        urls = [(inputs.url(("", "", str(n))), row) for n, row in enumerate(rows)]
        urls += [(inputs.answering(("", "", str(n)), values), {}) for n, values in enumerate(answers)]
        lines = [json.dumps({"url": url, **row}) for url, row in urls]
        inputs.add("list.jsonl", [*lines, json.dumps({"url": inputs.url()})])
        run(inputs, said)


@pytest.mark.hostile("text")
@given(ROWS, ANSWERED, SAID)
@settings(max_examples=2)  # the first is a plain one
def test_whatever_is_written_the_others_are_made(
    rows: list[dict[str, Any]], answers: list[dict[str, str]], said: list[str]
) -> None:
    others_are_made(rows, answers, said)


@pytest.mark.long
@pytest.mark.timeout(7200)
@given(ROWS, ANSWERED, SAID)
@settings(max_examples=100)
def test_whatever_is_written_a_hundred_times(
    rows: list[dict[str, Any]], answers: list[dict[str, str]], said: list[str]
) -> None:
    others_are_made(rows, answers, said)


# --- the real work --------------------------------------------------------------------------------------------------


@pytest.mark.slow
@pytest.mark.hostile("text")
def test_real_pages_rows_and_files_cost_only_themselves(
    videos: list[Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = tmp_path / os.fsdecode(b"caf\xe9.mp4")
    shutil.copy(videos[0], film)
    monkeypatch.setitem(ROUTES, "half.html", page('<title>hi &#xD83D; there</title><video src="/15.mp4?1"></video>'))
    monkeypatch.setitem(ROUTES, "good.html", page('<title>good</title><video src="/15.mp4?2"></video>'))
    with WebServer(videos[0].parent) as server:
        rows = [
            f'{{"url": "{server.url("/half.html")}", "id": "half"}}',
            '{"url": "https://a.example/1", "title": "cut \\ud83d", "end": 1e250}',
            '{"url": "https://a.example/2", "x": ' + "[" * 600 + "]" * 600 + "}",
            '{"url": "not a url", "note": "' + ";" * 1_000_000 + '"}',
            f'{{"url": "{server.url("/good.html")}", "id": "good"}}',
        ]
        (tmp_path / "list.jsonl").write_text("\n".join(rows))
        inputs = [str(tmp_path / "list.jsonl"), str(film)]
        chosen = resolve(None, ["download.allow_private=true", "download.workers=1"])
        stages = (Stage.DOWNLOAD, Stage.SEGMENT)
        given = (inputs, str(tmp_path / "dataset"), chosen, stages, [], 0.0, 1.0)
        assert curate(*given, keep_duplicates=True) == 0
    dataset = Dataset(str(tmp_path / "dataset"))
    titles = dataset.read("videos", ["title"])["title"].to_pylist()
    assert sorted(titles) == ["caf\ufffd", "good", "hi \ufffd there"]
    messages = " ".join(dataset.read("rejects")["message"].to_pylist())
    assert [f"row {n}:" in messages for n in range(1, 6)] == [False, True, True, True, False]
