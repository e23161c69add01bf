"""Exchanges with OpenAI-compatible servers over HTTP: kept connections, a key, bounds, and errors in one plain line."""

from __future__ import annotations

import json
import time
from typing import Any

import aiohttp
from yarl import URL

from curation.engines.openai.chat import ChatAnswer, ExchangeError, has_words, read_answer, read_stream, refusal
from curation.settings import EngineSettings
from curation.uris import REDACTED, redact

CONNECT_S = 10.0
KEEP_ALIVE_S = 4.0
"""An unused connection is closed before the server does so; vLLM waits five seconds."""
LONGEST_ANSWER = 16 * 2**20
"""Bytes; no answer within max_tokens comes near."""
LONGEST_LINE = 300
"""Characters of a message."""
_CARDS_TIMEOUT = aiohttp.ClientTimeout(total=10)


class Client:
    """Asks the servers of one model. To be made, used and closed on one event loop.

    `key` goes into every request, and into no message.
    """

    def __init__(self, model: str, settings: EngineSettings, key: str) -> None:
        self._model = model
        self._key = key
        self._key_name = settings.api_key_env
        headers = {"Content-Type": "application/json", "User-Agent": "vidla"}
        if key:
            headers["Authorization"] = f"Bearer {key}"
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=KEEP_ALIVE_S),
            timeout=aiohttp.ClientTimeout(total=settings.timeout_s, sock_connect=min(CONNECT_S, settings.timeout_s)),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers=headers,
        )

    async def close(self) -> None:
        await self._session.close()

    async def ask(self, url: URL, data: bytes) -> ChatAnswer:
        """What the server at `url` (…/chat/completions) answers to a body. Raises ExchangeError."""
        try:
            return await self._ask(url, data)
        except ExchangeError as error:
            raise ExchangeError(error.trouble, self.line(error), error.status, error.retry_after) from None

    async def _ask(self, url: URL, data: bytes) -> ChatAnswer:
        begun = time.monotonic()
        try:
            async with self._session.post(url, data=data, allow_redirects=False) as answer:
                streamed = answer.status == 200 and answer.content_type == "text/event-stream"
                raw, first_words_at = await _read(answer, streamed)
        except aiohttp.ClientConnectorCertificateError as error:
            raise ExchangeError("unusable", f"its certificate is not trusted: {error.certificate_error}") from None
        except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
            raise ExchangeError("unusable", "that is no http URL") from None
        except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
            raise ExchangeError("absent", f"no connection: {error}") from None
        except TimeoutError:
            raise ExchangeError("slow", "the server did not answer in time") from None
        except (aiohttp.ClientError, OSError) as error:
            raise ExchangeError("broken", f"the connection broke off: {error or type(error).__name__}") from None
        if answer.status != 200:
            raise refusal(answer.status, raw, answer.headers.get("Retry-After"))
        if streamed:
            return read_stream(raw, None if first_words_at is None else first_words_at - begun)
        return read_answer(raw)

    async def model_cards(self, base: str) -> list[dict[str, Any]]:
        """What the server at `base` (…/v1) says about its models; nothing where it does not say."""
        try:
            url = f"{base}/models"
            async with self._session.get(url, timeout=_CARDS_TIMEOUT, allow_redirects=False) as answer:
                raw, _ = await _read(answer, False)
            return [card for card in json.loads(raw)["data"] if isinstance(card, dict) and "id" in card]
        except (aiohttp.ClientError, OSError, ExchangeError, ValueError, LookupError, TypeError, RecursionError):
            return []

    async def what_to_do(self, base: str, error: ExchangeError) -> str:
        """What is wrong where no request would fare better, and the way out."""
        name, why = redact(base), str(error)
        if error.status in (401, 403) and self._key:
            return f"{name} does not take the key in {self._key_name} ({why}); put the right one there"
        if error.status in (401, 403):
            return f"{name} wants a key ({why}); put it into the environment variable {self._key_name}"
        if error.status == 404:
            served = [str(card["id"]) for card in await self.model_cards(base)]
            if served and self._model not in served:
                return self.line(
                    f"{name} has no model '{self._model}'; it serves {', '.join(served)}: name one of them"
                )
            hint = "" if served else "; the base URL of an OpenAI-compatible server mostly ends in /v1"
            return f"{name} does not answer chat completions ({why}){hint}"
        return f"{name} cannot be used ({why})"

    def line(self, words: object) -> str:
        """`words` on one line of bounded length, without our key and other secrets."""
        text = str(words)
        if self._key:
            text = text.replace(self._key, REDACTED)
        printable = "".join(c if c.isprintable() else " " for c in text[: 10 * LONGEST_LINE])
        return redact(" ".join(printable.split()))[:LONGEST_LINE]


async def _read(answer: aiohttp.ClientResponse, streamed: bool) -> tuple[bytes, float | None]:
    """The whole body; and of a stream, when its first words had come."""
    raw, first_words_at = bytearray(), None
    async for piece in answer.content.iter_any():
        raw += piece
        if len(raw) > LONGEST_ANSWER:
            raise ExchangeError("broken", f"the server answered more than {LONGEST_ANSWER} bytes")
        if streamed and first_words_at is None and has_words(raw):
            first_words_at = time.monotonic()
    return bytes(raw), first_words_at
