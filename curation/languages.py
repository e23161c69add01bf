"""The languages that a text can be asked for in, by their ISO 639-1 codes: those that can be identified as well."""

from __future__ import annotations

import functools
import threading
from typing import Any

from py3langid.langid import MODEL_FILE, LanguageIdentifier

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
"""English names by code."""


SURE = 0.9  # probability from which the identified language counts more than the stated one


def _matches(stated: str, wanted: str) -> bool:
    stated, wanted = (stated or "und").lower().replace("_", "-"), wanted.lower().replace("_", "-")
    return wanted == "all" or stated == wanted or stated.startswith(f"{wanted}-")


def language_of(text: str, *stated: str | None) -> str | None:
    """The ISO 639-1 code of the text's language; where the text is too short to be sure, the first one that is
    `stated`."""
    sample = text[:5000]
    with _lock:
        identifier = _identifier()
    guess, probability = identifier.classify(sample) if any(c.isalpha() for c in sample) else (None, 0.0)
    if probability >= SURE:
        return str(guess)
    primary = ((s or "").lower().replace("_", "-").split("-")[0] for s in stated)
    return next((p for p in primary if len(p) == 2 and p.isascii() and p.isalpha()), guess)


_lock = threading.Lock()  # many threads want it at the same moment


@functools.cache
def _identifier() -> Any:
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
