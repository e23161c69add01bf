"""Judge a model's answer: its text without wrappings, with a status."""

from __future__ import annotations

import json
import re
import unicodedata
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import jsonschema

from curation.engines.interface import Completion
from curation.prompts import text_field
from curation.texts.limits import MAX_CHARS, split_sentences

Status = Literal["ok", "extracted", "repaired", "truncated", "refused", "unrecognised", "unparseable", "empty"]


@dataclass(frozen=True)
class Answer:
    """A judged answer. `text` is None if the status is refused, unrecognised, unparseable or empty."""

    text: str | None
    status: Status


def read_answer(completion: Completion, output_schema: dict[str, Any] | None, source: str = "") -> Answer:
    """The text of an answer to a prompt that asks for free text or for JSON by `output_schema`.

    ok: unchanged but for white space. repaired: wrappings were removed (a preamble, quotes, a code fence). truncated:
    cut off by max_tokens, and shortened to its last complete sentence if there is one. refused: the model speaks of
    itself instead, in words that `source` does not contain. unparseable: it does not fit the schema. empty: no words.

    >>> read_answer(Completion("1", 'Sure! Here is the summary: "A bee dances."'), None)
    Answer(text='A bee dances.', status='repaired')
    >>> read_answer(Completion("1", "As an AI, I see no images."), None)
    Answer(text=None, status='refused')
    """
    if completion.verdict == "unrecognised":
        return Answer(None, "unrecognised")
    raw = completion.text[:MAX_CHARS]
    content, repaired, cut = " ".join(raw.split()), False, completion.finish_reason == "length"
    if output_schema is not None and content:
        found, repaired = _from_json(raw, output_schema)
        if found is None and cut:
            found = _from_cut_json(raw, output_schema)
        if found is None:
            return Answer(None, "refused" if _refuses(_unwrapped(content), source) else "unparseable")
        content = found
    text = _unwrapped(content)
    if not any(c.isalnum() for c in text):
        return Answer(None, "empty")
    if _refuses(text, source):
        return Answer(None, "refused")
    if cut:
        complete = split_sentences(text)[:-1]
        return Answer(" ".join(complete) or text, "truncated")
    if completion.verdict == "extracted":
        return Answer(content, "extracted")
    return Answer(text, "repaired" if repaired or text != content else "ok")


# --- structured answers ---------------------------------------------------------------------------------------------


def _from_json(raw: str, schema: dict[str, Any]) -> tuple[str | None, bool]:
    """The text in a JSON answer, None if it does not fit the schema; and whether anything surrounded the JSON."""
    value, repaired = _parsed(raw.strip()), False
    if value is None:
        value, repaired = _parsed(raw[raw.find("{") : raw.rfind("}") + 1]), True
    name = text_field(schema)
    if value is None or name is None or not _validator(json.dumps(schema)).is_valid(value):
        return None, repaired
    return " ".join(value[name].split()), repaired


@lru_cache(maxsize=64)
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(schema))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _from_cut_json(raw: str, schema: dict[str, Any]) -> str | None:
    """The text in a JSON answer that is cut off inside or after the text; None if before."""
    found = re.search(rf'"{re.escape(text_field(schema) or "")}"\s*:\s*("(?:[^"\\]|\\u[0-9a-fA-F]{{4}}|\\[^u])*)', raw)
    beginning = _parsed(found[1].replace("\n", " ") + '"') if found else None
    return " ".join(beginning.split()) if beginning else None


# --- free text ------------------------------------------------------------------------------------------------------

_PREAMBLE = re.compile(
    r"(?:(?:sure|certainly|of course|okay|ok)\b[^:.]{0,80}[:.!]\s+)?"
    r"(?:(?:here(?:'s| is| are)\b[^:]{0,80}"
    r"|(?:the |a |one |one-sentence )*(?:summary|caption|sentence|description|answer)):\s*)?",
    re.IGNORECASE,
)
_OPENING_TAGS, _CLOSING_TAG = re.compile(r"(?:<\w+>)*"), re.compile(r"</\w+>")
_LIST_MARK = re.compile(r"^(?:[-*•]|\d{1,2}[.)])\s+")
_QUOTES = {'"': '"', "'": "'", "“": "”", "‘": "’", "«": "»", "„": "“", "「": "」", "`": "`"}
_REFUSAL = re.compile(
    r"(?:(?:i['’]m|i am) (?:sorry|afraid)\b,? ?(?:but )?)?"
    r"(?:i (?:can['’]?t|can ?not|am unable to|am not able to|won['’]t)|i['’]m (?:unable|not able) to)"
    r" (?:assist|help|provide|fulfill?|comply|summari[sz]e|describe|see|view|answer|generate|create|process|access)\b"
    r"|as an ai\b|as a (?:large )?language model\b|(?:i['’]m|i am) an ai\b|(?:i['’]m|i am) sorry, (?:but )?as an\b",
    re.IGNORECASE,
)


def _refuses(text: str, source: str) -> bool:
    """Whether the model speaks of itself, in words that `source` does not contain."""
    refusal = _REFUSAL.match(text)
    return refusal is not None and refusal[0].lower() not in source.lower()


def _unwrapped(text: str) -> str:
    """`text` without a preamble ("Here is the summary:"), the quotes around it, list marks and invisible characters."""
    visible = text
    if not text.isprintable():
        visible = "".join(c for c in text if c in "\u200c\u200d" or unicodedata.category(c)[0] != "C")
    bare = _without_tags(visible.strip())
    preamble = _PREAMBLE.match(bare)
    bare = _LIST_MARK.sub("", bare[preamble.end() if preamble else 0 :].strip())
    closing = _QUOTES.get(bare[:1])
    if closing and len(bare) > 2 and bare.endswith(closing) and closing not in bare[1:-1]:
        bare = bare[1:-1]
    return bare.strip()


def _without_tags(text: str) -> str:
    """`text` without the tags around it."""
    opening = _OPENING_TAGS.match(text)
    start, end = opening.end() if opening else 0, len(text)
    while (tag := text.rfind("</", start, end)) >= 0 and _CLOSING_TAG.fullmatch(text, tag, end):
        end = tag
    return text[start:end]
