"""Summaries of subtitles by the built-in engine: the most central sentences, word for word, in any language."""

from __future__ import annotations

from collections.abc import Sequence

from curation.engines.builtin_packages import completion
from curation.engines.interface import Completion, Failure, TextRequest
from curation.texts.extracts import extract


class Extractor:
    """Takes the `sentences` of a request's variables that are within its `limits`.

    It stands where SmolLM2 stood, and has its name in digests: so texts that SmolLM2 made stay, until
    `vidla curate --refresh summaries` asks for these.
    """

    engine = "builtin"
    model = "extracted-sentences"
    revision = "1"
    identity = "SmolLM2-135M-Instruct.Q4_1@0.1.2"
    languages = None

    def start(self) -> None:
        pass

    def complete(self, requests: Sequence[TextRequest]) -> list[Completion | Failure]:
        return [self._extract(request) for request in requests]

    def _extract(self, request: TextRequest) -> Completion | Failure:
        text = extract(request.variables["sentences"], request.variables["limits"])
        if text is None:
            return Failure(request.id, "no sentence, and no clause of one, is within the limits", retryable=False)
        return completion(request, text, verdict="extracted")

    def close(self) -> None:
        pass
