"""Languages: their names, the tags that sites and file names state, and the identification of a text's language.

A *tag* is a BCP 47 tag such as "en" or "en-GB", as sites write it: in any case, at times with "_" for "-". A *code* is
an ISO 639-1 code, the first part of most tags.
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Sequence
from typing import Any

_NAMES = """
    af Afrikaans, am Amharic, an Aragonese, ar Arabic, as Assamese, az Azerbaijani, ba Bashkir, be Belarusian,
    bg Bulgarian, bn Bengali, br Breton, bs Bosnian, ca Catalan, cs Czech, cy Welsh, da Danish, de German, dz Dzongkha,
    el Greek, en English, eo Esperanto, es Spanish, et Estonian, eu Basque, fa Persian, fi Finnish, fo Faroese,
    fr French, fy West Frisian, ga Irish, gd Scottish Gaelic, gl Galician, gu Gujarati, ha Hausa, he Hebrew, hi Hindi,
    hr Croatian, ht Haitian Creole, hu Hungarian, hy Armenian, id Indonesian, ig Igbo, is Icelandic, it Italian,
    ja Japanese, jv Javanese, ka Georgian, kk Kazakh, km Khmer, kn Kannada, ko Korean, ku Kurdish, ky Kyrgyz, la Latin,
    lb Luxembourgish, lg Ganda, ln Lingala, lo Lao, lt Lithuanian, lv Latvian, mg Malagasy, mk Macedonian,
    ml Malayalam, mn Mongolian, mr Marathi, ms Malay, mt Maltese, my Burmese, ne Nepali, nl Dutch,
    nn Norwegian Nynorsk, no Norwegian, oc Occitan, om Oromo, or Odia, pa Punjabi, pl Polish, ps Pashto, pt Portuguese,
    qu Quechua, ro Romanian, ru Russian, rw Kinyarwanda, sa Sanskrit, se Northern Sami, si Sinhala, sk Slovak,
    sl Slovenian, sn Shona, so Somali, sq Albanian, sr Serbian, st Southern Sotho, sv Swedish, sw Swahili, ta Tamil,
    te Telugu, tg Tajik, th Thai, tk Turkmen, tl Tagalog, tr Turkish, tt Tatar, ug Uyghur, uk Ukrainian, ur Urdu,
    uz Uzbek, vi Vietnamese, wa Walloon, xh Xhosa, yo Yoruba, zh Chinese, zu Zulu"""

LANGUAGES = {code: name for code, _, name in (entry.strip().partition(" ") for entry in _NAMES.split(","))}
"""English names by code, of the languages that can be identified; texts can be requested in these."""

UNKNOWN = "und"
"""The tag for an unstated language."""

SURE = 0.9  # from this probability on, the identified language overrides the stated one

# For a regular expression's brackets: Thai, Lao, Burmese, Khmer, Japanese and Chinese write no spaces between words.
UNSPACED_SCRIPTS = (
    "\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
)
"""The characters of these scripts, as ranges."""
UNSPACED_SCRIPTS_AND_PUNCTUATION = f"{UNSPACED_SCRIPTS}\u3000-\u303f\uff00-\uffef"
"""These, with the punctuation of Chinese and Japanese and the full-width forms, which take no spaces either."""


# --- tags -----------------------------------------------------------------------------------------------------------


def primary(tag: str | None) -> str:
    """The language of a tag, without script, region and the like; "" for None.

    >>> primary("en-GB"), primary("pt_BR"), primary(None)
    ('en', 'pt', '')
    """
    return _normalised(tag or "").partition("-")[0]


def matches(stated: str | None, wanted: str) -> bool:
    """Whether the tag `stated` (None if unstated) is `wanted`, or a variety of it; "all" matches every tag.

    >>> matches("en_GB", "en"), matches("en", "en-GB"), matches("eng", "en"), matches(None, "all")
    (True, False, False, True)
    """
    stated, wanted = _normalised(stated or UNKNOWN), _normalised(wanted)
    return wanted == "all" or stated == wanted or stated.startswith(f"{wanted}-")


def rank(stated: str | None, wanted: Sequence[str]) -> int | None:
    """How well the tag `stated` suits the `wanted` ones, which are best first: 0 is best, None means not at all.

    An exact match ranks before a variety ("en-GB" for "en") or "all"; an unstated language ranks last.

    >>> [rank(tag, ("en", "de")) for tag in ("en", "en-GB", "de", "de-AT", None, "fr")]
    [0, 1, 2, 3, 4, None]
    """
    if stated is None:
        return 2 * len(wanted)
    for place, tag in enumerate(wanted):
        if matches(stated, tag):
            return 2 * place + (_normalised(stated) != _normalised(tag))
    return None


def _normalised(tag: str) -> str:
    return tag.lower().replace("_", "-")


# --- identification -------------------------------------------------------------------------------------------------


def language_of(text: str, *stated: str | None) -> str | None:
    """The code of the text's language. Where the text is too short to be sure: that of the first `stated` tag.

    >>> language_of("Die Katze sitzt auf der warmen Mauer und schläft.", "en")
    'de'
    >>> language_of("OK", None, "pt-BR")
    'pt'
    """
    sample = text[:5000]
    with _lock:
        identifier = _identifier()
    guess, probability = identifier.classify(sample) if any(c.isalpha() for c in sample) else (None, 0.0)
    if probability >= SURE:
        return str(guess)
    codes = map(primary, stated)
    return next((c for c in codes if len(c) == 2 and c.isascii() and c.isalpha()), guess)


def probabilities(text: str) -> dict[str, float]:
    """How likely the text is in each language, by code; they add up to 1."""
    with _lock:
        identifier = _identifier()
    return {str(code): float(share) for code, share in identifier.rank(text[:5000])}


_lock = threading.Lock()  # many threads ask for the identifier at the same moment


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # slow to import, and not needed for tags

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
