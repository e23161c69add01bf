"""Songs that go on over several cues, of which only the first has the opening note, and the last the closing one."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from curation.subtitles.cue_blocks import Block

NOTES = "♪♫♬♩🎵🎶"
_LONGEST = 4  # cues after the one that begins the song
_NOTE = re.compile(f"[{NOTES}]+")


def with_notes(blocks: Sequence[Block]) -> list[Block]:
    """The cues, with a note in front of each that goes on with a song.

    >>> song = [Block(0, 2, ("♪ We are the",)), Block(2, 4, ("champions,",)), Block(4, 6, ("my friends ♪",))]
    >>> [block.lines for block in with_notes(song)]
    [('♪ We are the',), ('♪', 'champions,'), ('♪', 'my friends ♪')]
    """
    noted = list(blocks)
    for number, block in enumerate(blocks):
        if _opens(block.lines):
            following = range(number + 1, min(number + 1 + _LONGEST, len(blocks)))
            last = next((i for i in following if _has_note(blocks[i])), number)
            if _closes(blocks[last].lines):
                for i in range(number + 1, last + 1):
                    noted[i] = replace(blocks[i], lines=(NOTES[0], *blocks[i].lines))
    return noted


def _has_note(block: Block) -> bool:
    return any(_NOTE.search(line) for line in block.lines)


def _opens(lines: Sequence[str]) -> bool:
    """Whether a cue begins with a note, and has no other."""
    text = " ".join(lines)
    return len(_NOTE.findall(text)) == 1 and text[0] in NOTES and text[-1] not in NOTES


def _closes(lines: Sequence[str]) -> bool:
    """Whether a cue ends with a note, and has no other."""
    text = " ".join(lines)
    return len(_NOTE.findall(text)) == 1 and text[-1] in NOTES and text[0] not in NOTES
