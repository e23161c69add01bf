"""Reads the tensors of a TorchScript archive, such as OpenAI's ViT-B-32.pt, without running anything in it.

An archive is a zip with code, a pickle of its modules, and a file for each tensor's memory. `torch.jit.load` would
compile its code, and a pickle may call any function. Here the code is never looked at, and the pickle may build
tensors, numbers and texts; of objects of the archive's own classes, only the attributes are kept.
"""

from __future__ import annotations

import pickle
import zipfile
from collections import OrderedDict
from pathlib import Path, PurePosixPath
from typing import Any

import torch
from torch import Tensor

_STORAGES = {
    "BFloat16Storage": torch.bfloat16,
    "BoolStorage": torch.bool,
    "DoubleStorage": torch.float64,
    "FloatStorage": torch.float32,
    "HalfStorage": torch.float16,
    "IntStorage": torch.int32,
    "LongStorage": torch.int64,
}


def is_torchscript(path: Path) -> bool:
    """Whether `path` is a zip with constants.pkl, which `torch.jit.save` writes and `torch.save` does not."""
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        return any(PurePosixPath(name).name == "constants.pkl" for name in archive.namelist())


def read_torchscript(path: Path) -> dict[str, Tensor]:
    """The archive's tensors by their dotted names, in their own precision.

    Raises pickle.UnpicklingError for an archive that holds anything else, and what zipfile and pickle raise for one
    that is damaged.
    """
    with zipfile.ZipFile(path) as archive:
        (folder,) = {PurePosixPath(name).parts[0] for name in archive.namelist()}
        if archive.getinfo(f"{folder}/data.pkl").compress_type != zipfile.ZIP_STORED:
            raise pickle.UnpicklingError("its tensors are larger than the file")
        with archive.open(f"{folder}/data.pkl") as file:
            root = _Unpickler(file, archive, folder, path.stat().st_size).load()
    tensors: dict[str, Tensor] = {}
    _collect(root, "", tensors, set())
    return tensors


class _Module:
    """Stands for an object of the archive's own classes."""

    attributes: Any = None

    def __setstate__(self, attributes: Any) -> None:
        self.attributes = attributes


def _collect(value: Any, name: str, tensors: dict[str, Tensor], seen: set[int]) -> None:
    if isinstance(value, Tensor):
        tensors[name] = value
    if not isinstance(value, _Module):
        return
    if id(value) in seen or not isinstance(value.attributes, dict):
        raise pickle.UnpicklingError("its modules are not a tree")
    seen.add(id(value))
    for key, attribute in value.attributes.items():
        _collect(attribute, f"{name}.{key}".lstrip("."), tensors, seen)


class _Unpickler(pickle.Unpickler):
    def __init__(self, file: Any, archive: zipfile.ZipFile, folder: str, size: int) -> None:
        super().__init__(file)
        self.archive, self.folder, self.unread = archive, folder, size
        self.storages: dict[str, Tensor] = {}

    def find_class(self, module: str, name: str) -> Any:
        if module.partition(".")[0] == "__torch__":
            return _Module
        if module == "torch" and name in _STORAGES:
            return _STORAGES[name]
        known = {
            ("torch._utils", "_rebuild_tensor_v2"): _tensor,
            ("torch._utils", "_rebuild_parameter"): lambda tensor, *_: tensor,
            ("torch.jit._pickle", "restore_type_tag"): lambda value, _: value,
            ("collections", "OrderedDict"): OrderedDict,
        }
        lists = ("build_boollist", "build_doublelist", "build_intlist", "build_tensorlist")
        if module == "torch.jit._pickle" and name in lists:
            return list
        if (module, name) not in known:
            raise pickle.UnpicklingError(f"it would call {module}.{name}, which is not needed to build tensors")
        return known[module, name]

    def persistent_load(self, pid: Any) -> Tensor:
        """A tensor's memory, as a vector."""
        _, dtype, key, *_ = pid
        if key not in self.storages:
            entry = self.archive.getinfo(f"{self.folder}/data/{key}")
            self.unread -= entry.file_size
            if entry.compress_type != zipfile.ZIP_STORED or self.unread < 0:
                raise pickle.UnpicklingError("its tensors are larger than the file")
            self.storages[key] = torch.frombuffer(bytearray(self.archive.read(entry)), dtype=dtype)
        return self.storages[key]


def _tensor(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    return storage.as_strided(size, stride, offset)
