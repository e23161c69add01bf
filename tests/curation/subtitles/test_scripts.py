"""Sentence ends in every script: by its own signs, and in files without punctuation at ends of cues alone."""

from __future__ import annotations

import itertools
import random
import re
import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks.sentence_texts import TEXTS, UNSTOPPED, cues_of, srt_of
from curation.languages import UNSPACED_SCRIPTS
from curation.records import Sentence
from curation.settings import SubtitleSettings
from curation.subtitles.cues import Piece, pieces_of
from curation.subtitles.punctuation import sentence_spans
from curation.subtitles.sentences import sentences_in
from curation.subtitles.transcript import Transcript

PAUSES = SubtitleSettings(sentence_ends="pauses")


def sentences_of(file: str, language: str) -> tuple[Sentence, ...]:
    spoken = Transcript(pieces_of(file))
    return sentences_in(spoken, sentence_spans(spoken, language), language, PAUSES)


def texts(cues: list[str], language: str, *, gap: float = 0.1) -> list[str]:
    """The texts of the sentences in cues of three seconds, with a gap between them."""
    file = srt_of((3.0 * i, 3.0 * i + 3.0 - gap, cue) for i, cue in enumerate(cues))
    return [sentence.text for sentence in sentences_of(file, language)]


@pytest.mark.parametrize("language", TEXTS)
def test_sentences_end_by_the_signs_of_their_script(language: str) -> None:
    for seed in range(5):
        assert texts(cues_of(TEXTS[language] * 2, language, random.Random(seed)), language) == TEXTS[language] * 2


@pytest.mark.parametrize(
    ("language", "cues", "sentences"),
    [
        # an ellipsis that goes on in the next cue
        ("en", ["I was thinking...", "that we could go.", "Yes."], ["I was thinking... that we could go.", "Yes."]),
        ("en", ["I was thinking...", "...that We go.", "Yes."], ["I was thinking... ...that We go.", "Yes."]),
        ("en", ["I was thinking…", "Never mind.", "Yes."], ["I was thinking…", "Never mind.", "Yes."]),
        ("de", ["Ich dachte...", "wir gehen.", "Ja."], ["Ich dachte... wir gehen.", "Ja."]),
        ("zh", ["我在想……", "……也许可以。", "好，走吧。"], ["我在想…………也许可以。", "好，走吧。"]),
        ("ar", ["كنت أفكر...", "...ربما نذهب.", "نعم."], ["كنت أفكر... ...ربما نذهب.", "نعم."]),
        # commas, colons and semicolons
        ("ar", ["في هذا اليوم، نطبخ،", "وسوف نأكل: الآن.", "نعم."], ["في هذا اليوم، نطبخ، وسوف نأكل: الآن.", "نعم."]),
        ("fa", ["گفت: بیا، برویم.", "باشد."], ["گفت: بیا، برویم.", "باشد."]),
        ("el", ["Πού πας; Έλα εδώ· τώρα.", "Ναι."], ["Πού πας;", "Έλα εδώ· τώρα.", "Ναι."]),
        ("en", ["Come here; now. Go."], ["Come here; now.", "Go."]),
        ("hy", ["Ո՞ւր ես գնում։ Արի՛ այստեղ: Այո։"], ["Ո՞ւր ես գնում։", "Արի՛ այստեղ:", "Այո։"]),
        ("am", ["ሰላም፡፡ እንዴት ነህ? ደህና፡ነኝ።"], ["ሰላም፡፡", "እንዴት ነህ?", "ደህና፡ነኝ።"]),
        ("hi", ["वह आया| वह गया।", "ठीक है।"], ["वह आया|", "वह गया।", "ठीक है।"]),
        ("my", ["သူလာ၏၊ သူပြန်၏။ ဟုတ်၏။"], ["သူလာ၏၊ သူပြန်၏။", "ဟုတ်၏။"]),
        ("km", ["គាត់មក។ គាត់ទៅ៕"], ["គាត់មក។", "គាត់ទៅ៕"]),
        ("zh", ["他来了。他走了!为什么?因为3.5元；太贵。"], ["他来了。", "他走了!", "为什么?", "因为3.5元；太贵。"]),
        # abbreviations, initials, numbers
        ("pt", ["O Sr. Silva e a Dra. Costa vão. Sim."], ["O Sr. Silva e a Dra. Costa vão.", "Sim."]),
        ("sv", ["J. R. Berg kom hit. Sen gick han."], ["J. R. Berg kom hit.", "Sen gick han."]),
        ("tr", ["Doç. Kaya geldi. Sonra gitti."], ["Doç. Kaya geldi.", "Sonra gitti."]),
        ("en", ["1. Wash the rice. 2. Cook it."], ["1. Wash the rice.", "2. Cook it."]),
        # quotations
        ("fr", ["« Tu viens ? » dit-il. Oui."], ["« Tu viens ? » dit-il.", "Oui."]),
        ("ja", ["彼は「行く。すぐに。」と言った。はい。"], ["彼は「行く。すぐに。」と言った。", "はい。"]),
        ("de", ["Er sagte: „Ich komme.“ Dann ging er."], ["Er sagte: „Ich komme.“", "Dann ging er."]),
        # text in small letters
        ("en", ["what? no way. sure. let's go."], ["what?", "no way.", "sure.", "let's go."]),
    ],
    ids=itertools.count(),
)  # fmt: skip
def test_what_looks_like_an_end_and_what_is_one(language: str, cues: list[str], sentences: list[str]) -> None:
    assert texts(cues, language) == sentences


def test_a_japanese_file_without_full_stops_does_not_run_to_the_next_question() -> None:
    cues = ["今日は料理を作ります", "まず玉ねぎを切ります", "準備はいいですか？", "では始めましょう", "お塩も少し"]
    assert texts(cues, "ja", gap=0.8) == [f"{cue}。" if cue[-1] != "？" else cue for cue in cues]


# --- without punctuation --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("language", "cues", "joined"),
    [
        ("zh", ["没有", "别着急"], "没有 别着急。"),
        ("ja", ["そうです", "はい"], "そうです はい。"),
        ("th", ["สวัสดีครับ", "วันนี้"], "สวัสดีครับ วันนี้"),
        ("my", ["မင်္ဂလာပါ", "ဒီနေ့"], "မင်္ဂလာပါ ဒီနေ့။"),
        ("es", ["hoy vamos a ver", "las herramientas"], "Hoy vamos a ver las herramientas."),
        (
            "zh",
            ["今天，我们来", "学习做饭。好，", "很好。"],
            "今天，我们来学习做饭。",
        ),  # punctuated: a break means nothing
    ],
)
def test_lines_are_joined_by_what_a_break_means(language: str, cues: list[str], joined: str) -> None:
    assert texts(cues, language)[0] == joined


def test_pauses_are_heard_not_invented() -> None:
    held = [(0.0, 12.6, "今天我们来看看厨房里的工具"), (12.7, 29.0, "没有"), (29.1, 36.0, "别着急")]
    found = [s.text for s in sentences_of(srt_of(held), "zh")]
    assert found == ["今天我们来看看厨房里的工具。", "没有 别着急。"], "too long for one, and split between cues"
    spoken = [(0.0, 2.0, "hoy vamos a ver"), (2.05, 9.0, "muchas gracias"), (9.8, 12.0, "primero se corta")]
    assert [(s.start, s.end, s.text) for s in sentences_of(srt_of(spoken), "es")] == [
        (0.0, 9.0, "Hoy vamos a ver muchas gracias."),
        (9.8, 12.0, "Primero se corta."),
    ]


def test_a_sentence_goes_on_after_an_article_or_a_comma() -> None:
    assert texts(["vamos a ver la", "cocina de mi", "casa"], "es", gap=0.8) == ["Vamos a ver la cocina de mi casa."]
    assert texts(["first we wash it,", "then we cook"], "en", gap=0.8) == ["First we wash it, then we cook."]
    assert texts(["everybody stepped aside", "but the rabbit"], "en", gap=0.8) == [
        "Everybody stepped aside but the rabbit."
    ]


UNSPACED = re.compile(f"[{UNSPACED_SCRIPTS}]")
WORDS = {
    "es": "hoy vamos a ver la sopa de mi abuela y muchas gracias",
    "zh": "今 天 我 们 来 看 厨 房 里 的 工 具 没 有 别 着 急",
    "ja": "今 日 は と て も 簡 単 な 料 理 で す",
    "th": "สวัสดี ครับ วันนี้ เรา จะ ทำ อาหาร กิ่ง",
    "km": "ថ្ងៃ នេះ យើង ធ្វើ ម្ហូប",
    "my": "ဒီနေ့ ကျွန်တော် ဟင်း ချက်",
    "hi": "आज हम खाना बनाएंगे क्या आप तैयार",
    "ar": "في هذا اليوم نطبخ معا طبقا",
    "he": "היום נבשל יחד משהו פשוט",
    "ko": "오늘은 아주 간단한 요리를 만들어",
    "vi": "hôm nay chúng ta cùng nấu súp rất ngon",
}
ALPHABETS = {language: words.split() for language, words in WORDS.items()}


@st.composite
def cue_files(draw: st.DrawFn) -> tuple[str, list[tuple[float, float, str]]]:
    """A language, and cues of its words with any lengths and gaps."""
    language = draw(st.sampled_from(sorted(ALPHABETS)))
    joiner = "" if language in ("zh", "ja", "th", "km", "my") else " "
    clock, cues = 0.0, []
    for _ in range(draw(st.integers(2, 12))):
        words = draw(st.lists(st.sampled_from(ALPHABETS[language]), min_size=2, max_size=6))
        length, gap = draw(st.sampled_from([0.3, 2.0, 7.0, 15.0])), draw(st.sampled_from([0.0, 0.1, 0.5, 3.0]))
        cues.append((clock, clock + length, joiner.join(words)))
        clock += length + gap
    return language, cues


def bare(text: str) -> str:
    """A text without spaces, capitals and the full stops that were added."""
    return re.sub(r"[\s.。।။។]", "", text).lower()


@given(cue_files())
@settings(max_examples=40, deadline=None)
def test_no_cue_without_inner_times_is_cut_and_every_character_is_kept_once(
    drawn: tuple[str, list[tuple[float, float, str]]],
) -> None:
    language, cues = drawn
    cues = [cue for cue, before in zip(cues, [None, *cues], strict=False) if before is None or cue[2] != before[2]]
    sentences = sentences_of(srt_of(cues), language)
    kept = "".join(bare(s.text) for s in sentences)
    pieces = pieces_of(srt_of(cues))  # what is there once rolling lines are taken out
    assert kept == "".join(bare(p.text) for p in pieces)
    ends = set(itertools.accumulate(len(bare(p.text)) for p in pieces))
    assert set(itertools.accumulate(len(bare(s.text)) for s in sentences)) <= ends
    assert {round(s.end, 6) for s in sentences} <= {round(p.end, 6) for p in pieces}
    assert all(a.end <= b.start for a, b in itertools.pairwise(sentences))


@st.composite
def timed_lines(draw: st.DrawFn) -> tuple[str, str]:
    """A language, and a line whose every word has a time, at times also parts of a word."""
    language = draw(st.sampled_from(sorted(ALPHABETS)))
    spaced = language not in ("zh", "ja", "th", "km", "my")
    clock, line = 0.0, ""
    for word in draw(st.lists(st.sampled_from(ALPHABETS[language]), min_size=2, max_size=8)):
        cut = draw(st.integers(1, len(word)))
        for part in (word[:cut], word[cut:]):
            if part:
                line += f"<00:00:{clock:06.3f}>{part}"
                clock += draw(st.sampled_from([0.1, 0.4, 2.0]))
        line += " " if spaced else ""
    return language, f"00:00:00.000 --> 00:00:{clock:06.3f}\n{line}\n"


@given(timed_lines())
@settings(max_examples=40, deadline=None)
def test_no_word_and_no_character_is_cut(drawn: tuple[str, str]) -> None:
    language, file = drawn
    line = re.sub(r"<[\d:.]+>", "", file.split("\n")[1]).strip()
    sentences = [s.text for s in sentences_of(file, language)]
    assert "".join(map(bare, sentences)) == bare(line)
    assert not any(unicodedata.category(text[0]).startswith("M") for text in sentences)
    if not UNSPACED.search(line):
        assert [w.rstrip(".।").lower() for text in sentences for w in text.split()] == line.lower().split()


def test_syllables_with_times_are_one_word() -> None:
    song = "00:00.000 --> 00:04.000\nto<00:01.000>mor<00:01.500>row <00:02.000>we <00:03.000>sing"
    assert Transcript(pieces_of(song)).text == "tomorrow we sing"
    apart = "00:00.000 --> 00:04.000\nso<00:01.000><c>we</c><00:01.500><c>go</c>"
    assert Transcript(pieces_of(apart)).text == "so we go", "no time in the file has a space beside it"


def test_unspaced_words_of_a_recogniser_are_joined_over_its_lines() -> None:
    line = "{} --> {}\n{}<00:00:0{}.500><c>{}</c>\n\n"
    file = line.format("00:00.000", "00:01.000", "今天", 0, "我们") + line.format(
        "00:01.000", "00:02.000", "学习", 1, "做饭"
    )
    assert Transcript(pieces_of(file)).text == "今天我们学习做饭"


@pytest.mark.parametrize("language", UNSTOPPED)
def test_languages_without_a_full_stop_get_none(language: str) -> None:
    assert texts(UNSTOPPED[language], language, gap=0.8) == UNSTOPPED[language]


def test_a_combining_mark_is_never_first() -> None:
    spoken = Transcript([Piece(0.0, 1.0, "e"), Piece(3.0, 4.0, "\u0301te")])
    assert spoken.text == "e\u0301te" and not spoken.places(0, len(spoken.text))
    assert Transcript([Piece(0.0, 1.0, "e"), Piece(3.0, 4.0, "te")]).places(0, 4)


def test_parts_of_a_long_sentence_stay_as_they_are_written() -> None:
    cues = [
        (10.0 * i, 10.0 * i + 9.9, text) for i, text in enumerate(["Il faut :", "un oignon,", "du sel,", "de l'eau."])
    ]
    file = srt_of([*cues, (40.0, 42.0, "Voilà. C'est tout.")])
    assert [s.text for s in sentences_of(file, "fr")] == [
        "Il faut : un oignon,", "du sel, de l'eau.", "Voilà.", "C'est tout."
    ]  # fmt: skip
