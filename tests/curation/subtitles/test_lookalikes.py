"""Speech that looks like times, data, credits, markup or repeats; and tracks that look like the speech."""

from __future__ import annotations

import pytest

from curation.records import SubtitleTrack
from curation.settings import SubtitleSettings
from curation.subtitles.cascade import sentences_of
from curation.subtitles.cue_blocks import blocks_of
from curation.subtitles.text_encoding import decode

SETTINGS = SubtitleSettings(sentence_ends="pauses")


def clock(seconds: float) -> str:
    return f"{int(seconds) // 3600:02}:{int(seconds) // 60 % 60:02}:{seconds % 60:06.3f}".replace(".", ",")


def srt(*cues: str | tuple[float, float, str], every: float = 3.0) -> str:
    """Cues with their times, or one after the other, with a second between them."""
    timed = [
        cue if isinstance(cue, tuple) else (i * every, i * every + every - 1, cue) for i, cue in enumerate(cues, 1)
    ]
    return "".join(f"{i}\n{clock(a)} --> {clock(b)}\n{text}\n\n" for i, (a, b, text) in enumerate(timed, 1))


def said(text: str, form: str = "srt", language: str = "en") -> list[tuple[float, str]]:
    track = SubtitleTrack(language=language, kind="manual", format=form, text=text)
    return [(round(s.start, 1), s.text) for s in sentences_of([track], [language], SETTINGS).sentences]


def texts(text: str, form: str = "srt", language: str = "en") -> str:
    return " ".join(sentence for _, sentence in said(text, form, language))


@pytest.mark.parametrize(
    "lines",
    [
        ["Our opening times:", "Mon 10:00 --> 18:00\nand on Sundays we are closed.", "Come and visit."],
        ["Next:", "Upgrade 1.2.3 -> 1.3.0 is easy,\njust run the tool.", "Then it passes."],
        ["It rises.", "From 1.5 -> 2.5 it rises.\nThen it falls.", "That is all.", "Good bye."],
        ["Be there at", "10:30 --> soon, I said.", "Do come."],
        ["First you open your browser and", "download Python from python.org and", "then you install it."],
        ["Sync your files with dropbox.com, please.", "The correct address is amazon.com.", "Good."],
        ["We translated the book at example.com for you.", "Thank you."],
        ["Our speed: 120 km/h now, altitude: 3000 m, heading: 270.", "We are on our way."],
        [f"{n} x 7 = {7 * n}" for n in range(1, 13)],
        ["The <head> tag comes before the <nav> tag.", "A Vector<int> holds numbers."],
        ["If a<b and c>d, we stop.", "Print {x:02} then."],
    ],
)
def test_speech_that_looks_like_something_else(lines: list[str]) -> None:
    found = texts(srt(*lines)).lower()
    for line in " ".join(lines).split():
        assert line.lower().rstrip(",") in found


@pytest.mark.parametrize(
    "credit", ["Subtitles by www.example.com", "Downloaded from\nwww.example.com", "Sync: subs.example.com"]
)
def test_credits_are_no_speech(credit: str) -> None:
    assert texts(srt("Good morning.", credit)) == "Good morning."


def test_a_slow_speaker_does_not_read_chapters() -> None:
    lines = ["Breathe in slowly.", "And breathe out.", "Feel the ground.", "And open your eyes."]
    assert texts(srt(*((30 * i, 30 * i + 28, line) for i, line in enumerate(lines)))) == " ".join(lines)
    assert (
        texts(srt(*((30 * i, 30 * i + 30, line) for i, line in enumerate(["Introduction", "The garden", "The end"]))))
        == ""
    )


def test_what_is_said_twice_is_kept_twice() -> None:
    phrases = ["Where is the station?", "I would like a coffee.", "How much is it?", "See you tomorrow."]
    lesson = srt(*((10 * i + d, 10 * i + d + 2, p) for i, p in enumerate(phrases) for d in (1, 6)))
    assert texts(lesson) == " ".join(p for p in phrases for _ in range(2))


def test_a_cue_that_is_written_anew_every_second_lasts_until_its_last() -> None:
    lines = ["We will now see what he does.", "He has not moved at all."]
    file = srt(*((5 * k + i + 1, 5 * k + i + 2, line) for k, line in enumerate(lines) for i in range(5)))
    spoken = sentences_of([SubtitleTrack("en", "manual", "srt", file)], ["en"], SETTINGS).sentences
    assert [(s.start, s.end, s.text) for s in spoken] == [(1.0, 6.0, lines[0]), (6.0, 11.0, lines[1])]


@pytest.mark.parametrize("inner", ["<00:59:00.000>", "<00:00:00.100>"])
def test_a_time_that_is_not_of_its_cue_moves_nothing(inner: str) -> None:
    rest = "".join(f"00:{10 + i}.000 --> 00:{11 + i}.000\nSentence number {i} here.\n\n" for i in range(6))
    found = said(f"WEBVTT\n\n00:01.000 --> 00:04.000\nHello<00:02.000> big{inner} world.\n\n{rest}", "vtt")
    assert found == [(1.0, "Hello big world."), *((10.0 + i, f"Sentence number {i} here.") for i in range(6))]


@pytest.mark.parametrize(
    ("written", "meant"), [("R&D", "R&D"), ("a&nbsp;b", "a b"), ("&eacute;t&eacute;", "été"), ("&lt;3", "<3")]
)
def test_a_stray_ampersand_in_ttml_costs_nothing(written: str, meant: str) -> None:
    lines = ["One is here.", f"Two has {written} in it.", "Three is here."]
    body = "".join(f'<p begin="{i}s" end="{i + 1}s">{line}</p>' for i, line in enumerate(lines))
    found = texts(f'<tt xmlns="http://www.w3.org/ns/ttml"><body><div>{body}</div></body></tt>', "ttml")
    assert found == f"One is here. Two has {meant} in it. Three is here."


def test_typesetting_is_no_speech() -> None:
    def line(i: int, text: str, effect: str = "") -> str:
        return f"Dialogue: 0,0:00:{i:02}.00,0:00:{i + 1:02}.00,Default,,0,0,0,{effect},{text}\n"

    spoken = line(1, "I told you that we") + line(4, "should never go there.")
    file = "[Script Info]\n\n[Events]\n" + spoken + line(3, r"{\pos(3,4)}POLICE STATION") + line(3, "ko ni chi", "fx")
    assert texts(file, "ass") == "I told you that we should never go there."
    assert texts("[Script Info]\n\n[Events]\n" + line(1, r"{\pos(3,4)}Good morning."), "ass") == "Good morning."


def test_a_track_of_signs_is_not_taken_for_the_speech() -> None:
    full = srt(*(f"This is sentence number {i} of many." for i in range(20)))
    tracks = [
        SubtitleTrack("en", kind, "srt", text) for kind, text in (("manual", srt("Subscribe!")), ("automatic", full))
    ]
    spoken = sentences_of(tracks, ["en"], SETTINGS)
    assert (spoken.kind, len(spoken.sentences)) == ("automatic", 20)
    tracks = [SubtitleTrack("en", "manual", "srt", text) for text in (srt("Police station"), full)]
    assert len(sentences_of(tracks, ["en"], SETTINGS).sentences) == 20


@pytest.mark.parametrize(
    ("language", "text"),
    [("es", "El Sr. García pasó."), ("es", "Vino la Dña. Ana."), ("nl", "Dhr. Jansen en Mevr. De Vries."),
     ("fr", "Voici Mme. Rossi."), ("pl", "To pan inż. Nowak."), ("en", "We met at St. Pierre.")],
)  # fmt: skip
def test_titles_end_no_sentence(language: str, text: str) -> None:
    assert [sentence for _, sentence in said(srt(f"{text} {text}"), language=language)] == [text, text]


def test_a_song_over_several_cues_is_not_speech() -> None:
    song = ["♪ We are the", "champions, my", "friends ♪"]
    assert texts(srt("Listen to this.", *song, "Good, isn't it?")) == "Listen to this. Good, isn't it?"


@pytest.mark.parametrize(
    "lines",
    [
        ["♪ Music begins", "We stand here now.", "And here we go.", "So it begins.", "What a song.", "That was it ♪"],
        ["♪ Music begins", "We stand here now.", "♪ Music ends"],
    ],
)
def test_what_is_said_after_a_note_is_speech(lines: list[str]) -> None:
    assert "We stand here now." in texts(srt(*lines))


HEBREW = ["מה שלומכם היום?", "היו שם 12 אנשים.", "אני הולך לישון (עכשיו).", "המים חמים מאוד, רותחים."]


@pytest.mark.parametrize("encoding", ["utf-8", "iso-8859-8"])
def test_hebrew_in_visual_order_is_read_as_it_is_meant(encoding: str) -> None:
    visual = [line[::-1].replace("21", "12").translate(str.maketrans("()", ")(")) for line in HEBREW]
    for lines in (HEBREW, visual):
        file = srt(*(f"<i>{line}</i>" for line in lines)).encode(encoding)
        assert texts(decode(file, "he"), language="he") == " ".join(HEBREW)


def test_frames_are_not_hundredths() -> None:
    times = [("00:00:01:12", "00:00:02:24"), ("00:00:03:00", "00:00:04:06"), ("00:00:05:18", "00:00:07:00")]
    file = "\n\n".join(f"{i}\n{a} --> {b}\nThis is line {i}." for i, (a, b) in enumerate(times, 1))
    assert [(block.start, block.end) for block in blocks_of(file)] == [(1.48, 2.96), (3.0, 4.24), (5.72, 7.0)]
    hundredths = file.replace("04:06", "04:86")
    assert [(block.start, block.end) for block in blocks_of(hundredths)] == [(1.12, 2.24), (3.0, 4.86), (5.18, 7.0)]


def test_a_note_in_subrip_is_read_out() -> None:
    assert texts(srt("He read:\n\nNOTE to self:\nbuy milk.")) == "He read: NOTE to self: buy milk."
    assert texts(f"WEBVTT\n\nNOTE by the author\n\n{srt('Good morning.')}", "vtt") == "Good morning."


def test_the_line_of_fields_says_what_is_where() -> None:
    file = (
        "[Script Info]\n[Events]\nFormat: Start, End, Name, Style, Text\n"
        "Dialogue: 0:00:01.00,0:00:02.00,Anna,Default,Hello, there.\n"
        "Dialogue: 0:00:03.00,0:00:04.00,Bob,Default,Good morning.\n"
    )
    track = SubtitleTrack(language="en", kind="manual", format="ass", text=file)
    sentences = sentences_of([track], ["en"], SETTINGS).sentences
    assert [(s.start, s.speaker, s.text) for s in sentences] == [
        (1.0, "Anna", "Hello, there."),
        (3.0, "Bob", "Good morning."),
    ]


def test_nicknames_are_speakers_where_every_cue_has_one() -> None:
    lines = ["bob_7: hello there.", "zoe: hi bob, how are you?", "bob_7: fine, thanks.", "zoe: and the dog?"]
    track = SubtitleTrack(language="en", kind="manual", format="srt", text=srt(*lines))
    sentences = sentences_of([track], ["en"], SETTINGS).sentences
    assert [s.speaker for s in sentences] == ["bob_7", "zoe", "bob_7", "zoe"]
    assert texts(srt("There is one thing: hope.", "And he said: no.", "We left.")) == (
        "There is one thing: hope. And he said: no. We left."
    )
