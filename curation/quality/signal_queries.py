"""The queries that find the clips whose signals are out of date, and that measure their texts; docs/quality.md."""

from __future__ import annotations

from collections.abc import Iterator

from curation.dataset.database import literal
from curation.languages import UNSPACED_SCRIPTS
from curation.media.timelines import LIGHT, MOTION
from curation.texts.unrecognised import CAPTION_TEXT_SQL

VERSION = 1
"""Of the formulas. It is part of each row's digest: with another one, all signals are measured again."""
WAVE_S = 500_000
"""Seconds of video whose clips are measured at once and committed together."""
SERIES = (*LIGHT, *MOTION)
"""The series of `timelines` that are averaged over a clip."""
AREA = "picture_area"
OF_TEXTS = (
    "words_per_second",
    "subtitle_trigrams",
    "caption_trigrams",
    "language_confidence",
    "text_agreement",
    "subtitle_generic",
    "caption_generic",
    "subtitle_key",
    "caption_key",
)

GENERIC = (
    "video image picture photo photograph screen screenshot scene frame frames clip footage shot view camera "
    "background showing shows shown seen there this that these those with from into over something someone somebody "
    "thing things person people music applause laughter untitled unknown none null caption subtitle text "
    "the and are was were has have had for but not can you your its his her she they them their who what one some all "
    "very just here okay yes yeah well"
)
"""Words of three letters or more that tell nothing of a clip, in English."""

_WORDS = r"regexp_extract_all(lower({}), '[\p{L}\p{M}\p{N}]+')"
_LETTERS = r"length(regexp_replace({}, '[^\p{{L}}]+', '', 'g'))"
_UNSPACED = f"length(regexp_replace({{}}, '[^{UNSPACED_SCRIPTS}]+', '', 'g'))"


def _spaced(text: str) -> str:
    """Whether a text has spaces between its words, judged by the script of most of its letters."""
    unspaced, letters = _UNSPACED.format(text), _LETTERS.format(text)
    return f"(2 * {unspaced} <= {letters})"


def _words(text: str) -> str:
    """The words of a text in lower case: runs of letters, marks and digits; null where no spaces tell them apart."""
    return f"if({_spaced(text)}, {_WORDS.replace('{}', text, 1)}, null)"


def _key(text: str) -> str:
    words = _WORDS.replace("{}", text, 1)
    return f"if(len({words}) > 0, (md5_number_lower(array_to_string({words}, ' ')) >> 1)::bigint, null)"


def _trigrams(words: str) -> str:
    runs = f"list_transform(range(1, len({words}) - 1), lambda i: {words}[i:i + 2])"
    return f"if(len({words}) >= 3, len(list_distinct({runs}))::double / (len({words}) - 2), null)"


def _telling(words: str) -> str:
    return f"list_distinct(list_filter({words}, lambda word: length(word) >= 4))"


def _generic(words: str) -> str:
    known = f"string_split({literal(GENERIC)}, ' ')"
    telling = f"list_filter({words}, lambda word: length(word) >= 3 and not {known}.contains(word))"
    return f"if({words} is null, null, len({telling}) = 0)"


_AGREEMENT = """if(len(subtitle_telling) > 0 and len(caption_telling) > 0,
    len(list_intersect(subtitle_telling, caption_telling))::double
        / least(len(subtitle_telling), len(caption_telling)), null)"""

# What a row is measured from. Texts of equal rows are equal, and so is what their timelines were measured in.
_INPUTS = f"""
    select
        clips.clip_id, clips.video_id, clips.created_at, clips.start, clips."end", clips.subtitle_text as subtitle,
        {CAPTION_TEXT_SQL} as caption, clips.subtitle_original as said, videos.language_confidence,
        videos.media_digest, timelines.recipe as timeline, timelines.video_id is not null as has_timeline
    from clips left join videos using (video_id)
        left join (select video_id, recipe from timelines) as timelines using (video_id)"""
_PARTS = ("start", '"end"', "subtitle", "caption", "said", "language_confidence", "media_digest")
_TEXT = ", ".join(f"coalesce({part}::varchar, chr(30))" for part in _PARTS)
_DIGEST = f"""left(sha256(concat_ws(
    chr(31), 'signals {VERSION}', {_TEXT}, if(has_timeline, coalesce(timeline, 1)::varchar, chr(30)))), 32)"""


def steps() -> Iterator[str]:
    """The statements that make the tables of a measurement, in order. They are spilled to disk where memory is short.

    `stale` has the videos to measure, with the `wave` that they are in; `measured` their clips, with the signals of
    their texts; `series` their timelines.
    """
    yield f"create temp table current as select clip_id, video_id, created_at, {_DIGEST} as digest from ({_INPUTS})"
    yield f"""
        create temp table stale as
        select
            video_id, has_rows,
            floor(sum(coalesce(duration, 0)) over (order by video_id rows unbounded preceding) / {WAVE_S})::bigint
                as wave
        from (
            select video_id from current anti join signals on signals.clip_id = current.clip_id
                and signals.digest = current.digest and signals.created_at >= current.created_at
            union
            select video_id from signals anti join current using (clip_id)
        ) left join (select video_id, duration from videos) using (video_id)
            left join (select distinct video_id, true as has_rows from signals) using (video_id)"""
    yield f"""
        create temp table measured as
        select wave, clip_id, video_id, start, "end", digest,
            if(len(said_words) > 0, len(said_words) / nullif("end" - start, 0), null) as words_per_second,
            {_trigrams("said_words")} as subtitle_trigrams, {_trigrams("caption_words")} as caption_trigrams,
            language_confidence, {_AGREEMENT} as text_agreement,
            {_generic("subtitle_words")} as subtitle_generic, {_generic("caption_words")} as caption_generic,
            {_key("subtitle")} as subtitle_key, {_key("caption")} as caption_key
        from (
            select *, {_telling("subtitle_words")} as subtitle_telling, {_telling("caption_words")} as caption_telling
            from (
                select inputs.*, wave, current.digest, {_words("said")} as said_words,
                    {_words("subtitle")} as subtitle_words, {_words("caption")} as caption_words
                from ({_INPUTS}) as inputs join stale using (video_id) join current using (clip_id)
            )
        ) order by wave, video_id, start, "end", clip_id"""
    boxes = 'list_transform(picture_boxes, lambda box: (box."right" - box."left") * (box.bottom - box.top))'
    yield f"""
        create temp table series as select wave, video_id, {", ".join(SERIES)}, {boxes} as {AREA}
        from timelines join stale using (video_id) order by wave"""
