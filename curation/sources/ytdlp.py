"""The way to yt-dlp: calls of ytdlp_child.py in a guarded child, whose death is a failure like any other."""

from __future__ import annotations

import errno
from typing import Any

from curation import guard
from curation.rejects import Kind, Rejected
from curation.settings import DownloadSettings
from curation.uris import redact

MEMORY_BYTES = 4 * 2**30  # address space of the child, which may have decoded video before
ANSWER_BYTES = 64 * 2**20
_GRACE_S = 1.0  # for the child to say itself that its time is up
TRANSIENT = frozenset({Kind.RATE_LIMITED, Kind.SERVER_ERROR, Kind.CONNECTION, Kind.TIMEOUT})
"""The kinds of failure that may have passed in a moment."""


def pause_s(settings: DownloadSettings, tries: int, retry_after: float | None) -> float:
    """Seconds to wait after so many `tries`: twice as long each time, and no less than the server asked for."""
    return max(settings.retry_wait_s * 2.0 ** (tries - 1), retry_after or 0.0)


def wait(seconds: float) -> None:
    """Sleep, but not on when guard.stop_all ends everything: raises guard.Stopped then."""
    guard.run(["sleep", f"{seconds:.3f}"], guard.Limits(seconds + 60.0, MEMORY_BYTES))


class FetchRejected(Rejected):
    """A Rejected that knows how many seconds the server asked us to wait."""

    def __init__(self, kind: Kind, message: str, retry_after: float | None = None) -> None:
        super().__init__(kind, message)
        self.retry_after = retry_after


def call(function: str, settings: DownloadSettings, seconds: float, **argument: Any) -> dict[str, Any]:
    """`function` of ytdlp_child.py on `settings` and `argument` (JSON values), for so many `seconds` at most.

    Raises FetchRejected, OSError where the disk is full, and guard.Stopped.
    """
    argument |= {"settings": settings.model_dump(mode="json"), "seconds": seconds}
    limits = guard.Limits(max(seconds, 0.0) + _GRACE_S, MEMORY_BYTES, ANSWER_BYTES)
    try:
        answer = guard.call(f"curation.sources.ytdlp_child:{function}", argument, limits)
    except guard.TimedOut:
        raise FetchRejected(Kind.TIMEOUT, f"not finished after {settings.timeout_s:g} s (download.timeout_s)") from None
    except guard.OutOfMemory:
        raise FetchRejected(Kind.OUT_OF_MEMORY, f"yt-dlp wanted more than {MEMORY_BYTES} bytes of memory") from None
    except (guard.Crashed, guard.Overflowed) as error:
        raise FetchRejected(Kind.CRASHED, redact(str(error))) from None
    if failed := answer.get("failed"):
        if failed["kind"] is None:
            raise OSError(errno.ENOSPC, failed["message"])
        raise FetchRejected(Kind(failed["kind"]), failed["message"], failed["retry_after"])
    return answer
