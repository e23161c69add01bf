"""Judge a model's answer: its text without wrappings, with a status."""

from __future__ import annotations

import json
import re
from dataclasses import dataclass, field
from functools import lru_cache
from typing import Any, Literal

import jsonschema

from curation.engines.interface import Completion
from curation.prompts import text_field
from curation.texts.limits import MAX_CHARS, split_sentences
from curation.texts.thoughts import without_thoughts
from curation.texts.wrappings import repeats_endlessly, text_in_json, unwrapped

Status = Literal["ok", "extracted", "repaired", "truncated", "refused", "unrecognised", "unparseable", "empty"]


@dataclass(frozen=True)
class Answer:
    """A judged answer. `text` is None if the status is refused, unrecognised, unparseable or empty."""

    text: str | None
    status: Status
    hint: str | None = field(default=None, repr=False)  # what helps, where the answer is of no use whatever is asked


ONLY_THOUGHTS = (
    "the model thinks and does not come to an answer: leave engine.thoughts at false, start the server with thoughts "
    "off, or raise max_tokens"
)
REPETITION = "the model repeats itself: a larger model, a higher temperature or a repetition penalty helps"


def read_answer(completion: Completion, output_schema: dict[str, Any] | None, source: str = "") -> Answer:
    """The text of an answer to a prompt that asks for free text or for JSON by `output_schema`.

    ok: unchanged but for white space. repaired: wrappings were removed (thoughts, a preamble, quotes, a code fence,
    JSON that was not asked for). truncated: cut off by max_tokens, and shortened to its last complete sentence if there
    is one. refused: the model speaks of itself instead, in words that `source` does not contain. unparseable: it does
    not fit the schema, is nothing but thoughts, repeats itself endlessly, or is JSON with no text or several. empty: no
    words. extracted, unrecognised: what the engine says of it.

    >>> read_answer(Completion("1", 'Sure! Here is the summary: "A bee dances."'), None)
    Answer(text='A bee dances.', status='repaired')
    >>> read_answer(Completion("1", "As an AI, I see no images."), None)
    Answer(text=None, status='refused')
    """
    if completion.verdict == "unrecognised":
        return Answer(None, "unrecognised")
    cut = completion.finish_reason == "length"
    answer = without_thoughts(completion.text)
    thinks = answer != completion.text
    if answer is None or (thinks and cut and not answer.strip()):
        return Answer(None, "unparseable", ONLY_THOUGHTS)
    raw = answer[:MAX_CHARS]
    content = _from_schema(raw, output_schema, cut) if output_schema is not None and raw.strip() else _Content(raw)
    if completion.verdict == "extracted" and content is not None:
        return Answer(" ".join(content.text.split()), "extracted")
    text = None if content is None else unwrapped(content.text)
    if text is not None and output_schema is None and text[:1] in ("{", "["):
        text = _from_unasked_json(text, cut)
    if text is None or content is None:
        return Answer(None, "refused" if _refuses(unwrapped(raw), source) else "unparseable")
    if not any(c.isalnum() for c in text) or text.casefold().rstrip(".") in _NOTHING:
        return Answer(None, "empty")
    if _refuses(text, source):
        return Answer(None, "refused")
    if repeats_endlessly(text):
        return Answer(None, "unparseable", REPETITION)
    if cut:
        complete = split_sentences(text)[:-1]
        return Answer(" ".join(complete) or text, "truncated")
    as_given = text == " ".join(content.text.split()) and not (thinks or content.repaired)
    return Answer(text, "ok" if as_given else "repaired")


@dataclass(frozen=True)
class _Content:
    """The part of an answer that holds its text."""

    text: str
    repaired: bool = False  # whether anything surrounded it


# --- structured answers ---------------------------------------------------------------------------------------------


def _from_schema(raw: str, schema: dict[str, Any], cut: bool) -> _Content | None:
    """The text in a JSON answer; None if it does not fit the schema."""
    name = text_field(schema)
    value, repaired = _parsed(raw.strip()), False
    if value is None:
        value, repaired = _parsed(raw[raw.find("{") : raw.rfind("}") + 1]), True
    if value is not None and name is not None and _validator(json.dumps(schema)).is_valid(value):
        return _Content(value[name], repaired)
    beginning = _from_cut_json(raw, re.escape(name or "")) if cut else None
    return None if beginning is None else _Content(beginning)


def _from_unasked_json(text: str, cut: bool) -> str | None:
    """The only text in an answer that is JSON; all of one that is not, and None if it has no text or several."""
    is_json, found = text_in_json(text)
    if is_json:
        return None if found is None else unwrapped(found)
    if text[0] != "{":
        return text
    return _from_cut_json(text, r"[^\"\\]*") if cut else None


@lru_cache(maxsize=64)
def _validator(schema: str) -> jsonschema.Draft202012Validator:
    return jsonschema.Draft202012Validator(json.loads(schema))


def _parsed(text: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return None


def _from_cut_json(raw: str, name: str) -> str | None:
    """The text in a JSON answer that is cut off inside or after the text; None if before. `name` is a pattern."""
    found = re.search(rf'"{name}"\s*:\s*("(?:[^"\\]|\\u[0-9a-fA-F]{{4}}|\\[^u])*)', raw)
    beginning = _parsed(found[1].replace("\n", " ") + '"') if found else None
    return " ".join(beginning.split()) if beginning else None


# --- free text ------------------------------------------------------------------------------------------------------

_NOTHING = ("n/a", "none", "null", "nil", "undefined")
_REFUSAL = re.compile(
    r"""(?:(?:(?:i['’]m\ |i\ am\ )?(?:sorry|afraid)|unfortunately|apologies|i\ apologi[sz]e)\b[,.]?\ ?(?:but\ )?)?
    (?:i\ (?:can['’]?t|can\ ?not|am\ unable\ to|am\ not\ able\ to|won['’]t)|i['’]m\ (?:unable|not\ able)\ to)\ (?:
        (?:assist|help(?!\ but\b)|provide|fulfill?|comply|summari[sz]e|describe|answer|generate|create|process|access)\b
        |(?:see|view|determine|identify|tell)\b[^.!?\n]{0,30}\b(?:images?|videos?|pictures?|photos?|content)\b)
    |(?:there\ (?:is|was)\ )?no\ (?:image|video|picture|photo)s?\ (?:(?:is|was|were|has\ been|have\ been)\ )?
        (?:provided|attached|given|shown)\b
    |(?:lo\ siento|lo\ lamento|desculpe|je\ suis\ désolée?|désolée?|es\ tut\ mir\ leid|mi\ dispiace)[,.!\ ]
    |(?:抱歉|对不起|很抱歉|申し訳)
    |as\ an\ ai\b|as\ a\ (?:large\ )?language\ model\b|(?:i['’]m|i\ am)\ an\ ai\b
    |(?:i['’]m|i\ am)\ sorry,\ (?:but\ )?as\ an\b""",
    re.IGNORECASE | re.VERBOSE,
)


def _refuses(text: str, source: str) -> bool:
    """Whether the model speaks of itself, in words that `source` does not contain."""
    refusal = _REFUSAL.match(text)
    return refusal is not None and refusal[0].lower() not in source.lower()
