"""Two texts with the words that differ marked."""

from __future__ import annotations

import difflib
import html
from collections.abc import Iterator, Sequence
from typing import Any

from markupsafe import Markup

_LONGEST = 400  # words of a text that are compared one by one


def marked(a: str | None, b: str | None) -> tuple[Markup, Markup]:
    """Two texts as HTML, with the words that only one of them has in <del> or <ins>.

    >>> marked("A red bus.", "A blue bus.")[1]
    Markup('A <ins>blue</ins> bus.')
    """
    if a is None or b is None or a == b:
        return Markup(html.escape(a or "–")), Markup(html.escape(b or "–"))
    before, after = a.split()[:_LONGEST], b.split()[:_LONGEST]
    steps = difflib.SequenceMatcher(None, before, after, autojunk=False).get_opcodes()
    return (
        Markup(" ".join(_pieces(before, ((i, j, tag != "equal") for tag, i, j, _, _ in steps), "del"))),
        Markup(" ".join(_pieces(after, ((i, j, tag != "equal") for tag, _, _, i, j in steps), "ins"))),
    )


def _pieces(words: Sequence[str], runs: Any, tag: str) -> Iterator[str]:
    for start, end, differs in runs:
        text = html.escape(" ".join(words[start:end]))
        if text:
            yield f"<{tag}>{text}</{tag}>" if differs else text
