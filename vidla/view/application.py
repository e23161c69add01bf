"""The routes of the view, and what they answer."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from curation.dataset.dataset import Dataset
from curation.errors import UsageError, VidlaError
from vidla.view import overview
from vidla.view.access import Guarded
from vidla.view.choice import Choice
from vidla.view.clip import clip_page
from vidla.view.clips import clips_page, filters
from vidla.view.compare import compare_page
from vidla.view.media import Frames, media_of, range_of
from vidla.view.tables import LiveTables

KEPT = {"Cache-Control": "private, max-age=86400, immutable"}  # what a frame's id stands for never changes


def application(dataset: Dataset, token: str, names: Iterable[str] = ()) -> ASGIApp:
    """The view of a dataset as an ASGI application."""
    pages = _Pages(LiveTables(dataset))
    routes = [
        Route("/", pages.overview),
        Route("/state", pages.state),
        Route("/clips", pages.clips),
        Route("/filters", pages.filters),
        Route("/clip", pages.clip),
        Route("/compare", pages.compare),
        Route("/frame", pages.frame),
        Route("/media", pages.media),
        Mount("/static", StaticFiles(packages=[("vidla.view", "static")])),
    ]
    handlers: Any = {VidlaError: pages.fault, 404: pages.unknown, Exception: pages.own_fault}
    return Guarded(Starlette(routes=routes, exception_handlers=handlers), token, names)


class _Pages:
    """The answers. Starlette runs each in a thread of its pool."""

    def __init__(self, tables: LiveTables) -> None:
        self._tables = tables
        self._frames = Frames(tables)
        self._templates = Environment(
            loader=PackageLoader("vidla.view"), autoescape=True, undefined=StrictUndefined, trim_blocks=True,
            lstrip_blocks=True,
        )  # fmt: skip
        self._templates.filters |= {"clock": clock, "number": number}

    def overview(self, request: Request) -> Response:
        shown = {
            **overview.state(self._tables),
            "histograms": overview.histograms(self._tables, Choice()),
            "facets": overview.facets(self._tables, Choice()),
        }
        return self._page("overview.html", **shown)

    def state(self, request: Request) -> Response:
        return self._page("state.html", **overview.state(self._tables))

    def clips(self, request: Request) -> Response:
        choice = Choice.of(request.query_params.multi_items())
        return self._page("clips.html", **clips_page(self._tables, choice))

    def filters(self, request: Request) -> Response:
        choice = Choice.of(request.query_params.multi_items())
        return self._page("filters.html", **filters(self._tables, choice))

    def clip(self, request: Request) -> Response:
        shown = clip_page(self._tables, request.query_params.get("id", ""))
        return self._missing("clip") if shown is None else self._page("clip.html", **shown)

    def compare(self, request: Request) -> Response:
        asked = request.query_params
        page = asked.get("page", "1")
        number = max(1, int(page)) if page.isdecimal() and len(page) < 10 else 1
        chosen = asked.get("a", "now"), asked.get("b", "now"), asked.get("which", "changed")
        return self._page("compare.html", **compare_page(self._tables, *chosen, number))

    def frame(self, request: Request) -> Response:
        image = self._frames.image(request.query_params.get("id", ""))
        if image is None:
            return self._missing("frame")
        return Response(image, media_type="image/jpeg", headers=KEPT)

    def media(self, request: Request) -> Response:
        media = media_of(self._tables, request.query_params.get("video", ""))
        if media is None:
            return self._missing("media")
        asked = request.headers.get("range")
        part = range_of(asked, media.size)
        if part is None:
            return Response(status_code=416, headers={"Content-Range": f"bytes */{media.size}"})
        first, last = part
        headers = {"Accept-Ranges": "bytes", "Content-Length": str(last - first + 1)}
        if asked:
            headers["Content-Range"] = f"bytes {first}-{last}/{media.size}"
        pieces = media.read(first, last) if request.method == "GET" else ()
        return StreamingResponse(pieces, 206 if asked else 200, headers, "video/mp4")

    def fault(self, request: Request, error: Exception) -> Response:
        """A page that says in a line what is wrong."""
        status = 400 if isinstance(error, UsageError) else 500
        return self._page("fault.html", status, message=str(error))

    def own_fault(self, request: Request, error: Exception) -> Response:
        return self._page("fault.html", 500, message="A fault of vidla's own: `vidla view` says more where it runs.")

    def unknown(self, request: Request, error: Exception) -> Response:
        return self._missing("page")

    def _missing(self, what: str) -> Response:
        return self._page("fault.html", 404, message=f"There is no such {what}.")

    def _page(self, template: str, status: int = 200, /, **shown: Any) -> Response:
        found = self._templates.get_template(template).render(uri=self._tables.dataset.uri, **shown)
        return HTMLResponse(found, status)


def clock(seconds: float) -> str:
    """A time as people write it.

    >>> clock(75.25), clock(3661)
    ('1:15.2', '1:01:01.0')
    """
    minutes, rest = divmod(seconds, 60)
    hours, minutes = divmod(int(minutes), 60)
    whole = f"{hours}:{minutes:02}" if hours else f"{minutes}"
    return f"{whole}:{int(rest * 10) / 10:04.1f}"


def number(value: float) -> str:
    """A number in as few digits as tell it.

    >>> number(1234567), number(0.12345), number(12.0)
    ('1,234,567', '0.123', '12')
    """
    if isinstance(value, int) or value == int(value):
        return f"{int(value):,}"
    return f"{value:,.3g}" if abs(value) < 1000 else f"{value:,.0f}"
