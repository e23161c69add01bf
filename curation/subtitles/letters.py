"""The code pages in which subtitles of a language are found, and the letters that it is written with.

Letters outside of ASCII stand in order of frequency, the most frequent one first, in lower case where there are two.
"""

from __future__ import annotations

from dataclasses import dataclass

WESTERN = ("cp1252", "iso8859_15", "mac_roman", "cp850")
CENTRAL = ("cp1250", "iso8859_2", "mac_latin2", "cp852")
BALTIC = ("cp1257", "iso8859_13", "cp775")
CYRILLIC = ("cp1251", "koi8_u", "iso8859_5", "mac_cyrillic", "cp866")
PENALTIES = {
    **dict.fromkeys(("iso8859_15", "iso8859_2", "iso8859_13", "iso8859_9", "iso8859_7", "iso8859_5", "iso8859_3"), 1.0),
    **dict.fromkeys(("koi8_r", "koi8_u", "iso8859_6", "iso8859_8", "big5hkscs"), 1.0),
    **dict.fromkeys(("mac_roman", "mac_latin2", "mac_cyrillic"), 3.0),
    **dict.fromkeys(("cp850", "cp852", "cp866", "cp857", "cp737", "cp862", "cp775"), 4.0),
}
"""How much rarer a code page is among the files of its languages, in nats; others are the usual ones of Windows."""


@dataclass(frozen=True)
class Script:
    """How a language is written: its code pages, its letters beyond ASCII, and how many of its letters those are.

    `letters` are (characters by frequency, their share of the letters beyond ASCII). `signs` is the share of quotes,
    dashes and the like among all characters beyond ASCII.
    """

    pages: tuple[str, ...]
    letters: tuple[tuple[str, float], ...]
    share: float = 0.95
    signs: float = 0.04

    @property
    def latin(self) -> bool:
        return self.share < 0.5


def _latin(pages: tuple[str, ...], letters: str, signs: float = 0.04) -> Script:
    return Script(pages, ((letters, 1.0),), share=0.1, signs=signs)


def _alphabet(pages: tuple[str, ...], letters: str) -> Script:
    return Script(pages, ((letters, 1.0),))


_KANA = (
    "のいにはをたがでてとしれさなすこるもかうだあきよらっけどみりくちせめおそやまえほ"
    "ねわつじょばんちゃげずごぶへふむびゆしゅぎぜべぐぞぼぱ"
)
_KATAKANA = (
    "ーンスルトラリイクアシドレフマジタロムテカプサコグバディナキメパニダビオミソャケ"
    "ウブツセモョポハチワベボゲホェネペヒゴノヤォギザガュピッ"
)
_KANJI = (
    "人一日大年出本中子見国言上分生手自行者思会家方前間今学下気事物何来私時入地先話長後知心合高食母聞名書語道外女男帰電友楽好美"
    "東京水火木金土山川田口目耳足車花店駅朝昼夜晩週月明天雨元新古安多少早切料理作使始終待教室問題持着買売飲歩走立休開閉強弱近遠"
    "皆様簡単願彼僕君誰達毎回度番組市町村海春夏秋冬白黒赤青色音声界世"
)
_SIMPLIFIED = (
    "的一是我不了你在人有这他们个来大么说要就会到好那什没去可看吗想吧得为上里和能也都她很知道下给做真对过还现自以天时家点生后样"
    "事走些起怎开们请多让心起面谢用话再只小出子死着儿老如爱当何找回别因先地情意次今又让等打中把被每然觉从最间实成见种应已问无"
    "国年学经发前进同手动工作机方定法明进长女高门听乐吃水火东西南北车电视早晚昨间快新旧"
)
_TRADITIONAL = (
    "的一是我不了你在人有這他們個來大麼說要就會到好那什沒去可看嗎想吧得為上裡和能也都她很知道下給做真對過還現自以天時家點生後樣"
    "事走些起怎開們請多讓心起面謝用話再只小出子死著兒老如愛當何找回別因先地情意次今又讓等打中把被每然覺從最間實成見種應已問無"
    "國年學經發前進同手動工作機方定法明進長女高門聽樂吃水火東西南北車電視早晚昨間快新舊"
)
_HANGUL = (
    "이다는에가을고지하도나그은리어기한아를대자서있해시라사요네거니들내면인로일까무너정말만안수게어의것우오으없스보제주야저러부게"
    "여전세장마음데었습요와같세구되할상원조진어죠건왜알소신런려생해미람당과난좋살집모두든트동연비방용문계간분란잘못금했잖싶또"
)

LANGUAGES: dict[str, Script] = {
    # Latin scripts
    "en": _latin(WESTERN, "éñïèçöüàêáíó", signs=0.7),
    "fr": _latin(WESTERN, "éàèêçùîâôûœëïüæÿ", signs=0.1),
    "de": _latin(WESTERN, "üäößé"),
    "es": _latin(WESTERN, "íóáñéúü¿¡"),
    "pt": _latin(WESTERN, "ãáéçóêíúõâàô"),
    "it": _latin(WESTERN, "èàùìòé", signs=0.2),
    "nl": _latin(WESTERN, "ëéïèöüê", signs=0.3),
    "af": _latin(WESTERN, "êëéôïöèûü", signs=0.2),
    "lb": _latin(WESTERN, "éëä"),
    "sv": _latin(WESTERN, "äåöé"),
    "da": _latin(WESTERN, "åøæé"),
    "no": _latin(WESTERN, "åøæéòôó"),
    "fi": _latin(WESTERN, "äöåšž"),
    "is": _latin(WESTERN, "ðáíéóþúöæý"),
    "fo": _latin(WESTERN, "ðáíóúæøý"),
    "ca": _latin(WESTERN, "àéèóíçòúï·ü"),
    "gl": _latin(WESTERN, "óáéñíúü¿¡"),
    "eu": _latin(WESTERN, "ñüç", signs=0.3),
    "oc": _latin(WESTERN, "òèàéíóúçï"),
    "br": _latin(WESTERN, "ñùêâ"),
    "ga": _latin(WESTERN, "áéíúó"),
    "gd": _latin(WESTERN, "àèìòùé"),
    "cy": _latin(WESTERN, "âôêîûïöáé", signs=0.3),
    "sq": _latin((*WESTERN, *CENTRAL), "ëç"),
    "id": _latin(WESTERN, "é", signs=0.7),
    "ms": _latin(WESTERN, "é", signs=0.7),
    "sw": _latin(WESTERN, "é", signs=0.7),
    "tl": _latin(WESTERN, "ñé", signs=0.5),
    "et": _latin((*BALTIC, *WESTERN), "äõüöšž"),
    "lv": _latin(BALTIC, "āīēšūžļņķģčŗō"),
    "lt": _latin(BALTIC, "ėųšžįūąčę"),
    "pl": _latin(CENTRAL, "łęążóśćńź"),
    "cs": _latin(CENTRAL, "íáéěšřčžýůúňťóď"),
    "sk": _latin(CENTRAL, "áíéčžýšúľťňôďäóŕĺ"),
    "hu": _latin(CENTRAL, "éáöóőüíúű"),
    "sl": _latin(CENTRAL, "čšžćđ"),
    "hr": _latin(CENTRAL, "čšžćđ"),
    "ro": _latin(CENTRAL, "ăîţşâțș"),
    "tr": _latin(("cp1254", "iso8859_9", "cp857"), "ıüğşöçİâîû"),
    "eo": _latin(("iso8859_3",), "ĉĝŝŭĵĥ"),
    "mt": _latin(("iso8859_3",), "ħżġċàù"),
    "vi": Script(("cp1258",), (("đêôươăâ\u0323\u0301\u0300\u0309\u0303áàíóéúèù", 1.0),), share=0.3),
    # other alphabets
    "ru": _alphabet(("koi8_r", *CYRILLIC), "оеаинтсрвлкмдпуяыьгзбчйхжшюцщэфъё"),
    "uk": _alphabet(CYRILLIC, "оаинвіетрслкудмпязьгбчйїхцюжєщшфґ"),
    "be": _alphabet(CYRILLIC, "аінеортслквдмуяпызьгбўчйхцёэжшюф"),
    "bg": _alphabet(CYRILLIC, "аиоентрсвлдкпмзгубчъящжйцхшюфьѝ"),
    "sr": _alphabet(CYRILLIC, "аоиенртјускдмпвзлбгчшцжћђхљњфџ"),
    "mk": _alphabet(CYRILLIC, "аоиетнрсвдлкпумзгјбчцшжфќхњѓљџѕѐѝ"),
    "el": _alphabet(("cp1253", "iso8859_7", "cp737"), "αοιετνσρκπςμηυλωίάόγδέθήύχβφώξζψϊϋΐΰ"),
    "he": _alphabet(("cp1255", "iso8859_8", "cp862"), "יוהלאתשרמבנכדחעפקגםצטסזןךףץ"),
    "ar": _alphabet(("cp1256", "iso8859_6"), "اليمنوتربةعدسفحكقهجشأصطخضذثىئإغآزظؤءّ،ًُِ؟َْ؛ٍـٌ"),
    "fa": _alphabet(("cp1256",), "ايردنهومتبسشخزکكگفعقجحصطآچپضلغظذثئ،ژ؟ءًأؤۀ؛\u200c"),
    "ur": _alphabet(("cp1256",), "اکیيرنہهتےومسلبدجگشپخعآٹھفقڑصچطضحںۓز،ءغظذڈثئژ؟"),
    "th": _alphabet(("cp874",), "านรอกเ่งม้ยลวดัทิีสตะปบคหแุจพู็์ืชขไใโผถำึซศณๆฟฉธษญภฐฮฬฎฏฑฒฆฌฤฯ๊๋"),
    # Chinese, Japanese, Korean
    "ja": Script(
        ("cp932", "euc_jp"), ((_KANA, 0.55), (_KATAKANA, 0.12), (_KANJI, 0.18), ("。、？！「」…ー・　～", 0.08))
    ),
    "zh-Hans": Script(("gb18030",), ((_SIMPLIFIED, 0.6), ("，。？！、：“”…（）《》—・ ", 0.12))),
    "zh-Hant": Script(
        ("cp950", "big5hkscs", "gb18030"), ((_TRADITIONAL, 0.6), ("，。？！、：「」…（）《》—‧　", 0.12))
    ),
    "ko": Script(("cp949",), ((_HANGUL, 0.8), ("‘’“”…·", 0.03))),
}
"""By ISO 639-1 code, for Chinese with the script."""

IDEOGRAPHS = {"ja": 0.05, "zh-Hans": 0.27, "zh-Hant": 0.27}
"""The share of ideographs that are not among a language's listed ones."""
