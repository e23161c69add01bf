"""The signs that end sentences, in every script."""

from __future__ import annotations

import re

SPACED = ".!?…‼‽⁇⁈⁉"
"""Signs after which white space must follow, as they also stand inside numbers, names and addresses."""

OWN = "։؟۔܀܁܂߹࠷࠹࠽࠾।॥။።፧፨᙮᜵᜶។៕᠃᠉᥄᥅᪨᪩᪪᪫᭚᭛᭞᭟᰻᰼᱾᱿⸮⸼。꓿꘎꘏꛳꛷꡶꡷꣎꣏꤯꧉꩝꩞꩟꫰꫱꯫﹒﹖﹗！．？｡།༎"
"""Signs of scripts of their own, and full-width ones, which nothing need follow.

Those with Unicode's property Sentence_Terminal (https://www.unicode.org/reports/tr29/, PropList.txt), without two that
are commas, and with those of Khmer and Tibetan."""

BY_LANGUAGE = {"el": ";\u037e", "hy": ":", **dict.fromkeys(("hi", "mr", "ne", "bn", "as", "or", "pa", "sa"), "|")}
"""Further signs of a language: Greek asks with a semicolon, and some stand for what a keyboard lacks."""

FULL_STOPS = {
    **dict.fromkeys(("zh", "ja"), "。"),
    **dict.fromkeys(("hi", "mr", "ne", "bn", "as", "or", "pa", "sa"), "।"),
    **dict.fromkeys(("ur",), "۔"),
    **dict.fromkeys(("th", "lo"), ""),
    "hy": "։",
    "my": "။",
    "km": "។",
    "am": "።",
    "dz": "།",
}
"""By language, the full stop if it is not "."; Thai and Lao have none."""

_END = re.compile(rf"(?:[{SPACED}{OWN}]|፡፡)[\"'”’“»›」』）)\]】》〉]*+$")
_STOP = re.compile(r"[.](?=[\s\"'”’“»)\]]|$)|(?<=[^\W\d_])[.](?=[^\x00-\u02ff])|[։۔।॥။።។៕。．｡]|፡፡")


def ends_in_sign(text: str) -> bool:
    """Whether a text ends with a sign that ends sentences.

    >>> ends_in_sign("“Who?”"), ends_in_sign("你好。"), ends_in_sign("Well,")
    (True, True, False)
    """
    return bool(_END.search(text[-8:]))


def full_stops(text: str) -> int:
    """The number of full stops in a text; questions and exclamations do not count.

    >>> full_stops("He paid 3.50. Really? はい。")
    2
    """
    return len(_STOP.findall(text))
