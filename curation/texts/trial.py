"""Try a prompt on rows of a dataset: always the same rows; nothing is written."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import pyarrow.compute as pc

from curation.dataset.dataset import Dataset
from curation.engines.interface import Failure
from curation.engines.text_source import TextSource, text_source
from curation.errors import DatasetError
from curation.prompts import Prompt
from curation.records import Caption, Frame, Segment, Video
from curation.schema import from_row
from curation.settings import Settings
from curation.texts.captions import ask_captions
from curation.texts.limits import truncate
from curation.texts.questions import Outcome
from curation.texts.summaries import SourceText, SummaryPlan, TextKind, ask_summaries, sources_of, summary_plan

CANDIDATES = 50
"""Clips to examine per clip requested: some are silent, some have texts that need no summary."""


@dataclass(frozen=True)
class TrialRow:
    """One frame or clip: the model's input, in words, and the outcome (None: the engine lacks the language).

    `fallback` is the text that a clip gets if the outcome is not acceptable; a frame has none, but has its `image`.
    """

    shown: str
    outcome: Outcome | Failure | None
    fallback: str = ""
    image: bytes | None = None


@dataclass(frozen=True)
class Trial:
    """The rows that a prompt was tried on, and the source of their texts."""

    source: TextSource
    rows: tuple[TrialRow, ...]


def try_on_frames(
    dataset: Dataset, count: int, prompt_id: str, settings: Settings, prompts: Mapping[str, Prompt]
) -> Trial:
    """Caption up to `count` frames of `dataset`. Raises DatasetError if it has none, PromptError, EngineError."""
    captions = settings.captions.model_copy(update={"prompt": prompt_id})
    source = text_source(captions.engine, captions, "caption", prompts)
    # Ids first, so that no other image is read.
    query = f"select frame_id from frames order by md5(frame_id), frame_id limit {count}"
    ids = dataset.sql(query)["frame_id"].to_pylist()
    if not ids:
        raise DatasetError(f"{dataset.uri} has no frames yet; `vidla curate` or `vidla segment` makes them")
    by_id = {row["frame_id"]: from_row(Frame, row) for row in _rows(dataset, "frames", "frame_id", ids)}
    frames = [by_id[frame_id] for frame_id in ids]
    outcomes = ask_captions(frames, source)
    return Trial(source, tuple(TrialRow(_frame_in_words(f), outcomes[f.frame_id], image=f.image) for f in frames))


def _frame_in_words(frame: Frame) -> str:
    return f"frame {frame.frame_id} of video {frame.video_id}, {frame.time:.1f} s, JPEG of {len(frame.image)} bytes"


def try_on_clips(
    dataset: Dataset,
    count: int,
    prompt_id: str,
    kind: TextKind,
    settings: Settings,
    prompts: Mapping[str, Prompt],
) -> Trial:
    """Summarise the texts of `kind` of up to `count` clips of `dataset`.

    Raises DatasetError if no clip needs a summary, PromptError, EngineError.
    """
    texts = getattr(settings.summaries, kind).model_copy(update={"prompt": prompt_id})
    plan = summary_plan(settings.summaries.model_copy(update={kind: texts}), prompts)
    pending = _pending_sources(dataset, count, kind, plan)
    if not pending:
        raise DatasetError(
            f"{dataset.uri} has no medium or long clips whose {kind} need a summary; `vidla curate` makes them"
        )
    outcomes = ask_summaries(kind, pending, plan)
    rows = []
    for clip_id, source in pending.items():
        parts = "\n".join(f"• {part}" for part in source.parts)
        fallback = truncate(source.parts, plan.limits)
        rows.append(TrialRow(f"clip {clip_id}:\n{parts}", outcomes.get(clip_id), fallback))
    return Trial(plan.source(kind), tuple(rows))


def _pending_sources(dataset: Dataset, count: int, kind: TextKind, plan: SummaryPlan) -> dict[str, SourceText]:
    """By clip_id, up to `count` texts that need a summary, from clips in an order that does not change."""
    query = f"""
        select clip_id from segments where scale <> 'short' order by md5(clip_id), clip_id limit {CANDIDATES * count}"""
    ids = dataset.sql(query)["clip_id"].to_pylist()
    by_id = {row["clip_id"]: from_row(Segment, row) for row in _rows(dataset, "segments", "clip_id", ids)}
    segments = [by_id[clip_id] for clip_id in ids]
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
        and not source.needs_no_summary(plan)
    }
    return dict(list(sources.items())[:count])


def _rows(dataset: Dataset, table: str, key: str, ids: Sequence[str]) -> list[dict[str, Any]]:
    selected = pc.field(key).isin(sorted(set(ids)))
    return dataset.arrow(table).to_table(filter=selected).to_pylist() if ids else []
