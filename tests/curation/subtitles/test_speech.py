"""What is speech in a subtitle file and what is not, and who says it."""

from __future__ import annotations

import pytest

from benchmarks.sentence_texts import srt_of
from curation.records import Sentence
from curation.settings import SubtitleSettings
from curation.subtitles.cues import pieces_of
from curation.subtitles.punctuation import sentence_spans
from curation.subtitles.sentences import sentences_in
from curation.subtitles.subtitle_formats import format_of
from curation.subtitles.transcript import Transcript


def sentences_of(file: str, language: str = "en") -> tuple[Sentence, ...]:
    spoken = Transcript(pieces_of(file))
    settings = SubtitleSettings(sentence_ends="pauses")
    return sentences_in(spoken, sentence_spans(spoken, language), language, settings)


def srt(*cues: str, seconds: float = 3.0) -> str:
    return srt_of((seconds * i, seconds * i + seconds - 0.1, cue) for i, cue in enumerate(cues))


def said(*cues: str, seconds: float = 3.0) -> str:
    return " ".join(piece.text for piece in pieces_of(srt(*cues, seconds=seconds)))


# --- brackets -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "cue",
    [
        "(a plus b) squared is what?",
        "(x + y) is larger",
        "the interval [0, 1] is closed.",
        "the matrix [1, 2; 3, 4] and a[i]",
        "He left. (That was in May.)",
        "(That was long ago.)",
        "the agency (the federal one) said",
        "It costs 5 dollars (single ones are 6).",
        "(if you like), take more",
        "（a+b）的平方是多少？",
        "He said (clearly annoyed by it) that we stay",
    ],
)
def test_brackets_that_are_spoken_stay(cue: str) -> None:
    assert said(cue) == cue


@pytest.mark.parametrize(
    ("cue", "spoken"),
    [
        ("(door creaks) Who is there?", "Who is there?"),
        ("(sighs) come here", "come here"),
        ("(sarcastically) oh great", "oh great"),
        ("(MAN) Hello.", "Hello."),
        ("(Anna): Hello.", "Hello."),
        ("(Anna) Hello.", "Hello."),
        ("(speaking French)", ""),
        ("(...)", ""),
        ("[ __ ] that", "that"),
        ("[inaudible 00:12:30] so", "so"),
        ("[00:12:30] so", "so"),
        ("(ضحك) مرحبا", "مرحبا"),
        ("(música) hola", "hola"),
        ("I know (laughs) that", "I know that"),
        ("- (laughs) Yes.\n- (sighs) No.", "Yes. No."),
    ],
)
def test_brackets_that_describe_go(cue: str, spoken: str) -> None:
    assert said(cue) == spoken


# --- names ----------------------------------------------------------------------------------------------------------


def test_the_names_of_meeting_software_are_speakers() -> None:
    talk = ["Anna Example: Good morning, can", "Anna Example: you hear me?", "Bob Example: Yes.", "Anna Example: Good."]
    assert [(s.speaker, s.text) for s in sentences_of(srt(*talk))] == [
        ("Anna Example", "Good morning, can you hear me?"),
        ("Bob Example", "Yes."),
        ("Anna Example", "Good."),
    ]


@pytest.mark.parametrize(
    ("names", "texts"),
    [
        (("张三：", "李四："), ("你好，大家好。", "你好。")),
        (("Анна Петрова: ", "Борис: "), ("Доброе утро.", "Привет.")),
        (("أحمد: ", "ليلى: "), ("صباح الخير.", "أهلا.")),
        (("Ana de la Cruz: ", "J. Pérez: "), ("Buenos días.", "Hola.")),
        (("ANNA: ", "DR. SMITH: "), ("Good morning.", "Hello.")),
        ((">> Anna: ", ">> Bob Smith: "), ("Good morning.", "Hello.")),
        (("[SPEAKER_00]: ", "[SPEAKER_01]: "), ("good morning.", "hello.")),
        (("MAN: ", "WOMAN 2: "), ("good morning.", "hello.")),
        (("Speaker 1: ", "Speaker 2: "), ("Good morning.", "Hello.")),
        (("<v Anna>", "<v.loud Bob &amp; Co>"), ("Good morning.", "Hello.")),
    ],
)
def test_names_in_any_script_and_form(names: tuple[str, str], texts: tuple[str, str]) -> None:
    found = sentences_of(srt(*(f"{n}{t}" for n, t in zip(names * 2, texts * 2, strict=True))), "xx")
    bare = [n.removeprefix("<v").partition("loud")[-1] or n for n in names]
    expected = [n.strip("[]> <v:：").replace("&amp;", "&") for n in bare]
    assert [s.text for s in found] == [*texts] * 2
    assert [s.speaker for s in found] == expected * 2


def test_two_voices_in_a_cue_and_a_dash_without_a_name() -> None:
    found = sentences_of(srt("<v Anna>Hello.</v>\n<v Bob>Hi there.</v>", "- Who is it?\n- Me."))
    assert [(s.speaker, s.text) for s in found] == [
        ("Anna", "Hello."), ("Bob", "Hi there."), (None, "Who is it?"), (None, "Me.")
    ]  # fmt: skip


def test_the_name_above_a_cue() -> None:
    cue = '{} "Anna Example" (34567)\n00:00:0{}.000 --> 00:00:0{}.900\n{}\n\n'
    file = "WEBVTT\n\n" + cue.format(1, 0, 0, "Good morning.") + cue.format(2, 1, 1, "We begin.")
    assert [(s.speaker, s.text) for s in sentences_of(file)] == [
        ("Anna Example", "Good morning."), ("Anna Example", "We begin.")
    ]  # fmt: skip


@pytest.mark.parametrize(
    "cue",
    [
        "NASA: we have a problem.",
        "PS: I love you.",
        "FAQ: Where is it?",
        "STEP 1: Wash the rice.",
        "WARNING: Hot.",
        "USA: Land of lakes.",
        "BBC: the oldest one",
        "Star Wars: a new hope",
        "Remember: hello",
        "London: a big city.",
        "Dr. Smith: a life",
        "At 10:30 we left",
    ],
)
def test_an_abbreviation_or_a_name_in_front_is_not_a_speaker(cue: str) -> None:
    cues = [cue, "It is a fine day.", "We go out.", "Then we come back."]
    assert said(*cues) == " ".join(cues)
    assert {piece.speaker for piece in pieces_of(srt(*cues))} == {None}


def test_headings_that_never_come_again_are_no_speakers() -> None:
    cues = ["Monday: We cook.", "Tuesday: We eat.", "Wednesday: We sleep.", "Thursday: We cook again."]
    assert said(*cues) == " ".join(cues)
    quiz = ["Question: Who came?", "Answer: The king."] * 3
    assert said(*quiz) == " ".join(quiz)


# --- data -----------------------------------------------------------------------------------------------------------

READINGS = {
    "a drone": '<font size="28">FrameCnt: {n}, DiffTime: 33ms\n2030-01-02 10:20:30.{n:03d}\n[iso: 100] '
    "[shutter: 1/500.0] "
    "[latitude: 10.00{n}] [longitude: 20.00{n}] [rel_alt: 12.300 abs_alt: 45.600] </font>",
    "an older one": "HOME(8.6{n},47.3{n}) 2030.01.02 10:20:{n}\nGPS(8.6{n},47.3{n},19) BAROMETER:1.{n}\n"
    "ISO:100 Shutter:60 EV: Fnum:2.2",
    "another": "F/2.8, SS 206.{n}, ISO 100, EV 0, GPS (8.6{n}, 47.3{n}, 15), D 24.{n}m, "
    "H 6.00m, H.S 4.80m/s, V.S 0.00m/s",
    "a dash camera": "2030-01-02 10:20:{n} N:47.12{n} E:8.12{n} {n} km/h",
    "a camera's clock": "2030-01-02 10:20:{n}",
    "unknown": "Q{n} 12.{n} 33 v 7.{n}",
}


@pytest.mark.parametrize("reading", READINGS.values(), ids=READINGS)
def test_readings_of_instruments_are_no_speech(reading: str) -> None:
    assert said(*(reading.format(n=n) for n in range(10, 40)), seconds=0.5) == ""


def test_readings_between_words_go_alone() -> None:
    reading = READINGS["a drone"].format(n=7)
    assert said("Here we take off.", reading, "And there is the lake.") == "Here we take off. And there is the lake."


@pytest.mark.parametrize(
    "cues",
    [
        ["It was 1969.", "In 1970 we had 3 dogs.", "By 1980 we had 12."],
        ["10", "9", "8", "7", "6"],
        ["The GPS says 47.3 north.", "Speed: 30 km/h.", "Good."],
        ["Call 555 123 456.", "Or 555 123 457.", "Thank you."],
    ],
)
def test_who_speaks_of_numbers_speaks(cues: list[str]) -> None:
    assert said(*cues) == " ".join(cues)


def test_chapters_are_no_speech() -> None:
    assert said("Introduction", "The recipe", "Cooking", "Thanks", seconds=180.0) == ""
    assert said("So.", "Here we are.", "Fine.", seconds=15.0) == "So. Here we are. Fine."


@pytest.mark.parametrize(
    ("cue", "spoken"),
    [
        ("https://www.example.com/a?b=c", ""),
        ("www.example.com", ""),
        ("example.org", ""),
        ("Subtitles by\nwww.example.com", ""),
        ("<i>Subtitles by the example.org community</i>", ""),
        ("Translated by anna@example.com", ""),
        ("You will find all of it at https://a.example/x for free", "You will find all of it at for free"),
        ("Go to example.com and look.", "Go to example.com and look."),
        ("<i>Hello.</i>", "Hello."),
        ("He paid 3.50 dollars.", "He paid 3.50 dollars."),
        ("It is 5 p.m. now.", "It is 5 p.m. now."),
    ],
)
def test_addresses_are_no_speech(cue: str, spoken: str) -> None:
    assert said(cue) == spoken


# --- lines of times -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("line", "start", "end"),
    [
        ("00: 00: 01,000 -> 00: 00: 02,500", 1.0, 2.5),
        ("00 : 00 : 01 , 000 – > 00 : 00 : 02 , 500", 1.0, 2.5),
        ("00：00：01，000 —> 00：00：02，500", 1.0, 2.5),
        ("٠٠:٠٠:٠١,٠٠٠ --> ٠٠:٠٠:٠٢,٥٠٠", 1.0, 2.5),
        ("00:00:01,000 → 00:00:02,500", 1.0, 2.5),
        ("00:00:01.000 --&gt; 00:00:02.500", 1.0, 2.5),
        ("00:00:01,000 00:00:02,500", 1.0, 2.5),
        ("00:00:01,000 --> 00:00:02,500 X1:100 X2:200", 1.0, 2.5),
        ("-00:00:01,000 --> 00:00:02,500", 0.0, 2.5),
        ("00:00:-1,000 --> 00:00:02,500", 0.0, 2.5),
        ("00:00:0l,000 --> 00:00:02,500", 0.0, 2.5),
        ("00:00:01,000 --> 00:00:0x,500", 1.0, 2.0),
        ("--> 00:00:02,500", 0.0, 2.5),
    ],
)
def test_a_line_of_times_is_read_where_it_can_be(line: str, start: float, end: float) -> None:
    later = line.translate(str.maketrans("12١٢", "34٣٤"))
    file = f"1\n{line}\nGood morning.\n\n2\n{later}\nWe begin.\n"
    assert format_of(file) == "srt"
    pieces = pieces_of(file)
    assert [p.text for p in pieces] == ["Good morning.", "We begin."]
    assert pieces[0].start == start
    assert pieces[0].end == pytest.approx(end, abs=0.5)


@pytest.mark.parametrize("text", ["12:30 - 13:00", "x => y", "2 < 3 and 5 > 4", "a -> b", "We left at 10:30."])
def test_lines_with_arrows_and_hours_are_text(text: str) -> None:
    assert said(text) == text
