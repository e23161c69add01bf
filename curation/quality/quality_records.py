"""The records of the tables `signals`, `policies` and `quantiles`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated


@dataclass(frozen=True, kw_only=True)
class Signals:
    """What is measured of a clip and its texts, to choose by; docs/quality.md has the formulas. Null: not measured."""

    clip_id: Annotated[str, "the clip"]
    video_id: Annotated[str, "its video"]
    luminance: Annotated[float | None, "mean luma, 0 (black) to 1 (white)"] = None
    luminance_spread: Annotated[float | None, "mean standard deviation of luma over a picture"] = None
    black: Annotated[float | None, "mean share of black pixels"] = None
    blown: Annotated[float | None, "mean share of blown-out pixels"] = None
    sharpness: Annotated[float | None, "mean variance of the luma's Laplacian in a picture of 320 columns"] = None
    motion: Annotated[
        float | None, "mean difference in luma of pictures 1/8 s apart, less the displacement of the whole frame"
    ] = None
    displacement: Annotated[
        float | None, "mean displacement of the whole frame in 1/8 s, as a fraction of the picture's width"
    ] = None
    shake: Annotated[float | None, "mean change of that displacement; 0 for a steady pan"] = None
    still: Annotated[float | None, "share of the time in which nothing moves"] = None
    picture_area: Annotated[float | None, "mean share of the stored frame without its black bars"] = None
    words_per_second: Annotated[
        float | None, "words said in each second of the clip; null in scripts without spaces between words"
    ] = None
    subtitle_trigrams: Annotated[
        float | None, "share of distinct ones among the runs of three words that are said; null for fewer words"
    ] = None
    caption_trigrams: Annotated[float | None, "the same, of its caption"] = None
    language_confidence: Annotated[float | None, "as in videos"] = None
    text_agreement: Annotated[
        float | None, "share of the words of four letters or more of the text with fewer such that the other has too"
    ] = None
    subtitle_generic: Annotated[
        bool | None, "whether its subtitle says nothing but words such as video, image or people; null without one"
    ] = None
    caption_generic: Annotated[bool | None, "the same, of its caption"] = None
    subtitle_key: Annotated[
        int | None, "63 bits of the MD5 of its subtitle's words in lower case: equal for equal texts; null without one"
    ] = None
    caption_key: Annotated[int | None, "the same, of its caption"] = None


@dataclass(frozen=True, kw_only=True)
class PolicyVerdict:
    """What a policy decides of a clip. A clip without a row is not decided on. The digest is that of the policy."""

    policy: Annotated[str, "its name"]
    clip_id: Annotated[str, "the clip"]
    video_id: Annotated[str, "its video"]
    kept: Annotated[bool, "whether the clip is kept"]
    subtitle_kept: Annotated[bool, "whether it has a subtitle, and that is kept"]
    caption_kept: Annotated[bool, "whether it has a caption, and that is kept"]
    dropped_by: Annotated[tuple[str, ...], "the rules that dropped the clip, or one of its texts"]


@dataclass(frozen=True, kw_only=True)
class Quantile:
    """A percentile that rules of a policy compare with, frozen when the policy was first applied."""

    policy: Annotated[str, "the policy"]
    signal: Annotated[str, "the column"]
    percent: Annotated[float, "0 to 100"]
    scale: Annotated[str, "of these clips"]
    language: Annotated[str | None, "of these clips; null for those whose language is unknown"]
    value: Annotated[float | None, "the percentile of its values; null if they are fewer than 100"]
    clips: Annotated[int, "how many values that were"]
    model: Annotated[str | None, "the model that made the values; null for measurements without one"] = None
