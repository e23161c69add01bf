"""Rejects: why an input yields no rows, and whether a retry can help."""

from __future__ import annotations

from enum import StrEnum

from curation import storable
from curation.records import Reject

MESSAGE_CHARS = 2000


class Stage(StrEnum):
    """The stages of a run, in their order."""

    DOWNLOAD = "download"
    SEGMENT = "segment"
    CAPTION = "caption"
    SUMMARIZE = "summarize"


def stage_order(stage: str) -> int:
    """The place of a stage among them; names of none come last.

    >>> sorted(["summarize", "other", "download"], key=stage_order)
    ['download', 'summarize', 'other']
    """
    stages = list(Stage)
    return stages.index(Stage(stage)) if stage in stages else len(stages)


class Kind(StrEnum):
    """The kinds of reject. A retry can help those in `RETRYABLE`."""

    # the request cannot be fulfilled
    INVALID_REQUEST = "invalid_request"
    REFUSED = "refused"  # private address, file: URL in a list, unsupported scheme
    FORGOTTEN = "forgotten"
    OPTED_OUT = "opted_out"
    ID_TAKEN = "id_taken"  # another URL has its id
    DUPLICATE = "duplicate"  # another request is for the same
    GATED = "gated"  # its page does not meet download.only_where
    # the source did not deliver
    NOT_FOUND = "not_found"
    PRIVATE = "private"
    LOGIN_REQUIRED = "login_required"
    GEO_BLOCKED = "geo_blocked"
    BOT_CHECK = "bot_check"
    RATE_LIMITED = "rate_limited"
    SERVER_ERROR = "server_error"
    CONNECTION = "connection"
    TIMEOUT = "timeout"
    NO_VIDEO = "no_video"
    TOO_LARGE = "too_large"
    TOO_LONG = "too_long"
    TOO_SHORT = "too_short"
    LIVE = "live"
    UNSUPPORTED = "unsupported"
    # the media is unusable
    SOURCE_GONE = "source_gone"  # it existed when the video was requested, or downloaded
    UNREADABLE = "unreadable"
    TRUNCATED = "truncated"
    CORRUPT = "corrupt"
    CRASHED = "crashed"  # the child process that decoded it died
    UNWRITABLE = "unwritable"  # a row of it cannot be written to its table
    OUT_OF_MEMORY = "out_of_memory"
    # the text could not be made
    ENGINE = "engine"
    # a fault of vidla
    INTERNAL = "internal"


RETRYABLE = frozenset(
    {
        Kind.BOT_CHECK,
        Kind.RATE_LIMITED,
        Kind.SERVER_ERROR,
        Kind.CONNECTION,
        Kind.TIMEOUT,
        Kind.LIVE,
        Kind.SOURCE_GONE,  # after the file is put back; a download is fetched again
        Kind.LOGIN_REQUIRED,  # with cookies
        Kind.CRASHED,
        Kind.OUT_OF_MEMORY,
        Kind.ENGINE,
        Kind.INTERNAL,
    }
)


class Rejected(Exception):
    """An input that a step cannot turn into rows; becomes a row of `rejects`.

    `message` is one line that says what was found and, if possible, what to do. It took `tries` to find out.
    """

    def __init__(self, kind: Kind, message: str, tries: int = 1) -> None:
        super().__init__(kind, message)
        self.kind = kind
        self.tries = tries
        self.message = " ".join(storable.text(message, MESSAGE_CHARS).split())

    @property
    def retryable(self) -> bool:
        return self.kind in RETRYABLE

    def row(self, stage: Stage, key: str, uri: str, video_id: str | None = None, attempts: int = 0) -> Reject:
        """The row of `rejects` for `key` at `stage`, after these tries and `attempts` earlier ones."""
        return Reject(
            key=key,
            video_id=video_id,
            uri=uri,
            stage=stage,
            kind=self.kind.value,
            message=self.message,
            retryable=self.retryable,
            attempts=attempts + self.tries,
        )

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.message}"
