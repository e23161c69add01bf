"""The cost of one item of work: requests, tokens, bytes, seconds."""

from __future__ import annotations

import threading
from collections.abc import Iterable
from dataclasses import dataclass, field

from curation.engines.interface import Completion, Engine, Failure
from curation.records import Usage


@dataclass
class UsageMeter:
    """Counts the cost of one item so far; safe to add to from several threads."""

    requests: int = 0
    failures: int = 0
    retries: int = 0
    reused: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    bytes: int = 0
    _engines: set[tuple[str, str]] = field(default_factory=set)
    _first_token_s: list[float] = field(default_factory=list)
    _in_flight: int = 0
    _lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, engine: Engine, answers: Iterable[Completion | Failure]) -> None:
        """Count the answers of an engine."""
        with self._lock:
            for answer in answers:
                self._engines.add((engine.engine, engine.model))
                self.requests += 1
                self.retries += answer.retries
                if isinstance(answer, Failure):
                    self.failures += 1
                    continue
                self.input_tokens += answer.input_tokens
                self.output_tokens += answer.output_tokens
                self._in_flight += answer.in_flight
                if answer.first_token_s is not None:
                    self._first_token_s.append(answer.first_token_s)

    def row(self, stage: str, key: str, video_id: str | None, seconds: float, processor_s: float) -> Usage:
        """The row of `usage` for `key` at `stage`, with its wall-clock and processor seconds."""
        answered = self.requests - self.failures
        return Usage(
            key=key,
            video_id=video_id,
            stage=stage,
            engine=_named(engine for engine, _ in self._engines),
            model=_named(model for _, model in self._engines),
            requests=self.requests,
            failures=self.failures,
            retries=self.retries,
            reused=self.reused,
            input_tokens=self.input_tokens,
            output_tokens=self.output_tokens,
            first_token_s=_mean(sum(self._first_token_s), len(self._first_token_s)),
            in_flight=_mean(self._in_flight, answered),
            bytes=self.bytes,
            seconds=seconds,
            processor_s=processor_s,
        )


def _named(names: Iterable[str]) -> str | None:
    return ", ".join(sorted(set(names))) or None


def _mean(total: float, count: int) -> float | None:
    return total / count if count else None
