"""Reads what torch.distributed.checkpoint has written, without running anything in it.

Its description and the optimiser's plain values are pickles, which may call any function when they are opened. Here
they may hold numbers, tensors and the few types that describe a checkpoint; everything else is refused.
"""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch.distributed.checkpoint import DefaultLoadPlanner, FileSystemReader
from torch.distributed.checkpoint.metadata import Metadata, StorageMeta
from torch.distributed.checkpoint.planner import ReadItem

_DESCRIPTION = "torch.distributed.checkpoint.metadata"
_ALLOWED = frozenset(
    {
        *((_DESCRIPTION, name) for name in ("Metadata", "MetadataIndex", "StorageMeta", "TensorProperties")),
        *((_DESCRIPTION, f"{kind}StorageMetadata") for kind in ("Bytes", "Chunk", "Tensor")),
        (_DESCRIPTION, "_MEM_FORMAT_ENCODING"),
        ("torch.distributed.checkpoint.filesystem", "_StorageInfo"),
        ("torch.serialization", "_get_layout"),
        ("torch", "Size"),
        *(("torch", name) for name, value in vars(torch).items() if isinstance(value, torch.dtype)),
        ("pathlib", "PosixPath"),
        ("pathlib", "PurePosixPath"),
        ("collections", "OrderedDict"),
    }
)


class _Unpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) not in _ALLOWED:
            raise pickle.UnpicklingError(f"it would call {module}.{name}, which no checkpoint of vidla does")
        return super().find_class(module, name)


class SafeReader(FileSystemReader):
    """A FileSystemReader that raises pickle.UnpicklingError for a description with other types, or of other files."""

    def read_metadata(self, *args: Any, **kwargs: Any) -> Metadata:
        data = Path(self._get_metadata_path(kwargs.get("rank"))).read_bytes()
        metadata = _Unpickler(io.BytesIO(data)).load()
        if not isinstance(metadata, Metadata) or not isinstance(metadata.storage_data, dict):
            raise pickle.UnpicklingError("its description describes no checkpoint")
        for info in metadata.storage_data.values():
            if Path(info.relative_path).name != info.relative_path:
                raise pickle.UnpicklingError(f"it refers to another file: {info.relative_path!r}")
        metadata.storage_meta = metadata.storage_meta or StorageMeta()
        metadata.storage_meta.load_id = self.load_id
        return metadata


class SafePlanner(DefaultLoadPlanner):
    """A DefaultLoadPlanner for plain values that are numbers, texts and tensors."""

    def load_bytes(self, read_item: ReadItem, value: io.BytesIO) -> None:
        plain = io.BytesIO()
        torch.save(load_plain(value), plain)  # the planner itself opens any pickle
        plain.seek(0)
        super().load_bytes(read_item, plain)


def load_plain(file: io.BytesIO | Path) -> Any:
    """What torch.save has written, if it is of numbers, texts and tensors. Raises pickle.UnpicklingError."""
    try:
        return torch.load(file, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise pickle.UnpicklingError("one holds more than numbers, texts and tensors") from None
