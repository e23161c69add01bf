"""Who may read the view, and what a request can reach."""

from __future__ import annotations

import time
from dataclasses import replace
from urllib.parse import urlsplit

import pytest

from curation.dataset.dataset import Dataset
from curation.errors import UsageError
from tests.support.dataset_files import download_of
from tests.support.viewing import Shown, shown

VIDEO = download_of(0).video_id


def test_the_address_with_its_token_opens_the_view(view: Shown) -> None:
    answer = view.get()
    assert answer.status == 200 and "The books balance." in answer.text
    assert "script-src 'self'" in answer.headers["content-security-policy"]
    assert "unsafe" not in answer.headers["content-security-policy"]
    assert answer.headers["referrer-policy"] == "same-origin" and answer.headers["cache-control"] == "no-store"
    assert urlsplit(view.address).hostname == "127.0.0.1" and len(view.path) > 20


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize("path", ["/", "/clips", "/guess/clips", "/guess/", "//", "/static/view.css", "/%00/", ""])
def test_nothing_is_told_without_the_token(path: str, view: Shown) -> None:
    answer = view.ask("GET", path or "*")
    assert answer.status in (400, 403)
    assert b"Talk" not in answer.body and b"talks" not in answer.body


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Host": "evil.example"}, 403),
        ({"Host": "evil.example:{port}"}, 403),
        ({"Host": "127.0.0.1.evil.example:{port}"}, 403),
        ({"Host": "[::1"}, 403),
        ({"Host": ""}, 403),
        ({"Host": "localhost:{port}"}, 200),
        ({"Host": "127.0.0.1:{port}", "Origin": "http://evil.example"}, 403),
        ({"Host": "127.0.0.1:{port}", "Origin": "http://127.0.0.1:1"}, 403),
        ({"Host": "127.0.0.1:{port}", "Origin": "null"}, 403),
        ({"Host": "127.0.0.1:{port}", "Origin": "http://127.0.0.1:{port}"}, 200),
    ],
)
def test_names_and_origins_of_strangers_are_refused(headers: dict[str, str], status: int, view: Shown) -> None:
    port = str(urlsplit(view.address).port)
    sent = {name: value.replace("{port}", port) for name, value in headers.items()}
    assert view.get(headers=sent).status == status


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH"])
def test_what_writes_needs_a_page_of_the_view(method: str, view: Shown) -> None:
    assert view.ask(method, view.path + "clips").status == 403


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize(
    "page",
    [
        "static/../application.py", "static/%2e%2e/application.py", "static/..%2fapplication.py", "static//etc/passwd",
        "static/%2fetc%2fpasswd", "../../etc/passwd", "media?video=../../etc/passwd", "media?video=/etc/passwd",
        "media?video=' or '1'='1", "frame?id=../../etc/passwd", "frame?id=%00", "frame", "media", "clip?id=' or 1=1",
        "clip?id=%00", "nothing", "%2e%2e/", "media/talks.mp4", "clips/../media",
    ],
)  # fmt: skip
def test_no_path_of_a_request_reaches_a_file(page: str, view: Shown) -> None:
    answer = view.ask("GET", view.path + page.replace(" ", "%20").replace("'", "%27"))
    assert answer.status in (400, 404)
    assert b"root:" not in answer.body and b"import " not in answer.body and b"Traceback" not in answer.body


@pytest.mark.hostile("neighbours")
@pytest.mark.parametrize(
    "query",
    [
        {"where": "1=1; drop table clips"},
        {"where": "1) or (1"},
        {"where": "exists (from read_text('/etc/passwd'))"},
        {"where": "exists (select 1 from '/etc/passwd')"},
        {"where": "scal = 'x'"},
        {"sort": "1; drop table clips"},
        {"sort": "none"},
        {"none": "x"},
        {"duration.from": "nan"},
        {"duration.from": "1 or 1"},
        {"duration.below": "1"},
    ],
)
def test_what_cannot_be_asked_is_said(query: dict[str, str], view: Shown) -> None:
    answer = view.get("clips", **query)
    assert answer.status == 400 and 'role="alert"' in answer.text and "Traceback" not in answer.text


@pytest.mark.parametrize(
    ("asked", "status", "told"),
    [
        (None, 200, None),
        ("bytes=0-9", 206, "bytes 0-9/{size}"),
        ("bytes=10-", 206, "bytes 10-{last}/{size}"),
        ("bytes=-7", 206, "bytes {tail}-{last}/{size}"),
        ("bytes=5-999999999", 206, "bytes 5-{last}/{size}"),
        ("bytes=999999999-", 416, "bytes */{size}"),
        ("bytes=-", 416, "bytes */{size}"),
        ("bytes=9-5", 416, "bytes */{size}"),
        ("lines=1-2", 206, "bytes 0-{last}/{size}"),
    ],
)
def test_media_is_read_by_ranges(asked: str | None, status: int, told: str | None, view: Shown) -> None:
    whole = view.get("media", video=VIDEO).body
    answer = view.get("media", video=VIDEO, headers={} if asked is None else {"Range": asked})
    assert answer.status == status
    if told is None:
        assert answer.body == whole and answer.headers["accept-ranges"] == "bytes"
        return
    places = {"size": len(whole), "last": len(whole) - 1, "tail": len(whole) - 7}
    assert answer.headers["content-range"] == told.format(**places)
    if status == 206:
        first, last = map(int, answer.headers["content-range"].split()[1].partition("/")[0].split("-"))
        assert answer.body == whole[first : last + 1]


@pytest.mark.slow
def test_a_view_for_other_machines_keeps_its_token(dataset: Dataset) -> None:
    with shown(str(dataset.folder), "--host", "0.0.0.0") as running:
        at = replace(running, address=f"http://127.0.0.1:{urlsplit(running.address).port}{running.path}")
        assert at.get().status == 200
        assert at.ask("GET", "/").status == 403
        assert at.get(headers={"Host": "evil.example"}).status == 403


@pytest.mark.hostile("datasets")
def test_a_query_without_end_is_stopped_and_costs_others_nothing(dataset: Dataset) -> None:
    endless = "exists (select sum(a.range * b.range) from range(1000000) a, range(1000000) b)"
    began = time.monotonic()
    with pytest.raises(UsageError, match=r"takes longer than 0\.5 s"):
        dataset.sql_each([f"select * from clips where {endless}"], 0.5)
    assert time.monotonic() - began < 20
    assert len(dataset.sql("select 1 as one")) == 1
