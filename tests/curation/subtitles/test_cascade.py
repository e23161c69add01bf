"""From subtitle files, clean, broken or hostile, to timed text; choosing the track."""

from __future__ import annotations

import itertools
import json
import os
import random
import time
from io import StringIO
from pathlib import Path

import pytest
import webvtt
from hypothesis import given, settings
from hypothesis import strategies as st

from curation import guard
from curation.languages import language_of
from curation.records import SubtitleTrack
from curation.rejects import Kind, Rejected
from curation.settings import SubtitleSettings
from curation.subtitles import parsing, subtitles_child
from curation.subtitles.cascade import Spoken, sentences_of
from curation.subtitles.cues import Piece, pieces_of
from curation.subtitles.parsing import parse
from curation.subtitles.punctuation import Spans
from curation.subtitles.sentences import sentences_in
from curation.subtitles.text_encoding import decode
from curation.subtitles.tracks import plan
from curation.subtitles.transcript import Transcript

SETTINGS = SubtitleSettings(sentence_ends="pauses")


def texts(file: str) -> list[str]:
    return [p.text for p in pieces_of(file)]


def vtt(*cues: str, at: float = 1.0, every: float = 2.0) -> str:
    """A WebVTT file of these cue texts, one after the other."""
    times = [(at + every * i, at + every * i + every - 0.2) for i in range(len(cues))]
    return "WEBVTT\n\n" + "\n\n".join(f"{stamp(a)} --> {stamp(b)}\n{c}" for (a, b), c in zip(times, cues, strict=True))


def stamp(seconds: float) -> str:
    milliseconds = round(seconds * 1000)
    whole = milliseconds // 1000
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{milliseconds % 1000:03}"


# --- clean and broken files -----------------------------------------------------------------------------------------

CLEAN = """WEBVTT - a title
Kind: captions

NOTE a comment
of two lines

STYLE
::cue { color: yellow }

REGION
id:left

intro
00:01.000 --> 00:03.000 align:start position:10%
First line
second line

00:01:04.500 --> 00:01:06.000
Later &amp; last
"""


def test_clean_webvtt_is_what_webvtt_py_reads() -> None:
    oracle = [
        (c.start, c.end, c.text.replace("\n", " ").replace("&amp;", "&")) for c in webvtt.from_buffer(StringIO(CLEAN))
    ]
    pieces = pieces_of(CLEAN)
    cues = [(stamp(c[0].start), stamp(c[-1].end), " ".join(p.text for p in c)) for c in (pieces[:2], pieces[2:])]
    assert cues == oracle


@pytest.mark.hostile("subtitles")
@pytest.mark.parametrize(
    "file",
    [
        "1\n00:00:01,000 --> 00:00:02,000\nHello there.\n\n2\n00:00:03,000 --> 00:00:04,000\nBye now.\n",
        "1\r\n00:00:01,000 --> 00:00:02,000\r\nHello there.\r\n\r\n2\r\n00:00:03,000 --> 00:00:04,000\r\nBye now.",
        "1\r00:00:01.000 --> 00:00:02.000\rHello there.\r\r2\r00:00:03.000 --> 00:00:04.000\rBye now.\r",
        "1\n00:00:01,000 --> 00:00:02,000\nHello there.\n2\n00:00:03,000 --> 00:00:04,000\nBye now.",  # no blank lines
        "00:00:01,000 --> 00:00:02,000\nHello there.\n00:00:03,000 --> 00:00:04,000\nBye now.",  # nor numbers
        "00:01.000 --> 00:02.000\nHello there.\n\n00:03.000 --> 00:04.000\nBye now.",  # no hours, no header
        "WEBVTT\n00:01,0 --> 00:02,0\n\nHello there.\n\n\n00:03 --> 00:04\nBye now.",  # blank after the times
        "WEBVTT\n\n0:0:1.0-->0:0:2.0\nHello there.\n\n  0:0:3.0  ->  0:0:4.0\nBye now.",
        "2\n00:00:03,000 --> 00:00:04,000\nBye now.\n\n1\n00:00:01,000 --> 00:00:02,000\nHello there.\n",  # out of order  # noqa: E501
        "\ufeffWEBVTT\n\nname of it\n00:01.000 --> 00:02.000\nHello there.\n\nthe other\n00:03.000 --> 00:04.000\nBye now.",  # noqa: E501
        "WEBVTT\n\n00:01.000 --> 00:02.000\nHello there.\n\nNOTE\nnothing\n\n00:03.000 --> 00:04.000 line:0\nBye now.",
        "1\n00:00:01,000 --> 00:00:02,000\nHello\n\nthere.\n\n2\n00:00:03,000 --> 00:00:04,000\nBye now.",  # blank inside  # noqa: E501
    ],
)  # fmt: skip
def test_broken_files_give_the_same_text(file: str) -> None:
    pieces = pieces_of(file)
    assert " ".join(p.text for p in pieces) == "Hello there. Bye now."
    assert (pieces[0].start, pieces[-1].start, pieces[-1].end) == (1.0, 3.0, 4.0)


@pytest.mark.hostile("subtitles")
def test_bad_times_are_repaired() -> None:
    file = (
        "1\n00:00:05,000 --> 00:00:03,000\nNegative.\n\n2\n00:00:06,000 --> 00:00:06,000\nZero.\n\n"
        "3\n00:00:07,000 --> 00:00:20,000\nToo long.\n\n4\n00:00:08,000 --> 00:00:09,000\nOverlapped."
    )
    pieces = pieces_of(file)
    assert [p.text for p in pieces] == ["Negative.", "Zero.", "Too long.", "Overlapped."]
    assert all(p.end > p.start for p in pieces)
    assert all(a.end <= b.start for a, b in itertools.pairwise(pieces))
    assert pieces[2].end == 8.0


# --- what is not speech ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("cue", "spoken"),
    [
        ("<i>Hello</i> <b>there</b>", "Hello there"),
        ('<font color="#fff">Hello</font>', "Hello"),
        ("{\\an8}Hello{\\i1} there", "Hello there"),
        ("<v Roger Bingham>We are in New York</v>", "We are in New York"),
        ("<v.loud Anna>Hi", "Hi"),
        ("<lang en-GB>Hi</lang> <c.yellow.bg_blue>you</c>", "Hi you"),
        (">> Hello", "Hello"),
        ("&gt;&gt; Hello &amp; bye", "Hello & bye"),
        (">> Anna Smith: Hello", "Hello"),
        ("- Hello.\n- Hi.", "Hello. Hi."),
        ("-Hello.\n–Hi.", "Hello. Hi."),
        ("ANNA: Hello", "Hello"),
        ("DR. SMITH: Hello", "Hello"),
        ("Remember: hello", "Remember: hello"),
        ("At 10:30 we left", "At 10:30 we left"),
        ("It is -5 degrees", "It is -5 degrees"),
        ("a well-known man", "a well-known man"),
        ("2 < 3 and 5 > 4", "2 < 3 and 5 > 4"),
        ("[Music]", ""),
        ("[Music] so here [laughter] we are", "so here we are"),
        ("(applause) Thank you", "Thank you"),
        ("Thank you. (APPLAUSE)", "Thank you."),
        ("the agency (the federal one) said", "the agency (the federal one) said"),
        ("I know (laughs) that", "I know that"),
        ("♪ la la la ♪", ""),
        ("♪ la la\nla la ♪", ""),
        ("# la la la #", ""),
        ("We are number #1", "We are number #1"),
        ("♪", ""),
        ("Hello ♪", "Hello"),
        ("（拍手）", ""),
        ("（田中）おはよう。", "おはよう。"),
        ("【音楽】", ""),
        ("<ruby>漢<rt>かん</rt>字<rt>じ</rt></ruby>", "漢字"),
        ("a&nbsp;b&lrm;c", "a bc"),
        ("می‌خواهم", "می‌خواهم"),  # the zero-width non-joiner belongs to the word
    ],
)
def test_only_speech_is_kept(cue: str, spoken: str) -> None:
    assert " ".join(texts(vtt(cue))) == spoken


# --- rolling and repeating ------------------------------------------------------------------------------------------


def rolling(lines: list[list[tuple[float, str]]], end: float) -> str:
    """A scrolling file with word times, as video sites write them: each line comes once with times, then twice without."""  # noqa: E501
    cues = []
    above = " "
    for line, after in zip(lines, [*lines[1:], [(end, "")]], strict=True):
        until = after[0][0] - 0.01
        timed = line[0][1] + "".join(f"<{stamp(t)}><c> {w}</c>" for t, w in line[1:])
        plain = " ".join(w for _, w in line)
        cues.append(f"{stamp(line[0][0])} --> {stamp(until)} align:start position:0%\n{above}\n{timed}\n")
        cues.append(f"{stamp(until)} --> {stamp(until + 0.01)} align:start position:0%\n{plain}\n \n")
        above = plain
    return "WEBVTT\nKind: captions\nLanguage: en\n\n" + "\n".join(cues)


@given(
    st.lists(
        st.lists(st.sampled_from(["so", "it", "is", "no", "well"]), min_size=1, max_size=5), min_size=3, max_size=12
    )
)
@settings(max_examples=60, deadline=None)
def test_scrolling_files_give_each_word_once_at_its_time(lines: list[list[str]]) -> None:
    clock = itertools.count(1)
    timed = [[(next(clock) * 0.5, word) for word in line] for line in lines]
    pieces = pieces_of(rolling(timed, next(clock) * 0.5))
    assert [(p.start, p.text) for p in pieces] == [pair for line in timed for pair in line]


def test_growing_lines_are_kept_once() -> None:
    assert texts(
        vtt("and so it", "and so it begins", "and so it begins again", every=1.0, at=0.0).replace(".800", ".999")
    ) == [
        "and so it",
        "begins",
        "again",
    ]


def test_a_file_that_repeats_two_lines_scrolls() -> None:
    assert texts(vtt("one two\nthree four", "three four\nfive six", "five six\nseven", "seven\neight")) == [
        "one two", "three four", "five six", "seven", "eight",
    ]  # fmt: skip


def test_a_sentence_spoken_twice_is_kept_twice() -> None:
    assert texts(vtt("No.", "No.", "I said no.", "Why not?")) == ["No.", "No.", "I said no.", "Why not?"]


def test_the_same_cue_twice_is_one() -> None:
    cue = "00:00:01.000 --> 00:00:02.000\nHello.\n\n"
    assert texts(f"WEBVTT\n\n{cue}{cue}00:00:03.000 --> 00:00:04.000\nBye.") == ["Hello.", "Bye."]


# --- the choice -----------------------------------------------------------------------------------------------------


def track(language: str, kind: str, text: str) -> SubtitleTrack:
    return SubtitleTrack(language, kind, "vtt", text)


GERMAN = vtt("Guten Abend, meine Damen und Herren.", "Heute sprechen wir über das Wetter in Europa.")
ENGLISH = vtt("Good evening, ladies and gentlemen.", "Today we are going to talk about the weather.")
AUTOMATIC = vtt("good evening ladies and gentlemen", "today we are going to talk about the weather")


@pytest.mark.parametrize(
    ("tracks", "wanted", "language", "kind"),
    [
        ([("en", "automatic", AUTOMATIC), ("en", "manual", ENGLISH)], ["en"], "en", "manual"),
        ([("en-orig", "automatic", AUTOMATIC)], ["en"], "en", "automatic"),
        ([("de", "manual", GERMAN), ("en-US", "manual", ENGLISH)], ["en", "de"], "en", "manual"),
        ([("de", "manual", GERMAN), ("en", "automatic", AUTOMATIC)], ["en", "de"], "de", "manual"),
        ([("de", "manual", GERMAN)], ["all"], "de", "manual"),
        ([("und", "manual", GERMAN)], ["en"], "de", "manual"),
        ([("en", "manual", "WEBVTT\n\nnothing"), ("en", "automatic", AUTOMATIC)], ["en"], "en", "automatic"),
        ([("de", "manual", GERMAN)], ["en"], None, None),
        ([], ["en"], None, None),
    ],
)
def test_the_cascade(
    tracks: list[tuple[str, str, str]], wanted: list[str], language: str | None, kind: str | None
) -> None:
    spoken = sentences_of([track(*t) for t in tracks], wanted, SETTINGS)
    assert (spoken.language, spoken.kind) == (language, kind)
    assert bool(spoken.sentences) == (kind is not None)


def test_no_subtitles_is_a_normal_case() -> None:
    assert sentences_of([], ["en"], SETTINGS) == Spoken((), None, None)


def test_a_short_text_has_the_stated_language() -> None:
    assert language_of("Ja.", "de-AT") == "de"
    assert language_of("...", None, "fr") == "fr"
    assert language_of("今天我们来学习怎么做饭。", "en") == "zh"


# --- hostile files --------------------------------------------------------------------------------------------------

random.seed(5)
HOSTILE = {
    "random bytes": random.randbytes(2_000_000).decode("cp1252", "replace"),
    "10 MB of junk": "lorem <ipsum &dolor; ♪ ( [ {\\ --> 12:34 \n" * 230_000,
    "a million cues": "".join(
        f"{i // 3600:02}:{i // 60 % 60:02}:{i % 60:02}.000 --> 99:00:00.000\nword\n\n" for i in range(1_000_000)
    ),
    "one line of 1 MB": "00:01.000 --> 00:02.000\n" + "word " * 200_000,
    "one word of 1 MB": "00:01.000 --> 00:02.000\n" + "a" * 1_000_000,
    "full stops": "00:01.000 --> 00:02.000\n" + "." * 1_000_000,
    "half a sentence end": "00:01.000 --> 00:02.000\n" + "a. " * 300_000,
    "open tags": "00:01.000 --> 00:02.000\n" + "<" * 1_000_000,
    "open tag": "00:01.000 --> 00:02.000\n<a" + "a " * 500_000,
    "open brackets": "00:01.000 --> 00:02.000\n" + "([{（【" * 200_000,
    "notes": "00:01.000 --> 00:02.000\n" + "♪ a " * 250_000,
    "word times": "00:01.000 --> 00:02.000\n" + "<00:00:01.500><c> a</c>" * 100_000,
    "blank lines": "00:01.000 --> 00:02.000\n" + " \n\n" * 1_000_000 + "end",
    "spaces": "00:01.000 --> 00:02.000\n- " + " " * 1_000_000 + "x",
    "digits": "00:01.000 --> 00:02.000\n" + "1" * 1_000_000 + " -->",
    "colons": "A:" * 500_000 + "\n00:01.000 --> 00:02.000\n" + "A: " * 300_000,
    "entities": "00:01.000 --> 00:02.000\n" + "&amp" * 250_000,
    "quotes": "00:01.000 --> 00:02.000\n" + "\"'“" * 300_000 + ".",
    "list numbers": "00:01.000 --> 00:02.000\n" + "1. ii. a) " * 100_000,
    "all at once": "00:00:00.000 --> 00:00:00.000\na b.\n\n" * 100_000,
    "the same time": "00:00:01.000 --> 00:00:02.000\nnew\nold\n\n" * 100_000,
    "line breaks": "00:01.000 --> 00:02.000\n" + "\\N" * 240_000,
    "references to line breaks": "00:01.000 --> 00:02.000\n" + "&#10;" * 100_000,
    "speakers": "00:01.000 --> 00:02.000\n- He is ok.\n" * 40_000,
    "lines": "00:01.000 --> 00:02.000\n" + "word\n" * 100_000,
    "an endless note": "NOTE\n" + "word\n" * 1_000_000,
    "nothing but line ends": "\n" * 16_000_000,
}


@pytest.mark.slow
@pytest.mark.hostile("subtitles")
@pytest.mark.parametrize("file", HOSTILE.values(), ids=HOSTILE)
def test_hostile_files_take_little_time(file: str) -> None:
    began, waited = time.process_time(), guard.processor_s()
    spoken = sentences_of([track("en", "automatic", file)], ["en"], SETTINGS)
    assert time.process_time() - began < 5
    assert guard.processor_s() - waited < 30
    assert all(s.start <= s.end and s.text for s in spoken.sentences)


@pytest.mark.hostile("subtitles")
@pytest.mark.parametrize(
    ("cue", "spoken"),
    [
        ("&#xe000;1.2.3&#xe000;Hi", "1.2.3Hi"),  # the marks that we put in for times
        ("&#xe000;99999&#xe000;Hi", "99999Hi"),
        ("\ue0001.2.3\ue000Hi", "1.2.3Hi"),
        ("&#xD83D;Hi", "\ufffdHi"),  # half of a pair
        ("&#0;Hi", "\ufffdHi"),
        (f"&#{'9' * 9};Hi", "\ufffdHi"),
        (f"&#{'9' * 5000};Hi", f"&#{'9' * 5000};Hi"),  # more digits than Python converts
        (f"&#x{'f' * 5000};Hi", f"&#x{'f' * 5000};Hi"),
        ("&#10;&#10;Hi&#32;&#32;there", "Hi there"),
        (f"<{'9' * 5000}:00.000>Hi", f"<{'9' * 5000}:00.000>Hi"),
        ("<9999:99:99.999999>Hi", "Hi"),
        ("\\N\\N- Hi", "Hi"),
        ("&amp;lt;i>Hi", "&lt;i>Hi"),
        ("\x00\x07Hi\x7f", "Hi"),
    ],
    ids=itertools.count(),
)
def test_no_cue_can_forge_a_mark_or_stop_the_parser(cue: str, spoken: str) -> None:
    pieces = pieces_of(vtt(cue))
    assert " ".join(p.text for p in pieces) == spoken
    assert all(0 <= p.start <= p.end < 36_066_066 for p in pieces)


@pytest.mark.hostile("subtitles")
def test_a_file_that_cannot_be_read_in_time_or_memory_is_a_reject(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(Rejected, match="its subtitles could not be read within") as late:
        parse(HOSTILE["speakers"], "vtt", "en", 0.01)
    assert late.value.kind is Kind.TIMEOUT
    monkeypatch.setattr(parsing, "_MEMORY_BYTES", 1 << 20)
    with pytest.raises(Rejected, match="its subtitles need more than 1048576 bytes of memory") as large:
        parse(" " * 15_000_000, "vtt", "en", 60.0)
    assert large.value.kind is Kind.OUT_OF_MEMORY
    monkeypatch.undo()
    read = parse(vtt("Hello there."), "vtt", "en", 60.0)  # by another child
    assert read is not None
    assert read.spoken.text == "Hello there."


@pytest.mark.hostile("subtitles")
@pytest.mark.parametrize(
    ("file", "longest"),
    [
        ("00:01.000 --> 00:02.000\n" + "word " * 200_000, 50_000),  # one cue
        ("00:01.000 --> 00:02.000\n" + "word\n" * 200_000, 50_000),
        (("00:01.000 --> 00:02.000\n" + "word " * 9_000 + "\n\n") * 20, 500_000),  # many
        pytest.param(("00:01.000 --> 00:02.000\n" + "中\n" * 20_000 + "\n") * 10, 100_000, marks=pytest.mark.long),
    ],
    ids=["a cue", "lines", "cues", "characters"],
)
def test_what_reaches_the_model_of_sentence_ends_is_bounded(file: str, longest: int) -> None:
    pieces = pieces_of(file)
    assert len(pieces) <= 100_000
    assert 0 < sum(len(p.text) for p in pieces) <= longest


@pytest.mark.hostile("subtitles")
def test_no_model_sees_more_words_than_anybody_speaks() -> None:
    words = "".join(f"00:00:{i % 60:02}.000 --> 00:01:00.000\n{i} {'so ' * 999}\n\n" for i in range(42))
    spoken = sentences_of([track("en", "automatic", words)], ["en"], SubtitleSettings())
    assert spoken.ends == "pauses"


@pytest.mark.hostile("subtitles")
@pytest.mark.parametrize("count", [20_000, 40_000])
def test_a_page_may_list_any_number_of_subtitle_files(count: int) -> None:
    listed = {f"en-{i}": {"url": f"https://a.example/{i}"} for i in range(count)}
    began = time.process_time()
    chosen = plan(listed, {f"{tag}-orig": file for tag, file in listed.items()}, ["all", "en", "de"])
    assert time.process_time() - began < 5
    assert len(chosen) == 200


PARTS = ["WEBVTT", "00:01.000 --> 00:02.500", "9:9:9,9 --> 1:1", "<c>", "<00:00:01.200>", "[x", "x]", "♪", ">>", "- ", "A: ",  # noqa: E501
         "NOTE", "word", "Hello. ", "&lt;", "(", ")", "\n", "\n\n", "\r", "\x00", "\ue000", "。", "؟", "{\\an8}", "5"]  # fmt: skip  # noqa: E501


@pytest.mark.hostile("subtitles")
@given(st.one_of(st.text(max_size=200), st.lists(st.sampled_from(PARTS), max_size=40).map("".join)))
@settings(max_examples=300, deadline=None)
def test_garbage_never_raises_and_times_never_run_backwards(file: str) -> None:
    answer = subtitles_child.parse({"text": file, "format": "vtt", "language": "en"})
    spoken = Transcript(Piece(*piece) for piece in json.loads(json.dumps(answer["pieces"], allow_nan=False)))
    sentences = sentences_in(spoken, Spans(answer["spans"], answer["punctuated"]), "en", SETTINGS)
    starts = [s.start for s in sentences]
    assert starts == sorted(starts)
    assert all(0 <= s.start <= s.end and s.text.strip() == s.text != "" for s in sentences)


@pytest.mark.hostile("subtitles")
@given(st.binary(max_size=300))
@settings(max_examples=60, deadline=None)
def test_any_bytes_decode(data: bytes) -> None:
    assert isinstance(decode(data), str)


# --- the sample -----------------------------------------------------------------------------------------------------


@pytest.mark.skipif(
    "VIDLA_SAMPLE_MEDIA" not in os.environ, reason="VIDLA_SAMPLE_MEDIA, the folder of the sample, is not set"
)
def test_both_tracks_of_the_sample_have_the_same_words() -> None:
    folder = Path(os.environ["VIDLA_SAMPLE_MEDIA"])
    manual, automatic = (pieces_of((folder / name).read_text()) for name in ("sample.en.vtt", "sample.en-auto.vtt"))

    def words(pieces: list[Piece]) -> list[str]:
        return " ".join(p.text for p in pieces).lower().translate({ord(c): None for c in ".,"}).split()

    assert words(manual) == words(automatic)
