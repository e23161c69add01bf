"""The sources of texts that the settings name, opened once per process, and the threads that use them."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
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

BUILTIN_THREADS = 2  # one reads and writes while the other uses the model
MAX_THREADS = 256
FRAMES_IN_MEMORY = 1024
"""Four times the requests in flight if that is more, so that servers never wait for a frame to be read."""


def captioner(settings: Settings) -> TextSource:
    """The source of captions. Engines are shared within a process, and load their models on first use.

    Raises EngineError, PromptError.
    """
    return this_process.once(_captioner, settings)


def summariser(settings: Settings) -> SummaryPlan:
    """The sources of both kinds of summary. Raises EngineError, PromptError."""
    return this_process.once(_summariser, settings)


def _captioner(settings: Settings) -> TextSource:
    return text_source(settings.captions.engine, settings.captions, "caption", _prompts(settings))


def _summariser(settings: Settings) -> SummaryPlan:
    return summary_plan(settings.summaries, _prompts(settings))


def _prompts(settings: Settings) -> Mapping[str, Prompt]:
    return this_process.once(load_prompts, Path(settings.run.prompts) if settings.run.prompts else None)


def texts_digest(settings: Settings) -> str:
    """The digest of everything that a clip's texts depend on, except its footage."""
    return digest(captioner(settings).digest, summariser(settings).digest)


def text_digests(settings: Settings) -> dict[str, str]:
    """The parts of `texts_digest`, by table."""
    return {"captions": captioner(settings).digest, "summaries": summariser(settings).digest}


@dataclass(frozen=True)
class WantedTexts:
    """What shows whether texts are up to date: `digest`, of all that makes a clip's texts except its footage; and the
    values of columns of `captions`, by which a caption's origin is known without its frame."""

    digest: str
    captions: Mapping[str, str]


def wanted_texts(settings: Settings) -> WantedTexts:
    source = captioner(settings)
    made_by = {"maker": source.digest, "model": source.engine.model, "prompt_digest": source.prompt.digest}
    return WantedTexts(texts_digest(settings), {**made_by, "sampling": source.sampling.to_json()})


# --- engines --------------------------------------------------------------------------------------------------------


def text_pool(engine: EngineSettings) -> ThreadPool:
    """The threads that use an engine, with slots for the frames in memory: enough to keep its servers busy."""
    in_flight = engine.max_in_flight * max(1, len(engine.base_urls))
    threads = min(MAX_THREADS, in_flight) if is_served(engine) else BUILTIN_THREADS
    return this_process.pool(engine, threads, max(FRAMES_IN_MEMORY, 4 * in_flight))


def shared(settings: Settings, processes: int) -> Settings:
    """`settings` for each of `processes` that use the same servers at once: with its share of `max_in_flight`.

    Processes that share a vLLM of our own divide its bound among themselves.
    """

    def share(texts: CaptionSettings | SummarySettings) -> dict[str, Any]:
        bound = max(1, texts.engine.max_in_flight // processes)
        update = {"max_in_flight": bound} if texts.engine.kind == "openai" else {}
        return {"engine": texts.engine.model_copy(update=update)}

    if processes == 1:
        return settings
    captions = settings.captions.model_copy(update=share(settings.captions))
    summaries = settings.summaries.model_copy(update=share(settings.summaries))
    return settings.model_copy(update={"captions": captions, "summaries": summaries})


def is_served(engine: EngineSettings) -> bool:
    """Whether its model runs on a server, which answers many requests at once."""
    return engine.kind != "builtin"


def served_engines(settings: Settings, stages: Collection[str]) -> list[Engine]:
    """The engines with servers that these stages use, each once."""
    engines: list[Engine] = []
    if Stage.CAPTION in stages and is_served(settings.captions.engine):
        engines.append(captioner(settings).engine)
    if Stage.SUMMARIZE in stages and is_served(settings.summaries.engine):
        engines.append(summariser(settings).subtitles.engine)
    return list({id(engine): engine for engine in engines}.values())
