"""The sources of text that the settings name, opened once a process, and the digest that stands for all of them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from curation.config import Settings
from curation.engines.source import TextSource, text_source
from curation.records import digest
from curation.summaries import SummaryPlan, summary_plan
from prompts import Prompt, load_prompts


def captioner(settings: Settings) -> TextSource:
    """Where captions come from. Engines are shared by a process, and load their models on first use.

    Raises EngineError, PromptError.
    """
    return text_source(settings.captions.engine, settings.captions, "caption", _prompts(settings))


def summariser(settings: Settings) -> SummaryPlan:
    """Where both kinds of summary come from. Raises EngineError, PromptError."""
    return summary_plan(settings.summaries, _prompts(settings))


def texts_digest(settings: Settings) -> str:
    """Stands for everything that decides what a clip's texts say, beside its footage."""
    return digest(captioner(settings).digest, summariser(settings).digest)


def _prompts(settings: Settings) -> Mapping[str, Prompt]:
    return load_prompts(Path(settings.run.prompts) if settings.run.prompts else None)
