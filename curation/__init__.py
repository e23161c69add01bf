"""The domain of vidla: plain functions on records. Nothing here knows Beam."""

from importlib.metadata import PackageNotFoundError, version

try:
    __version__ = version("vidla")
except PackageNotFoundError:  # run from a source tree that is not installed
    __version__ = "0+unknown"
