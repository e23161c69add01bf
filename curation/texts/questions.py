"""Asking for texts: all in one batch, each answer judged, and what will not do asked for again, so and so often.

An answer that is not of the wanted shape is shown to the model once more, with what was wrong. It is a model's words
about strangers' text, so it goes as data, like these. Where the text itself is at fault the question is asked anew and
drawn more freely: told "that was too long", a small model summarises just that.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curation.engines.interface import Completion, Failure, TextRequest
from curation.engines.text_source import TextSource
from curation.prompts import Prompt, Turn, as_data
from curation.texts.answers import Answer, read_answer

MAX_EARLIER_CHARS = 2000
"""Of an earlier answer that is shown to the model again; a text that will do is much shorter."""


@dataclass(frozen=True)
class Question:
    """A text to ask for.

    `variables` are what the prompt is rendered with, given how often it was asked anew before. `source` is the text
    that the answer is to be made from, where there is one.
    """

    id: str
    variables: Callable[[int], Mapping[str, Any]]
    images: tuple[bytes, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Outcome:
    """What came of a question: its last answer, and what is wrong with that; None where it will do.

    `completions` are all the answers on the way, the last one last.
    """

    answer: Answer
    fault: str | None
    completions: tuple[Completion, ...]

    @property
    def raw_text(self) -> str:
        """The last answer, unchanged but for halves of characters, which cannot be stored."""
        return self.completions[-1].raw_text.encode("utf-8", "replace").decode()


def ask(
    questions: Sequence[Question], source: TextSource, fault_of: Callable[[str, Answer], str | None]
) -> dict[str, Outcome | Failure]:
    """What came of each question, by its id. `fault_of` says what is wrong with an answer that has a text.

    What will not do is asked for again, `source.attempts` times in all; an attempt is one request, or two where free
    text comes first. A failure counts where nothing was answered before, or where a later run may get an answer.
    Raises EngineError where the engine as a whole cannot work.
    """
    conversations = [_Conversation(question, source.prompt) for question in questions]
    for attempt in range(source.attempts):
        for draft in (True, False):  # all the drafts in one batch, then all the answers
            turn = [c for c in conversations if not c.closed and c.wants_draft is draft]
            answers = source.ask([c.request(source, attempt) for c in turn])
            for conversation in turn:
                conversation.hear(answers[conversation.id], fault_of)
    return {c.id: c.outcome for c in conversations if c.outcome is not None}


class _Conversation:
    """One question, and what was said about it so far."""

    def __init__(self, question: Question, prompt: Prompt) -> None:
        self.id = question.id
        self.outcome: Outcome | Failure | None = None
        self.closed = False
        self.attempts = 0
        self._question, self._prompt = question, prompt
        self._completions: tuple[Completion, ...] = ()
        self._anew = 0  # how often it was asked anew
        self._draft: Completion | None = None
        self._misshapen: Completion | None = None

    @property
    def wants_draft(self) -> bool:
        """Whether free text is to be asked for, before the shape of the schema is."""
        return self._prompt.free_text_first and self._draft is None

    def request(self, source: TextSource, attempt: int) -> TextRequest:
        turns: list[Turn] = []
        if self._draft is not None:
            turns += _turns(self._draft, self._prompt.shape_request)
        if self._misshapen is not None:
            turns += _turns(self._misshapen, self._prompt.shape_reminder)
        return TextRequest(
            self.id,
            self._prompt,
            self._question.variables(self._anew),
            source.sampling_of(attempt),
            self._question.images,
            tuple(turns),
            constrained=not self.wants_draft,
        )

    def hear(self, answer: Completion | Failure, fault_of: Callable[[str, Answer], str | None]) -> None:
        if isinstance(answer, Failure):
            self.closed = True
            if self.outcome is None or answer.retryable:
                self.outcome = answer
            return
        self._completions += (answer,)
        drafting = self.wants_draft
        read = read_answer(answer, None if drafting else self._prompt.output_schema, self._question.source)
        if drafting and read.text is not None:
            self._draft = answer
            return
        self._conclude(answer, read, fault_of)

    def _conclude(self, answer: Completion, read: Answer, fault_of: Callable[[str, Answer], str | None]) -> None:
        """Judge the answer of an attempt, and say how the next one goes on."""
        self.attempts += 1
        if read.status == "ok" and self.attempts > 1:
            read = Answer(read.text, "repaired")
        if read.text is not None and self._draft is not None and self._draft.finish_reason == "length":
            read = Answer(read.text, "truncated")
        fault = read.status if read.text is None else fault_of(self.id, read)
        self.outcome = Outcome(read, fault, self._completions)
        self.closed = fault is None
        if read.status == "unparseable":
            self._misshapen = answer
        else:
            self._draft = self._misshapen = None
            self._anew += 1


def _turns(earlier: Completion, then: str) -> list[Turn]:
    """The earlier answer, and what is said to it; nothing where it had no words, which some chat templates refuse."""
    said = as_data(earlier.text, MAX_EARLIER_CHARS)
    return [{"role": "assistant", "content": said}, {"role": "user", "content": then}] if said else []
