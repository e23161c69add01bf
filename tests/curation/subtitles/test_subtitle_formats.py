"""Formats other than WebVTT and SubRip: the same words at the same times, whatever file they come in."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curation.rejects import Rejected
from curation.settings import SubtitleSettings
from curation.subtitles.cascade import sentences_of
from curation.subtitles.cues import pieces_of
from curation.subtitles.subtitle_formats import SUFFIXES, as_webvtt, format_of
from curation.subtitles.tracks import language_in, passed_over, read, readable, subtitles_beside, unreadable

SAID = [(1.0, 2.5, "Hello there."), (2.5, 4.0, "Who is it? A & B <are> here.")]

ASS = r"""[Script Info]
; made by hand
ScriptType: v4.00+

[V4+ Styles]
Format: Name, Fontname, Fontsize, PrimaryColour
Style: Default,Arial,not a size,&Hnone

[Events]
Format: Layer, Start, End, Style, Name, MarginL, MarginR, MarginV, Effect, Text
Comment: 0,0:00:00.00,0:00:09.00,Default,,0,0,0,,a note of the translator
Dialogue: 1,0:00:02.50,0:00:04.00,Default,Ann,0,0,0,,{\i1}Who{\i0} is it?\NA & B <are> here.
Dialogue: 0,0:00:01.00,0:00:02.50,Default,,0,0,0,,{\k20}Hel{\k30}lo{\an8} there.
Dialogue: 0,0:00:00.00,0:00:09.00,Default,,0,0,0,,{\p1}m 0 0 l 100 0 100 100{\p0}
Dialogue: 0,at some time,0:00:09.00,Default,,0,0,0,,never
Dialogue: 0,0:00:01.00
"""
SSA = r"""[Script Info]
[V4 Styles]
[Events]
Dialogue: Marked=0,0:00:01.00,0:00:02.50,*Default,,0000,0000,0000,,Hello there.
Dialogue: Marked=0,0:00:02.50,0:00:04.00,*Default,,0000,0000,0000,,Who is it?\nA & B <are> here.
"""
SBV = """0:00:01.000,0:00:02.500
Hello there.

0:00:02.500,0:00:04.000
Who is it?[br]A &amp; B &lt;are&gt; here.
"""
TTML = """<?xml version="1.0" encoding="utf-16"?>
<tt xmlns="http://www.w3.org/ns/ttml" xmlns:tts="http://www.w3.org/ns/ttml#styling" xml:lang="en">
  <head><styling><style xml:id="s" style="missing" tts:color="white"/></styling></head>
  <body><div>
    <p begin="00:00:01.000" end="00:00:02.500" style="s">Hello <span tts:color="red">there</span>.</p>
    <p begin="2.5s" dur="1500ms">Who is it?<br/>A &amp; B
       &lt;are&gt; here.</p>
    <p>never</p><p begin="soon" end="later">never</p>
  </div></body>
</tt>
"""
FRAMES = """<tt:tt xmlns:tt="http://www.w3.org/2006/10/ttaf1" xmlns:ttp="http://www.w3.org/2006/10/ttaf1#parameter"
  ttp:frameRate="24" ttp:frameRateMultiplier="1 1" ttp:tickRate="1000">
  <tt:body begin="1s"><tt:div end="00:00:01:12">
    <tt:p>Hello there.</tt:p></tt:div>
    <tt:div begin="1500t"><tt:p end="36f">Who is it?<tt:br/>A &amp; B &lt;are&gt; here.</tt:p></tt:div>
  </tt:body></tt:tt>
"""
PIECES = [*ASS.split(), *SBV.split("\n"), *TTML.split(">"), "\n", "{", "\\p", "<p", "9" * 5000]
FILES = {"ass": ASS, "ssa": SSA, "sbv": SBV, "ttml": TTML, "ttml in frames and ticks": FRAMES}


def said_in(text: str) -> list[tuple[float, float, str]]:
    """The cues of a file: the pieces of one are joined."""
    form = format_of(text)
    assert form is not None
    cues: list[tuple[float, float, str]] = []
    for piece in pieces_of(as_webvtt(text, form)):
        if cues and piece.start < 4.0 and cues[-1][0] == 2.5:
            cues[-1] = (2.5, piece.end, f"{cues[-1][2]} {piece.text}")
        else:
            cues.append((piece.start, piece.end, piece.text))
    return cues


@pytest.mark.parametrize("name", FILES)
def test_the_same_words_at_the_same_times(name: str) -> None:
    assert format_of(FILES[name]) == name.partition(" ")[0]
    assert said_in(FILES[name]) == SAID


@pytest.mark.parametrize("name", FILES)
def test_a_file_is_read_in_any_encoding_and_kept_as_it_came(name: str) -> None:
    track, fault = read(FILES[name].encode("utf-16"), "en", "manual")
    assert fault is None
    assert (track.format, track.text, track.language) == (name.partition(" ")[0], FILES[name], "en")


@pytest.mark.parametrize("name", FILES)
def test_their_sentences_become_a_videos(name: str) -> None:
    spoken = sentences_of([read(FILES[name].encode(), "en", "manual")[0]], ["en"], SubtitleSettings())
    assert (spoken.kind, spoken.language, spoken.ends) == ("manual", "en", "punctuation")
    assert [sentence.text for sentence in spoken.sentences] == ["Hello there.", "Who is it?", "A & B <are> here."]


@pytest.mark.hostile("subtitles")
@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("<!DOCTYPE html>\n<html><!-- not here --></html>", "an HTML page instead of subtitles"),
        ("Not found", "no file in a known format"),
        ('{"events": []}', "no file in a known format"),
        ("", "no file in a known format"),
    ],
)
def test_what_is_not_subtitles_is_said_to_be_none(text: str, message: str) -> None:
    with pytest.raises(Rejected, match=message):
        read(text.encode(), "en", "manual")


def test_a_film_without_words_lacks_nothing() -> None:
    music = "1\n00:00:01,000 --> 00:00:02,000\n[music]\n"
    assert read(music.encode(), "en", "automatic")[1] is None


ENTITIES = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(30))


@pytest.mark.hostile("subtitles")
@pytest.mark.parametrize(
    ("text", "form"),
    [
        ("WEBVTT\n\nNOTE nothing --> here", "vtt"),
        ("// a --> b", "srt"),
        ("1\n00:00:01,000 --> 00:00:02,000\n\n", "srt"),
        ("<tt><body><p>never</p></body></tt>", "ttml"),
        ("<tt><body><p begin='1s' end='2s'>cut o", "ttml"),
        (f'<!DOCTYPE tt [<!ENTITY e0 "lol">{ENTITIES}]><tt><p begin="0s" end="1s">&e30;</p></tt>', "ttml"),
    ],
    ids=["notes", "code", "no text", "no times", "cut off", "entities that would fill the memory"],
)
def test_a_file_without_a_cue_is_kept_and_said_to_be_that(text: str, form: str) -> None:
    track, fault = read(text.encode(), "en", "manual")
    assert (track.text, track.format, fault) == (text, form, f"there is no cue in them ({form})")


@pytest.mark.hostile("subtitles")
@settings(max_examples=60, deadline=None)
@given(st.lists(st.sampled_from(PIECES) | st.text()), st.sampled_from(("ass", "ssa", "sbv", "ttml")))
def test_nothing_in_a_file_raises(pieces: list[str], form: str) -> None:
    text = "".join(pieces)
    format_of(text)
    pieces_of(as_webvtt(text, form))


def test_files_beside_a_video_may_have_any_of_these_formats() -> None:
    video = Path("x.mp4")
    for number, suffix in enumerate(SUFFIXES):
        names = sorted(["x.mp4", *(f"x.{s}" for s in SUFFIXES[number:])])
        assert subtitles_beside(video, names, ["en"]) == (Path(f"x.{suffix}"), None)
    assert subtitles_beside(video, ["x.de.vtt", "x.en.ASS", "x.mp4"], ["en"]) == (Path("x.en.ASS"), "en")
    assert language_in("talk.pt-BR.ttml") == "pt-BR"


def test_a_site_offers_the_best_format_that_is_read_and_others_are_named() -> None:
    listed = {
        "en": [{"ext": "json3", "url": "j"}, {"ext": "ttml", "url": "t"}, {"ext": "vtt", "url": "v", "name": "E"}],
        "de": [{"ext": "ass", "data": "a"}],
        "fr": [{"ext": "lrc", "url": "l"}, {"ext": "json", "url": "j"}],
        "live_chat": [{"ext": "json", "url": "j"}],
    }
    assert readable(listed) == {"en": {"ext": "vtt", "url": "v"}, "de": {"ext": "ass", "data": "a"}}
    unread = unreadable(listed)
    assert unread == {"fr": "json, lrc", "live_chat": "json"}
    assert passed_over(unread, readable(listed), ["en"]) == []
    for wanted in (["fr"], ["all"]):
        assert passed_over(unread, readable(listed), wanted) == [
            "manual subtitles in fr: only as json, lrc, which is not read"
        ]


def test_the_actor_of_a_dialogue_is_its_speaker() -> None:
    lines = "Dialogue: 0,0:00:0{0}.00,0:00:0{0}.90,Default,{1},0,0,0,,{2}"
    file = "[Events]\n" + "\n".join(
        [lines.format(1, "Ann", "Hi."), lines.format(2, "B <& C", "Hey."), lines.format(3, "", "So.")]
    )
    pieces = pieces_of(as_webvtt(file, "ass"))
    assert [(p.speaker, p.text) for p in pieces] == [("Ann", "Hi."), ("B <& C", "Hey."), (None, "So.")]
