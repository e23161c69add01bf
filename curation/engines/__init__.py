"""Where text comes from: a batch of requests in, for each a completion or a failure out, in order, by id."""

from __future__ import annotations

import dataclasses
import json
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from curation.config import TextSettings
from curation.records import digest
from prompts import Prompt, PromptError

Task = Literal["caption", "summarize_subtitles", "summarize_captions"]


class EngineError(RuntimeError):
    """An engine that cannot be used at all; one line that says what is missing and the way out."""


@dataclass(frozen=True)
class Sampling:
    """How an answer is drawn. Temperature 0 takes the likeliest token; `seed` matters above 0."""

    max_tokens: int
    temperature: float = 0.0
    seed: int = 0

    def to_json(self) -> str:
        return json.dumps(dataclasses.asdict(self), sort_keys=True)


@dataclass(frozen=True)
class TextRequest:
    """One text to be made.

    `variables` are what the prompt is rendered with; `images` are encoded files (JPEG), shown before the user's words.
    """

    id: str
    prompt: Prompt
    variables: Mapping[str, Any]
    sampling: Sampling
    images: tuple[bytes, ...] = field(default=(), repr=False)

    def messages(self) -> list[dict[str, str]]:
        """Chat messages (`role`, `content`); raises PromptError where a variable is missing."""
        return self.prompt.render(**self.variables)


@dataclass(frozen=True)
class Completion:
    """What the model answered. `finish_reason` is "length" where max_tokens cut it off, else "stop"."""

    id: str
    text: str
    finish_reason: Literal["stop", "length"] = "stop"
    evidence: str | None = None  # what the text was made from, where that says more: a tagger's probabilities
    input_tokens: int = 0
    output_tokens: int = 0

    @property
    def raw_text(self) -> str:
        """What a row keeps of the answer, unchanged."""
        return self.text if self.evidence is None else self.evidence


@dataclass(frozen=True)
class Failure:
    """No answer. `retryable` says whether the same request may succeed later: a busy server, not a corrupt image."""

    id: str
    message: str
    retryable: bool


class Engine(Protocol):
    """A model that makes one kind of text. Safe to call from several threads at once.

    `engine`, `model` and `revision` name it in every row it makes, and are known before it is loaded.
    `languages` are those it knows (ISO 639-1); None where it is not said.
    """

    @property
    def engine(self) -> str: ...
    @property
    def model(self) -> str: ...
    @property
    def revision(self) -> str: ...
    @property
    def languages(self) -> frozenset[str] | None: ...

    def complete(self, requests: Sequence[TextRequest]) -> list[Completion | Failure]:
        """An answer to each request, in their order. What is wrong with one request fails that one alone.

        Raises EngineError where the engine as a whole cannot work.
        """
        ...

    def close(self) -> None: ...


# --- opening --------------------------------------------------------------------------------------------------------

_open: dict[tuple[str, str], Engine] = {}
_lock = threading.Lock()


def open_engine(settings: TextSettings, task: Task) -> Engine:
    """The engine for `task`: one a process and setting, whichever thread asks; its model is loaded on first use."""
    from curation.engines import builtin

    key = (task, settings.engine)
    with _lock:
        if key not in _open:
            _open[key] = builtin.ENGINES[task]()
        return _open[key]


def close_engines() -> None:
    """Close every engine that this process has opened."""
    with _lock:
        while _open:
            _open.popitem()[1].close()


# --- a source of text -----------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class TextSource:
    """An engine with the prompt and the sampling that it is asked with: all that decides what one kind of text says."""

    engine: Engine
    prompt: Prompt
    sampling: Sampling
    attempts: int = 3
    batch: int = 16

    @property
    def digest(self) -> str:
        """Stands for everything about this source that changes its texts."""
        return digest(*self.lineage.values())

    @property
    def lineage(self) -> dict[str, str]:
        """The columns that say what made a row."""
        return {
            "engine": self.engine.engine,
            "model": self.engine.model,
            "revision": self.engine.revision,
            "prompt_digest": self.prompt.digest,
            "sampling": self.sampling.to_json(),
        }

    def knows(self, language: str | None) -> bool:
        """Whether texts in `language` (a tag such as "en" or "en-GB"; None where it is unknown) can be handed to it."""
        known = self.engine.languages
        return known is None or (language or "").split("-")[0].lower() in known

    def sampling_of(self, attempt: int) -> Sampling:
        """How the answer to the `attempt`-th asking, from 0, is drawn: as configured, then ever more freely."""
        if attempt == 0:
            return self.sampling
        temperature = max(self.sampling.temperature, min(0.3 * attempt, 1.0))
        return dataclasses.replace(self.sampling, temperature=temperature, seed=self.sampling.seed + attempt)

    def ask(self, requests: Sequence[TextRequest]) -> dict[str, Completion | Failure]:
        """Every request's answer by its id, asked in batches; retryable failures are asked again, `attempts` in all.

        Ids must differ. Raises EngineError where the engine cannot work or breaks its contract.
        """
        answers: dict[str, Completion | Failure] = {}
        waiting = list(requests)
        if len({r.id for r in waiting}) != len(waiting):
            raise ValueError("two requests have the same id")
        for _ in range(self.attempts):
            for start in range(0, len(waiting), self.batch):
                answers.update(self._batch(waiting[start : start + self.batch]))
            waiting = [r for r in waiting if isinstance(a := answers[r.id], Failure) and a.retryable]
        return answers

    def _batch(self, requests: Sequence[TextRequest]) -> dict[str, Completion | Failure]:
        answers = {a.id: a for a in self.engine.complete(requests)}
        if answers.keys() != {r.id for r in requests}:
            raise EngineError(f"the engine {self.engine.engine} did not answer exactly what it was asked")
        return answers


def text_source(settings: TextSettings, task: Task, prompts: Mapping[str, Prompt]) -> TextSource:
    """The source that `settings` describe. Raises PromptError where the prompt is not there."""
    prompt = prompts.get(settings.prompt)
    if prompt is None:
        raise PromptError(f"no prompt '{settings.prompt}'; there are {', '.join(sorted(prompts))}")
    sampling = Sampling(
        max_tokens=prompt.max_tokens if settings.max_tokens is None else settings.max_tokens,
        temperature=prompt.temperature if settings.temperature is None else settings.temperature,
        seed=settings.seed,
    )
    return TextSource(open_engine(settings, task), prompt, sampling, settings.attempts, settings.batch)
