"""The settings of policies: which clips and which of their texts are kept. Nothing is deleted by them."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field, field_validator, model_validator

from curation.config import Section
from curation.records import Scale

RuleName = Annotated[str, Field(pattern="^[a-z][a-z0-9_]{0,39}$")]
PolicyName = Annotated[str, Field(pattern="^[a-z0-9][a-z0-9_-]{0,39}$")]
VIDEO_CAP, CHANNEL_CAP, SCALE_SHARE = "video_cap", "channel_cap", "scale_share"
"""The names by which caps and shares say that they dropped a clip."""


class PolicySettings(Section):
    """Rules, each an SQL condition over columns of `clips`, `signals` and `videos`; an empty one is none.

    Their SQL is read where they are applied: DuckDB's threads do not outlive a fork.
    """

    drop: dict[RuleName, str] = Field({}, description="clips for which one of these conditions holds are dropped")
    drop_subtitle: dict[RuleName, str] = Field(
        {}, description="clips for which one of these holds are without their subtitle"
    )
    drop_caption: dict[RuleName, str] = Field(
        {}, description="clips for which one of these holds are without their caption"
    )
    max_per_video: dict[Scale, Annotated[int, Field(ge=1)]] = Field(
        {}, description="clips of a scale that are kept of one video at most"
    )
    max_channel_share: float | None = Field(
        None,
        description="share of the kept clips that may be of one channel; without effect on fewer channels than that "
        "leaves room for",
        gt=0,
        le=1,
    )
    scale_shares: dict[Scale, Annotated[float, Field(gt=0)]] = Field(
        {}, description="shares of the scales among the kept clips; of those in excess, some are dropped"
    )
    prefer: str | None = Field(
        None, description="SQL expression: caps and shares keep the clips with the highest values; unset: by hash"
    )

    @field_validator("drop", "drop_subtitle", "drop_caption")
    @classmethod
    def _without_empty_ones(cls, rules: dict[str, str]) -> dict[str, str]:
        if taken := {VIDEO_CAP, CHANNEL_CAP, SCALE_SHARE} & rules.keys():
            raise ValueError(f"'{min(taken)}' is the name of a cap; name the rule otherwise")
        return {name: condition for name, condition in rules.items() if condition.strip()}

    @model_validator(mode="after")
    def _unique(self) -> PolicySettings:
        names = [*self.drop_subtitle, *self.drop_caption, *self.drop]
        if twice := {name for name in names if names.count(name) > 1}:
            raise ValueError(f"two rules are called '{min(twice)}'")
        return self


DEFAULT = PolicySettings(
    drop={
        "still": "still > 0.95",
        "black": "black > 0.6",
        "blown": "blown > 0.6",
        "flat": "luminance_spread < 6.0 / 255",
        "no_text": "not keeps_subtitle and not keeps_caption",
    },
    drop_subtitle={
        "slow_speech": "words_per_second < 0.3",
        "fast_speech": "words_per_second > 5",
        "repetitive_speech": "subtitle_trigrams < 0.5",
    },
    drop_caption={"repeated_caption": "caption_repeats > greatest(20, 1e-5 * clip_count)"},
    max_per_video={"short": 12, "medium": 6, "long": 3},
    max_channel_share=0.005,
)
"""The light policy that everybody has under the name `default`."""
