"""The verbs of `vidla prompts`: what prompts there are, what one says, and what comes of it on some rows."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

import pyarrow.compute as pc
import typer
from rich import box
from rich.console import Console
from rich.table import Table

from curation.dataset.dataset import Dataset
from curation.engines.interface import Failure
from curation.engines.registry import close_engines
from curation.engines.text_source import TextSource, text_source
from curation.errors import DatasetError, PromptError, UsageError
from curation.languages import LANGUAGES
from curation.prompts import BUNDLED, Prompt, load_prompts
from curation.records import Caption, Frame, Segment, Video
from curation.schema import from_row
from curation.settings import Settings, resolve
from curation.texts.questions import Outcome
from vidla.inspect import escape

Kind = Literal["frames", "subtitles", "captions"]
TASKS: dict[Kind, str] = {"frames": "captions", "subtitles": "summaries.subtitles", "captions": "summaries.captions"}
"""What a prompt is given, and the section of the configuration that names the prompt for it."""

CANDIDATES = 50
"""Clips that are looked at for each that is wanted: some are silent, some have texts that need no summary."""

PIPED_WIDTH = 160  # columns, where there is no terminal to ask

EXAMPLE: Mapping[str, Any] = {
    "text": "First we wash the rice. Then we let it stand in cold water for an hour <or two>.",
    "captions": ("A hand washes rice in a bowl.", "A bowl of rice stands on a table."),
    "max_words": 25,
    "language": None,
}

app = typer.Typer(no_args_is_help=True, help="List, show and try the prompts.", rich_markup_mode=None)

Id = Annotated[str, typer.Argument(metavar="ID", help="a prompt's id; `vidla prompts list` shows them")]
Folder = Annotated[
    Path | None, typer.Option("--prompts", metavar="FOLDER", help="your prompts; they override ours by id")
]
ConfigFile = Annotated[
    Path | None, typer.Option("--config", metavar="FILE", help="TOML; `vidla config template` prints one")
]
Assignments = Annotated[
    list[str] | None, typer.Option("--set", metavar="SECTION.KEY=VALUE", help="override one key; repeatable")
]


@app.command("list")
def list_prompts(folder: Folder = None, config: ConfigFile = None, assignments: Assignments = None) -> None:
    """List the prompts: what uses them, and whose they are.

    Example: vidla prompts list --prompts my-prompts
    """
    settings, prompts = _resolved(folder, config, assignments)
    table = _table("id", "version", "used by", "whose", "digest", "file")
    for name, prompt in sorted(prompts.items()):
        used = ", ".join(TASKS[kind] for kind in _uses(settings, name)) or "–"
        cells = (name, str(prompt.version), used, _whose(prompt), prompt.digest[:12], str(prompt.path))
        table.add_row(*map(escape, cells))
    _console().print(table)


@app.command()
def show(id: Id, folder: Folder = None, config: ConfigFile = None, assignments: Assignments = None) -> None:
    """Show a prompt: its file, what its answer must look like, and what a model gets to see.

    Example: vidla prompts show summarize-subtitles --set summaries.language=de
    """
    settings, prompts = _resolved(folder, config, assignments)
    prompt = _known(prompts, id)
    console = _console()
    used = ", ".join(TASKS[kind] for kind in _uses(settings, id)) or "nothing"
    schema = f"JSON, as {json.dumps(prompt.output_schema)}" if prompt.output_schema else "free text"
    facts = {
        "id": f"{prompt.id}, version {prompt.version}",
        "file": f"{prompt.path} ({_whose(prompt)})",
        "digest": prompt.digest,
        "used by": used,
        "answer": f"free text, then {schema}" if prompt.free_text_first else schema,
        "sampling": f"max_tokens {prompt.max_tokens}, temperature {prompt.temperature:g}, unless the settings say more",
    }
    for name, value in facts.items():
        console.print(f"[bold]{name:9}[/] {escape(value)}", highlight=False, soft_wrap=True)
    console.rule("the file", align="left")
    console.out((prompt.path or BUNDLED).read_text(encoding="utf-8").rstrip(), highlight=False)
    unknown = prompt.variables - EXAMPLE.keys()
    if unknown:
        console.rule(f"it cannot be rendered: nothing gives it {', '.join(sorted(unknown))}", align="left")
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
    n: Annotated[int, typer.Option("--n", min=1, help="rows to try it on, always the same")] = 5,
    given: Annotated[
        str | None, typer.Option("--as", metavar="WHAT", help="what it is given: frames, subtitles or captions")
    ] = None,
    folder: Folder = None,
    config: ConfigFile = None,
    assignments: Assignments = None,
) -> None:
    """Run a prompt on some rows of a dataset and show what goes in and what comes out; nothing is written.

    A prompt is given what the configuration uses it for; for any other, say --as.

    Example: vidla prompts try my-summary --as subtitles --dataset data/talks --n 5 --prompts my-prompts
    """
    settings, prompts = _resolved(folder, config, assignments)
    kind = _kind(settings, _known(prompts, id), given)
    at = Dataset(dataset)
    if not at.exists():
        raise DatasetError(f"no vidla dataset at {at.uri}")
    table = _table("input", "raw answer", "text", "status", "tokens in, out", lines=True)
    for column in table.columns[:3]:
        column.ratio = 3
    try:
        if kind == "frames":
            source, rows = _try_on_frames(at, n, id, settings, prompts)
        else:
            source, rows = _try_on_clips(at, n, id, kind, settings, prompts)
        maker = f"{source.engine.engine}/{source.engine.model}"
    finally:
        close_engines()
    for row in rows:
        table.add_row(*map(_cell, row))
    console = _console()
    what = "frame" if kind == "frames" else "clip"
    console.print(f"{len(rows)} {what}{'s' if len(rows) > 1 else ''}, by {escape(maker)}", highlight=False)
    console.print(table)


# --- which prompt, for what -----------------------------------------------------------------------------------------


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


def _uses(settings: Settings, id: str) -> list[Kind]:
    named: dict[Kind, str] = {
        "frames": settings.captions.prompt,
        "subtitles": settings.summaries.subtitles.prompt,
        "captions": settings.summaries.captions.prompt,
    }
    return [kind for kind, name in named.items() if name == id]


def _kind(settings: Settings, prompt: Prompt, given: str | None) -> Kind:
    if given is not None:
        for kind in TASKS:
            if kind == given:
                return kind
        raise UsageError(f"--as {given}: a prompt can be given {', '.join(TASKS)}")
    uses = _uses(settings, prompt.id)
    if len(uses) != 1:
        used = "several things" if uses else "nothing"
        raise UsageError(f"the configuration uses '{prompt.id}' for {used}; say --as {', '.join(uses or TASKS)}")
    return uses[0]


def _whose(prompt: Prompt) -> str:
    return "ours" if prompt.path is not None and prompt.path.parent == BUNDLED else "yours"


def _language(settings: Settings) -> str | None:
    return LANGUAGES[settings.summaries.language] if settings.summaries.language else None


# --- trying ---------------------------------------------------------------------------------------------------------

_Row = tuple[str, str, str, str, str]


def _try_on_frames(
    dataset: Dataset, n: int, id: str, settings: Settings, prompts: Mapping[str, Prompt]
) -> tuple[TextSource, list[_Row]]:
    from curation.texts.captions import ask_captions

    captions = settings.captions.model_copy(update={"prompt": id})
    source = text_source(captions.engine, captions, "caption", prompts)
    # Ids first, so that no other image is read.
    query = f"select frame_id from frames order by md5(frame_id), frame_id limit {n}"
    ids = dataset.sql(query)["frame_id"].to_pylist()
    if not ids:
        raise DatasetError(f"{dataset.uri} has no frames yet; `vidla curate` or `vidla segment` makes them")
    found = {row["frame_id"]: from_row(Frame, row) for row in _rows(dataset, "frames", "frame_id", ids)}
    frames = [found[frame_id] for frame_id in ids]
    told = ask_captions(frames, source)
    shown = (f"frame {f.frame_id} of video {f.video_id}, {f.time:.1f} s, JPEG of {len(f.image)} bytes" for f in frames)
    return source, [_row(what, told[f.frame_id]) for what, f in zip(shown, frames, strict=True)]


def _try_on_clips(
    dataset: Dataset,
    n: int,
    id: str,
    kind: Literal["subtitles", "captions"],
    settings: Settings,
    prompts: Mapping[str, Prompt],
) -> tuple[TextSource, list[_Row]]:
    from curation.texts.limits import truncate
    from curation.texts.summaries import ask_summaries, sources_of, summary_plan

    texts = getattr(settings.summaries, kind).model_copy(update={"prompt": id})
    plan = summary_plan(settings.summaries.model_copy(update={kind: texts}), prompts)
    query = f"""
        select clip_id from segments where scale <> 'short' order by md5(clip_id), clip_id limit {CANDIDATES * n}"""
    ids = dataset.sql(query)["clip_id"].to_pylist()
    found = {row["clip_id"]: from_row(Segment, row) for row in _rows(dataset, "segments", "clip_id", ids)}
    segments = [found[clip_id] for clip_id in ids]
    videos = {
        row["video_id"]: from_row(Video, row)
        for row in _rows(dataset, "videos", "video_id", [s.video_id for s in segments])
    }
    frame_ids = [frame_id for s in segments for frame_id in s.frame_ids] if kind == "captions" else []
    captions = {row["frame_id"]: from_row(Caption, row) for row in _rows(dataset, "captions", "frame_id", frame_ids)}
    sources = {
        s.clip_id: source
        for s in segments
        if s.video_id in videos
        and (source := sources_of(videos[s.video_id], [s], captions).get((s.clip_id, kind))) is not None
        and not source.will_do(plan)
    }
    wanted = dict(list(sources.items())[:n])
    if not wanted:
        raise DatasetError(
            f"{dataset.uri} has no medium or long clips whose {kind} need a summary; `vidla curate` makes them"
        )
    told = ask_summaries(kind, wanted, plan)
    rows = []
    for clip_id, source in wanted.items():
        shown = "\n".join(f"• {part}" for part in source.parts)
        rows.append(_row(f"clip {clip_id}:\n{shown}", told.get(clip_id), truncate(source.parts, plan.limits)))
    return plan.source(kind), rows


def _rows(dataset: Dataset, table: str, key: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    wanted = pc.field(key).isin(sorted(set(ids)))
    return dataset.arrow(table).to_table(filter=wanted).to_pylist() if ids else []


def _row(shown: str, told: Outcome | Failure | None, instead: str = "") -> _Row:
    """`instead` is what a clip keeps where the model's answer will not do."""
    if told is None:
        return shown, "–", instead, "truncated: the engine does not know the language", "–"
    if isinstance(told, Failure):
        return shown, "–", instead, f"failed: {told.message}", "–"
    answers = f" ({len(told.completions)} answers)" if len(told.completions) > 1 else ""
    tokens = f"{sum(c.input_tokens for c in told.completions)}, {sum(c.output_tokens for c in told.completions)}"
    if told.fault is None or not instead:
        return shown, told.raw_text, told.answer.text or "–", told.answer.status + answers, tokens
    return shown, told.raw_text, instead, f"truncated, since the answer was {told.fault}{answers}", tokens


# --- showing --------------------------------------------------------------------------------------------------------


def _console() -> Console:
    console = Console()
    return console if console.is_terminal else Console(width=PIPED_WIDTH)


def _table(*headings: str, lines: bool = False) -> Table:
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, header_style="bold", show_lines=lines)
    for heading in headings:
        table.add_column(heading, overflow="fold")
    return table


def _cell(text: str) -> str:
    """`text`, of strangers and models, without orders to the terminal; its lines stay."""
    return "\n".join(escape(line) for line in text.split("\n"))
