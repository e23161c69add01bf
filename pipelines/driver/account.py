"""The account of a run: the books of its dataset, what was rejected and how to go on, and the exit status."""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import typer

from curation.dataset.books import Books, RejectedKind, balance, rejected_kinds
from curation.dataset.dataset import Dataset
from curation.engines.load import load
from curation.rejects import Stage
from curation.storable import printable
from pipelines.driver.run_output import RunOutput
from pipelines.worker.worker_process import this_process

EXAMPLE_CHARS = 300
KINDS_SHOWN = 10


def account(
    dataset: Dataset,
    stages: Sequence[Stage],
    worked_on: int,
    max_reject_rate: float,
    output: RunOutput,
    books: Books | None = None,
    refused: Sequence[str] = (),
) -> int:
    """Print the result of a run and whether the books balance; returns the exit status.

    `stages` are those that should have left nothing pending. `books`: if they are known already. `refused` are the
    inputs of which every row is refused.
    """
    rejected = sum(this_process.tally.get(stage, "rejected") for stage in stages)
    books = books or balance(dataset)
    kinds = rejected_kinds(dataset) if any(account.rejected for account in books.accounts) else []
    location = shlex.quote(str(dataset.folder or dataset.uri))
    for line in (*books.lines(), *reject_lines(kinds, location), *_spent_on_texts()):
        output.say(line)
    imbalances = books.imbalances(stages)
    for line in imbalances:
        typer.echo(f"vidla: the books do not balance: {line}", err=True)
    if rejected:
        output.note(f"{rejected} of {worked_on} rejected in this run")
    unanswered = list(_unanswered(dataset))
    for line in unanswered:
        typer.echo(f"vidla: {line}", err=True)
    for name in refused:
        typer.echo(f"vidla: every row of {name} is refused; `vidla inspect {dataset.uri} rejects` shows why", err=True)
    status = 1 if imbalances or unanswered or refused or (rejected and rejected >= max_reject_rate * worked_on) else 0
    told = {"books": [_as_json(each) for each in books.accounts], "rejects": [vars(kind) for kind in kinds]}
    output.event("run_ended", status=status, **told)
    return status


def _as_json(account: Any) -> Mapping[str, Any]:
    names = ("stage", "subject", "outcome", "wanted", "made", "rejected", "gated", "pending")
    return {name: getattr(account, name) for name in names}


def reject_lines(kinds: Sequence[RejectedKind], location: str) -> Iterator[str]:
    """A line for each kind of reject: how many, an example and the way out.

    >>> kind = RejectedKind("download", "timeout", 2, True, "https://example.org/v", "no answer in 60 s")
    >>> print(*reject_lines([kind], "data/talks"), sep="\\n")
    Rejected at download: 2 timeout, for example https://example.org/v: no answer in 60 s
      → `vidla retry --dataset data/talks --kind timeout`
    """
    for each in kinds[:KINDS_SHOWN]:
        example = printable(f"{each.uri}: {each.message}")
        example = example if len(example) <= EXAMPLE_CHARS else f"{example[: EXAMPLE_CHARS - 1]}…"
        yield f"Rejected at {each.stage}: {each.count:,} {each.kind}, for example {example}"
        retry = f"`vidla retry --dataset {location} --kind {each.kind}`"
        shows = f"`vidla inspect {location} rejects --where \"kind = '{each.kind}'\"` shows all"
        yield f"  → {retry}" if each.retryable else f"  → a retry does not help; {shows}"
    if (others := len(kinds) - KINDS_SHOWN) > 0:
        yield f"{others} more kinds of reject: `vidla inspect {location}` shows them"


def _spent_on_texts() -> Iterator[str]:
    """The requests, tokens and load of this run's text servers, in one line; none if none was in use."""
    total = load.snapshot()
    if not total.requests and not total.failures:
        return
    seconds = max(1e-3, total.elapsed_s)
    again = f", {total.retries} sent again" if total.retries else ""
    yield (
        f"{total.requests:,} requests answered{again}: {total.input_tokens:,} tokens in, {total.output_tokens:,} out, "
        f"{total.output_tokens / seconds:,.0f} a second; servers busy {total.busy_s / seconds:.0%} of {seconds:,.0f} s"
    )


def _unanswered(dataset: Dataset) -> Iterator[str]:
    """A line for each kind of text of which this run has asked for some, and got none: the fault of the engine."""
    for stage, texts in ((Stage.CAPTION, "captions"), (Stage.SUMMARIZE, "summaries")):
        requests, failures, lacking = (this_process.tally.get(stage, n) for n in ("requests", "failures", "unanswered"))
        if requests > failures or not lacking:
            continue
        query = f"select message from rejects where stage = '{stage}' order by created_at desc limit 1"
        why = "".join(f": {row['message']}" for row in dataset.sql(query).to_pylist())
        none = f"none of the {requests} requests for {texts} was answered{printable(why)}"
        yield f"{none}; once that is mended, `vidla retry` asks for them again"
