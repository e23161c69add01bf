"""Abbreviations after which a full stop ends no sentence: titles, and in languages without pysbd's rules others too."""

from __future__ import annotations

import functools
import re

_ABBREVIATIONS = {
    "": "dr mr mrs ms prof st sr jr no nr vs ca art fig pp tel vol ed ch dept gen gov hon inc ltd rev sgt",
    "ar": "د أ م ص ج ق هـ",
    "cs": "např tzv ing mgr sv čl odst str tj mj",
    "el": "κ κα δρ αρ σελ στ λεωφ",
    "et": "lk hr pr nt",
    "fa": "د ق ص ج",
    "fi": "esim mm ns klo os prof",
    "he": "פרופ גב",
    "hi": "डॉ श्री प्रो",
    "hr": "npr tzv dr prof br str",
    "hu": "pl ún kb dr prof ifj id",
    "id": "sdr jl bpk hal",
    "lt": "pvz prof dr nr",
    "lv": "piem prof dr nr",
    "no": "kl nr ca bl eks",
    "pt": "sr sra srta dra profa av exmo pág núm ex eng",
    "ro": "dl dna dra str nr pag",
    "sl": "npr prof dr št str",
    "sr": "npr dr prof br нпр др проф бр",
    "sv": "kl nr ca bl ex",
    "tr": "doç av sn vb örn bkz çev yrd",
    "uk": "ім вул див проф акад напр",
    "vi": "tp ths ts pgs gs bs",
}
_TITLES = {
    "": "dr mr mrs ms prof",
    "de": "hr fr dipl ing",
    "es": "sr sra srta d dña ud uds lic ing dra",
    "fr": "m mm mme mmes mlle mlles me st ste",
    "it": "sig sigg sigra dott dottssa avv ing mons",
    "nl": "dhr mevr mw drs ir st",
    "pl": "inż mgr ks św hab",
    "en": "st gen col capt lt sgt rev sen gov",
}
_WORD = re.compile(r"[^\s(\[\"'“„«»]{1,24}$")


@functools.cache
def _known(language: str | None, title_only: bool) -> frozenset[str]:
    """The abbreviations of every language and of this one."""
    table = _TITLES if title_only else _ABBREVIATIONS
    return frozenset(f"{table['']} {table.get(language or '', '')}".split())


def is_abbreviation(before: str, language: str | None, title_only: bool = False) -> bool:
    """Whether a full stop after `before` belongs to its last word: an initial, or an abbreviation that leads on.

    With `title_only`, only titles before names count, those of the language too.

    >>> is_abbreviation("Falei com a Sra", "pt"), is_abbreviation("J", "sv"), is_abbreviation("em casa", "pt")
    (True, True, False)
    """
    found = _WORD.search(before[-25:])
    if not found:
        return False
    word = found[0].strip("-–—¿¡").casefold()
    is_initial = len(word) == 1 and word.isalpha() and not title_only
    return is_initial or word in _known(language, title_only)
