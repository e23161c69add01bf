"""Reading what strangers wrote in a guarded child, whose failures become rejects."""

from __future__ import annotations

from typing import Any

from curation import guard
from curation.rejects import Kind, Rejected


def read_guarded(function: str, argument: dict[str, Any], limits: guard.Limits, what: str) -> dict[str, Any]:
    """The answer of `function` ("module:name") in a guarded child. Raises Rejected.

    The subject of its message is `what`, in the plural.
    """
    try:
        return guard.call(function, argument, limits)
    except guard.TimedOut:
        raise Rejected(Kind.TIMEOUT, f"{what} could not be read within {limits.wall_s:.0f} s") from None
    except guard.OutOfMemory:
        raise Rejected(Kind.OUT_OF_MEMORY, f"{what} need more than {limits.memory_bytes} bytes of memory") from None
    except (guard.Crashed, guard.Overflowed) as error:
        raise Rejected(Kind.CRASHED, f"{what} cannot be read: {error}") from None
