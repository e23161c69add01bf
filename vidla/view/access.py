"""Who may read the view: whoever knows its token, from pages of its own alone."""

from __future__ import annotations

import ipaddress
import secrets
import socket
from collections.abc import Iterable
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; img-src 'self'; media-src 'self'; style-src 'self'; script-src 'self'; "
        "connect-src 'self'; form-action 'self'; base-uri 'none'; frame-ancestors 'none'"
    ),
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Referrer-Policy": "same-origin",  # others would learn the token; without any, forms would have no origin
    "X-Content-Type-Options": "nosniff",
}


def new_token() -> str:
    return secrets.token_urlsafe(16)


class Guarded:
    """An application whose paths begin with a token; others learn nothing but that there is nothing for them.

    A request for another host's name is refused, since a name that a stranger owns may lead here: addresses, this
    machine's own name and those in `names` are right. So is a request that a page of another origin has sent.
    """

    def __init__(self, app: ASGIApp, token: str, names: Iterable[str] = ()) -> None:
        self._app = app
        self._prefix = f"/{token}"
        self._names = {"localhost", socket.gethostname().lower(), *(name.lower() for name in names)}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
        elif refusal := self._refusal(scope):
            await PlainTextResponse(*refusal, headers=HEADERS)(scope, receive, send)
        else:
            await self._app({**scope, "root_path": self._prefix}, receive, _with_headers(send))

    def _refusal(self, scope: Scope) -> tuple[str, int] | None:
        headers = Headers(scope=scope)
        host, origin = headers.get("host", ""), headers.get("origin")
        if not self._is_ours(host):
            return "this name is not the view's: open it by the address that `vidla view` prints", 403
        if origin is not None and origin != f"http://{host}":
            return "requests from other pages are refused", 403
        if scope["method"] not in ("GET", "HEAD") and origin is None:
            return "requests that write come from a page of the view", 403
        first = "/" + scope["path"][1:].partition("/")[0]
        if not secrets.compare_digest(first.encode(), self._prefix.encode()):
            return "open the whole address that `vidla view` prints, with its token", 403
        return None

    def _is_ours(self, host: str) -> bool:
        try:
            name = urlsplit(f"//{host}").hostname or ""
        except ValueError:
            return False
        try:
            ipaddress.ip_address(name)
        except ValueError:
            return name in self._names
        return True


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] == "http.response.start":
            headers = MutableHeaders(scope=message)
            for name, value in HEADERS.items():
                headers[name] = value
            headers.setdefault("Cache-Control", "no-store")
        await send(message)

    return sent
