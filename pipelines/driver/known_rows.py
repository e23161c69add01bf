"""The columns of rows that the driver keeps, and which rejects a retry includes."""

from __future__ import annotations

from dataclasses import dataclass

SourceRange = tuple[str, float | None, float | None]
"""The digest of a source, and the requested range."""


@dataclass(frozen=True, slots=True)
class Downloaded:
    """The columns of `downloads` that the driver keeps."""

    request_key: str
    video_id: str
    uri: str
    digest: str
    source_uri: str
    source_bytes: int
    recipe: int | None = None
    source_digest: str = ""
    start: float | None = None
    end: float | None = None
    material: str | None = None
    words: str | None = None

    @property
    def source(self) -> SourceRange:
        return self.source_digest, self.start, self.end


@dataclass(frozen=True, slots=True)
class Rejection:
    """The columns of `rejects` that the driver keeps."""

    stage: str
    key: str
    video_id: str | None
    kind: str
    digest: str
    attempts: int
    retryable: bool


@dataclass(frozen=True)
class Retry:
    """What is done again: rejects of a `kind`, if it is given; else those that a retry can help, or all with `force`.

    With `subtitles`, no rejects, but the downloads that lack some. In any case only those with one of `keys`, which are
    of requests and videos, if any are given.
    """

    kind: str | None = None
    force: bool = False
    keys: frozenset[str] | None = None
    subtitles: bool = False

    def includes(self, rejection: Rejection) -> bool:
        if self.subtitles:
            return False
        if self.keys is not None and self.keys.isdisjoint((rejection.key, rejection.video_id)):
            return False
        return rejection.kind == self.kind if self.kind else self.force or rejection.retryable


def is_retried(rejection: Rejection | None, retry: Retry | None) -> bool:
    return rejection is not None and retry is not None and retry.includes(rejection)
