"""The routes of the view, and what they answer."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import parse_qsl, urlencode

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, RedirectResponse, Response, StreamingResponse
from starlette.routing import Mount, Route
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp

from curation.dataset.database import literal
from curation.dataset.dataset import Dataset
from curation.dataset.verdicts import MOST_BYTES, Judged, judge
from curation.errors import UsageError, VidlaError
from vidla.view import overview
from vidla.view.access import Guarded
from vidla.view.audit import Audit, audit_page, rated, result
from vidla.view.choice import Choice, page_number
from vidla.view.clip import clip_page
from vidla.view.columns import columns
from vidla.view.compare import compare_page, versions
from vidla.view.grid import clips_page, filters
from vidla.view.media import FrameImages, media_of, range_of
from vidla.view.tables import LiveTables
from vidla.view.templating import templates

KEPT = {"Cache-Control": "private, max-age=86400, immutable"}  # what a frame's id stands for never changes


def application(dataset: Dataset, token: str, names: Iterable[str] = (), rater: str = "somebody") -> ASGIApp:
    """The view of a dataset as an ASGI application. `rater` is whose verdicts are kept if no other name is given."""
    pages = _Pages(LiveTables(dataset), rater)
    routes = [
        Route("/", pages.overview),
        Route("/state", pages.state),
        Route("/clips", pages.clips),
        Route("/filters", pages.filters),
        Route("/clip", pages.clip),
        Route("/compare", pages.compare),
        Route("/verdict", pages.verdict, methods=["POST"]),
        Route("/audit", pages.audit),
        Route("/audit-result", pages.audit_result),
        Route("/frame", pages.frame),
        Route("/media", pages.media),
        Mount("/static", StaticFiles(packages=[("vidla.view", "static")])),
    ]
    handlers: Any = {VidlaError: pages.fault, 404: pages.unknown, Exception: pages.own_fault}
    return Guarded(Starlette(routes=routes, exception_handlers=handlers), token, names)


class _Pages:
    """The answers. Starlette runs each in a thread of its pool."""

    def __init__(self, tables: LiveTables, rater: str) -> None:
        self._tables = tables
        self._rater = rater
        self._frames = FrameImages(tables)
        self._templates = templates(linked=True)

    def overview(self, request: Request) -> Response:
        return self._page("overview.html", **overview.state(self._tables))

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
        chosen = asked.get("a", "now"), asked.get("b", "now"), asked.get("which", "changed")
        return self._page("compare.html", **compare_page(self._tables, *chosen, page_number(asked.get("page", ""))))

    async def verdict(self, request: Request) -> Response:
        """Keep the verdict of a form; goes on to the page that the form is on."""
        if int(request.headers.get("content-length") or MOST_BYTES + 1) > MOST_BYTES:
            return self._page("fault.html", 413, message="This is too long for a verdict.")
        form = dict(parse_qsl((await request.body()).decode(errors="replace")))
        return await run_in_threadpool(self._judge, form)

    def _judge(self, form: Mapping[str, str]) -> Response:
        rows = self._tables.rows(f"select clip_id, video_id from clips where clip_id = {literal(form.get('clip', ''))}")
        if not rows:
            return self._missing("clip")
        of_clip = (rows[0]["clip_id"], rows[0]["video_id"])
        rater, note = form.get("rater", "").strip()[:100] or self._rater, form.get("note", "")
        if "audit" not in form:
            judge(self._tables.dataset, Judged(*of_clip), form.get("verdict", ""), note, rater)
            return RedirectResponse(f"clip?{urlencode({'id': of_clip[0]})}", 303)
        audit = Audit.of(dict(parse_qsl(form["audit"])))
        for judged, verdict in rated(self._tables, audit, of_clip[0], form):
            judge(self._tables.dataset, judged, verdict, note, rater)
        return RedirectResponse(f"audit?{audit.query}&{urlencode({'rater': rater})}", 303)

    def audit(self, request: Request) -> Response:
        asked = dict(request.query_params)
        if "a" not in asked:
            shown = versions(self._tables.dataset)
            texts = [column.name for column in columns().values() if column.kind == "text" and column.table == "clips"]
            return self._page("audit-start.html", versions=shown, columns=texts, rater=self._rater)
        audit, rater = Audit.of(asked), asked.get("rater", "").strip()[:100] or self._rater
        if (stays := audit.frozen(self._tables)) != audit:
            return RedirectResponse(f"audit?{stays.query}&{urlencode({'rater': rater})}", 303)
        return self._page("audit.html", **audit_page(self._tables, audit, rater))

    def audit_result(self, request: Request) -> Response:
        audit = Audit.of(request.query_params)
        found = result(self._tables, audit)
        if "json" in request.query_params:
            return JSONResponse(found)
        return self._page("audit-result.html", parts=audit, **found)

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
        shown.setdefault("rater", self._rater)
        found = self._templates.get_template(template).render(uri=self._tables.dataset.uri, **shown)
        return HTMLResponse(found, status)
