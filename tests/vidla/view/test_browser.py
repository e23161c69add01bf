"""The view in a real browser: Chromium, driven by Playwright. Screenshots are kept in build/screenshots."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from playwright.sync_api import Browser, Page, sync_playwright

from curation.dataset.dataset import Dataset
from tests.support.bucket import Bucket
from tests.support.dataset_files import FRAME_RATE, made_of, make_dataset, stored_media
from tests.support.drawn_dataset import drawn_dataset
from tests.support.project import ROOT
from tests.support.viewing import Shown, shown

SCREENSHOTS = ROOT / "build" / "screenshots"
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(CHROMIUM is None, reason="Chromium is not installed: apt-get install chromium"),
]
CLIPS = made_of(0, stored_media())["clips"]
CONTRAST = """(selector) => {
    const rgb = (text) => text.match(/[0-9.]+/g).map(Number);
    const light = ([r, g, b]) => [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4)
        .reduce((sum, v, i) => sum + v * [0.2126, 0.7152, 0.0722][i], 0);
    const behind = (node) => {
        for (; node; node = node.parentElement) {
            const colour = rgb(getComputedStyle(node).backgroundColor);
            if (colour.length < 4 || colour[3] > 0) return colour;
        }
        return [255, 255, 255];
    };
    return [...document.querySelectorAll(selector)].filter((node) => node.checkVisibility()).map((node) => {
        const [a, b] = [light(rgb(getComputedStyle(node).color)), light(behind(node))].sort((x, y) => y - x);
        return [(a + 0.05) / (b + 0.05), node.outerHTML.slice(0, 80)];
    });
}"""
PICTURE = """() => {
    const video = document.querySelector("video"), canvas = document.createElement("canvas");
    [canvas.width, canvas.height] = [video.videoWidth, video.videoHeight];
    const context = canvas.getContext("2d");
    context.drawImage(video, 0, 0);
    const [r, g, b] = context.getImageData(canvas.width / 2, canvas.height - 8, 1, 1).data;
    return [video.currentTime, (r + g + b) / 3, video.paused];
}"""


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    with sync_playwright() as playwright:
        started = playwright.chromium.launch(executable_path=CHROMIUM, args=["--no-sandbox", "--mute-audio"])
        yield started
        started.close()


@pytest.fixture
def page(browser: Browser) -> Iterator[Page]:
    """A window in which nothing may go wrong."""
    opened = browser.new_page(viewport={"width": 1200, "height": 900})
    faults: list[str] = []
    opened.on("console", lambda message: faults.append(message.text) if message.type in ("error", "warning") else None)
    opened.on("pageerror", lambda error: faults.append(str(error)))
    opened.on("dialog", lambda dialog: (faults.append(dialog.message), dialog.dismiss()))
    opened.on("requestfailed", lambda request: None if "ABORTED" in request.failure else faults.append(request.url))
    yield opened
    opened.close()
    assert not faults


def keep(page: Page, name: str) -> None:
    SCREENSHOTS.mkdir(parents=True, exist_ok=True)
    page.screenshot(path=SCREENSHOTS / f"{name}.png", full_page=True)


def go(page: Page, view: Shown, path: str) -> None:
    page.goto(view.address + path, timeout=120_000)
    page.wait_for_load_state("networkidle")


def wait_until(page: Page, expression: str) -> None:
    """Wait until an expression is true; Playwright's own way would need `eval`, which the pages forbid."""
    ends = time.monotonic() + 20
    while not page.evaluate(expression):
        assert time.monotonic() < ends, expression
        page.wait_for_timeout(50)


def pictures(page: Page) -> list[Any]:
    found: list[Any] = page.eval_on_selector_all("img", "all => all.map((image) => image.naturalWidth)")
    return found


def test_every_page_is_shown(page: Page, view: Shown) -> None:
    for name, path in {
        "overview": "",
        "clips": "clips",
        "sample": "clips?sample=1",
        "clip": f"clip?id={CLIPS[4].clip_id}",
    }.items():
        go(page, view, path)
        assert page.locator("h1").inner_text()
        assert all(pictures(page)), "all images are there"
        keep(page, name)


def test_a_clip_plays_its_own_range_and_the_right_pictures(page: Page, view: Shown) -> None:
    plays(page, view)


def test_a_dataset_in_a_bucket_is_shown_and_plays(page: Page, dataset: Dataset, bucket: Bucket) -> None:
    assert dataset.folder is not None
    bucket.upload(dataset.folder)
    with shown(bucket.uri) as view:
        go(page, view, "")
        assert "requests downloaded" in page.locator("main").inner_text()
        keep(page, "bucket-overview")
        go(page, view, "clips")
        assert len(pictures(page)) == 21 and all(pictures(page))
        before = len(bucket.answers())
        plays(page, view)
        media = [path for _, path, _ in bucket.answers()[before:] if path.startswith("media/")]
        assert 2 <= len(media) <= 12 and len(set(media)) == 1
        before = len(bucket.answers())
        go(page, view, "clips?sample=1")
        assert len(bucket.answers()) - before <= 12, "what was read is kept"


def plays(page: Page, view: Shown) -> None:
    """Play a clip, and look at what is seen at which times."""
    clip = next(clip for clip in CLIPS if clip.scale == "short" and clip.start == 6.0)
    go(page, view, f"clip?id={clip.clip_id}")
    wait_until(page, "document.querySelector('video').readyState >= 2")
    wait_until(page, "!document.querySelector('video').seeking")
    seen = []
    page.keyboard.press("Space")
    for _ in range(4):
        page.wait_for_timeout(400)
        seen.append(page.evaluate(PICTURE))
    page.keyboard.press("Space")
    assert page.evaluate(PICTURE)[2], "paused"
    times = [at for at, *_ in seen]
    assert clip.start <= times[0] < times[-1] <= clip.end and times == sorted(times)
    for at, brightness, _ in seen:  # the picture's brightness is its frame's number
        assert abs(brightness - at * FRAME_RATE) < 8
    page.evaluate("document.querySelector('video').currentTime = 11.7")
    page.evaluate("document.querySelector('video').play()")
    wait_until(page, "document.querySelector('video').paused")
    assert abs(page.evaluate("document.querySelector('video').currentTime") - clip.end) < 0.1, (
        "it ends where the clip ends"
    )


def test_what_is_said_and_seen_follows_the_sound(page: Page, view: Shown) -> None:
    clip = next(clip for clip in CLIPS if clip.scale == "long")
    go(page, view, f"clip?id={clip.clip_id}")
    page.locator(".transcript button").nth(1).click()
    wait_until(page, "document.querySelectorAll('.transcript .now').length == 1")
    assert "flowers" in page.locator(".transcript .now").inner_text()
    assert 6 <= page.evaluate("document.querySelector('video').currentTime") < 9
    page.locator(".frames button").nth(2).click()
    wait_until(page, "document.querySelector('video').currentTime >= 15")
    wait_until(page, "document.querySelector('.frames .now')?.innerText.includes('15 s')")


def test_clips_are_narrowed_down(page: Page, view: Shown) -> None:
    go(page, view, "clips")
    page.locator("summary", has_text="Narrow down").click()
    page.locator("figure[data-column=duration] svg").wait_for()
    box = page.locator("figure[data-column=duration] svg").bounding_box()
    assert box is not None
    page.mouse.move(box["x"] + 1, box["y"] + 9)  # from 6 s to the middle of 6 to 24 s
    page.mouse.down()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 9, steps=5)
    page.mouse.up()
    page.wait_for_url("**duration.to=*")
    assert page.locator("h1").inner_text() == "18 clips"
    page.locator("input[name=q]").fill("bees")
    page.locator("input[name=q]").press("Enter")
    page.wait_for_url("**q=bees*")
    assert page.locator("h1").inner_text() == "9 clips"
    go(page, view, "")
    page.locator("a", has_text="medium").first.click()
    page.wait_for_url("**scale=medium")
    assert page.locator("h1").inner_text() == "6 clips"


def test_frames_are_scrubbed_under_the_pointer(page: Page, view: Shown) -> None:
    go(page, view, "clips?scale=long")
    thumbnail = page.locator("[data-frames]").first
    box = thumbnail.bounding_box()
    assert box is not None
    sources = set()
    for share in (0.05, 0.4, 0.6, 0.95):
        page.mouse.move(box["x"] + share * box["width"], box["y"] + 20)
        sources.add(thumbnail.locator("img").get_attribute("src"))
    assert len(sources) == 4
    page.mouse.move(0, 0)


def test_keys_go_through_clips(page: Page, view: Shown) -> None:
    go(page, view, "clips")
    for _ in range(3):
        page.keyboard.press("j")
    page.keyboard.press("k")
    assert page.locator(".grid li.current").count() == 1
    second = page.locator(".grid li").nth(1)
    assert "current" in (second.get_attribute("class") or "")
    page.keyboard.press("Enter")
    page.wait_for_url("**/clip?id=*")
    before = page.url
    page.keyboard.press("j")
    page.wait_for_url(lambda url: url != before)
    page.keyboard.press("k")
    page.wait_for_url(before)


@pytest.mark.parametrize("path", ["", "clips", f"clip?id={CLIPS[4].clip_id}"])
def test_a_narrow_window_needs_no_scrolling_to_the_side(path: str, page: Page, view: Shown) -> None:
    page.set_viewport_size({"width": 360, "height": 700})
    go(page, view, path)
    assert page.evaluate("document.documentElement.scrollWidth") <= 360
    keep(page, f"narrow-{path.partition('?')[0] or 'overview'}")


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_texts_are_readable_in_light_and_dark(scheme: Any, page: Page, view: Shown) -> None:
    page.emulate_media(color_scheme=scheme)
    for path in ("", "clips", f"clip?id={CLIPS[4].clip_id}"):
        go(page, view, path)
        weak = [
            text
            for ratio, text in page.evaluate(
                CONTRAST, "p, a, th, td, h1, h2, label, summary, span, small, button, figcaption"
            )
            if ratio < 4.5
        ]
        assert not weak
    keep(page, f"clip-{scheme}")


def test_images_and_fields_have_names(page: Page, view: Shown) -> None:
    go(page, view, "clips")
    assert page.eval_on_selector_all("img", "all => all.every((image) => image.hasAttribute('alt'))")
    assert page.eval_on_selector_all(
        "input:not([type=hidden]), select", "all => all.every((field) => field.labels.length)"
    )


def test_clips_are_judged_by_keys(page: Page, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    with shown(str(dataset.folder), "--rater", "ada") as view:
        go(page, view, f"clip?id={CLIPS[4].clip_id}")
        page.locator("input[name=note]").fill("1, 2 and 3 are letters here")
        page.locator("h1").click()
        with page.expect_navigation():
            page.keyboard.press("2")
        page.wait_for_load_state("networkidle")
        assert page.locator("[role=status]").inner_text() == "drop (ada)"
        keep(page, "judged")


def test_an_audit_is_done_by_keys(page: Page, tmp_path: Path) -> None:
    dataset = make_dataset(tmp_path / "data", videos=1)
    with shown(str(dataset.folder)) as view:
        go(page, view, "audit")
        page.locator("input[name=rater]").fill("bob")
        page.locator("button", has_text="Begin").click()
        for number in range(7):
            page.wait_for_load_state("networkidle")
            assert page.locator("h1").inner_text() == f"{number} of 7 rated by bob"
            if number == 3:
                keep(page, "audit")
            with page.expect_navigation():
                page.keyboard.press("1" if number else "3")
        page.locator("a", has_text="The result so far").click()
        page.wait_for_load_state("networkidle")
        assert "85.7 %" in page.locator("table").inner_text()
        keep(page, "audit-result")


def test_the_picture_of_the_readme(browser: Browser, tmp_path: Path) -> None:
    """docs/view.png is a copy of it."""
    dataset = drawn_dataset(tmp_path / "talks")
    with shown(str(dataset.folder)) as view:
        window = browser.new_page(viewport={"width": 1100, "height": 620})
        go(window, view, "clips?scale=short")
        window.evaluate("document.querySelector('.uri').textContent = 'file:///data/talks'")
        SCREENSHOTS.mkdir(parents=True, exist_ok=True)
        window.screenshot(path=SCREENSHOTS / "readme.png")
        assert all(pictures(window)[:10])
        window.close()
