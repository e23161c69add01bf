"""A model that follows a script: real ones do not refuse, stall or answer garbage on demand."""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence

from curation.engines.interface import Completion, Failure, TextRequest

Script = Callable[[TextRequest, int], str | Completion | Failure]


class ScriptedEngine:
    """Answers each request with `script(request, number of earlier tries)`: a text, or a complete answer."""

    engine = "scripted"
    model = "scripted"

    def __init__(
        self,
        script: Script,
        languages: frozenset[str] | None = None,
        revision: str = "1",
    ) -> None:
        self.script = script
        self.languages = languages
        self.revision = revision
        self.identity = f"scripted@{revision}"
        self.asked: list[TextRequest] = []
        self.batches: list[int] = []

    def complete(self, requests: Sequence[TextRequest]) -> list[Completion | Failure]:
        self.batches.append(len(requests))
        answers = {}
        for request in random.Random(len(self.asked)).sample(list(requests), len(requests)):
            before = sum(asked.id == request.id for asked in self.asked)
            self.asked.append(request)
            answer = self.script(request, before)
            answers[request.id] = Completion(request.id, answer) if isinstance(answer, str) else answer
        return [answers[request.id] for request in requests]

    def start(self) -> None:
        pass

    def close(self) -> None:
        pass
