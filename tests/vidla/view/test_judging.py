"""Verdicts on clips, and blind audits of their texts."""

from __future__ import annotations

import dataclasses
import html
import json
import math
import random
import re
from pathlib import Path
from urllib.parse import parse_qsl, urlencode, urlsplit

import pytest

from curation.dataset.commits import Replacement
from curation.dataset.dataset import Dataset
from curation.dataset.pins import pin
from curation.dataset.verdicts import labels_now, waiting
from curation.dataset.writer import Writer
from curation.shares import interval
from tests.support.dataset_files import commit_rows, made_of, make_dataset, stored_media
from tests.support.viewing import Answer, Shown, shown
from vidla.view.audit import agreement, sample_size

CLIPS = made_of(0, stored_media())["clips"]


def post(view: Shown, **form: str) -> Answer:
    origin = {"Origin": view.address.rstrip("/").rpartition("/")[0]}
    return view.ask(
        "POST", view.path + "verdict", origin | {"Content-Type": "application/x-www-form-urlencoded"}, urlencode(form)
    )


def test_a_verdict_is_seen_and_clips_are_chosen_by_it(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    with shown(str(dataset.folder), "--rater", "ada") as view, Writer(dataset, "run-2", {}):  # a run that writes
        assert post(view, clip=CLIPS[1].clip_id, verdict="drop", note="too <b>dark").status == 303
        assert post(view, clip=CLIPS[2].clip_id, verdict="keep").status == 303
        assert post(view, clip=CLIPS[2].clip_id, verdict="flag", rater="bob").status == 303
        page = view.get("clip", id=CLIPS[1].clip_id).text
        assert "too &lt;b&gt;dark" in page and "drop (ada)" in page
        assert "<h1>1 clips</h1>" in view.get("clips", verdict="drop").text
        assert "<h1>1 clips</h1>" in view.get("clips", verdict="flag").text
        assert "<h1>4 clips</h1>" in view.get("clips", verdict="null").text
        assert "clips?verdict=flag" in view.get("filters").text
    assert [label.rater for label in waiting(dataset).values()] == ["ada", "ada", "bob"]


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize(
    ("form", "status"),
    [
        ({"clip": "none", "verdict": "keep"}, 404),
        ({"clip": "' or 1=1 --", "verdict": "keep"}, 404),
        ({"clip": CLIPS[0].clip_id, "verdict": "right"}, 400),
        ({"clip": CLIPS[0].clip_id}, 400),
        ({"clip": CLIPS[0].clip_id, "verdict": "keep", "note": "x" * 5_000}, 400),
        ({"clip": CLIPS[0].clip_id, "verdict": "keep", "note": "x" * 50_000}, 413),
        ({"clip": CLIPS[0].clip_id, "audit": "a=now", "rating-A": "keep"}, 400),
        ({"clip": CLIPS[0].clip_id, "audit": "a=none", "rating-A": "right"}, 400),
        ({"clip": CLIPS[0].clip_id, "audit": "a=now&by=clip_id)", "rating-A": "right"}, 400),
        ({"clip": CLIPS[0].clip_id, "audit": "a=now&half=nan", "rating-A": "right"}, 400),
        ({"clip": CLIPS[0].clip_id, "audit": "a=now&text=title", "rating-A": "right"}, 400),
    ],
)
def test_what_is_no_verdict_is_refused(form: dict[str, str], status: int, view: Shown, dataset: Dataset) -> None:
    assert post(view, **form).status == status
    assert not waiting(dataset)


def test_a_verdict_from_a_page_of_another_origin_is_refused(view: Shown, dataset: Dataset) -> None:
    body = urlencode({"clip": CLIPS[0].clip_id, "verdict": "drop"})
    for headers in ({}, {"Origin": "http://evil.example"}, {"Origin": "null"}):
        assert view.ask("POST", view.path + "verdict", headers, body).status == 403
    assert not waiting(dataset)


def other_captions(dataset: Dataset) -> None:
    """A second version, in which the captions of some clips are others."""
    pin(dataset, "first")
    new = [dataclasses.replace(c, caption_text=f"A wasp at {c.start}") for c in CLIPS if c.scale == "short"]
    ids = frozenset((clip.clip_id,) for clip in new)
    with Writer(dataset, "run-2", {}) as writer:
        commit_rows(
            writer,
            "other",
            {"clips": new},
            [Replacement("clips", ("clip_id",), ids, frozenset(dataset.live_parts("clips")))],
        )


def rate_all(view: Shown, address: str, says: dict[str, str], rater: str) -> int:
    """Rate every text of an audit by what is in it; returns how many pages it took."""
    for number in range(100):
        page = view.ask("GET", f"{view.path}{address}&{urlencode({'rater': rater})}").text
        if "Thank you" in page:
            return number
        form = dict(re.findall(r'type="hidden" name="(\w+)" value="([^"]*)"', page))
        texts = re.findall(r'<legend>Text ?(\w?)</legend>\s*<p class="text" dir="auto">(.*?)</p>', page)
        ratings = {
            f"rating-{letter or 'A'}": next(r for part, r in says.items() if part in text) for letter, text in texts
        }
        assert "wasp" not in page.replace("".join(text for _, text in texts), "") or len(texts) == 2
        assert post(view, **{name: html.unescape(value) for name, value in form.items()}, **ratings).status == 303
    raise AssertionError("it never ends")


def test_an_audit_of_two_versions_is_blind_and_comes_to_a_result(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    other_captions(dataset)
    with shown(str(dataset.folder), "--rater", "ada") as view:
        begun = view.get("audit", a="pin:first", b="now", text="caption", by="scale", half="0.05", seed="3")
        assert begun.status == 303, "to an address that stays"
        address = begun.headers["location"]
        audit = urlencode([pair for pair in parse_qsl(urlsplit(address).query) if pair[0] != "rater"])
        assert "commit%3A" in audit and "now" not in audit
        page = view.ask("GET", view.path + f"audit?{audit}").text
        assert "0 of 7 rated" in page
        for part in ("pin:first", "builtin/tags", "verbatim"):
            assert part not in re.sub(r'value="[^"]*"|href="[^"]*"', "", page), "blind"
        assert rate_all(view, f"audit?{audit}", {"wasp": "major", "bee": "right"}, "ada") == 7
        assert rate_all(view, f"audit?{audit}", {"wasp": "minor", "bee": "right"}, "bob") == 7
        found = json.loads(view.ask("GET", view.path + f"audit-result?{audit}&json=1").text)
        by_line = {(line["version"], line["stratum"]): line for line in found["shares"]}
        assert by_line["a", None]["right"] == 1 and by_line["a", None]["rated"] == 7
        line = by_line["b", None]
        assert (line["right"], line["minor"], line["major"]) == pytest.approx((3 / 7, 2 / 7, 2 / 7))
        assert (line["low"], line["high"]) == pytest.approx(interval(3, 7))
        assert by_line["b", "short"]["right"] == 0 and by_line["b", "long"]["right"] == 1
        (pair,) = found["agreement"]
        assert pair["raters"] == ["ada", "bob"] and pair["texts"] == 14 and pair["same"] == 10 / 14
        assert "Cohen" in view.ask("GET", view.path + f"audit-result?{audit}").text
    with Writer(dataset, "run-3", {}):
        pass
    assert labels_now(dataset).num_rows == dataset.read("labels").num_rows == 1 + 2 * 14


def test_an_audit_stays_the_same_while_the_dataset_goes_on(tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    with shown(str(dataset.folder)) as view:
        address = view.get("audit", a="now", seed="5").headers["location"]
        before = view.ask("GET", view.path + address).text
        other_captions(dataset)
        assert view.ask("GET", view.path + address).text == before


# --- arithmetic -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("share", "count"), [(0.5, 10), (0.0, 20), (1.0, 5), (0.37, 385)])
def test_the_interval_is_where_the_share_would_surprise(share: float, count: int) -> None:
    """Wilson's ends are the shares p for which the seen one is 1.96 standard deviations of p away."""
    for end in interval(share * count, count):
        assert 0 <= end <= 1
        assert end in (0.0, 1.0) or abs(share - end) == pytest.approx(1.959964 * math.sqrt(end * (1 - end) / count))


@pytest.mark.parametrize("share", [0.5, 0.8, 0.97])
@pytest.mark.parametrize("population", [300, 5_000])
def test_the_sample_gives_the_wished_half_width(share: float, population: int) -> None:
    """Of 400 samples, at least 93 % are as near as wished; 95 % are expected, or more."""
    draw = random.Random(1)
    texts = [number < share * population for number in range(population)]
    size = sample_size(0.05, population)
    near = sum(abs(sum(draw.sample(texts, size)) / size - sum(texts) / population) <= 0.05 for _ in range(400))
    assert near >= 0.93 * 400


def test_kappa_is_that_of_the_textbook() -> None:
    """Cohen's own measure for 50 texts: 20 and 15 the same, 5 and 10 not; kappa is 0.4."""
    both = [("right", "right")] * 20 + [("right", "minor")] * 5 + [("minor", "right")] * 10 + [("minor", "minor")] * 15
    (found,) = agreement([{"ada": a, "bob": b} for a, b in both])
    assert found["same"] == 0.7 and found["kappa"] == pytest.approx(0.4)
    (alike,) = agreement([{"ada": "right", "bob": "right"}] * 3)
    assert alike["kappa"] is None
