"""Servers that run elsewhere: the entries of `base_urls`, of which some name further ones that come and go."""

from __future__ import annotations

import ipaddress
import logging
import os
import socket
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from curation.errors import EngineError
from curation.redaction import redact
from curation.settings import EngineSettings
from curation.uris import InvalidUri, parse

log = logging.getLogger(__name__)

REREAD_S = 30.0
LOOK_AGAIN_S = 2.0  # while no server is named
DNS = "dns+"
FILE = "file://"


class RemoteServers:
    """Servers that are not ours to start or stop. Safe to call from several threads.

    An entry of `base_urls` is a URL; or `file:///path`, a file with a URL in every line; or `dns+http://name:port/v1`,
    for every address that the name has. What the latter two name may change: it is looked up again every `reread_s`.
    """

    def __init__(self, settings: EngineSettings) -> None:
        self._settings = settings
        self._entries = tuple(url.reveal() for url in settings.base_urls)
        self._closed = threading.Event()
        changes = any(entry.startswith((DNS, FILE)) for entry in self._entries)
        self.reread_s = REREAD_S if changes else None

    def named(self) -> tuple[str, ...]:
        """The base URLs as of now. Raises EngineError for one that is not a URL, or must not get our key."""
        urls = tuple(dict.fromkeys(url for entry in self._entries for url in _urls_of(entry)))
        self._check(urls)
        return urls

    def ready(self) -> tuple[str, ...]:
        """The base URLs, at least one; waits for one for `patience_s`."""
        until = time.monotonic() + self._settings.patience_s
        while not (urls := self.named()):
            if self._closed.wait(LOOK_AGAIN_S) or time.monotonic() > until:
                names = ", ".join(map(redact, self._entries))
                raise EngineError(f"base_urls: {names} has named no server for {self._settings.patience_s:.0f} s")
        return urls

    def check_keys(self) -> None:
        """Raises EngineError if another machine would get a key by plain http, unless that is allowed."""
        self._check_keys([entry.removeprefix(DNS) for entry in self._entries if not entry.startswith(FILE)])

    def access(self, host: str) -> None:
        """They are reached by their names."""

    def set_active(self, active: bool) -> None:
        pass

    @property
    def active_processes(self) -> int:
        return 1  # others are not known

    def close(self) -> None:
        self._closed.set()

    def _check(self, urls: Sequence[str]) -> None:
        for url in urls:
            try:
                parse(url)
            except InvalidUri as error:
                raise EngineError(f"base_urls: {error}; one looks like http://10.0.0.7:8000/v1") from None
        self._check_keys(urls)

    def _check_keys(self, urls: Sequence[str]) -> None:
        settings = self._settings
        key = os.environ.get(settings.api_key_env, "").strip() and f"the key in {settings.api_key_env}"
        for url in urls:
            try:
                parts = parse(url)
            except InvalidUri:
                continue  # `ready` reports it
            name, password = redact(url), "@" in parts.netloc and "its password"
            if password and key:
                raise EngineError(f"base_urls: {name} takes {password} or {key}, not both: leave out one of them")
            plain = parts.scheme == "http" and not _is_this_machine(parts.hostname or "")
            if (password or key) and plain and not settings.key_over_http:
                raise EngineError(
                    f"base_urls: {name} would get {password or key} by plain http, where the network can read it: "
                    "use https, do without, or allow it with key_over_http = true"
                )


def _urls_of(entry: str) -> Iterator[str]:
    """The URLs that an entry stands for now; none if its file or name cannot be read at the moment."""
    if entry.startswith(FILE):
        try:
            lines = Path(entry.removeprefix(FILE)).read_text(encoding="utf-8").splitlines()
        except (OSError, UnicodeDecodeError) as error:
            log.warning("base_urls: %s cannot be read: %s", entry, error)
            return
        yield from (line.strip() for line in lines if line.strip() and not line.lstrip().startswith("#"))
    elif entry.startswith(DNS):
        yield from _addresses_of(entry.removeprefix(DNS))
    else:
        yield entry


def _addresses_of(url: str) -> Iterator[str]:
    """`url` with each address that its host has in place of the host."""
    try:
        parts = parse(url)
    except InvalidUri as error:
        raise EngineError(f"base_urls: {DNS}{redact(url)}: {error}") from None
    if parts.scheme != "http":
        raise EngineError(f"base_urls: {DNS}{redact(url)}: certificates are for names, so addresses need plain http")
    host, port = parts.hostname or "", parts.port or 80
    try:
        found = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    except OSError as error:
        log.warning("base_urls: %s has no address: %s", host, error)
        return
    for address in sorted({str(entry[4][0]) for entry in found}):
        shown = f"[{address}]" if ":" in address else address
        login = parts.netloc.rpartition("@")[0]
        yield parts._replace(netloc=f"{login}{'@' if login else ''}{shown}:{port}").geturl()


def _is_this_machine(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")
