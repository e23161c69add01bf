"""Languages: their names, the tags that sites and file names state, and the identification of a text's language.

A *tag* is a BCP 47 tag such as "en" or "en-GB", as sites write it: in any case, at times with "_" for "-". A *code* is
an ISO 639-1 code, the first part of most tags.
"""

from __future__ import annotations

import functools
import re
import threading
from collections import defaultdict
from collections.abc import Sequence
from typing import Any

from curation.language_codes import BY_CODE, BY_NAME, ISO_639_1

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

SURE = 0.8  # from this probability on, a language is identified
BELIEVED = 1000.0  # how much likelier the stated language is than any other
_SAMPLE = 5000  # characters that tell the language

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

    >>> primary("en-GB"), primary("pt_BR"), primary("ger"), primary("English"), primary(None)
    ('en', 'pt', 'de', 'en', '')
    """
    return _normalised(tag or "").partition("-")[0]


def code_of(tag: str | None) -> str | None:
    """The ISO 639-1 code of a tag, None if it has none.

    >>> code_of("spa-419"), code_of("und"), code_of("xx")
    ('es', None, None)
    """
    code = primary(tag)
    return code if code in ISO_639_1 or code in LANGUAGES else None


def named_in(part: str) -> str | None:
    """The tag in a part of a file's name, which is a tag or the name of a language; None if it is neither.

    >>> named_in("en-GB"), named_in("ENG"), named_in("Français"), named_in("2_English"), named_in("part2")
    ('en-GB', 'en', 'fr', 'en', None)
    """
    name = _NUMBER.sub("", part, count=1)
    if known := BY_NAME.get(name.lower()):
        return known
    if not _TAG.fullmatch(part):
        return None
    language, *rest = re.split("[-_]", part, maxsplit=1)
    code = BY_CODE.get(language.lower())
    return "-".join([code, *rest]) if code else part


def matches(stated: str | None, wanted: str) -> bool:
    """Whether the tag `stated` (None if unstated) is `wanted`, or a variety of it; "all" matches every tag.

    >>> matches("en_GB", "en"), matches("en", "en-GB"), matches("eng", "en"), matches(None, "all")
    (True, False, True, True)
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


_TAG = re.compile(r"[A-Za-z]{2,3}(?:[-_][A-Za-z0-9]{2,8})*+")
_NUMBER = re.compile(r"^\d{1,3}[_ -]")  # of a file among many


def _normalised(tag: str) -> str:
    """In lower case, with "-", and with the ISO 639-1 code of its language."""
    language, hyphen, rest = tag.lower().replace("_", "-").partition("-")
    return (BY_CODE.get(language) or BY_NAME.get(language) or language) + hyphen + rest


# --- identification -------------------------------------------------------------------------------------------------


def identify(text: str, *stated: str | None) -> tuple[str | None, float | None]:
    """The ISO 639-1 code of the text's language, and how likely it is that one, from 0 to 1; None if nothing tells.

    The first `stated` tag is believed where the words could be in that language, so where they are few.

    >>> identify("Die Katze sitzt auf der warmen Mauer und schläft.", "en")[0]
    'de'
    >>> identify("OK", None, "pt-BR")[0], identify("OK")
    ('pt', (None, None))
    """
    said = next((code for code in map(code_of, stated) if code), None)
    if not any(c.isalpha() for c in text[:_SAMPLE]):
        return said, None
    likely = probabilities(text)
    if said in likely:
        likely[said] *= BELIEVED
    code = max(likely, key=likely.__getitem__)
    confidence = likely[code] / sum(likely.values())
    if confidence >= SURE and code in LANGUAGES:
        return code, confidence
    return said, None


def language_of(text: str, *stated: str | None) -> str | None:
    """The ISO 639-1 code of the text's language, as `identify` finds it.

    >>> language_of("OK", None, "pt-BR")
    'pt'
    """
    return identify(text, *stated)[0]


def probabilities(text: str) -> dict[str, float]:
    """How likely the text is in each language, by ISO 639-1 code, or by ISO 639-3 where there is none."""
    with _lock:
        identifier = _identifier()
    likely: defaultdict[str, float] = defaultdict(float)
    for code, share in identifier.rank(text[:_SAMPLE]):
        likely[BY_CODE.get(code, code)] += float(share)
    return dict(likely)


_lock = threading.Lock()  # many threads ask for the identifier at the same moment


@functools.cache
def _identifier() -> Any:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # slow to import, and not needed for tags

    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
