"""The columns of rows that the driver keeps, and which rejects a retry includes."""

from __future__ import annotations

from dataclasses import dataclass

from curation.recipes import identity

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

    @property
    def source(self) -> SourceRange:
        return self.source_digest, self.start, self.end

    @property
    def identity(self) -> str:
        """Its digest and recipe, as an input of the single pass."""
        return identity(self.digest, self.recipe)


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
    """What is done again: work on rejects, and whatever `videos` need.

    Of the rejects, those of a `kind`, if it is given; else those that a retry can help, or all with `force`; and of
    these only those with one of `keys`, which are of requests and videos, if any are given.
    """

    kind: str | None = None
    force: bool = False
    keys: frozenset[str] | None = None
    videos: frozenset[str] = frozenset()

    def includes(self, rejection: Rejection) -> bool:
        if self.keys is not None and self.keys.isdisjoint((rejection.key, rejection.video_id)):
            return False
        return rejection.kind == self.kind if self.kind else self.force or rejection.retryable


def is_retried(rejection: Rejection | None, retry: Retry | None) -> bool:
    return rejection is not None and retry is not None and retry.includes(rejection)
