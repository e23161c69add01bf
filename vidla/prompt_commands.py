"""`vidla prompts`: list the prompts, show one, and try one on some rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from curation.dataset.dataset import Dataset
from curation.engines.interface import Failure
from curation.engines.registry import close_engines
from curation.errors import PromptError, UsageError
from curation.languages import LANGUAGES
from curation.prompts import BUNDLED, Prompt, load_prompts
from curation.settings import Settings, resolve
from vidla.console import escape, new_table, wide_console
from vidla.dataset_commands import existing
from vidla.options import ConfigOption, SetOption, new_group

if TYPE_CHECKING:
    from curation.texts.trial import TrialRow

PromptInput = Literal["frames", "subtitles", "captions"]
TASKS: dict[PromptInput, str] = {
    "frames": "captions",
    "subtitles": "summaries.subtitles",
    "captions": "summaries.captions",
}
"""By the input of a prompt, the section of the configuration that names the prompt."""

EXAMPLE: Mapping[str, Any] = {
    "text": "First we wash the rice. Then we let it stand in cold water for an hour <or two>.",
    "captions": ("A hand washes rice in a bowl.", "A bowl of rice stands on a table."),
    "max_words": 25,
    "language": None,
}

app = new_group("List, show and try the prompts.")

Id = Annotated[str, typer.Argument(metavar="ID", help="a prompt's id; `vidla prompts list` shows them")]
Folder = Annotated[
    Path | None,
    typer.Option("--prompts", metavar="FOLDER", help="your prompts; they override bundled ones with the same id"),
]


@app.command("list")
def list_prompts(folder: Folder = None, config: ConfigOption = None, assignments: SetOption = None) -> None:
    """List the prompts, with the tasks that use them.

    Example: vidla prompts list --prompts my-prompts
    """
    settings, prompts = _resolved(folder, config, assignments)
    table = new_table("id", "version", "used by", "origin", "digest", "file")
    for name, prompt in sorted(prompts.items()):
        used = ", ".join(TASKS[kind] for kind in _uses(settings, name)) or "–"
        cells = (name, str(prompt.version), used, _origin(prompt), prompt.digest[:12], str(prompt.path))
        table.add_row(*map(escape, cells))
    wide_console().print(table)


@app.command()
def show(id: Id, folder: Folder = None, config: ConfigOption = None, assignments: SetOption = None) -> None:
    """Show a prompt, the shape of its answer, and an example.

    Example: vidla prompts show summarize-subtitles --set summaries.language=de
    """
    settings, prompts = _resolved(folder, config, assignments)
    prompt = _known(prompts, id)
    console = wide_console()
    used = ", ".join(TASKS[kind] for kind in _uses(settings, id)) or "nothing"
    schema = f"JSON, as {json.dumps(prompt.output_schema)}" if prompt.output_schema else "free text"
    facts = {
        "id": f"{prompt.id}, version {prompt.version}",
        "file": f"{prompt.path} ({_origin(prompt)})",
        "digest": prompt.digest,
        "used by": used,
        "answer": f"free text, then {schema}" if prompt.free_text_first else schema,
        "sampling": f"max_tokens {prompt.max_tokens}, temperature {prompt.temperature:g} (the settings may override)",
    }
    for name, value in facts.items():
        console.print(f"[bold]{name:9}[/] {escape(value)}", highlight=False, soft_wrap=True)
    console.rule("the file", align="left")
    console.out((prompt.path or BUNDLED).read_text(encoding="utf-8").rstrip(), highlight=False)
    unknown = prompt.variables - EXAMPLE.keys()
    if unknown:
        console.rule(f"it cannot be rendered: no task provides {', '.join(sorted(unknown))}", align="left")
        return
    example = {**EXAMPLE, "max_words": settings.summaries.max_words, "language": _language(settings)}
    for message in prompt.render(**example):
        console.rule(f"an example: {message['role']}", align="left")
        console.out(message["content"], highlight=False)
    if prompt.free_text_first:
        console.rule("an example: user, after the answer", align="left")
        console.out(prompt.shape_request, highlight=False)


@app.command("try")
def try_prompt(
    id: Id,
    dataset: Annotated[
        str, typer.Option("--dataset", metavar="DIR", help="a path, or a file://, s3:// or gs:// URI; only read")
    ],
    n: Annotated[int, typer.Option("--n", min=1, metavar="N", help="number of rows to try it on, always the same")] = 5,
    given: Annotated[
        str | None, typer.Option("--as", metavar="INPUT", help="the prompt's input: frames, subtitles or captions")
    ] = None,
    page: Annotated[
        Path | None, typer.Option("--page", metavar="FILE", help="also write the answers as HTML, with the pictures")
    ] = None,
    folder: Folder = None,
    config: ConfigOption = None,
    assignments: SetOption = None,
) -> None:
    """Try a prompt on some rows of a dataset, without writing to it.

    Prints inputs and answers. The input is the one that the configuration uses the prompt for; for a prompt that it
    does not use, set --as.

    Example: vidla prompts try caption-frame --dataset data/talks --n 20 --page answers.html

    Example: vidla prompts try my-summary --as subtitles --dataset data/talks --n 5 --prompts my-prompts
    """
    from curation.texts.trial import try_on_clips, try_on_frames

    settings, prompts = _resolved(folder, config, assignments)
    kind = _input_of(settings, _known(prompts, id), given)
    source = existing(Dataset(dataset))
    table = new_table("input", "raw answer", "text", "status", "tokens in, out", lines=True)
    for column in table.columns[:3]:
        column.ratio = 3
    try:
        if kind == "frames":
            trial = try_on_frames(source, n, id, settings, prompts)
        else:
            trial = try_on_clips(source, n, id, kind, settings, prompts)
        maker = f"{trial.source.engine.engine}/{trial.source.engine.model}"
    finally:
        close_engines()
    for row in trial.rows:
        table.add_row(*map(_cell, _cells(row)))
    console = wide_console()
    unit = "frame" if kind == "frames" else "clip"
    title = f"{len(trial.rows)} {unit}{'s' if len(trial.rows) > 1 else ''}, by {maker}"
    console.print(escape(title), highlight=False)
    console.print(table)
    if page is not None:
        page.write_text(_page(f"{id}: {title}", trial.rows), encoding="utf-8")


# --- choosing a prompt ----------------------------------------------------------------------------------------------


def _resolved(
    folder: Path | None, config: Path | None, assignments: Sequence[str] | None
) -> tuple[Settings, dict[str, Prompt]]:
    named = [f"run.prompts={json.dumps(str(folder), ensure_ascii=False)}"] if folder else []
    settings = resolve(config, [*(assignments or ()), *named])
    return settings, load_prompts(Path(settings.run.prompts) if settings.run.prompts else None)


def _known(prompts: Mapping[str, Prompt], id: str) -> Prompt:
    if id not in prompts:
        raise PromptError(f"no prompt '{id}'; there are {', '.join(sorted(prompts))}")
    return prompts[id]


def _uses(settings: Settings, id: str) -> list[PromptInput]:
    named: dict[PromptInput, str] = {
        "frames": settings.captions.prompt,
        "subtitles": settings.summaries.subtitles.prompt,
        "captions": settings.summaries.captions.prompt,
    }
    return [kind for kind, name in named.items() if name == id]


def _input_of(settings: Settings, prompt: Prompt, given: str | None) -> PromptInput:
    if given is not None:
        for kind in TASKS:
            if kind == given:
                return kind
        raise UsageError(f"--as {given}: the inputs of prompts are {', '.join(TASKS)}")
    uses = _uses(settings, prompt.id)
    if len(uses) != 1:
        used = "several things" if uses else "nothing"
        raise UsageError(
            f"the configuration uses '{prompt.id}' for {used}; set --as to one of {', '.join(uses or TASKS)}"
        )
    return uses[0]


def _origin(prompt: Prompt) -> str:
    return "bundled" if prompt.path is not None and prompt.path.parent == BUNDLED else "yours"


def _language(settings: Settings) -> str | None:
    return LANGUAGES[settings.summaries.language] if settings.summaries.language else None


# --- showing --------------------------------------------------------------------------------------------------------


def _cells(row: TrialRow) -> tuple[str, str, str, str, str]:
    """Input, raw answer, text, status, tokens."""
    outcome, fallback = row.outcome, row.fallback
    if outcome is None:
        return row.shown, "–", fallback, "truncated: the engine does not know the language", "–"
    if isinstance(outcome, Failure):
        return row.shown, "–", fallback, f"failed: {outcome.message}", "–"
    completions = outcome.completions
    answers = f" ({len(completions)} answers)" if len(completions) > 1 else ""
    tokens = f"{sum(c.input_tokens for c in completions)}, {sum(c.output_tokens for c in completions)}"
    hint = f": {outcome.answer.hint}" if outcome.answer.hint else ""
    if outcome.fault is None or not fallback:
        status = f"{outcome.answer.status}{answers}{hint}"
        return row.shown, outcome.raw_text, outcome.answer.text or "–", status, tokens
    why = f"truncated, since the answer was {outcome.fault}{answers}{hint}"
    return row.shown, outcome.raw_text, fallback, why, tokens


def _page(title: str, rows: Sequence[TrialRow]) -> str:
    from vidla.view.templating import embedded, templates

    shown = [(embedded(row.image) if row.image else None, _cells(row)) for row in rows]
    return templates(linked=False).get_template("trial.html").render(title=title, rows=shown)


def _cell(text: str) -> str:
    """Untrusted `text` without terminal control sequences; its line breaks stay."""
    return "\n".join(escape(line) for line in text.split("\n"))
