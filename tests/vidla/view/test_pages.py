"""What the pages show, and that they show no more than the tables hold."""

from __future__ import annotations

import dataclasses
import html
import re
import subprocess
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import parse_qsl

import pytest

from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.pins import pin, unpin
from curation.dataset.vacuum import vacuum
from curation.dataset.writer import Writer
from tests.support.dataset_files import (
    add_videos,
    commit_rows,
    download_of,
    made_of,
    make_dataset,
    reject_of,
    stored_media,
)
from tests.support.viewing import Shown, shown
from vidla.rows import read
from vidla.view.choice import Choice
from vidla.view.tables import FRESH_S

Vidla = Callable[..., subprocess.CompletedProcess[str]]
NASTY = "\"'><script>hit()</script><img src=x onerror=hit()>{{ 7*7 }}</textarea>' or 1=1 --\u202e\x1b[2J"


def ids_on(page: str) -> list[str]:
    """The clips of a page of clips, in its order."""
    return [html.unescape(found) for found in re.findall(r'class="thumbnail" href="clip\?id=([^"]*)"', page)]


def test_the_overview_has_the_books_and_what_was_rejected(view: Shown) -> None:
    page = view.get().text
    for part in ("requests downloaded", "no luck", "not_found", "https://videos.example/watch/90.mp4", "run-1"):
        assert part in page
    page = view.get("filters").text
    for column in ("duration", "subtitle_words", "sentence_count", "language_confidence", "frame_rate"):
        assert (f'data-column="{column}"' in page) == (column != "language_confidence"), "which is null in all rows"
    for value in ("clips?scale=short", "clips?caption_status=verbatim", "clips?channel=Channel%200"):
        assert value in page


@pytest.mark.parametrize(
    ("query", "count"),
    [
        ("", 21),
        ("scale=short", 12),
        ("scale=short&scale=long", 15),
        ("subtitle_status=null", 9),
        ("subtitle_status=null&subtitle_status=ok", 15),
        ("scale=short&duration.from=6&duration.to=6", 12),
        ("duration.from=7", 9),
        ("q=bees", 12),
        ("q=BEES+dance", 12),
        ('q="bees+dance"', 12),
        ('q="dance+bees"', 0),
        ("q=100%25", 0),
        ("q=b_es", 0),
        ("where=start+%3E%3D+12+and+scale+%3D+'short'", 6),
        ("where=title+%3D+'Talk+1'", 7),
        ("channel=Channel+0", 14),
        ("where=duration+%3E+7+--+a+comment", 9),
        ("end.to=6", 3),
        ("sort=-end", 21),
        ("sort=frame_rate", 21),
        ("sample=7", 21),
        ("page=2", 0),
        ("page=-1", 21),
        ("language=de", 0),
    ],
)
def test_clips_are_chosen_and_their_sql_gives_the_same(query: str, count: int, view: Shown, dataset: Dataset) -> None:
    page = view.ask("GET", view.path + f"clips?{query}").text
    found = ids_on(page)
    assert len(found) == count
    sql = html.unescape(re.findall(r"<pre><code>(.*?)</code></pre>", page, re.DOTALL)[0])
    assert [row["clip_id"] for row in read(dataset, sql, 0)] == found
    assert f"<h1>{21 if 'page=2' in query else count} clips</h1>" in page


@pytest.mark.parametrize(
    "query",
    [
        "",
        "scale=short&duration.from=2.5&q=a+b&sort=-end&page=3",
        "language=null&where=start+%3E+1&sample=4",
    ],
)
def test_a_choice_is_its_url(query: str) -> None:
    assert Choice.of(parse_qsl(query)).query == query


def test_pages_hold_every_clip_once(view: Shown, monkeypatch: pytest.MonkeyPatch, dataset: Dataset) -> None:
    monkeypatch.setattr("vidla.view.choice.PAGE", 4)
    for sort in ("", "duration", "-duration", "language", "-caption_words"):
        rows = [row["clip_id"] for n in range(1, 7) for row in read(dataset, Choice(sort=sort, page=n).rows(), 0)]
        assert len(rows) == len(set(rows)) == 21, sort


def test_a_clip_has_its_texts_and_where_they_come_from(view: Shown, dataset: Dataset) -> None:
    rows = made_of(1, stored_media(seed=1))
    clip = next(clip for clip in rows["clips"] if clip.scale == "medium")
    page = view.get("clip", id=clip.clip_id).text
    for part in ("Bees dance.", "A bee at 9 s", "They tell where flowers are.", "builtin/tags", "prompt", "Talk 1"):
        assert part in page
    children = [other.clip_id for other in rows["clips"] if other.parent_id == clip.clip_id]
    assert len(children) == 2 and all(f'href="clip?id={child}"' in page for child in (*children, clip.parent_id))
    image = view.get("frame", id=clip.frame_ids[0])
    assert image.body == rows["frames"][0].image and image.headers["content-type"] == "image/jpeg"
    assert view.get("clip", id="none").status == view.get("frame", id="none.3").status == 404


@pytest.mark.hostile("text")
def test_text_from_strangers_is_text_everywhere(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    rows = made_of(5, stored_media())

    def nasty(record: object) -> object:
        texts = {
            field.name: NASTY for field in dataclasses.fields(record)  # type: ignore[arg-type]
            if isinstance(getattr(record, field.name), str)
            and not field.name.endswith(("_id", "_uri", "_digest", "scale", "key", "stage"))
        }  # fmt: skip
        if hasattr(record, "sentences"):
            texts |= {
                "sentences": tuple(dataclasses.replace(one, text=NASTY, speaker=NASTY) for one in record.sentences)
            }
        return dataclasses.replace(record, **texts)  # type: ignore[type-var]

    tables = ("videos", "captions", "summaries", "clips")
    rejected = nasty(reject_of("other", None, NASTY, "download", "not_found"))
    with Writer(dataset, "run-2", {"command": [NASTY]}) as writer:
        written = {name: [nasty(one) for one in rows[name]] for name in tables} | {"rejects": [rejected]}
        commit_rows(writer, "nasty", {**written, "frames": rows["frames"], "segments": rows["segments"]})
    clips = [clip.clip_id for clip in rows["clips"]]
    with shown(str(dataset.folder)) as view:
        pages = ["", "state", "clips", "filters", f"clips?q={NASTY[:9]}", *(f"clip?id={clip}" for clip in clips)]
        for page in pages:
            answer = view.ask("GET", view.path + page.replace('"', "%22").replace("'", "%27").replace(">", "%3E"))
            assert answer.status == 200, page
            assert "<script>hit" not in answer.text and "<img src=x" not in answer.text
            assert "&lt;script&gt;hit()" in answer.text or page.startswith(("clips?q", "filters")), page
            assert "{{ 7*7 }}" in answer.text or "&lt;script&gt;hit()" not in answer.text, "no template of a template"


def test_what_a_run_writes_is_seen(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    with shown(str(dataset.folder)) as view:
        assert "<h1>7 clips</h1>" in view.get("clips").text
        with Writer(dataset, "run-2", {"command": ["curate"]}) as writer:
            assert "is writing to the dataset" in view.get("state").text, "which is read each time"
            add_videos(writer, [7])
        time.sleep(FRESH_S)
        assert "<h1>14 clips</h1>" in view.get("clips").text
        assert download_of(7).video_id in view.get("clips", sort="-video_id").text
        assert "run-2" in view.get("state").text


def test_many_readers_at_a_time(view: Shown) -> None:
    clips = ids_on(view.get("clips").text)
    pages = ["", "clips", "filters", "clips?q=bees", *(f"clip?id={clip}" for clip in clips)]
    with ThreadPoolExecutor(16) as pool:
        statuses = pool.map(lambda page: view.ask("GET", view.path + page).status, pages * 2)
        assert set(statuses) == {200}


def test_an_empty_dataset_is_shown(tmp_path: Path) -> None:
    with Writer(Dataset(str(tmp_path / "data")), "run-1", {"command": ["curate"]}):
        pass
    with shown(tmp_path / "data") as view:
        for page in ("", "clips", "filters", "clips?sample=1"):
            assert view.ask("GET", view.path + page).status == 200


def test_versions_are_compared(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=2)
    pin(dataset, "first")
    old = made_of(0, stored_media())["clips"]
    new = [dataclasses.replace(clip, caption_text="A wasp & a fly") for clip in old if clip.scale == "short"]
    with Writer(dataset, "run-2", {"command": ["curate"]}) as writer:
        ids = frozenset((clip.clip_id,) for clip in new)
        parts = frozenset(dataset.live_parts("clips"))
        commit_rows(writer, "other", {"clips": new}, [Replacement("clips", ("clip_id",), ids, parts)])
        add_videos(writer, [7])
    with shown(str(dataset.folder)) as view:
        for before in ("pin:first", "run:run-1"):
            page = view.get("compare", a=before, b="now").text
            for part in ("4 texts differ", "0 only before", "7 only after", "of 21 clips"):
                assert part in page
            assert "<del>bee</del>" in page and "<ins>wasp &amp; a fly</ins>" in page
            assert page.count("<del>") == 4
            page = view.get("compare", a=before, b="run:run-2", which="b").text
            assert len(ids_on(page)) == 7 and all(download_of(7).video_id in one for one in ids_on(page))
        assert "0 texts differ" in view.get("compare").text
        assert view.get("compare", a="run:none").status == view.get("compare", which="c").status == 400
        with Writer(dataset, "run-3", {"command": ["vacuum"]}) as writer:
            unpin(dataset, "first")
            vacuum(writer)
        answer = view.get("compare", a="run:run-1", b="now")
        assert answer.status == 500 and "cannot be read any more" in answer.text


def test_two_models_and_two_prompts_are_compared(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=2)
    rows = made_of(0, stored_media())
    for number, change in enumerate(({"model": "large"}, {"model": "large", "prompt_digest": "p2"})):
        text = f"A {NASTY} bee {number}"
        captions = [dataclasses.replace(caption, text=text, **change) for caption in rows["captions"]]
        with Writer(dataset, f"run-{number + 2}", {"command": ["curate"]}) as writer:
            ids = frozenset((caption.frame_id,) for caption in captions)
            old = Replacement("captions", ("frame_id",), ids, frozenset(dataset.live_parts("captions")))
            commit_rows(writer, "other", {"captions": captions}, [old])
    with shown(str(dataset.folder)) as view:
        captions = view.get("compare").text.partition('<optgroup label="captions of frames by">')[2]
        options = re.findall(r'<option value="(by:\w+)" >([^<]*)<', captions.partition("</optgroup>")[0])
        made = {title.partition(" (")[0]: name for name, title in options}
        tags = next(name for title, name in made.items() if title.startswith("builtin/tags"))
        other = next(name for title, name in made.items() if title.endswith("prompt p2"))
        large = next(name for title, name in made.items() if title.startswith("builtin/large") and name != other)
        page = view.get("compare", a=tags, b=other).text
        assert "4 texts differ" in page and "4 only before" in page and "of 8 frames" in page
        assert page.count('class="thumbnail"') == 4 and "<del>at" in page and "<script>hit" not in page
        page = view.get("compare", a=large, b=other).text
        assert "<del>0</del>" in page and "<ins>1</ins>" in page and "0 only before" in page
        assert view.get("compare", a=large, b="now").status == view.get("compare", a="by:1", b=other).status == 400


def test_a_report_is_one_page_that_needs_nothing_else(dataset: Dataset, tmp_path: Path, vidla: Vidla) -> None:
    out = tmp_path / "report.html"
    done = vidla("report", dataset.folder, "-o", out, "--sample", "5")
    assert done.returncode == 0 and done.stdout.startswith(f"{out} has ")
    page = out.read_text()
    for part in ("The books balance.", "no luck", "5 clips drawn at random", 'data-column="duration"', "A bee"):
        assert part in page
    assert page.count("data:image/jpeg;base64,") == 5
    assert not re.search(r'(href|src)="(?!data:)', page) and "<script" not in page and "url(" not in page
    assert vidla("report", tmp_path / "none").returncode == 1
