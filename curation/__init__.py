"""The domain of vidla: plain functions on records. Nothing here knows Beam."""

import os
from importlib.metadata import PackageNotFoundError, version

# Arrow reads this when it is first imported. Its own allocator keeps what each of dozens of threads has freed.
os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")

try:
    __version__ = version("vidla")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"
