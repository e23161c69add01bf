"""Where texts come from: the sources that the settings name, opened once a process, and the workers that ask them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Any

from curation.engines.interface import Engine
from curation.engines.text_source import TextSource, text_source
from curation.ids import digest
from curation.prompts import Prompt, load_prompts
from curation.rejects import Stage
from curation.settings import CaptionSettings, EngineSettings, Settings, SummarySettings
from curation.texts.summaries import SummaryPlan, summary_plan
from pipelines.worker.thread_pools import ThreadPool
from pipelines.worker.worker_process import this_process

BUILTIN_THREADS = 2  # one reads and writes while the other has the model
MOST_THREADS = 256
FRAMES_IN_MEMORY = 1024
"""At least; it is four times the requests in flight, so that the servers never wait for the next frame to be read."""


def captioner(settings: Settings) -> TextSource:
    """Where captions come from. Engines are shared by a process, and load their models on first use.

    Raises EngineError, PromptError.
    """
    return this_process.once(_captioner, settings)


def summariser(settings: Settings) -> SummaryPlan:
    """Where both kinds of summary come from. Raises EngineError, PromptError."""
    return this_process.once(_summariser, settings)


def _captioner(settings: Settings) -> TextSource:
    return text_source(settings.captions.engine, settings.captions, "caption", _prompts(settings))


def _summariser(settings: Settings) -> SummaryPlan:
    return summary_plan(settings.summaries, _prompts(settings))


def _prompts(settings: Settings) -> Mapping[str, Prompt]:
    return this_process.once(load_prompts, Path(settings.run.prompts) if settings.run.prompts else None)


def texts_digest(settings: Settings) -> str:
    """Stands for everything that decides what a clip's texts say, beside its footage."""
    return digest(captioner(settings).digest, summariser(settings).digest)


# --- engines --------------------------------------------------------------------------------------------------------


def text_pool(engine: EngineSettings) -> ThreadPool:
    """Those who ask that engine, with room for the frames that they have in memory: enough to keep its servers busy."""
    in_flight = engine.max_in_flight * max(1, len(engine.base_urls))
    threads = min(MOST_THREADS, in_flight) if is_served(engine) else BUILTIN_THREADS
    return this_process.pool(engine, threads, max(FRAMES_IN_MEMORY, 4 * in_flight))


def shared(settings: Settings, processes: int) -> Settings:
    """`settings` for each of so many processes that ask the same servers at a time: with its share of the bound.

    Those that ask a vLLM of our own divide among themselves what it may have in flight.
    """

    def share(texts: CaptionSettings | SummarySettings) -> dict[str, Any]:
        most = max(1, texts.engine.max_in_flight // processes)
        update = {"max_in_flight": most} if texts.engine.kind == "openai" else {}
        return {"engine": texts.engine.model_copy(update=update)}

    if processes == 1:
        return settings
    captions = settings.captions.model_copy(update=share(settings.captions))
    summaries = settings.summaries.model_copy(update=share(settings.summaries))
    return settings.model_copy(update={"captions": captions, "summaries": summaries})


def is_served(engine: EngineSettings) -> bool:
    """Whether its model runs elsewhere, and answers many requests at a time."""
    return engine.kind != "builtin"


def served_engines(settings: Settings, stages: Collection[str]) -> list[Engine]:
    """The engines with servers that these stages ask, each once."""
    engines: list[Engine] = []
    if Stage.CAPTION in stages and is_served(settings.captions.engine):
        engines.append(captioner(settings).engine)
    if Stage.SUMMARIZE in stages and is_served(settings.summaries.engine):
        engines.append(summariser(settings).subtitles.engine)
    return list({id(engine): engine for engine in engines}.values())
