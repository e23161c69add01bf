"""Which track: languages in names and tags, tracks that are a recogniser's by their form, and the language of words."""

from __future__ import annotations

from pathlib import Path

import pytest

from curation.languages import code_of, identify, language_of, matches, primary
from curation.records import SubtitleTrack
from curation.settings import SubtitleSettings
from curation.subtitles.cascade import sentences_of
from curation.subtitles.tracks import language_in, read, subtitles_beside

SETTINGS = SubtitleSettings(sentence_ends="pauses")


def srt(*cues: str) -> str:
    return "".join(f"{n}\n00:00:{n:02},000 --> 00:00:{n + 1:02},000\n{cue}\n\n" for n, cue in enumerate(cues, 1))


# --- names ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("part", "language"),
    [
        *[("en", "en"), ("en-GB", "en-GB"), ("en_US", "en_US"), ("EN", "EN"), ("pt-BR", "pt-BR")],
        *[("eng", "en"), ("ENG", "en"), ("ger", "de"), ("deu", "de"), ("chi", "zh"), ("zho-Hant", "zh-Hant")],
        *[("English", "en"), ("english", "en"), ("German", "de"), ("Deutsch", "de"), ("Français", "fr")],
        *[("2_English", "en"), ("en.sdh", "en"), ("English.SDH", "en"), ("en.cc", "en"), ("en.hi", "en")],
        *[("hi", "hi"), ("hin", "hi"), ("Chinese", "zh"), ("日本語", "ja"), ("iw", "he"), ("cmn", "zh")],
    ],
)
def test_a_language_in_a_name_is_its_tag(part: str, language: str) -> None:
    name = f"m.{part}.srt"
    assert language_in(name) == language
    for wanted in ("all", language, primary(language)):
        found, named = subtitles_beside(Path("m.mp4"), [name], [wanted])
        assert (found, named and named.lower()) == (Path(name), language.lower())
    assert code_of(language) == primary(language)
    assert matches(language, primary(language))


@pytest.mark.parametrize("part", ["part2", "en-auto", "en.forced", "commentary", "final cut", "2019"])
def test_other_names_are_not_those_of_a_language(part: str) -> None:
    assert subtitles_beside(Path("m.mp4"), [f"m.{part}.srt"], ["en"]) == (None, None)


def test_the_wanted_language_is_found_by_any_of_its_names() -> None:
    names = ["m.French.srt", "m.eng.srt", "m.ger.sdh.srt", "m.srt"]
    assert subtitles_beside(Path("m.mp4"), names, ["en", "de"]) == (Path("m.eng.srt"), "en")
    assert subtitles_beside(Path("m.mp4"), names, ["de"]) == (Path("m.ger.sdh.srt"), "de")
    assert subtitles_beside(Path("m.mp4"), names, ["ita"]) == (Path("m.srt"), None)


def test_a_site_may_state_any_code() -> None:
    words = srt("Guten Abend, meine Damen und Herren.", "Heute sprechen wir über das Wetter.")
    for stated in ("deu", "ger", "German", "de-AT"):
        spoken = sentences_of([SubtitleTrack(stated, "manual", "srt", words)], ["de"], SETTINGS)
        assert (spoken.language, len(spoken.sentences)) == ("de", 2)


# --- form -----------------------------------------------------------------------------------------------------------

LINES = ["so this is how", "it goes on and on", "for ever and a day", "until we stop", "which we do not", "not today"]
ROLLING = srt(*(f"{a}\n{b}" for a, b in zip(["", *LINES], LINES, strict=False)))
CHINESE = ["今天", "我们", "去", "市场", "买菜", "你", "觉得", "晚上", "吃什么", "好"] * 3
TIMED = "WEBVTT\n\n" + "\n\n".join(
    f"00:00:{n:02}.000 --> 00:00:{n + 1:02}.000\n{line.replace(' ', f' <00:00:{n:02}.500><c>', 1)}</c>"
    for n, line in enumerate(LINES)
)


@pytest.mark.parametrize(
    ("file", "kind"),
    [
        (ROLLING, "automatic"),
        (ROLLING.replace("\n", "\r\n"), "automatic"),
        (TIMED, "automatic"),
        (srt(*" ".join(LINES).split()), "automatic"),  # a cue for every word
        (srt(*LINES), "manual"),
        (srt(*(f"- {line}\n- Yes." for line in LINES)), "manual"),
        (srt("No.", "No.", "No.", "Yes.", "No.", "No.", "I said no."), "manual"),
        (srt(*CHINESE), "manual"),
        (srt("<i>Hello</i> there."), "manual"),
    ],
    ids=["rolling", "rolling, CRLF", "word times", "words", "lines", "dialogue", "repeats", "Chinese", "one cue"],
)
def test_a_track_is_automatic_by_its_form(file: str, kind: str) -> None:
    track, _ = read(file.encode(), "en", "manual")
    assert track.kind == kind
    assert read(file.encode(), "en", "automatic")[0].kind == "automatic"


# --- the language of words ------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "words", ["okay", "No.", "Wow", "la la la", "Yeah. Yeah. Yeah.", "Mmm. Hmm.", "John Smith", "Bye bye", "1, 2, 3"]
)
def test_a_few_words_tell_no_language(words: str) -> None:
    assert identify(words) == (None, None)
    assert sentences_of([SubtitleTrack("und", "manual", "srt", srt(words))], ["en"], SETTINGS).language is None
    language, confidence = identify(words, "eng")
    assert language == "en"
    assert confidence is None or confidence < 0.99


@pytest.mark.parametrize(
    ("words", "stated", "language"),
    [
        ("Die Katze sitzt auf der warmen Mauer und schläft.", None, "de"),
        ("Die Katze sitzt auf der warmen Mauer und schläft.", "en", "de"),
        ("Good morning everybody, today we cook.", None, "en"),
        ("Ja.", "de-AT", "de"),
        ("...", "fr", "fr"),
        ("...", "und", None),
        ("Ja.", "xx", None),
        ("今天我们来学习怎么做饭。", "en", "zh"),
        ("ありがとうございます", None, "ja"),
        ("Tänään menemme torille ostamaan vihanneksia.", "fin", "fi"),
    ],
)
def test_words_that_tell_their_language(words: str, stated: str | None, language: str | None) -> None:
    found, confidence = identify(words, stated)
    assert found == language_of(words, stated) == language
    assert confidence is None or 0.8 <= confidence <= 1


def test_a_language_is_an_iso_639_1_code_or_none() -> None:
    """Of text in a language without such a code, too."""
    for words in ("Mo dey go market today, wetin you wan chop for night?", "Nun parlu micca bè u talianu, scusate."):
        found, _ = identify(words)
        assert found is None or len(found) == 2
