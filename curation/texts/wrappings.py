"""What models put around the one sentence that they were asked for, and how it comes off.

Every function takes time linear in the text.
"""

from __future__ import annotations

import contextlib
import json
import re
import unicodedata
from typing import Any

LAYERS = 6  # at most so many wrappings around one another

_LABEL = r"""(?:(?:the|a|an|one|final|short|brief|image|frame|video|clip|scene|english|one-sentence|single)[ -])*
    (?:sentence[ -])?
    (?:captions?|summary|summaries|sentence|descriptions?|answer|response|output|result
    |bildunterschrift|zusammenfassung|beschreibung|légende|résumé|resumen|descripción|riassunto|descrizione|resumo
    |descrição|samenvatting|beschrijving|резюме|описание|摘要|总结|描述|要約|概要|説明|요약|설명)"""
_PREAMBLE = re.compile(
    rf"""(?:(?:sure(?:\ thing)?|certainly|of\ course|okay|ok|absolutely)(?:,\ (?:here|i)\b[^:.!\n]{{0,80}})?[:.!]\s+|
    (?:sure|certainly|of\ course|okay|ok|absolutely),\s+(?=here\b))?
    (?:(?:here(?:['’]s|\ is|\ are)\ [^:\n]{{0,40}}?{_LABEL}\b[^:\n]{{0,60}}|[*_]{{0,3}}{_LABEL}[*_]{{0,3}}\s?)
    [:：][*_]{{0,3}}\s*)?""",
    re.IGNORECASE | re.VERBOSE,
)
_HEADING = re.compile(r"#{1,6}[ \t]+([^\n]*)")
_BOLD_TITLE = re.compile(rf"[*_]{{2,3}}{_LABEL}[:：]?[*_]{{2,3}}\s*\n", re.IGNORECASE | re.VERBOSE)
_LIST_MARK = re.compile(r"^(?:[-*•>]|\d{1,2}[.)])\s+")
_BOXED = re.compile(r"\\boxed\{(?:\\text\{)?([^{}]*)\}?\}")
_BOLD = re.compile(r"\*\*([^*\n]+)\*\*")
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "「": "」", "`": "`", "*": "*", "_": "_"}
_OPENING_TAGS, _CLOSING_TAG = re.compile(r"(?:<\w+>\s*)*"), re.compile(r"</\w+>\s*")
# Ends of turns and beginnings of others, by chat templates: ChatML, Llama, gpt-oss, Gemma, DeepSeek, Mistral.
_TURN = re.compile(
    r"<[|｜][^\s<>|｜]{1,40}[|｜]>|(?<![`\"'“‘])</?s>(?![`\"'”’])|<(?:eos|bos|pad|unk|end_of_utterance)>|<(?:end|start)_of_turn>|\[/?INST\]"
)
_ROLE = re.compile(r"(?:assistant|model)(?::\s|\s*\n)\s*", re.IGNORECASE)
_FENCE = re.compile(r"(?:```|~~~)(?:[\w+-]*[ \t]*\n)?")


def unwrapped(text: str) -> str:
    """`text` in one line, without wrappings: marks of turns, code fences, labels, headings, quotes, list marks,
    emphasis and invisible characters.

    >>> unwrapped("**Caption:** A red bus.<|im_end|>"), unwrapped("```text\\nA red bus.\\n```")
    ('A red bus.', 'A red bus.')
    """
    bare = without_turns(text.strip())
    for _ in range(LAYERS):
        before, bare = bare, _one_layer(bare)
        if bare == before:
            break
    visible = bare.replace("\n", " ")
    if not visible.isprintable():
        visible = "".join(c for c in visible if c in "\u200c\u200d\t" or unicodedata.category(c)[0] != "C")
    return " ".join(visible.split())


def without_turns(text: str) -> str:
    """The first turn in `text` that has words, without marks of turns and without its role."""
    if _TURN.search(text):
        turns = (turn.strip() for turn in _TURN.split(text))
        text = next((turn for turn in turns if turn and turn.lower() not in ("assistant", "model")), "")
    role = _ROLE.match(text)
    return text[role.end() :].strip() if role else text


def text_in_json(text: str) -> tuple[bool, str | None]:
    """Whether `text` is a JSON object or list, whatever surrounds it; and the only text in it, if there is just one."""
    bare = without_fence(text.strip())
    if bare[:1] not in ("{", "["):
        return False, None
    try:
        value = json.loads(bare)
    except (ValueError, RecursionError):
        return False, None
    texts = _texts(value)
    return True, texts[0] if len(texts) == 1 else None


def _texts(value: Any, depth: int = 3) -> list[str]:
    if isinstance(value, str):
        return [value]
    inner = list(value.values()) if isinstance(value, dict) else value if isinstance(value, list) else []
    return [text for part in inner for text in _texts(part, depth - 1)] if depth else []


def without_fence(text: str) -> str:
    """What a code fence around all of `text` holds; it may lack its end."""
    opening = _FENCE.match(text)
    return text[opening.end() :].rstrip().removesuffix(text[:3]).strip() if opening else text


def _one_layer(text: str) -> str:
    bare = _without_tags(without_fence(text))
    bare = _without_heading(bare)
    preamble = _PREAMBLE.match(bare)
    bare = _LIST_MARK.sub("", bare[preamble.end() if preamble else 0 :].strip())
    boxed = _BOXED.fullmatch(bare.rstrip(". "))
    bare = _BOLD.sub(r"\1", boxed[1] if boxed else bare)
    return _without_quotes(bare).strip()


def _without_quotes(text: str) -> str:
    if text[:2] == text[-2:] == "**" and len(text) > 4 and "**" not in text[2:-2]:
        return text[2:-2]
    closing = _QUOTES.get(text[:1])
    if not closing or len(text) < 3 or not text.endswith(closing):
        return text
    if closing == '"' and "\\" in text:
        with contextlib.suppress(ValueError):
            return str(json.loads(text))
    return text if closing in text[1:-1] else text[1:-1]


def _without_heading(text: str) -> str:
    """`text` without a heading before it; a text that is only a heading, without its mark."""
    title = _BOLD_TITLE.match(text)
    if title:
        return text[title.end() :].strip()
    heading = _HEADING.match(text)
    return (text[heading.end() :].strip() or heading[1].rstrip("# ")) if heading else text


def _without_tags(text: str) -> str:
    """`text` without the tags around it."""
    opening = _OPENING_TAGS.match(text)
    start, end = opening.end() if opening else 0, len(text)
    while (tag := text.rfind("</", start, end)) >= 0 and _CLOSING_TAG.fullmatch(text, tag, end):
        end = tag
    return text[start:end].strip()


# --- repetition -----------------------------------------------------------------------------------------------------

GRAM = 8  # characters
FEWEST_CHARS = 48  # of a text, or of its last part, that is looked at
REPEATS = 4


def repeats_endlessly(text: str) -> bool:
    """Whether `text`, or its last half or quarter, says the same over and over: it has few different runs of letters.

    A text in which a phrase is said four times has a quarter as many as others of its length.

    >>> repeats_endlessly("A red bus and " * 5), repeats_endlessly("A red bus, a red car, a red van and a red lorry.")
    (True, False)
    """
    folded = " ".join(text.lower().split())
    tails = (folded[len(folded) * skipped // 4 :] for skipped in (0, 2, 3))
    return any(len(tail) >= FEWEST_CHARS and _few_runs(tail) for tail in tails)


def _few_runs(text: str) -> bool:
    runs = len(text) - GRAM + 1
    return len({text[i : i + GRAM] for i in range(runs)}) * REPEATS <= runs + GRAM
