"""HTTP exchanges with OpenAI-compatible servers: kept connections, a key, bounds, and errors in one plain line."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable
from typing import Any

import aiohttp
from yarl import URL

from curation.engines.openai.chat import ChatAnswer, ExchangeError, has_content, read_answer, read_stream, refusal
from curation.engines.openai.servers import Access
from curation.errors import EngineError
from curation.settings import EngineSettings
from curation.uris import REDACTED, redact

CONNECT_S = 10.0
KEEP_ALIVE_S = 4.0
"""An unused connection is closed before the server closes it, which vLLM does after five seconds."""
MAX_ANSWER_BYTES = 16 * 2**20
"""Far more than any answer within max_tokens."""
MAX_MESSAGE_CHARS = 300
"""Length of an error message."""
_SHORT_S = 10.0
_MODELS_TIMEOUT = aiohttp.ClientTimeout(total=_SHORT_S)


class Client:
    """Sends requests to the servers of one model. Create, use and close it on one event loop.

    `key` is part of every request to servers that are reached by their names, and of no message. `access` knows the
    others, by the host in their URL.
    """

    def __init__(
        self, model: str, settings: EngineSettings, key: str, access: Callable[[str], Access | None] = lambda host: None
    ) -> None:
        self._model = model
        self._settings = settings
        self._key = key
        self._key_name = settings.api_key_env
        self._passwords = {password for url in settings.base_urls if (password := _password(url.reveal()))}
        self._access = access
        self._sessions: dict[Access | None, aiohttp.ClientSession] = {}

    def _session(self, url: URL) -> aiohttp.ClientSession:
        access = self._access(url.host or "")
        if access not in self._sessions:
            key, timeout_s = access.key if access else self._key, self._settings.timeout_s
            headers = {"Content-Type": "application/json", "User-Agent": "vidla"}
            if key:
                headers["Authorization"] = f"Bearer {key}"
            self._sessions[access] = aiohttp.ClientSession(
                connector=_connector(access),
                timeout=aiohttp.ClientTimeout(total=timeout_s, sock_connect=min(CONNECT_S, timeout_s)),
                cookie_jar=aiohttp.DummyCookieJar(),
                headers=headers,
            )
        return self._sessions[access]

    async def close(self) -> None:
        for session in self._sessions.values():
            await session.close()

    async def ask(self, url: URL, data: bytes) -> ChatAnswer:
        """Post `data` to `url` (…/chat/completions) and return the answer. Raises ExchangeError."""
        if url.password:
            self._passwords.add(url.password)
        try:
            return await self._ask(url, data)
        except ExchangeError as error:
            raise ExchangeError(error.trouble, self.line(error), error.status, error.retry_after) from None

    async def _ask(self, url: URL, data: bytes) -> ChatAnswer:
        started_at = time.monotonic()
        try:
            async with self._session(url).post(url, data=data, allow_redirects=False) as answer:
                streamed = answer.status == 200 and answer.content_type == "text/event-stream"
                raw, first_token_at = await _read(answer, streamed)
        except aiohttp.ClientConnectorCertificateError as error:
            raise ExchangeError("unusable", f"its certificate is not trusted: {error.certificate_error}") from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise ExchangeError("unusable", "not an http URL") from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ExchangeError("absent", f"no connection: {error}") from None
        except TimeoutError:
            raise ExchangeError("slow", "the server did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ExchangeError("broken", f"the connection broke off: {error or type(error).__name__}") from None
        if answer.status != 200:
            raise refusal(answer.status, raw, answer.headers.get("Retry-After"))
        if streamed:
            return read_stream(raw, None if first_token_at is None else first_token_at - started_at)
        return read_answer(raw)

    async def check(self, base: str) -> str | None:
        """Why the server at `base` (…/v1) gives no answer; None if it does. Raises EngineError if it refuses us.

        Unless its list of models shows that it can be used, it is asked for a single token.
        """
        if self._model in [card["id"] for card in await self.model_cards(base)]:
            return None
        body = {"model": self._model, "messages": [{"role": "user", "content": "."}], "max_tokens": 1}
        try:
            await asyncio.wait_for(self.ask(URL(f"{base}/chat/completions"), json.dumps(body).encode()), _SHORT_S)
        except TimeoutError:
            return f"{redact(base)}: no answer within {_SHORT_S:g} s"
        except ExchangeError as error:
            if error.trouble == "unusable":
                raise EngineError(await self.diagnose(base, error)) from None
            return f"{redact(base)}: {error}" if error.trouble == "absent" else None
        return None

    async def model_cards(self, base: str) -> list[dict[str, Any]]:
        """The entries of /models at `base` (…/v1); empty if the server has no such list."""
        try:
            url = URL(f"{base}/models")
            async with self._session(url).get(url, timeout=_MODELS_TIMEOUT, allow_redirects=False) as answer:
                raw, _ = await _read(answer, False)
            return [card for card in json.loads(raw)["data"] if isinstance(card, dict) and "id" in card]
        except (aiohttp.ClientError, OSError, ExchangeError, ValueError, LookupError, TypeError, RecursionError):
            return []

    async def diagnose(self, base: str, error: ExchangeError) -> str:
        """Why no request to this server can succeed, and the way out, in one line."""
        name, why = redact(base), str(error)
        if error.status in (401, 403) and self._key:
            return f"{name} does not accept the key in {self._key_name} ({why}); put the right one there"
        if error.status in (401, 403):
            return f"{name} requires a key ({why}); put it into the environment variable {self._key_name}"
        if error.status == 404:
            served = [str(card["id"]) for card in await self.model_cards(base)]
            if served and self._model not in served:
                return self.line(
                    f"{name} has no model '{self._model}'; it serves {', '.join(served)}: name one of them"
                )
            hint = "" if served else "; the base URL of an OpenAI-compatible server usually ends in /v1"
            return f"{name} does not answer chat completions ({why}){hint}"
        return f"{name} cannot be used ({why})"

    def line(self, words: object) -> str:
        """`words` on one line of bounded length, without the key and other secrets."""
        text = str(words)
        for secret in (self._key, *self._passwords, *(access.key for access in self._sessions if access)):
            text = text.replace(secret, REDACTED) if secret else text
        printable = "".join(c if c.isprintable() else " " for c in text[: 10 * MAX_MESSAGE_CHARS])
        return redact(" ".join(printable.split()))[:MAX_MESSAGE_CHARS]


def _password(url: str) -> str | None:
    try:
        return URL(url).password
    except ValueError:
        return None  # not a URL, and therefore not asked


def _connector(access: Access | None) -> aiohttp.BaseConnector:
    if access is None:
        return aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S)
    return aiohttp.UnixConnector(access.socket, limit=0, keepalive_timeout=KEEP_ALIVE_S)


async def _read(answer: aiohttp.ClientResponse, streamed: bool) -> tuple[bytes, float | None]:
    """The body; for a stream also the time when its first token arrived."""
    raw, first_token_at, seen = bytearray(), None, 0
    async for piece in answer.content.iter_any():
        raw += piece
        if len(raw) > MAX_ANSWER_BYTES:
            raise ExchangeError("broken", f"the server answered more than {MAX_ANSWER_BYTES} bytes")
        if streamed and first_token_at is None:
            whole = raw.rfind(b"\n") + 1
            first_token_at = time.monotonic() if has_content(raw[seen:whole]) else None
            seen = whole
    return bytes(raw), first_token_at
