"""Hebrew in visual order, as old players needed it: each line is written from its end, except for numbers and Latin."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from curation.subtitles.cue_blocks import Block

_FIRST = re.compile(r"(?<![א-ת'\"׳״])[ךםןףץ](?=[א-ת])")  # letters that only end words, at the beginning of one
_LAST = re.compile(r"(?<=[א-ת])[ךםןףץ](?![א-ת'\"׳״])")
_FEWEST = 3  # such words; a name that is foreign may begin with one
_TAG = re.compile(r"<[^<>\n]{0,100}>")
_LEFT_TO_RIGHT = re.compile(r"[A-Za-z0-9]+(?:[ .,:/%'’-][A-Za-z0-9]+)*")
_MIRRORED = str.maketrans("()[]{}<>«»", ")(][}{><»«")


def in_logical_order(blocks: Sequence[Block]) -> list[Block]:
    """The cues as they are read, if they are in visual order; then without tags.

    >>> in_logical_order([Block(0, 2, ("?12 םכמש המ", "םימ ןיא", ".םדא ינב"))])[0].lines
    ('מה שמכם 12?', 'אין מים', 'בני אדם.')
    """
    text = "\n".join(line for block in blocks for line in block.lines)
    first = len(_FIRST.findall(text))
    if first < _FEWEST or first <= len(_LAST.findall(text)):
        return list(blocks)
    return [replace(block, lines=tuple(map(_reversed, block.lines))) for block in blocks]


def _reversed(line: str) -> str:
    line = _TAG.sub("", line)[::-1].translate(_MIRRORED)
    return _LEFT_TO_RIGHT.sub(lambda found: found[0][::-1], line)
