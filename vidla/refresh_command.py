"""`vidla refresh`: which videos of a dataset are still on their sites, and forgetting those that are gone."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from itertools import groupby
from typing import TYPE_CHECKING, Annotated, Any

import typer

from curation.dataset.dataset import Dataset
from vidla.dataset_commands import existing, open_writer
from vidla.forget_command import confirmed, show_findings
from vidla.options import ConfigOption, DatasetArgument, SetOption, WaitOption

if TYPE_CHECKING:
    from rich.table import Table

    from curation.records import Page
    from curation.settings import Settings
    from curation.sources.targets import FetchTarget

_YEARS = ((1, "under 1 year"), (2, "1 to 2 years"), (5, "2 to 5 years"), (1000, "over 5 years"))
_NUMBERS = ("asked", "there", "gone", "unclear", "share gone", "95 %")
_SHOWN = 10  # of the videos that are gone
_LINKS = """
select
    split_part(video_id, '~', 1) as video, requests.uri as uri, any_value(upload_date) as uploaded,
    list_sort(list(distinct request_key)) as request_keys
from downloads join requests using (request_key) where not coalesce(requests.local, false)
group by video, requests.uri order by video, requests.uri
"""


@dataclass(frozen=True)
class Link:
    """A URL of a video: as a target, with the keys of all requests for it, and the video's age in words."""

    video_id: str
    target: FetchTarget
    request_keys: Sequence[str]
    age: str


@dataclass(frozen=True)
class Answers:
    """A video's links, and the pages of those that were asked."""

    links: Sequence[Link]
    pages: Sequence[Page]

    def found(self) -> str:
        """Whether the video is there, gone from all of its URLs, or that this is unclear."""
        if any(page.failure is None for page in self.pages):
            return "there"
        return "gone" if all(map(_is_gone, self.pages)) else "unclear"


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
    from curation.sources.probe import draw
    from vidla.console import some_of, wide_console

    settings = resolve(config, assignments or [])
    drawn = draw(_videos(existing(Dataset(dataset))), sample, seed)
    if not drawn.rows:
        typer.echo("The dataset has no video from the web whose URL can be asked again.")
        return
    asked = _ask(drawn.rows, settings)
    console = wide_console()
    console.print(f"{len(asked):,} of {drawn.total:,} videos asked")
    console.print(_table(asked))
    gone = [each.links for each in asked if each.found() == "gone"]
    if gone:
        typer.echo(f"gone: {some_of([links[0].video_id for links in gone], _SHOWN)}")
    _keep(dataset, asked, settings, wait)  # last: another run may be writing to it
    if forget_gone and gone:
        _forget(dataset, gone, settings, wait, yes=yes)


def _videos(dataset: Dataset) -> Iterator[list[Link]]:
    """The links of each video that came from the web and whose URL is stored; a signed one is not."""
    links = (link for batch in dataset.stream(_LINKS) for row in batch.to_pylist() for link in _link(row))
    for _, of_one in groupby(links, lambda link: link.video_id):
        yield list(of_one)


def _link(row: Mapping[str, Any]) -> Iterator[Link]:
    from curation.records import VideoRequest
    from curation.rejects import Rejected
    from curation.sources.targets import target_of

    try:
        target = target_of(VideoRequest(request_key=row["request_keys"][0], uri=row["uri"]))
    except Rejected:
        return
    yield Link(row["video"], target, row["request_keys"], _age(row["uploaded"], date.today()))


def _ask(videos: Sequence[Sequence[Link]], settings: Settings, *, all_links: bool = False) -> list[Answers]:
    """The pages of videos: one of each, and the others if it is gone, or if `all_links`."""
    from curation.sources.probe import ask_all
    from vidla.probe_command import show_progress

    def ask(links: Iterable[Link]) -> dict[str, Page]:
        targets = [link.target for link in links]
        return {page.request_key: page for page in ask_all(targets, settings.download, show_progress(len(targets)))}

    pages = ask(link for links in videos for link in (links if all_links else links[:1]))
    if not all_links:
        pages |= ask(link for links in videos if _is_gone(pages[_key(links[0])]) for link in links[1:])
    return [Answers(links, [pages[_key(link)] for link in links if _key(link) in pages]) for links in videos]


def _key(link: Link) -> str:
    return link.target.request.request_key


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


def _keep(location: str, asked: Sequence[Answers], settings: Settings, wait_s: float) -> None:
    """Commit the answers, for all requests for a URL. A page that is gone keeps what was known of it."""
    from curation.dataset.dataset import rows_of
    from curation.dataset.page_rows import keep_pages
    from curation.records import Page
    from curation.schema import from_row

    keys = {_key(link): link.request_keys for each in asked for link in each.links}
    answers = {
        key: dataclasses.replace(page, request_key=key)
        for each in asked
        for page in each.pages
        if page.failure is None or _is_gone(page)
        for key in keys[page.request_key]
    }
    with open_writer(location, "refresh", wait_s) as writer:
        for row in rows_of(writer.dataset.read("pages")):
            page = answers.get(row["request_key"])
            if page is not None and page.failure is not None:
                known = from_row(Page, row)
                answers[page.request_key] = dataclasses.replace(known, failure=page.failure, message=page.message)
        keep_pages(writer, answers.values(), settings.run.part_bytes)


def _table(asked: Iterable[Answers]) -> Table:
    from curation.shares import interval
    from curation.sources.sites import site_of
    from vidla.console import escape, new_table

    groups: defaultdict[tuple[str, str], Counter[str]] = defaultdict(Counter)
    for each in asked:
        groups[site_of(each.pages[0].uri) or "", each.links[0].age][each.found()] += 1
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


def _forget(location: str, gone: Sequence[Sequence[Link]], settings: Settings, wait_s: float, *, yes: bool) -> None:
    """Forget those that are gone when all their URLs are asked for once more."""
    from curation.dataset.forget import forget, look
    from vidla.console import some_of

    again = _ask(gone, settings, all_links=True)
    ids = [each.links[0].video_id for each in again if each.found() == "gone"]
    if not ids:
        typer.echo("All of them are there when asked again: nothing is forgotten.")
        return
    typer.echo(f"{len(ids)} gone, asked twice: {some_of(ids, _SHOWN)}")
    show_findings(look(existing(Dataset(location)), "video", *ids))
    if not yes and not confirmed("Forget them for good, with all their clips, texts and media?"):
        raise typer.Exit(1)
    with open_writer(location, "refresh --forget-gone", wait_s) as writer:
        report = forget(writer, "video", *ids)
    typer.echo(report.line())
    for line in report.warnings():
        typer.echo(line, err=True)
