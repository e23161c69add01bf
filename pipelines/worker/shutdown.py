"""How a run ends before its time: stopped by hand, or by an error that would meet everything else as well."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Self

from curation import guard
from curation.dataset.object_store import disk_is_full
from curation.engines.registry import close_engines
from curation.errors import ConfigError, DatasetError, EngineError, PromptError, RunnerError, VidlaError
from curation.uris import redact

stopping = threading.Event()  # set when this process is to end what it does for a run: no item is begun after it


class RunStopped(Exception):
    """The run is to end."""


class Interrupted(VidlaError):
    """The run was stopped by hand: how to go on."""


class Fatal:
    """The first error in this process that ends a run."""

    error: BaseException | None = None

    @classmethod
    @contextlib.contextmanager
    def kept(cls) -> Iterator[None]:
        try:
            yield
        except RunStopped:
            raise  # it follows from another one, or from Ctrl-C
        except Exception as error:
            cls.error = cls.error or error
            raise


# --- what ended it --------------------------------------------------------------------------------------------------

_KINDS: Mapping[str, type[VidlaError]] = {  # by what commit files call them
    "ConfigError": ConfigError,
    "EngineError": EngineError,
    "PromptError": PromptError,
    "RunnerError": RunnerError,
    "DatasetError": DatasetError,
}


@dataclass(frozen=True)
class EarlyEnd:
    """Why a stage ended early, as it travels from a worker to the driver, by way of the commit."""

    kind: str
    message: str

    @classmethod
    def from_error(cls, error: BaseException) -> Self:
        why = explained(error)
        kind = next((name for name, kind in _KINDS.items() if isinstance(why, kind)), "DatasetError")
        return cls(kind, redact(str(why)))

    @classmethod
    def from_record(cls, record: Mapping[str, str]) -> Self:
        return cls(record["kind"], record["message"])

    def error(self) -> VidlaError:
        """What the driver raises for it."""
        return _KINDS.get(self.kind, DatasetError)(self.message)


def explained(error: BaseException) -> VidlaError:
    """What ended a run, as an error of one line that says what to do."""
    if isinstance(error, VidlaError):
        return error
    if disk_is_full(error):
        return DatasetError(f"the disk is full; what is committed is whole: free some room, and go on ({error})")
    last = str(error).strip().splitlines() or [type(error).__name__]
    return DatasetError(f"the run failed: {last[-1]} (the log has more); what is committed is kept")


# --- in this process ------------------------------------------------------------------------------------------------


def reset_process() -> None:
    """Make this process ready for a run, whatever became of an earlier one."""
    Fatal.error = None
    stopping.clear()
    guard.resume()


def stop_process() -> None:
    """End what this process does for a run: nothing more is begun, children die, requests in flight are broken off."""
    stopping.set()
    guard.stop_all()
    close_engines()
