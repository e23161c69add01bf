"""How a run ends early: stopped by hand, or by an error that every other item would meet too."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from curation.errors import (
    ConfigError,
    DatasetError,
    EngineError,
    PromptError,
    RunnerError,
    VidlaError,
    disk_is_full,
)
from curation.storable import TEXT_CHARS
from curation.uris import redact


class RunStopped(Exception):
    """The run is ending; the reason is elsewhere: an earlier error, or Ctrl-C."""


# --- the reason -----------------------------------------------------------------------------------------------------

_KINDS: Mapping[str, type[VidlaError]] = {  # by name in commit files
    "ConfigError": ConfigError,
    "EngineError": EngineError,
    "PromptError": PromptError,
    "RunnerError": RunnerError,
    "DatasetError": DatasetError,
}


@dataclass(frozen=True)
class EarlyEnd:
    """Why a stage ended early, in the form in which its commit reports it to the driver."""

    kind: str
    message: str

    @classmethod
    def from_error(cls, error: BaseException) -> Self:
        why = explained(error)
        kind = next((name for name, kind in _KINDS.items() if isinstance(why, kind)), "DatasetError")
        return cls(kind, redact(str(why)[:TEXT_CHARS]))

    @classmethod
    def from_record(cls, record: Mapping[str, str]) -> Self:
        return cls(record["kind"], record["message"])

    def error(self) -> VidlaError:
        """The error that the driver raises for it."""
        return _KINDS.get(self.kind, DatasetError)(self.message)


def explained(error: BaseException) -> VidlaError:
    """The error that ended a run as a VidlaError, whose message is one line and says how to continue."""
    if isinstance(error, VidlaError):
        return error
    if disk_is_full(error):
        return DatasetError(f"the disk is full; all commits are kept: free some space and run it again ({error})")
    last = str(error).strip().splitlines() or [type(error).__name__]
    return DatasetError(f"the run failed: {last[-1]} (the log has more); all commits are kept")
