"""Ask a random sample of a list's pages for metadata alone, before anything is downloaded."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from contextlib import contextmanager
from dataclasses import dataclass
from random import Random
from typing import Generic, TypeVar

from curation import guard
from curation.download_settings import DownloadSettings
from curation.records import Page, Reject
from curation.rejects import Kind, Rejected
from curation.sources.site_limits import SiteRests, at_site
from curation.sources.sites import site_of
from curation.sources.targets import FetchTarget
from curation.sources.ytdlp import fetch_page, page_of

T = TypeVar("T")


@dataclass(frozen=True)
class ListSample(Generic[T]):
    """Some rows of a list, drawn at random without replacement, and the number of all its rows."""

    rows: Sequence[T]
    total: int


def draw(rows: Iterable[T], size: int, seed: int) -> ListSample[T]:
    """A sample of `rows`, read once: memory grows with `size` alone (Vitter's algorithm R)."""
    chosen: list[T] = []
    random, total = Random(seed), 0
    for row in rows:
        total += 1
        if len(chosen) < size:
            chosen.append(row)
        elif (place := random.randrange(total)) < size:
            chosen[place] = row
    return ListSample(chosen, total)


def ask_all(
    rows: Sequence[FetchTarget | Reject], settings: DownloadSettings, report: Callable[[Page], None]
) -> list[Page]:
    """The page of each row, or why there is none, as polite as downloads are; `report` is called with each at once."""
    pages: list[Page] = []
    with ThreadPoolExecutor(settings.workers) as pool, _ended_by_an_error(pool):
        for future in as_completed([pool.submit(ask, row, settings) for row in rows]):
            pages.append(future.result())
            report(pages[-1])
    return pages


@contextmanager
def _ended_by_an_error(pool: ThreadPoolExecutor) -> Iterator[None]:
    """After an error or Ctrl-C, begin nothing more in `pool`, and end what is under way."""
    try:
        yield
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        guard.stop_all()
        pool.shutdown()
        guard.resume()
        raise


def ask(row: FetchTarget | Reject, settings: DownloadSettings) -> Page:
    """The page of a row, or why there is none. Raises OSError and guard.Stopped."""
    if isinstance(row, Reject):
        return Page(request_key=row.key, uri=row.uri, failure=row.kind, message=row.message)
    key, uri = row.request.request_key, row.request.uri
    name = site_of(uri)
    try:
        if name is None:
            raise Rejected(Kind.UNSUPPORTED, "a local file, which has no page")
        with at_site(name, settings) as site:
            begun = time.monotonic()
            try:
                columns = fetch_page(row.url.reveal(), settings)
            except Rejected as error:
                site.record(error.kind, begun)
                raise
            site.record(None, begun)
            return page_of(key, uri, columns)
    except SiteRests:
        message = f"not asked: {name} refuses us, and is left alone"
        return Page(request_key=key, uri=uri, failure=Kind.RATE_LIMITED.value, message=message)
    except Rejected as error:
        return Page(request_key=key, uri=uri, failure=error.kind.value, message=error.message)
