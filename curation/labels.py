"""What people say of clips and their texts: the records of the table `labels`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

VERDICTS = ("keep", "drop", "flag")
"""On a clip."""
RATINGS = ("right", "minor", "major")
"""Of a text: right, or with a minor or a major fault."""
TEXTS = ("subtitle", "caption")


@dataclass(frozen=True, kw_only=True)
class Label:
    """A person's verdict on a clip, or rating of one of its texts. Later ones of the same person supersede it."""

    label_id: Annotated[str, "time and a random number"]
    clip_id: Annotated[str, "the clip"]
    video_id: Annotated[str, "its video"]
    text: Annotated[str | None, "subtitle or caption, if one of its texts was rated; null for the clip"]
    text_digest: Annotated[str | None, "BLAKE2 digest of that text"]
    verdict: Annotated[str, "keep, drop or flag for a clip; right, minor or major for a text"]
    note: Annotated[str | None, "what the person wrote"]
    rater: Annotated[str, "who said it"]
    audit: Annotated[str | None, "the audit in which it was said, as the query of its page"]
    version: Annotated[str | None, "of an audit of two versions, the one whose text it was: a or b"]
    judged_at: Annotated[str, "when, ISO, UTC"]
