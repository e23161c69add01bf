"""vidla: curated video-language datasets, and a trainer for VidLA on them.

`vidla.open(location)` opens a dataset for reading (docs/python.md); the command is vidla/cli.py.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from curation.errors import (
    ConfigError,
    DatasetError,
    EngineError,
    InputError,
    PromptError,
    RunnerError,
    UsageError,
    VidlaError,
)

if TYPE_CHECKING:
    from vidla.reader import DatasetReader, FrameImage, QueryResult

    __version__: str

__all__ = [
    "ConfigError",
    "DatasetError",
    "DatasetReader",
    "EngineError",
    "FrameImage",
    "InputError",
    "PromptError",
    "QueryResult",
    "RunnerError",
    "UsageError",
    "VidlaError",
    "__version__",
    "open",
]


def open(location: str, pin: str | None = None) -> DatasetReader:
    """Open the dataset at a path, or a file://, s3:// or gs:// URI, for reading.

    The reader keeps to the version of the tables at this moment, or to the one that `vidla pin` has kept as `pin`.
    Raises DatasetError if there is no dataset, and UsageError if there is no such pin.
    """
    from vidla.reader import DatasetReader

    return DatasetReader(location, pin)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """Look up the version, and import the reader with Arrow and DuckDB, only when needed."""
        if name == "__version__":
            from curation import __version__

            return __version__
        if name in __all__:
            from vidla import reader

            return getattr(reader, name)
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
