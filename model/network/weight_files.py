"""Reads the parameters in a file of weights, of whatever kind, without running anything in it."""

from __future__ import annotations

import json
import pickle
import warnings
import zipfile
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from torch import Tensor

from curation.errors import one_line
from model.network.architecture import ModelError
from model.network.torchscript_archive import is_torchscript, read_torchscript


def read_weights(path: Path) -> dict[str, Tensor]:
    """The parameters in safetensors, in what `torch.save` has written (a state dict, or a checkpoint with one under
    "state_dict"), in a TorchScript archive, or in all files of an index of shards (.index.json).

    Raises ModelError with a one-line message.
    """
    try:
        state = _read(path)
    except pickle.UnpicklingError as error:
        reason = one_line(error).rpartition("WeightsUnpickler error: ")[2][:200]
        raise ModelError(
            f"{path} is damaged, or holds more than tensors, numbers and texts, which is not opened, as that could run "
            f'code ({reason}). If you trust it, convert it: python -c "{_conversion(path)}"'
        ) from None
    except Exception as error:  # for damaged files torch, safetensors and zipfile raise almost anything
        raise ModelError(f"{path} cannot be read: {one_line(error, 200)}") from None
    if not isinstance(state, dict) or not all(isinstance(name, str) for name in state):
        raise ModelError(f"{path} does not hold parameters by their names")
    tensors = {name: value for name, value in state.items() if isinstance(value, Tensor)}
    if not tensors:
        raise ModelError(f"{path} holds no parameters")
    return tensors


def shards(index: Path) -> list[str]:
    """The names of the files, in the same folder, that an index of shards refers to. Raises ModelError."""
    try:
        names = sorted(set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()))
        if any(Path(name).name != name for name in names):
            raise ValueError("it refers to files elsewhere")
    except (OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise ModelError(f"{index} cannot be read: {one_line(error)}") from None
    return names


def _read(path: Path) -> Any:
    if path.name.endswith(".index.json"):
        return {name: value for shard in shards(path) for name, value in _read(path.with_name(shard)).items()}
    if path.suffix == ".safetensors":
        return load_file(path)
    if is_torchscript(path):
        return read_torchscript(path)
    _check_stored(path)
    with warnings.catch_warnings(action="ignore"):  # of how a file was pickled
        state = torch.load(path, map_location="cpu", weights_only=True)
    if isinstance(state, dict) and isinstance(state.get("state_dict"), dict):
        state = state["state_dict"]  # a checkpoint of a training run
    return state


def _check_stored(path: Path) -> None:
    """Raises ModelError for a zip that holds more than its size: `torch.save` writes its entries as they are."""
    if not zipfile.is_zipfile(path):
        return
    with zipfile.ZipFile(path) as archive:
        entries = archive.infolist()
    stored = all(entry.compress_type == zipfile.ZIP_STORED for entry in entries)
    if not stored or sum(entry.file_size for entry in entries) > path.stat().st_size:
        raise ModelError("its tensors are larger than the file")


def _conversion(path: Path) -> str:
    """A program that opens the file, whatever it runs, and writes a state dict."""
    if is_torchscript(path):
        return f"import torch; torch.save(torch.jit.load('{path}', map_location='cpu').state_dict(), 'clip.pt')"
    return (
        f"import torch; c = torch.load('{path}', map_location='cpu', weights_only=False); "
        "torch.save(c.get('state_dict', c), 'clip.pt')"
    )
