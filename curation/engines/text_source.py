"""A source of text: an engine with its prompt and sampling."""

from __future__ import annotations

import dataclasses
import functools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from curation.engines.interface import Completion, Engine, Failure, Sampling, Task, TextRequest
from curation.engines.registry import open_engine
from curation.engines.usage import UsageMeter
from curation.errors import EngineError, PromptError
from curation.ids import digest
from curation.languages import primary
from curation.prompts import Prompt
from curation.settings import EngineSettings, TextSettings

VARIABLES: dict[Task, frozenset[str]] = {
    "caption": frozenset({"max_words"}),
    "summarize_subtitles": frozenset({"text", "max_words", "language"}),
    "summarize_captions": frozenset({"captions", "max_words", "language"}),
}
"""The variables of each task's prompts; the image for a caption is sent along with them."""


@dataclass(frozen=True)
class TextSource:
    """An engine with its prompt and sampling: everything that determines one kind of text."""

    engine: Engine
    prompt: Prompt
    sampling: Sampling
    attempts: int = 3
    meter: UsageMeter | None = field(default=None, compare=False)

    @functools.cached_property
    def digest(self) -> str:
        """Identifies everything about this source that changes its texts."""
        return digest(self.engine.identity, self.prompt.digest, self.sampling.to_json())

    @property
    def lineage(self) -> dict[str, str]:
        """The columns that record how a text was made."""
        return {
            "engine": self.engine.engine,
            "model": self.engine.model,
            "revision": self.engine.revision,
            "prompt_digest": self.prompt.digest,
            "sampling": self.sampling.to_json(),
        }

    def counting(self, meter: UsageMeter) -> TextSource:
        """The same source, which adds its requests to `meter`."""
        return dataclasses.replace(self, meter=meter)

    def knows(self, language: str | None) -> bool:
        """Whether texts in `language` (a tag such as "en" or "en-GB"; None if unknown) can be its input."""
        known = self.engine.languages
        return known is None or primary(language) in known

    def sampling_of(self, attempt: int) -> Sampling:
        """The sampling of attempt number `attempt`, from 0: as configured, then more freely each time."""
        if attempt == 0:
            return self.sampling
        temperature = max(self.sampling.temperature, min(0.3 * attempt, 1.0))
        return dataclasses.replace(self.sampling, temperature=temperature, seed=self.sampling.seed + attempt)

    def ask(self, requests: Sequence[TextRequest]) -> dict[str, Completion | Failure]:
        """The answers by request id; ids must differ.

        Raises EngineError if the engine cannot work or breaks its contract.
        """
        ids = {request.id for request in requests}
        if len(ids) != len(requests):
            raise ValueError("two requests have the same id")
        answers = {answer.id: answer for answer in self.engine.complete(requests)} if requests else {}
        if answers.keys() != ids:
            raise EngineError(f"the engine {self.engine.engine} did not answer exactly the requests it was sent")
        if self.meter is not None:
            self.meter.add(self.engine, answers.values())
        return answers


def text_source(
    engine: EngineSettings, settings: TextSettings, task: Task, prompts: Mapping[str, Prompt]
) -> TextSource:
    """The source that the settings describe. Raises PromptError if the prompt is missing or uses unknown variables."""
    prompt = prompts.get(settings.prompt)
    if prompt is None:
        raise PromptError(f"no prompt '{settings.prompt}'; there are {', '.join(sorted(prompts))}")
    unknown = prompt.variables - VARIABLES[task]
    if unknown:
        names = f"{', '.join(sorted(unknown))}; there are {', '.join(sorted(VARIABLES[task]))}"
        raise PromptError(f"prompt '{prompt.id}' uses unknown variables: {names}")
    sampling = Sampling(
        max_tokens=prompt.max_tokens if settings.max_tokens is None else settings.max_tokens,
        temperature=prompt.temperature if settings.temperature is None else settings.temperature,
        seed=settings.seed,
    )
    return TextSource(open_engine(engine, task), prompt, sampling, settings.attempts)
