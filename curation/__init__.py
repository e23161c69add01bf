"""The domain of vidla: plain functions on records. Nothing here knows Beam."""

import os
from importlib.metadata import PackageNotFoundError, version

# Arrow and delta-rs read these when they are first imported. Their own allocators keep what each of dozens of threads
# has freed.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")
os.environ.setdefault("_RJEM_MALLOC_CONF", "narenas:1,tcache:false,dirty_decay_ms:0,muzzy_decay_ms:0")

try:
    __version__ = version("vidla")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"
