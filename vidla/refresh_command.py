"""`vidla refresh`: which videos of a dataset are still on their sites, and forgetting those that are gone."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from typing import TYPE_CHECKING, Annotated

import typer

from curation.dataset.dataset import Dataset
from vidla.dataset_commands import existing, open_writer
from vidla.forget_command import confirmed
from vidla.options import ConfigOption, DatasetArgument, SetOption, WaitOption

if TYPE_CHECKING:
    from rich.table import Table

    from curation.records import Page
    from curation.settings import Settings
    from curation.sources.targets import FetchTarget

_YEARS = ((1, "under 1 year"), (2, "1 to 2 years"), (5, "2 to 5 years"), (1000, "over 5 years"))
_NUMBERS = ("asked", "there", "gone", "unclear", "share gone", "95 %")
_SHOWN = 10  # of the videos that are gone
_VIDEOS = """
select
    min(request_key) as request_key, split_part(video_id, '~', 1) as video, any_value(upload_date) as uploaded,
    list(distinct request_key) as request_keys
from downloads join requests using (request_key) where not coalesce(requests.local, false)
group by video
"""


@dataclass(frozen=True)
class Link:
    """A video with all its ranges: one of its requests, the keys of all, and its age in words."""

    video_id: str
    target: FetchTarget
    request_keys: Sequence[str]
    age: str


def refresh(
    dataset: DatasetArgument,
    sample: Annotated[
        int, typer.Option("--sample", metavar="N", min=1, help="ask for N videos, drawn at random; of fewer, for all")
    ] = 100,
    seed: Annotated[int, typer.Option("--seed", metavar="N", help="another seed draws other videos")] = 0,
    forget_gone: Annotated[
        bool, typer.Option("--forget-gone", help="forget those that are removed or private, after asking")
    ] = False,
    yes: Annotated[bool, typer.Option("--yes", help="do not ask")] = False,
    config: ConfigOption = None,
    assignments: SetOption = None,
    wait: WaitOption = 0.0,
) -> None:
    """Ask whether the videos of a dataset are still on their sites, by site and age, with 95 % intervals.

    Asks for their pages alone, and keeps the answers in the table `pages`. A video counts as gone if the site says
    that it is removed or private; other failures tell nothing.

    Example: vidla refresh data/talks --sample 200 --set download.preset=careful
    """
    from curation.settings import resolve
    from curation.sources.probe import ask_all, draw
    from vidla.console import wide_console
    from vidla.probe_command import show_progress

    settings = resolve(config, assignments or [])
    links = {link.target.request.request_key: link for link in _links(existing(Dataset(dataset)))}
    drawn = draw((link.target for link in links.values()), sample, seed)
    if not drawn.rows:
        typer.echo("The dataset has no video from the web whose URL can be asked again.")
        return
    pages = ask_all(drawn.rows, settings.download, show_progress(len(drawn.rows)))
    _keep(dataset, [(page, links[page.request_key]) for page in pages], settings, wait)
    console = wide_console()
    console.print(f"{len(pages):,} of {drawn.total:,} videos asked")
    console.print(_table(pages, links))
    gone = [links[page.request_key] for page in pages if _is_gone(page)]
    if forget_gone and gone:
        _forget(dataset, gone, settings, wait, yes=yes)


def _links(dataset: Dataset) -> Iterator[Link]:
    """Each video that came from the web and whose URL is stored; a signed one is not."""
    from curation.dataset.dataset import rows_of
    from curation.records import VideoRequest
    from curation.rejects import Rejected
    from curation.schema import from_row
    from curation.sources.targets import target_of

    videos = dataset.sql(_VIDEOS)
    requests = dataset.read("requests")
    today = date.today()
    by_request = {video["request_key"]: video for video in rows_of(videos)}
    for row in rows_of(requests):
        video = by_request.get(row["request_key"])
        if video is None:
            continue
        try:
            target = target_of(from_row(VideoRequest, row))
        except Rejected:
            continue
        yield Link(video["video"], target, video["request_keys"], _age(video["uploaded"], today))


def _age(uploaded: str | None, today: date) -> str:
    """
    >>> [_age(day, date(2026, 1, 1)) for day in ("2025-06-01", "2022-01-01", None)]
    ['under 1 year', '2 to 5 years', 'unknown']
    """
    try:
        years = (today - date.fromisoformat(uploaded or "")).days / 365.25
    except ValueError:
        return "unknown"
    return next(name for limit, name in _YEARS if years < limit)


def _is_gone(page: Page) -> bool:
    from curation.rejects import Kind

    return page.failure in (Kind.NOT_FOUND, Kind.PRIVATE)


def _keep(location: str, pages: Sequence[tuple[Page, Link]], settings: Settings, wait_s: float) -> None:
    """Commit the answers, for all requests of a video. A page that is gone keeps what was known of it."""
    from curation.dataset.dataset import rows_of
    from curation.dataset.page_rows import keep_pages
    from curation.records import Page
    from curation.schema import from_row

    answers = {
        key: dataclasses.replace(page, request_key=key)
        for page, link in pages
        if page.failure is None or _is_gone(page)
        for key in link.request_keys
    }
    with open_writer(location, "refresh", wait_s) as writer:
        for row in rows_of(writer.dataset.read("pages")):
            page = answers.get(row["request_key"])
            if page is not None and page.failure is not None:
                known = from_row(Page, row)
                answers[page.request_key] = dataclasses.replace(known, failure=page.failure, message=page.message)
        keep_pages(writer, answers.values(), settings.run.part_bytes)


def _table(pages: Sequence[Page], links: Mapping[str, Link]) -> Table:
    from curation.sources.probe import interval
    from curation.sources.sites import site_of
    from vidla.console import escape, new_table

    groups: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for page in pages:
        found = "there" if page.failure is None else "gone" if _is_gone(page) else "unclear"
        groups[site_of(page.uri) or "", links[page.request_key].age][found] += 1
    table = new_table("site", "uploaded", "asked", "there", "gone", "unclear", "share gone", "95 %", numbers=_NUMBERS)
    for (site, age), counts in sorted(groups.items(), key=lambda each: (each[0][0], _order(each[0][1]))):
        clear = counts["there"] + counts["gone"]
        low, high = interval(counts["gone"], clear)
        shares = (f"{counts['gone'] / clear:.0%}", f"{low:.0%} to {high:.0%}") if clear else ("", "")
        numbers = [str(each) for each in (counts.total(), counts["there"], counts["gone"], counts["unclear"])]
        table.add_row(escape(site), age, *numbers, *shares)
    return table


def _order(age: str) -> int:
    names = [name for _, name in _YEARS]
    return names.index(age) if age in names else len(names)


def _forget(location: str, gone: Collection[Link], settings: Settings, wait_s: float, *, yes: bool) -> None:
    """Forget those that are gone when they are asked for once more."""
    from curation.dataset.forget import forget
    from curation.sources.probe import ask_all
    from vidla.console import plain
    from vidla.probe_command import show_progress

    again = ask_all([link.target for link in gone], settings.download, show_progress(len(gone)))
    keys = {page.request_key for page in again if _is_gone(page)}
    ids = sorted(link.video_id for link in gone if link.target.request.request_key in keys)
    if not ids:
        typer.echo("All of them are there when asked again: nothing is forgotten.")
        return
    names = [plain(video_id) for video_id in ids[:_SHOWN]] + ["…"] * (len(ids) > _SHOWN)
    typer.echo(f"{len(ids)} gone, asked twice: {', '.join(names)}")
    if not yes and not confirmed("Forget them for good, with all their clips, texts and media?"):
        raise typer.Exit(1)
    with open_writer(location, "refresh --forget-gone", wait_s) as writer:
        report = forget(writer, "video", *ids)
    typer.echo(report.line())
    for line in report.warnings():
        typer.echo(line, err=True)
