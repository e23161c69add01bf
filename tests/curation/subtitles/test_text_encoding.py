"""Subtitle files in every encoding that they are found in, and with bytes that are wrong."""

from __future__ import annotations

import random
import unicodedata

import pytest

from curation.subtitles.text_encoding import decode
from curation.subtitles.tracks import read


def srt(*lines: str) -> str:
    return "".join(
        f"{n}\n00:00:{2 * n:02},000 --> 00:00:{2 * n + 1:02},500\n{line}\n\n" for n, line in enumerate(lines)
    )


CATALAN = ("Avui anem al mercat del poble.", "Després farem una truita, és clar.", "Què més necessitem? Això també.")
CHINESE = ("今天我们去市场买菜。", "你觉得晚上吃什么好？", "妈妈说她想喝一碗热汤。")
CROATIAN = ("Danas idemo na tržnicu po povrće.", "Što ćemo večeras kuhati?", "Možda juhu, ako još ima mrkve u vrtiću.")
CZECH = ("Nejdřív nakrájíme cibuli úplně nadrobno.", "Pak přidáme šťávu a ještě trochu másla.", "Dobrou chuť!")
ESTONIAN = ("Täna läheme turule köögivilju ostma.", "Mis me õhtul sööme?", "Võib-olla suppi, kui porgandeid on.")
FARSI = ("امروز براي خريد به بازار ميرويم.", "شام چه درست کنيم؟", "شايد سوپ، اگر هنوز هويج داريم.")
FINNISH = ("Tänään menemme torille ostamaan vihanneksia.", "Mitä syömme illalla?", "Ehkä keittoa, jos löydämme hyvää.")
FRENCH = (
    "Aujourd’hui, nous allons au marché.",
    "Où est passée ma sœur ? Là-bas, à côté.",
    "Ça va être très bon, garçon !",
)
GERMAN = ("Heute gehen wir über den Markt.", "Was möchtest du später essen?", "Vielleicht süße Klöße, schön heiß.")
GREEK = ("Σήμερα πάμε στην αγορά για λαχανικά.", "Τι θα φάμε το βράδυ;", "Ίσως μια ζεστή σούπα με καρότα.")
HEBREW = ("היום נלך לשוק לקנות ירקות.", "מה נאכל הערב?", "אולי מרק חם, אם נשאר גזר.")
HUNGARIAN = ("Először a hagymát vágjuk fel apróra.", "Utána a sütőt melegítjük elő, hogy könnyű legyen.")
JAPANESE = ("今日は市場へ野菜を買いに行きます。", "晩ご飯は何を食べましょうか。", "温かいスープがいいと思います。")
KOREAN = ("오늘은 시장에 채소를 사러 갑니다.", "저녁에 무엇을 먹을까요?", "따뜻한 국이 좋을 것 같아요.")
LATVIAN = (
    "Šodien ejam uz tirgu pēc dārzeņiem.",
    "Ko vakarā ēdīsim?",
    "Varbūt zupu, ja vēl ir burkāni, kāposti un ķiploki.",
)
LITHUANIAN = ("Šiandien einame į turgų daržovių.", "Ką valgysime vakare?", "Gal sriubą, jei dar yra morkų ir grybų.")
POLISH = (
    "Dzisiaj idziemy na targ po świeże warzywa.",
    "Co zjemy wieczorem?",
    "Może zupę, jeśli są jeszcze książęce śliwki.",
)
PORTUGUESE = ("Hoje vamos à feira comprar legumes.", "O que é que comemos à noite?", "Não sei, talvez pão com limão.")
ROMANIAN = ("Astăzi mergem la piaţă după legume.", "Ce mâncăm diseară, mamă?", "Poate o supă, dacă mai sunt roşii.")
RUSSIAN = ("Сегодня мы идём на рынок за овощами.", "Что мы будем есть вечером?", "Может быть, горячий суп с морковью.")
SPANISH = ("Mañana vamos al mercado.", "¿Qué quieres comer, niña?", "Quizás un café y un jamón, ¡qué rico está!")
SWEDISH = (
    "I dag går vi till torget och köper grönsaker.",
    "Vad ska vi äta i kväll?",
    "Kanske en god soppa på morötter.",
)
THAI = ("วันนี้เราไปตลาดซื้อผัก", "เย็นนี้จะกินอะไรดี", "อาจจะเป็นซุปร้อนๆ สักถ้วย")
TRADITIONAL = ("今天我們去市場買菜。", "你覺得晚上吃什麼好？", "媽媽說她想喝一碗熱湯。")
TURKISH = (
    "Bugün pazara sebze almaya gidiyoruz.",
    "Akşam ne yiyeceğiz, kardeşim?",
    "Belki sıcak çorba içeriz, değil mi?",
)
UKRAINIAN = ("Сьогодні ми йдемо на ринок за овочами.", "Що ми їстимемо ввечері?", "Може, гарячий суп із морквою.")
VIETNAMESE = ("Hôm nay chúng ta đi chợ mua rau.", "Tối nay ăn gì nhỉ?", "Có lẽ một bát canh nóng với cà rốt.")


@pytest.mark.parametrize(
    ("text", "encodings"),
    [
        (CATALAN, "cp1252 mac_roman"),
        (CHINESE, "gb18030 utf-8 utf-16-le utf-16-be"),
        (CROATIAN, "cp1250 iso8859_2 cp852"),
        (CZECH, "cp1250 iso8859_2 cp852 mac_latin2"),
        (ESTONIAN, "cp1257 cp1252"),
        (FARSI, "cp1256"),
        (FINNISH, "cp1252 iso8859_15 cp850"),
        (FRENCH, "utf-8 utf-8-sig utf-16 utf-16-le utf-16-be utf-32 cp1252 mac_roman"),
        (GERMAN, "cp1252 mac_roman cp850"),
        (GREEK, "cp1253 iso8859_7 cp737"),
        (HEBREW, "cp1255 iso8859_8 cp862"),
        (HUNGARIAN, "cp1250 iso8859_2 cp852"),
        (JAPANESE, "cp932 euc_jp iso2022_jp utf-16-le"),
        (KOREAN, "cp949 euc_kr"),
        (LATVIAN, "cp1257 iso8859_13"),
        (LITHUANIAN, "cp1257 iso8859_13"),
        (POLISH, "cp1250 iso8859_2 cp852"),
        (PORTUGUESE, "cp1252 mac_roman cp850"),
        (ROMANIAN, "cp1250 iso8859_2"),
        (RUSSIAN, "cp1251 koi8_r iso8859_5 cp866 mac_cyrillic"),
        (SPANISH, "cp1252 mac_roman cp850"),
        (SWEDISH, "cp1252 mac_roman cp850"),
        (THAI, "cp874 tis_620"),
        (TRADITIONAL, "big5 big5hkscs"),
        (TURKISH, "cp1254 iso8859_9 cp857"),
        (UKRAINIAN, "cp1251 koi8_u iso8859_5"),
    ],
)
def test_a_file_is_read_in_the_encoding_that_its_language_shows(text: tuple[str, ...], encodings: str) -> None:
    read_as = {encoding: decode(srt(*text).encode(encoding)) for encoding in encodings.split()}
    assert read_as == dict.fromkeys(encodings.split(), srt(*text))


def test_the_marks_of_vietnamese_join_their_letters() -> None:
    tones = "\u0300\u0301\u0303\u0309\u0323"
    letters = ""
    for char in srt(*VIETNAMESE):
        apart = unicodedata.normalize("NFD", char)
        letters += unicodedata.normalize("NFC", apart.translate(dict.fromkeys(map(ord, tones))))
        letters += "".join(c for c in apart if c in tones)
    assert decode(letters.encode("cp1258")) == srt(*VIETNAMESE)


def test_a_stated_language_decides_where_the_letters_could_be_either() -> None:
    data = srt("Õ!").encode("cp1257")
    assert decode(data, "et") == srt("Õ!")
    assert decode(srt("Ő!").encode("cp1250"), "hu") == srt("Ő!")


CURLY = ("It’s a sunny day, isn’t it?", "We’ll walk to the café.", "Don’t forget “the map”.")


@pytest.mark.hostile("subtitles")
@pytest.mark.parametrize("language", [CURLY, RUSSIAN, CHINESE, THAI, FRENCH], ids=["en", "ru", "zh", "th", "fr"])
def test_a_fault_in_utf_8_costs_its_line_alone(language: tuple[str, ...]) -> None:
    text = srt(*language)
    data = text.encode()
    beyond = [at for at, byte in enumerate(data) if byte >= 0x80]
    for at in random.Random(7).sample(beyond, 6):
        for instead in (b"", b"\xff", b"\xe9", b"\x80", b"\0"):
            found = decode(data[:at] + instead + data[at + 1 :])
            wrong = [a for a, b in zip(found.split("\n"), text.split("\n"), strict=True) if a != b]
            assert len(wrong) <= 1, (at, instead, wrong)


@pytest.mark.parametrize(
    ("data", "text"),
    [
        (srt(*CURLY).encode().replace("é".encode(), b"\xe9"), srt(*CURLY)),  # a letter from another file
        (srt(*CURLY, "Bye\ufffd").encode(), srt(*CURLY, "Bye\ufffd")),  # a fault of an earlier program
        (srt("Hello there.").encode() + b"\0" * 40, srt("Hello there.")),
        (b"\0" + srt("Hello there.").encode(), srt("Hello there.")),
        (srt("Hello there.").encode().replace(b"e", b"e\0", 1), srt("Hello there.")),
        (b"\xff\xfe" + srt("Hello there.").encode(), srt("Hello there.")),  # the mark of UTF-16 alone
        (srt(*FRENCH).encode("utf-16-le") + b"\r", srt(*FRENCH) + "\ufffd"),
    ],
    ids=["a letter", "a replacement", "NULs at the end", "a NUL at the start", "a NUL inside", "a false mark", "half"],
)
def test_strange_bytes_do_not_change_the_encoding(data: bytes, text: str) -> None:
    assert decode(data) == text


def test_the_language_in_a_name_helps() -> None:
    track, fault = read(srt("Ő az!").encode("cp1250"), "hun", "manual")
    assert (track.text, fault) == (srt("Ő az!"), None)
