"""The interface of text engines: a batch of requests in; a completion or a failure for each out, in order."""

from __future__ import annotations

import dataclasses
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from curation.prompts import Prompt

Task = Literal["caption", "summarize_subtitles", "summarize_captions"]


@dataclass(frozen=True)
class Sampling:
    """How an answer is sampled. Temperature 0 takes the likeliest token; `seed` matters above 0."""

    max_tokens: int
    temperature: float = 0.0
    seed: int = 0

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


@dataclass(frozen=True)
class TextRequest:
    """A request for one text.

    `variables` are the prompt's; `images` are encoded files (JPEG), shown before the user's words. `turns` continue the
    chat: an earlier answer, and the reply to it. The answer is free text unless `constrained` by the prompt's schema.
    """

    id: str
    prompt: Prompt
    variables: Mapping[str, Any]
    sampling: Sampling
    images: tuple[bytes, ...] = field(default=(), repr=False)
    turns: tuple[Mapping[str, str], ...] = ()
    constrained: bool = True

    @property
    def schema(self) -> dict[str, Any] | None:
        """The JSON schema that the answer must follow; None for free text."""
        return self.prompt.output_schema if self.constrained else None

    def messages(self) -> list[dict[str, str]]:
        """Chat messages (`role`, `content`). Raises PromptError if a variable is missing."""
        return [*self.prompt.render(**self.variables), *(dict(turn) for turn in self.turns)]


@dataclass(frozen=True)
class Completion:
    """A model's answer. `finish_reason` is "length" if max_tokens cut it off, else "stop".

    `verdict` is "extracted" for a text that consists of sentences of the request, and "unrecognised" for an empty one
    because the model recognises nothing in the image; None otherwise.
    """

    id: str
    text: str
    finish_reason: Literal["stop", "length"] = "stop"
    evidence: str | None = None  # details behind the text, if any: a tagger's probabilities
    verdict: Literal["extracted", "unrecognised"] | None = None  # what the engine says of its answer itself
    input_tokens: int = 0
    output_tokens: int = 0
    retries: int = 0  # failed tries before the answer
    first_token_s: float | None = None  # from sending the request to its first token, if measured
    in_flight: int = 1  # requests of this process at the same server when this one was sent, itself included

    @property
    def raw_text(self) -> str:
        """The answer as rows keep it, unchanged: its evidence, if it has any."""
        return self.text if self.evidence is None else self.evidence


@dataclass(frozen=True)
class Failure:
    """No answer, after all useful retries.

    `retryable`: whether the same request may succeed in a later run (a busy server, not a corrupt image).
    """

    id: str
    message: str
    retryable: bool
    retries: int = 0


class Engine(Protocol):
    """A model that makes one kind of text. Safe to call from several threads at once.

    `engine`, `model` and `revision` name it in every row it makes. `identity` is the part that enters digests, known
    before a model is loaded and without asking a server: the same weights served elsewhere make the same texts.
    `languages` are those it knows (ISO 639-1); None if not stated.
    """

    @property
    def engine(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def identity(self) -> str: ...
    @property
    def languages(self) -> frozenset[str] | None: ...

    def complete(self, requests: Sequence[TextRequest]) -> list[Completion | Failure]:
        """An answer to each request, in order. A fault of one request fails that one alone.

        Raises EngineError if the engine as a whole cannot work.
        """
        ...

    def start(self) -> None:
        """Load the model or start the server now rather than on first use. Raises EngineError."""
        ...

    def close(self) -> None: ...
