"""Judge a model's answer: its text without wrappings, with a status; and find a summary's additions to its source."""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal

import jsonschema

from curation.engines.interface import Completion
from curation.prompts import text_field
from curation.texts.limits import MAX_CHARS, spaced, split_sentences

Status = Literal["ok", "repaired", "truncated", "refused", "unparseable", "empty"]


@dataclass(frozen=True)
class Answer:
    """A judged answer. `text` is None if the status is refused, unparseable or empty."""

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


# --- additions ------------------------------------------------------------------------------------------------------

_WORD = re.compile(r"[^\W_]+(?:['’][^\W_]+)*")
_NUMBERS = _WORD.findall("two three four five six seven eight nine ten eleven twelve")  # "one" is not only a number
_DIGITS = {word: str(number) for number, word in enumerate(_NUMBERS, start=2)}
_FUNCTION_WORDS = frozenset(
    _WORD.findall(
        """a about after again all also an and another any are as at back be because been before being between both but
        by can could did do does down during each few for from further get gets go goes had has have he her here hers
        him his how i if in into is it its just like may me might more most much must my no nor not now of off on once
        one only or other our out over own same she should so some such than that the their them then there these they
        this those through to too under until up very was we were what when where which while who whom whose why will
        with would you your"""
    )
)


def additions(summary: str, source: str, language: str | None = None) -> tuple[float, list[str]]:
    """The additions of `summary` to `source`: the share of new content words, and the new names and numbers.

    Words are compared by their beginnings, so that "walks" supports "walking"; scripts without spaces, by characters.
    This is a cheap guard against invention, not a proof of truth: it does not check relations.

    >>> additions("Anna walks 3 dogs", "Someone is walking two dogs.")
    (0.3333333333333333, ['3'])
    """
    known = {word.lower() for word in _WORD.findall(source)}
    related = _Forms(known)
    characters = set(source)
    numbers = {_DIGITS.get(word, word) for word in known}
    content, new, invented = 0, 0, []
    for match in _WORD.finditer(summary):
        word = match[0].lower()
        if not spaced(word):
            content, new = content + len(word), new + len(set(word) - characters)
        elif word in _DIGITS or any(c.isdigit() for c in word):
            invented += [match[0]] if _DIGITS.get(word, word) not in numbers else []
        elif word.replace("’", "'").partition("'")[0] not in _FUNCTION_WORDS:
            content += 1
            if word not in known and word not in related:
                new += 1
                # German writes every noun like a name.
                invented += [match[0]] if match.start() > 0 and match[0][0].isupper() and language != "de" else []
    return (new / content if content else 0.0), invented


class _Forms:
    """The forms of some words, known by their common beginning: of walk also walking, of city also cities.

    Two different words are forms of one if they have a beginning in common, but for the last letter of the shorter one
    and for three letters at least, and if their lengths differ by four letters at most.
    """

    def __init__(self, words: Collection[str]) -> None:
        self._shorter = {_stem(word, len(word)) for word in words}
        self._longer = {_stem(word, length) for word in words for length in _lengths(word)}

    def __contains__(self, word: str) -> bool:
        as_long = _stem(word, len(word)) in self._longer
        return as_long or any(_stem(word, length) in self._shorter for length in _lengths(word))


def _stem(word: str, length: int) -> tuple[int, str]:
    """What `word` has in common with forms of this length, the shorter of the two."""
    return length, word[: max(3, length - 1)]


def _lengths(word: str) -> range:
    """The lengths of its shorter forms."""
    return range(max(1, len(word) - 4), len(word) + 1)
