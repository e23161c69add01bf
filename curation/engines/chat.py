"""One exchange with an OpenAI-compatible server: what is sent, what comes back, and how it can go wrong."""

from __future__ import annotations

import base64
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

import aiohttp
from yarl import URL

from curation.engines import TextRequest
from curation.engines.pace import Trouble
from curation.hosts import parse_retry_after

LONGEST_ANSWER = 16 * 2**20
"""Bytes; no answer within max_tokens comes near."""
CARDS_TIMEOUT = aiohttp.ClientTimeout(total=10)

_BUSY = frozenset({429, 502, 503, 529})
_SLOW = frozenset({408, 504})
_AGAIN = frozenset({409, 425})
_UNUSABLE = frozenset({401, 402, 403, 404, 405, 407, 410})


@dataclass(frozen=True)
class Said:
    """What a server answered. `first_token_s` is None where the answer was not streamed."""

    text: str
    finish_reason: Literal["stop", "length"]
    input_tokens: int
    output_tokens: int
    first_token_s: float | None = None


class ExchangeError(Exception):
    """No usable answer, and why.

    `trouble` is the server's, "bad" where the request is at fault and must not be sent again as it is, "unusable" where
    every request would fare alike: wrong key, wrong model, wrong URL.
    """

    def __init__(
        self,
        trouble: Trouble | Literal["bad", "unusable"],
        message: str,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.status = status
        self.retry_after = retry_after


def body(request: TextRequest, model: str, streamed: bool) -> bytes:
    """The JSON that asks for `request`; the constant part comes first. Raises PromptError.

    What is inserted stays inside the strings that it is inserted into.
    """
    messages: list[dict[str, Any]] = [*request.messages()]
    if request.images:
        first = next(message for message in messages if message["role"] == "user")
        first["content"] = [*map(_image, request.images), {"type": "text", "text": first["content"]}]
    asked: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "max_tokens": request.sampling.max_tokens,
        "temperature": request.sampling.temperature,
        "seed": request.sampling.seed,
    }
    if request.schema is not None:
        schema = {"name": "answer", "strict": True, "schema": request.schema}
        asked["response_format"] = {"type": "json_schema", "json_schema": schema}
    if streamed:
        asked |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(asked).encode()


def _image(data: bytes) -> dict[str, Any]:
    url = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


# --- the exchange ---------------------------------------------------------------------------------------------------


async def ask(session: aiohttp.ClientSession, url: URL, data: bytes) -> Said:
    """What the server at `url` (…/chat/completions) answers to a `body`. Raises ExchangeError."""
    begun = time.monotonic()
    try:
        async with session.post(url, data=data, allow_redirects=False) as answer:
            streamed = answer.status == 200 and answer.content_type == "text/event-stream"
            raw, first_words_at = await _read(answer, streamed)
    except aiohttp.ClientConnectorCertificateError as error:
        raise ExchangeError("unusable", f"its certificate is not trusted: {error.certificate_error}") from None
    except (aiohttp.InvalidURL, aiohttp.NonHttpUrlClientError):
        raise ExchangeError("unusable", "that is no http URL") from None
    except (aiohttp.ClientConnectorError, aiohttp.ConnectionTimeoutError) as error:
        raise ExchangeError("absent", str(error)) from None
    except TimeoutError:
        raise ExchangeError("slow", "no answer in time") from None
    except (aiohttp.ClientError, OSError) as error:
        raise ExchangeError("broken", f"the connection broke: {error or type(error).__name__}") from None
    if answer.status != 200:
        raise _refusal(answer.status, raw, answer.headers.get("Retry-After"))
    if streamed:
        return read_stream(raw, None if first_words_at is None else first_words_at - begun)
    return read_answer(raw)


async def model_cards(session: aiohttp.ClientSession, base: str) -> list[dict[str, Any]]:
    """What the server at `base` (…/v1) says about its models; nothing where it does not say."""
    try:
        async with session.get(
            f"{base}/models", timeout=aiohttp.ClientTimeout(total=10), allow_redirects=False
        ) as answer:
            raw, _ = await _read(answer, False)
        return [card for card in json.loads(raw)["data"] if isinstance(card, dict) and "id" in card]
    except (aiohttp.ClientError, OSError, ExchangeError, ValueError, LookupError, TypeError, RecursionError):
        return []


async def _read(answer: aiohttp.ClientResponse, streamed: bool) -> tuple[bytes, float | None]:
    """The whole body; and of a stream, when its first words had come."""
    raw, first_words_at = bytearray(), None
    async for piece in answer.content.iter_any():
        raw += piece
        if len(raw) > LONGEST_ANSWER:
            raise ExchangeError("broken", f"an answer of more than {LONGEST_ANSWER} bytes")
        if streamed and first_words_at is None and _has_words(raw):
            first_words_at = time.monotonic()
    return bytes(raw), first_words_at


def _refusal(status: int, raw: bytes, retry_after: str | None = None) -> ExchangeError:
    message = f"{status}: {_said(raw)}"
    if status in _UNUSABLE or 300 <= status < 400:
        return ExchangeError("unusable", message, status)
    trouble: Trouble | None = (
        "busy" if status in _BUSY else "slow" if status in _SLOW else "broken" if status in _AGAIN else None
    )
    if trouble is None and 400 <= status < 500:
        return ExchangeError("bad", message, status)
    return ExchangeError(trouble or "broken", message, status, parse_retry_after(retry_after))


def _said(raw: bytes) -> str:
    """What the body of a refusal says, in the forms that servers use."""
    try:
        said = json.loads(raw)
        said = said.get("error", said)
        said = said if isinstance(said, str) else said.get("message") or said.get("detail") or said
    except (ValueError, AttributeError, RecursionError):
        said = _shown(raw)
    return str(said)


# --- answers --------------------------------------------------------------------------------------------------------


def read_answer(raw: bytes) -> Said:
    """A chat completion. Raises ExchangeError where it is none."""
    try:
        answer = json.loads(raw)
        choice = answer["choices"][0]
        message = choice["message"]
        return _checked(
            message.get("content"), message.get("refusal"), choice.get("finish_reason"), answer.get("usage")
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ExchangeError("broken", f"no chat completion: {_shown(raw)}") from None


def read_stream(raw: bytes, first_token_s: float | None) -> Said:
    """A chat completion that came in pieces, as server-sent events. Raises ExchangeError where it is none, or half."""
    words: dict[str, str] = {}
    finish_reason = usage = None
    try:
        for event in _events(raw):
            if "error" in event:
                code = event["error"].get("code")
                raise _refusal(code if isinstance(code, int) else 500, json.dumps(event).encode())
            usage = event.get("usage") or usage
            for choice in event["choices"][:1]:
                finish_reason = choice.get("finish_reason") or finish_reason
                for kind in ("content", "refusal"):
                    if isinstance(piece := choice["delta"].get(kind), str):
                        words[kind] = words.get(kind, "") + piece
        return _checked(words.get("content"), words.get("refusal"), finish_reason, usage, first_token_s)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ExchangeError("broken", f"no whole chat completion: {_shown(raw)}") from None


def _events(raw: bytes | bytearray) -> Iterator[Any]:
    for line in raw.splitlines():
        if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
            yield json.loads(line[5:])


def _has_words(raw: bytearray) -> bool:
    """Whether the beginning of a stream holds any of the answer yet."""
    try:
        events = list(_events(raw[: raw.rfind(b"\n") + 1]))
        return any(value for e in events for c in e["choices"] for k, value in c["delta"].items() if k != "role")
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


def _checked(content: Any, refusal: Any, finish_reason: Any, usage: Any, first_token_s: float | None = None) -> Said:
    """Raises ValueError where that is no answer."""
    text = content or refusal or content
    if text is None and finish_reason in ("length", "content_filter"):
        text = ""  # cut off before it said anything
    if not isinstance(text, str) or not isinstance(finish_reason, str):
        raise ValueError
    return Said(
        text.encode("utf-8", "replace").decode(),  # half a surrogate pair cannot be stored
        "length" if finish_reason == "length" else "stop",
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
        first_token_s,
    )


def _count(usage: Any, name: str) -> int:
    """A number of tokens; 0 where the server does not say, or nonsense."""
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int and 0 <= count < 2**31 else 0


def _shown(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
