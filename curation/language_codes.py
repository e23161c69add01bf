"""What stands for an ISO 639-1 code in tags and in names of files: ISO 639-2 and 639-3 codes, former codes, names."""

from __future__ import annotations

_CODES = """
    af afr, am amh, an arg, ar ara arb arz ary apc, as asm, az aze azj azb, ba bak, be bel, bg bul, bn ben, bo bod tib,
    br bre, bs bos, ca cat, cs ces cze, cy cym wel, da dan, de deu ger, dv div, dz dzo, el ell gre, en eng, eo epo,
    es spa, et est ekk, eu eus baq, fa fas per pes prs, fi fin, fo fao, fr fra fre, fy fry, ga gle, gd gla, gl glg,
    gu guj, ha hau, he heb iw, hi hin, hr hrv scr, ht hat, hu hun, hy hye arm, id ind in, ig ibo, is isl ice, it ita,
    ja jpn, jv jav jw, ka kat geo, kk kaz, km khm, kn kan, ko kor, ku kur kmr ckb, ky kir, la lat, lb ltz, lg lug,
    ln lin, lo lao, lt lit, lv lav lvs, mg mlg plt, mi mri mao, mk mkd mac, ml mal, mn mon khk, mr mar, ms msa may zsm,
    mt mlt, my mya bur, ne nep npi, nl nld dut, nn nno, no nor nob nb, oc oci, om orm, or ori ory, pa pan, pl pol,
    ps pus pst pbt, pt por, qu que, ro ron rum mo mol, ru rus, rw kin, sa san, sd snd, se sme, si sin, sk slk slo,
    sl slv, sn sna, so som, sq sqi alb als, sr srp scc sh hbs, st sot, sv swe, sw swa swh, ta tam, te tel, tg tgk,
    th tha, tk tuk, tl tgl fil, tr tur, tt tat, ug uig, uk ukr, ur urd, uz uzb uzn, vi vie, wa wln, xh xho, yi yid ji,
    yo yor, zh zho chi cmn yue wuu, zu zul"""

_NAMES = """
    ar Arabic العربية, az Azerbaijani Azeri, be Belarusian, bg Bulgarian Български, bn Bengali Bangla, bs Bosnian
    Bosanski, ca Catalan Català Catalán, cs Czech Čeština Česky, cy Welsh Cymraeg, da Danish Dansk, de German Deutsch,
    el Greek Ελληνικά, en English Englisch Anglais Inglés, es Spanish Español Castellano Castilian, et Estonian Eesti,
    eu Basque Euskara, fa Persian Farsi, fi Finnish Suomi, fr French Français Francais, ga Irish, gl Galician Galego,
    he Hebrew עברית, hi Hindi, hr Croatian Hrvatski, hu Hungarian Magyar, hy Armenian, id Indonesian, is Icelandic
    Íslenska, it Italian Italiano, ja Japanese 日本語, ka Georgian, kk Kazakh, ko Korean 한국어, lt Lithuanian Lietuvių,
    lv Latvian Latviešu, mk Macedonian, ml Malayalam, mn Mongolian, ms Malay Melayu, mt Maltese, ne Nepali, nl Dutch
    Nederlands, no Norwegian Norsk Bokmål, pl Polish Polski, pt Portuguese Português Portugues Brazilian, ro Romanian
    Română, ru Russian Русский, si Sinhala Sinhalese, sk Slovak Slovenčina, sl Slovenian Slovene Slovenščina,
    sq Albanian Shqip, sr Serbian Srpski Српски, sv Swedish Svenska, sw Swahili, ta Tamil, te Telugu, th Thai ไทย,
    tl Tagalog Filipino, tr Turkish Türkçe, uk Ukrainian Українська, ur Urdu, uz Uzbek, vi Vietnamese, yi Yiddish,
    zh Chinese Mandarin Cantonese 中文 简体 繁體, af Afrikaans, eo Esperanto, la Latin, zu Zulu"""


def _read(table: str) -> dict[str, str]:
    entries = (entry.split() for entry in table.split(","))
    return {name.lower(): code for code, *names in entries for name in names}


ISO_639_1 = frozenset(entry.split()[0] for entry in _CODES.split(","))
"""The ISO 639-1 codes of the languages with one that subtitles are found in."""

BY_CODE = _read(_CODES)
"""ISO 639-1 by other codes, in lower case."""

BY_NAME = _read(_NAMES)
"""ISO 639-1 by names in English and in the language itself, in lower case."""
