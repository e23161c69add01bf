"""Whether a subtitle file is what a recogniser wrote: by its form, whatever its name says."""

from __future__ import annotations

import itertools
import re
from collections.abc import Iterator

from curation.languages import UNSPACED_SCRIPTS

_CUES = 500  # of the file's beginning
_CUE_CHARACTERS = 2000
_FEW_CUES = 5  # from which no form can be told
_FEW_WORDS = 20  # cues of one word
_SHARE = 0.3  # of the cues; in a scrolling file with word times, every second one has them
_ONE_WORD = 0.9
_TIMES = re.compile(r"^[^\n]{0,40}\d\s{0,8}-{1,2}>\s{0,8}\d[^\n]{0,200}$", re.MULTILINE)
_INNER_TIME = re.compile(r"<\d{1,2}:[\d:.]{4,12}>")
_MARKUP = re.compile(r"<[^<>\n]{0,200}>")
_UNSPACED = re.compile(f"[{UNSPACED_SCRIPTS}]")


def is_recognised(text: str) -> bool:
    """Whether a file in WebVTT or SubRip has times for its words, scrolls line by line, or has a cue for every word.

    >>> cue = "00:{0}.000 --> 00:{1}.000\\n{2}\\n\\n"
    >>> lines = ["so this", "is how", "it goes", "on and", "on", "for ever"]
    >>> is_recognised("".join(cue.format(at + 10, at + 11, f"{lines[at - 1]}\\n{lines[at]}") for at in range(1, 6)))
    True
    >>> is_recognised("".join(cue.format(at + 10, at + 11, lines[at]) for at in range(6)))
    False
    """
    cues = list(_cues(text))
    if len(cues) < _FEW_CUES:
        return False
    plain = [[line for raw in cue if (line := " ".join(_MARKUP.sub("", raw).split()))] for cue in cues]
    timed = sum(any(_INNER_TIME.search(line) for line in cue) for cue in cues)
    repeated = sum(
        bool(before and after and len(after) > 1 and before[-1] == after[0])
        for before, after in itertools.pairwise(plain)
    )
    words = [" ".join(lines) for lines in plain if lines]
    single = sum(" " not in word and not _UNSPACED.search(word) for word in words)
    return (
        timed >= _SHARE * len(cues)
        or repeated >= _SHARE * len(cues)
        or (len(words) >= _FEW_WORDS and single >= _ONE_WORD * len(words))
    )


def _cues(text: str) -> Iterator[list[str]]:
    """The lines of the first cues, without the number of the next one."""
    times = list(itertools.islice(_TIMES.finditer(text), _CUES + 1))
    ends = [match.start() for match in times[1:]] + [len(text)]
    for match, end in zip(times, ends, strict=False):
        lines = text[match.end() : min(end, match.end() + _CUE_CHARACTERS)].splitlines()
        yield [line for line in lines if line.strip() and not line.strip().isdigit()]
