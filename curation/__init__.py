"""The domain of vidla: plain functions on records. Nothing here knows Beam."""

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    __version__: str

# Arrow and delta-rs read these when they are first imported. By default, their allocators keep the memory that each of
# dozens of threads has freed.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
os.environ.setdefault("_RJEM_MALLOC_CONF", "narenas:1,tcache:false,dirty_decay_ms:0,muzzy_decay_ms:0")

if not TYPE_CHECKING:

    def __getattr__(name: str) -> str:
        """`__version__`, looked up on first use: searching the installed packages is slow."""
        if name != "__version__":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        from importlib.metadata import PackageNotFoundError, version

        global __version__
        try:
            __version__ = version("vidla")
        except PackageNotFoundError:  # run from a source tree that is not installed
            __version__ = "0+unknown"
        return __version__
