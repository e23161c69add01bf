"""Captions that say nothing, since nothing was recognised in the frame: they are no texts.

Rows of older versions have "An unrecognised scene." for them, with status "ok".
"""

from __future__ import annotations

from curation.records import Caption

FORMERLY = "An unrecognised scene"
MAKER = "builtin/"
"""The beginning of the `caption_source` of clips whose captions the built-in engine made."""


def is_unrecognised(caption: Caption) -> bool:
    formerly = caption.engine == "builtin" and (caption.text or "").startswith(FORMERLY)
    return caption.status == "unrecognised" or formerly


def recognised_text(caption: Caption) -> str | None:
    """The text of a caption; null for one that says nothing."""
    return None if is_unrecognised(caption) else caption.text


_WITHOUT = rf"nullif(trim(regexp_replace(caption_text, '{FORMERLY}(: [^.]*)?[.] ?', '', 'g')), '')"
_IS_OURS = f"coalesce(caption_source like '{MAKER}%', false)"
CAPTION_TEXT_SQL = f"case when {_IS_OURS} then {_WITHOUT} else caption_text end"
"""The `caption_text` of rows of `clips`, as SQL, without captions that say nothing; null if there is no other."""
CAPTION_STATUS_SQL = f"""
    case when {_IS_OURS} and caption_text is not null and {_WITHOUT} is null then 'unrecognised'
        else caption_status end"""
"""The `caption_status` that goes with it."""
CLIPS_SQL = (
    f"(select * replace ({CAPTION_TEXT_SQL} as caption_text, {CAPTION_STATUS_SQL} as caption_status) from clips)"
)
"""The table `clips`, with these."""
