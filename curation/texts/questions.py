"""Ask for texts in one batch, judge each answer, and ask again for unacceptable ones, a bounded number of times.

An answer of the wrong shape is shown to the model again, with a reminder of the shape. It is a model's words about
untrusted text, so it is inserted as data, as that text is. If the text itself is at fault, the question starts over and
is sampled more freely: a small model that reads "that was too long" summarises that sentence.
"""

from __future__ import annotations

import functools
import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from curation.engines.interface import Completion, Failure, TextRequest
from curation.engines.text_source import TextSource
from curation.prompts import Prompt, Turn, as_data
from curation.texts.answers import Answer, read_answer
from curation.texts.thoughts import without_thoughts

FINAL = frozenset({"unrecognised"})
"""Statuses without a text of answers that would be the same again."""
log = logging.getLogger(__name__)

MAX_EARLIER_CHARS = 2000
"""The part of an earlier answer that is shown to the model again; acceptable texts are much shorter."""


@dataclass(frozen=True)
class Question:
    """A text to ask for.

    `variables` returns the prompt's variables, given how often the question has started over. `source` is the text
    that the answer is made from, if there is one.
    """

    id: str
    variables: Callable[[int], Mapping[str, Any]]
    images: tuple[bytes, ...] = ()
    source: str = ""


@dataclass(frozen=True)
class Outcome:
    """The outcome of a question: its last answer, and the fault of that answer; None if acceptable.

    `completions` are all answers so far, in order.
    """

    answer: Answer
    fault: str | None
    completions: tuple[Completion, ...]

    @property
    def raw_text(self) -> str:
        """The last answer, unchanged but for unpaired surrogates, which cannot be stored."""
        return self.completions[-1].raw_text.encode("utf-8", "replace").decode()


def ask(
    questions: Sequence[Question], source: TextSource, fault_of: Callable[[str, Answer], str | None]
) -> dict[str, Outcome | Failure]:
    """The outcome of each question, by its id. `fault_of` returns the fault of an answer that has a text, or None.

    There are up to `source.attempts` attempts; each is one request, or two if the prompt asks for free text first. A
    Failure replaces earlier answers only if a later run may succeed. Raises EngineError if the engine as a whole cannot
    work.
    """
    conversations = [_Conversation(question, source.prompt) for question in questions]
    for attempt in range(source.attempts):
        for draft in (True, False):  # all the drafts in one batch, then all the answers
            turn = [c for c in conversations if not c.closed and c.wants_draft is draft]
            answers = source.ask([c.request(source, attempt) for c in turn])
            for conversation in turn:
                conversation.receive(answers[conversation.id], fault_of)
    outcomes = {c.id: c.outcome for c in conversations if c.outcome is not None}
    for hint in {o.answer.hint for o in outcomes.values() if isinstance(o, Outcome) and o.answer.hint}:
        _say_once(source.engine.model, hint)
    return outcomes


@functools.cache
def _say_once(model: str, hint: str) -> None:
    log.warning("%s: %s", model, hint)


class _Conversation:
    """One question, and the exchanges about it so far."""

    def __init__(self, question: Question, prompt: Prompt) -> None:
        self.id = question.id
        self.outcome: Outcome | Failure | None = None
        self.closed = False
        self.attempts = 0
        self._question, self._prompt = question, prompt
        self._completions: tuple[Completion, ...] = ()
        self._restarts = 0  # times that the question started over
        self._draft: Completion | None = None
        self._misshapen: Completion | None = None

    @property
    def wants_draft(self) -> bool:
        """Whether the next request asks for free text, which the schema then shapes."""
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
            self._question.variables(self._restarts),
            source.sampling_of(attempt),
            self._question.images,
            tuple(turns),
            constrained=not self.wants_draft,
        )

    def receive(self, answer: Completion | Failure, fault_of: Callable[[str, Answer], str | None]) -> None:
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
        """Judge the answer of an attempt, and prepare the next one."""
        self.attempts += 1
        if read.status == "ok" and self.attempts > 1:
            read = Answer(read.text, "repaired")
        if read.text is not None and self._draft is not None and self._draft.finish_reason == "length":
            read = Answer(read.text, "truncated")
        fault = fault_of(self.id, read) if read.text is not None else None if read.status in FINAL else read.status
        self.outcome = Outcome(read, fault, self._completions)
        self.closed = fault is None
        if read.status == "unparseable" and read.hint is None and self._prompt.output_schema is not None:
            self._misshapen = answer
        else:
            self._draft = self._misshapen = None
            self._restarts += 1


def _turns(earlier: Completion, reply: str) -> list[Turn]:
    """The earlier answer and our reply to it; empty if it had no words, which some chat templates reject."""
    content = as_data(without_thoughts(earlier.text) or "", MAX_EARLIER_CHARS)
    return [{"role": "assistant", "content": content}, {"role": "user", "content": reply}] if content else []
