"""Words by which a sentence goes on, by language: those that none ends with, and those that seldom begin one."""

from __future__ import annotations

_OPEN = {
    "ar": "و أو ثم أن إن لأن من إلى على في عن مع الذي التي بين",
    "cs": "a i ale nebo že aby když protože do z na v ve s se k ke o od po při pro",
    "da": "og eller men at en et som fordi af",
    "de": "der dem den des ein eine einen einem einer und oder dass weil wenn von vom zum zur im am für als",
    "el": "ο η το οι τα τον την του της των ένα ένας μια και ή αλλά ότι πως να θα σε στο στη στον στην από με για",
    "en": "a an the and or but because if of my your our their its than very every i'm we're",
    "es": "el la los las un una unos unas y e o u pero que porque si de del a al en con por sin mi tu su muy",
    "fi": "ja tai mutta että koska jos kun",
    "fr": "le la les l' un une des du de d' et ou mais que qu' parce car si à au aux en dans sans mon ma mes "
    "ton ta tes son sa ses ce cet cette très",
    "he": "את של על אל עם מן כי אם או אבל ה ו",
    "hi": "और या लेकिन कि क्योंकि अगर का की के को में से पर",
    "hu": "a az egy és vagy de hogy mert ha",
    "id": "dan atau tetapi tapi yang karena kalau di ke dari untuk dengan pada",
    "it": "il lo la i gli le l' un uno una e o ma che perché se di del dello della dei delle a al alla in nel nella "
    "con per da mio tuo",
    "ko": "그리고 하지만 그런데 및 또는 이 그 저",
    "nl": "de een en of maar dat omdat als mijn jouw heel",
    "no": "og eller men at en et som fordi av",
    "pl": "i a ale lub albo że żeby bo jeśli do z ze na w we od po przy dla o",
    "pt": "o a os as um uma uns umas e ou mas que porque se de do da dos das em no na nos nas com por sem meu minha "
    "seu sua muito",
    "ro": "și sau dar că pentru de la în din cu pe un o",
    "ru": "и а но или что чтобы потому если в во на с со к ко из от до по для о об при",
    "sv": "och eller men att en ett som av",
    "tr": "ve veya ama çünkü bir",
    "uk": "і й та а але або що щоб бо якщо в у на з із зі до від по для о про при",
    "ur": "اور یا لیکن کہ کیونکہ اگر کا کی کے کو میں سے پر",
    "vi": "và hoặc nhưng vì nếu của cho với từ trong những các một mỗi",
}
_LINKS = {
    "ar": "أو الذي التي الذين لأن بل",
    "cs": "ale nebo protože aby než",
    "da": "eller men som fordi end",
    "de": "aber oder sondern weil dass denn",
    "el": "αλλά ή παρά",
    "en": "but or nor because although though than",
    "es": "pero o ni sino porque",
    "fr": "mais ou ni parce",
    "he": "אבל או כי אלא",
    "hi": "लेकिन या कि क्योंकि",
    "it": "ma o né perché",
    "nl": "maar of omdat want",
    "no": "eller men som fordi enn",
    "pl": "ale lub albo bo ponieważ że niż",
    "pt": "mas ou nem porque",
    "ro": "dar sau ci decât",
    "ru": "но или чем",
    "sv": "eller men som än",
    "tr": "ama veya çünkü ki",
    "uk": "але або бо ніж",
    "ur": "لیکن یا کہ کیونکہ",
}
_BY_LANGUAGE = {language: frozenset(words.split()) for language, words in _OPEN.items()}
_LINKS_BY_LANGUAGE = {language: frozenset(words.split()) for language, words in _LINKS.items()}
_ALWAYS_COMMA = tuple(",،、，;:፣၊")


def leads_on(word: str, language: str | None) -> bool:
    """Whether the sentence goes on after a word: it ends in a comma, or is one that no sentence ends with.

    >>> leads_on("the", "en"), leads_on("Der", "de"), leads_on("well,", None), leads_on("house", "en")
    (True, True, True, False)
    """
    return word.endswith(_ALWAYS_COMMA) or word.casefold() in _BY_LANGUAGE.get(language or "", frozenset())


def links(word: str, language: str | None) -> bool:
    """Whether a word, a conjunction or relative pronoun, mostly goes on with the sentence before it.

    >>> links("but", "en"), links("then", "en"), links("Weil", "de")
    (True, False, True)
    """
    return word.casefold() in _LINKS_BY_LANGUAGE.get(language or "", frozenset())
