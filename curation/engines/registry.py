"""The open engines of this process, one per settings."""

from __future__ import annotations

import threading

from curation.engines.interface import Engine, Task
from curation.settings import EngineSettings

_open: dict[tuple[Task | None, EngineSettings], Engine] = {}
_lock = threading.Lock()


def open_engine(settings: EngineSettings, task: Task) -> Engine:
    """The engine for `task`: one per process and settings; its model is loaded on first use.

    A served model does every task, so tasks with the same settings share one.
    """
    key = (task if settings.kind == "builtin" else None, settings)
    with _lock:
        if key not in _open:
            _open[key] = _new(settings, task)
        return _open[key]


def _new(settings: EngineSettings, task: Task) -> Engine:
    if settings.kind == "builtin":
        from curation.engines.builtin import builtin_engine

        return builtin_engine(task, settings)
    if settings.kind == "openai":
        from curation.engines.openai.engine import open_openai

        return open_openai(settings)
    from curation.engines.vllm.shared_server import open_vllm

    return open_vllm(settings)


def close_engines() -> None:
    """Close every engine that this process has opened."""
    with _lock:
        while _open:
            _open.popitem()[1].close()
