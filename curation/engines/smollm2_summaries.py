"""Summaries of subtitles by SmolLM2-135M-Instruct, in this process: a choice, and weak. English only."""

from __future__ import annotations

import copy
import threading
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

from curation.engines.builtin_packages import ENGLISH, completion, package, version_of
from curation.engines.interface import Completion, Failure, Sampling, TextRequest
from curation.errors import PromptError
from curation.local_models import SMOLLM2_PACKAGE, load_torch, smollm2

BATCH = 16
"""Requests that SmolLM2 answers together."""
PREFIXES = 8
"""Constant prefixes whose keys and values are cached: some 10 MB each."""
SMOLLM2 = "SmolLM2-135M-Instruct"
"""Its name in digests, which is not the one that it had when it was the default: see `Extractor`."""


class Summariser:
    """SmolLM2-135M-Instruct through transformers; in float32 a greedy answer hardly depends on its batch."""

    engine = "builtin"
    model = "SmolLM2-135M-Instruct.Q4_1"
    languages = ENGLISH

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._prefixes: dict[tuple[int, ...], Any] = {}

    @property
    def revision(self) -> str:
        return version_of(SMOLLM2_PACKAGE)

    @property
    def identity(self) -> str:
        return f"{SMOLLM2}@{self.revision}"

    def start(self) -> None:
        _ = self._tokenizer

    def complete(self, requests: Sequence[TextRequest]) -> list[Completion | Failure]:
        answers: dict[str, Completion | Failure] = {}
        groups: dict[tuple[int, ...], list[tuple[TextRequest, list[int]]]] = {}  # by the constant part
        with self._lock:
            for request in requests:
                try:
                    constant, data = self._encoded(request)
                except PromptError as error:
                    answers[request.id] = Failure(request.id, str(error), retryable=False)
                else:
                    groups.setdefault(constant, []).append((request, data))
            for constant, group in groups.items():
                for first in range(0, len(group), BATCH):
                    answers |= {answer.id: answer for answer in self._generate(constant, group[first : first + BATCH])}
        return [answers[request.id] for request in requests]

    def _encoded(self, request: TextRequest) -> tuple[tuple[int, ...], list[int]]:
        """The tokens of the constant system message, and those of the rest."""
        messages = request.messages()
        constant = self._tokenizer.apply_chat_template(messages[:1], return_dict=False)
        tokens = self._tokenizer.apply_chat_template(messages, add_generation_prompt=True, return_dict=False)
        return tuple(constant), tokens[len(constant) :]

    def _generate(
        self, constant: tuple[int, ...], group: Sequence[tuple[TextRequest, list[int]]]
    ) -> Iterator[Completion | Failure]:
        """Answers to requests that share their first tokens, which run through the model once for all."""
        torch = load_torch()
        pad = self._tokenizer.eos_token_id
        width = max(len(data) for _, data in group)
        rows = [[*constant, *[pad] * (width - len(data)), *data] for _, data in group]
        mask = [[1] * len(constant) + [0] * (width - len(data)) + [1] * len(data) for _, data in group]
        with torch.inference_mode():
            cache = copy.deepcopy(self._cached(constant))
            cache.batch_repeat_interleave(len(group))
            output = self._model.generate(
                input_ids=torch.tensor(rows),  # (requests, constant + width), padded in between
                attention_mask=torch.tensor(mask),
                past_key_values=cache,
                max_new_tokens=max(request.sampling.max_tokens for request, _ in group),
                do_sample=False,
                pad_token_id=pad,
                logits_processor=[_GumbelSampler([request.sampling for request, _ in group])],
            )
        for (request, data), row in zip(group, output[:, len(constant) + width :].tolist(), strict=True):
            end = row.index(pad) if pad in row else len(row) + 1
            limit = request.sampling.max_tokens
            text = self._tokenizer.decode(row[: min(end, limit)], skip_special_tokens=True)
            yield completion(
                request,
                text,
                finish_reason="stop" if end <= limit else "length",
                input_tokens=len(constant) + len(data),
                output_tokens=min(end, limit),
            )

    def _cached(self, constant: tuple[int, ...]) -> Any:
        """Keys and values of the constant part, (1, heads, tokens, width) in every layer."""
        if constant not in self._prefixes:
            while len(self._prefixes) >= PREFIXES:
                self._prefixes.pop(next(iter(self._prefixes)))
            self._prefixes[constant] = self._model(load_torch().tensor([constant]), use_cache=True).past_key_values
        return self._prefixes[constant]

    @cached_property
    def _tokenizer(self) -> Any:
        package(SMOLLM2_PACKAGE)
        return smollm2()[0]

    @property
    def _model(self) -> Any:
        return smollm2()[1]

    def close(self) -> None:
        self._prefixes.clear()


class _GumbelSampler:
    """Turns greedy decoding into sampling, each row with its own seed, so that batches do not change answers.

    argmax(logits + T · Gumbel noise) is distributed as softmax(logits / T) (the Gumbel-max trick).
    """

    def __init__(self, samplings: Sequence[Sampling]) -> None:
        torch = load_torch()
        self._rows = [
            (row, sampling.temperature, torch.Generator().manual_seed(sampling.seed))
            for row, sampling in enumerate(samplings)
            if sampling.temperature > 0
        ]

    def __call__(self, input_ids: Any, scores: Any) -> Any:
        torch = load_torch()
        for row, temperature, generator in self._rows:
            uniform = torch.rand(scores.shape[1], generator=generator).clamp_min(1e-20)
            scores[row] -= temperature * torch.log(-torch.log(uniform))
        return scores
