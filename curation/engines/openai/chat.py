"""Requests to an OpenAI-compatible server and its answers, as bytes; and the meaning of its error statuses."""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from curation import storable
from curation.engines.interface import TextRequest
from curation.engines.openai.pace import Trouble
from curation.retry_after import parse_retry_after
from curation.texts.thoughts import UNFINISHED

_BUSY = frozenset({429, 502, 503, 529})
_SLOW = frozenset({408, 504})
_AGAIN = frozenset({409, 425})
_UNUSABLE = frozenset({401, 402, 403, 404, 405, 407, 410})
_TOO_LONG = frozenset({400, 413, 422, 500})
# How servers say it: vLLM, llama.cpp, OpenAI, SGLang, LM Studio, and text-generation-inference.
_CONTEXT = re.compile(
    r"(context|model|sequence)[_ ](length|size|window)|max_model_len|max_(total|new)_tokens", re.IGNORECASE
)
_THOUGHTS = ("reasoning_content", "reasoning")  # where servers put thoughts that they take off the answer
_MESSAGE_READ = 2000  # characters; what follows may quote the request


@dataclass(frozen=True)
class ChatAnswer:
    """A chat completion. `first_token_s` is None if it was not streamed."""

    text: str
    finish_reason: Literal["stop", "length"]
    input_tokens: int
    output_tokens: int
    first_token_s: float | None = None


class ExchangeError(Exception):
    """There is no usable answer; the message says why.

    `trouble` is a Trouble of the server; "bad" if the request is at fault and must not be repeated as it is; "cramped"
    if it does not fit into the server's context; "unusable" if every request would fail: wrong key, wrong model, wrong
    URL.
    """

    def __init__(
        self,
        trouble: Trouble | Literal["bad", "cramped", "unusable"],
        message: str,
        status: int | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.trouble = trouble
        self.status = status
        self.retry_after = retry_after


NO_THOUGHTS = {"enable_thinking": False, "thinking": False}
"""What chat templates call it: those of Qwen, GLM and Hunyuan, and those of DeepSeek and Granite."""


def request_body(request: TextRequest, model: str, streamed: bool, thoughts: bool = True) -> bytes:
    """The JSON body for `request`, its constant part first. Without `thoughts`, the model's chat template is told that
    there shall be none. Raises PromptError.

    Inserted text cannot leave the JSON string that it is inserted into.
    """
    messages: list[dict[str, Any]] = [*request.messages()]
    if request.images:
        first = next(message for message in messages if message["role"] == "user")
        first["content"] = [*map(_image, request.images), {"type": "text", "text": first["content"]}]
    payload: dict[str, Any] = {
        "model": model,
        "messages": messages,
        "max_tokens": request.sampling.max_tokens,
        "temperature": request.sampling.temperature,
        "seed": request.sampling.seed,
    }
    if request.schema is not None:
        schema = {"name": "answer", "strict": True, "schema": request.schema}
        payload["response_format"] = {"type": "json_schema", "json_schema": schema}
    if not thoughts:
        payload["chat_template_kwargs"] = NO_THOUGHTS
    if streamed:
        payload |= {"stream": True, "stream_options": {"include_usage": True}}
    return json.dumps(payload).encode()


def _image(data: bytes) -> dict[str, Any]:
    url = f"data:image/jpeg;base64,{base64.b64encode(data).decode()}"
    return {"type": "image_url", "image_url": {"url": url}}


# --- refusals --------------------------------------------------------------------------------------------------------


def refusal(status: int, raw: bytes, retry_after: str | None = None) -> ExchangeError:
    """The error for an answer with a status other than 200."""
    said, code = _message(raw)
    message = f"the server answered {status}: {said}"
    if status in _TOO_LONG and _CONTEXT.search(f"{said[:_MESSAGE_READ]} {code}"):
        return ExchangeError("cramped", message, status)
    if status in _UNUSABLE or 300 <= status < 400:
        return ExchangeError("unusable", message, status)
    if status in _BUSY | _SLOW:
        trouble: Trouble = "busy" if status in _BUSY else "slow"
        return ExchangeError(trouble, message, status, parse_retry_after(retry_after))
    if 400 <= status < 500 and status not in _AGAIN:
        return ExchangeError("bad", message, status)
    return ExchangeError("broken", message, status, parse_retry_after(retry_after))


def _message(raw: bytes) -> tuple[str, str]:
    """The message in the body of a refusal, in the forms that servers use, and its code, if that is a word."""
    try:
        detail = json.loads(raw)
        detail = detail.get("error", detail)
        if isinstance(detail, str):
            return detail, ""
        code = detail.get("code")
        message = detail.get("message") or detail.get("detail") or detail
        return str(message), code[:100] if isinstance(code, str) else ""
    except (ValueError, AttributeError, RecursionError):
        return _as_text(raw), ""


# --- answers --------------------------------------------------------------------------------------------------------


def read_answer(raw: bytes) -> ChatAnswer:
    """Parse a chat completion. Raises ExchangeError."""
    try:
        answer = json.loads(raw)
        choice = answer["choices"][0]
        message = choice["message"]
        content = message.get("content") or _only_thoughts(message)
        return _validated(content, message.get("refusal"), choice.get("finish_reason"), answer.get("usage"))
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ExchangeError("broken", f"the answer is not a chat completion: {_as_text(raw)}") from None


def read_stream(raw: bytes, first_token_s: float | None) -> ChatAnswer:
    """Parse a chat completion streamed as server-sent events. Raises ExchangeError, also if it is incomplete."""
    words: dict[str, list[str]] = {name: [] for name in ("content", "refusal", *_THOUGHTS)}
    finish_reason = usage = None
    try:
        for event in _events(raw):
            if "error" in event:
                code = event["error"].get("code")
                raise refusal(code if isinstance(code, int) else 500, json.dumps(event).encode())
            usage = event.get("usage") or usage
            for choice in event.get("choices", ())[:1]:
                finish_reason = choice.get("finish_reason") or finish_reason
                for kind, pieces in words.items():
                    if isinstance(piece := choice["delta"].get(kind), str):
                        pieces.append(piece)
        message = {kind: "".join(pieces) if pieces else None for kind, pieces in words.items()}
        content = message["content"] or _only_thoughts(message)
        return _validated(content, message["refusal"], finish_reason, usage, first_token_s)
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        raise ExchangeError("broken", f"the answer is not a complete chat completion: {_as_text(raw)}") from None


def _only_thoughts(message: Mapping[str, Any]) -> str | None:
    """The thoughts of a message without content, marked as such; its content if it has none either."""
    thoughts = next((found for name in _THOUGHTS if isinstance(found := message.get(name), str) and found), None)
    alone = thoughts is not None and not message.get("refusal")
    return f"{UNFINISHED}{thoughts}" if alone else message.get("content")


def _events(raw: bytes | bytearray) -> Iterator[Any]:
    for line in raw.splitlines():
        if line.startswith(b"data:") and line[5:].strip() != b"[DONE]":
            yield json.loads(line[5:])


def has_content(raw: bytearray) -> bool:
    """Whether a piece of a stream contains any of the answer's text."""
    try:
        events = list(_events(raw[: raw.rfind(b"\n") + 1]))
        return any(
            value for e in events for c in e.get("choices", ()) for k, value in c["delta"].items() if k != "role"
        )
    except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
        return False


def _validated(
    content: Any, refusal: Any, finish_reason: Any, usage: Any, first_token_s: float | None = None
) -> ChatAnswer:
    """The answer from its parts. Raises ValueError if they do not form one."""
    text = content or refusal or content
    if text is None and finish_reason in ("length", "content_filter"):
        text = ""  # cut off before its first token
    if not isinstance(text, str) or not isinstance(finish_reason, str):
        raise ValueError
    return ChatAnswer(
        storable.text(text),
        "length" if finish_reason == "length" else "stop",
        _count(usage, "prompt_tokens"),
        _count(usage, "completion_tokens"),
        first_token_s,
    )


def _count(usage: Any, name: str) -> int:
    """A number of tokens; 0 if the server reports none, or nonsense."""
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if type(count) is int and 0 <= count < 2**31 else 0


def _as_text(raw: bytes) -> str:
    return raw.decode("utf-8", "replace")
