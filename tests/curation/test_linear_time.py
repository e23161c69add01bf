"""Work on strangers' text takes time in proportion to its length: every pattern of the product, and what uses them."""

from __future__ import annotations

import contextlib
import dataclasses
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pytest
from yt_dlp.utils import DownloadError

from curation.dataset.object_store import explained
from curation.engines.interface import Completion
from curation.engines.vllm.server_log import ServerLog
from curation.languages import language_of, rank
from curation.prompts import as_data
from curation.records import Segment, Sentence, Video
from curation.rejects import Kind, Rejected
from curation.retry_after import parse_retry_after
from curation.settings import SubtitleSettings
from curation.sources.failures import failure_of_extraction, failure_of_status
from curation.sources.opt_out import opts_out
from curation.subtitles import subtitles_child
from curation.subtitles.code_pages import likeliest
from curation.subtitles.cues import Piece, pieces_of
from curation.subtitles.punctuation import Spans
from curation.subtitles.recognised import is_recognised
from curation.subtitles.sentences import sentences_in
from curation.subtitles.text_encoding import decode, sample_of
from curation.subtitles.tracks import language_in, plan, subtitles_beside
from curation.subtitles.transcript import Transcript
from curation.texts.additions import additions
from curation.texts.answers import read_answer
from curation.texts.extracts import extract
from curation.texts.limits import TextLimits, split_sentences, truncate
from curation.texts.summaries import sources_of
from curation.uris import InvalidUri, forms, redact
from tests.support.adversarial import Use, attacks, files_with_patterns, grows, uses

T = TypeVar("T")
OPERATORS = ("vidla/template.py",)  # it applies patterns of the flex template to what its operator gives
SIZE = 3_000  # characters
FLOOR_S = 0.010  # of a function, which may do more than a pattern


@pytest.mark.hostile("patterns")
@pytest.mark.parametrize("file", files_with_patterns())
def test_no_pattern_takes_longer_than_its_text(file: str) -> None:
    found, unknown = uses(file)
    assert not unknown or file in OPERATORS, f"make these patterns constants, so that they can be tried: {unknown}"
    slow = [
        (use.place, attack) for use in found for attack in attacks(use.pattern) if grows(work_on(use, attack), SIZE)
    ]
    assert not slow


Attack = tuple[str, str, str]


def work_on(use: Use, attack: Attack) -> Callable[[int], object]:
    return lambda size: apply(use, repeated(attack, size))


def repeated(attack: Attack, size: int) -> str:
    before, part, after = attack
    return before + part * (size // len(part)) + after


def apply(use: Use, text: str) -> None:
    given = text.encode("utf-8", "replace") if isinstance(use.pattern.pattern, bytes) else text
    for method in use.methods:
        if method in ("sub", "subn"):
            getattr(use.pattern, method)(given[:0], given)
        else:
            found = getattr(use.pattern, method)(given)
            if method == "finditer":
                list(found)


@pytest.mark.parametrize(
    ("pattern", "method"),
    [
        (r"^\s*-", "sub"),
        (r"\d+%.*\d+/\d+", "search"),
        (r"(?:\w+\s?)*$", "fullmatch"),
        (r"(?:</\w+>)+$", "sub"),
    ],
)
def test_patterns_that_take_longer_are_found(pattern: str, method: str) -> None:
    use = Use("here", re.compile(pattern, re.MULTILINE), frozenset({method}))
    assert any(grows(work_on(use, attack), 800, floor_s=0.001) for attack in attacks(use.pattern))


# --- functions ------------------------------------------------------------------------------------------------------

CUE = "00:01.000 --> 00:09.000\n"
SCHEMA = {"type": "object", "properties": {"text": {"type": "string"}}, "required": ["text"]}
LIMITS, PAUSES = TextLimits(25, 77), SubtitleSettings(sentence_ends="pauses")


def sentences(text: str) -> None:
    answer = subtitles_child.parse({"text": CUE + text, "format": "vtt", "language": "en"})
    spoken = Transcript(Piece(*piece) for piece in answer["pieces"])
    sentences_in(spoken, Spans(answer["spans"], answer["punctuated"]), "en", PAUSES)


def cues(text: str) -> None:
    """Many cues, each with a little of the text."""
    pieces_of("".join(f"{CUE}{text[at : at + 20]}\n\n" for at in range(0, len(text), 20)))


def address(text: str) -> None:
    with contextlib.suppress(InvalidUri):
        forms(f"https://a.example/{text}")


def log_of_server(text: str) -> None:
    log = ServerLog(Path("unused"))
    log._take_line(text)
    log.reason()


FUNCTIONS: dict[str, Callable[[str], object]] = {
    "a cue": lambda text: pieces_of(CUE + text),
    "cues": cues,
    "a subtitle file": lambda text: subtitles_child.parse({"text": text, "format": "vtt", "language": "de"}),
    "sentences": sentences,
    "decode": lambda text: decode(text.encode()),
    "what tells an encoding": lambda text: sample_of(text.encode("utf-16-le") + text.encode()),
    "a code page": lambda text: likeliest(f"\xe9{text}".encode(), text),
    "a recogniser's form": lambda text: is_recognised(CUE + text),
    "many cues of a recogniser": lambda text: is_recognised(
        "".join(f"{CUE}{text[at : at + 9]}" for at in range(0, len(text), 9))
    ),
    "file names": lambda text: subtitles_beside(Path("x.mp4"), [f"x.{text}.vtt"], ["en"]),
    "language_in": language_in,
    "rank": lambda text: rank(text, ("en", "de")),
    "language_of": language_of,
    "redact": redact,
    "forms": address,
    "a page": lambda text: failure_of_status(403, {}, text, "page"),
    "a message": lambda text: failure_of_extraction(DownloadError(text), None, 1.0),
    "Retry-After": parse_retry_after,
    "opt-outs": lambda text: opts_out("X-Robots-Tag", text, "vidla/1"),
    "an answer": lambda text: read_answer(Completion("1", text), None),
    "thoughts": lambda text: read_answer(Completion("1", f"<think>{text}"), None),
    "an extract": lambda text: extract(re.split(r"(?<=[.!?])", text), LIMITS),
    "a cut answer": lambda text: read_answer(Completion("1", text, finish_reason="length"), None),
    "a structured answer": lambda text: read_answer(Completion("1", f'{{"text": "{text}'), SCHEMA),
    "additions": lambda text: additions(text, text[::-1]),
    "split_sentences": split_sentences,
    "as_data": as_data,
    "a store's error": lambda text: explained(OSError(f"Error performing {text}")),
    "a server's log": log_of_server,
    "Rejected": lambda text: Rejected(Kind.CRASHED, text),
}
SLOW: dict[str, Callable[[str], object]] = {"truncate": lambda text: truncate([text, "a"], LIMITS)}
PARTS = (
    *("a", " ", "\n", "\r", "\t", "1", "A", "é", "中", "。", "\u200b", "\\N", "&#10;", "&amp;", "&", "&#", "<", "<a>"),
    *("</a>", "<a", ">", ">> ", "(", "(a) ", "()", "[", "[a]", "{\\a", "{", "}", "♪", "♪ a", "- ", "-", "a: ", "A:"),
    *(".", ". ", "a.", "a. ", "...a", "!?", "1. ", "(1) ", "Mr. ", "A.B. ", "'", '"', "'a ", '"a', "\\", "\\u0041"),
    *("=", "a=", "a=1&", "?", "?a", "%", "%25", "%2F", "/", "//", "https://", "https://a@", "@", "a@b ", "token="),
    *("the ", "fragment ", "performing ", "age ", "a, ", ",", "noai, ", "a:", "en-", "en.", "x.en-auto.", "eyJ", CUE),
    *("ERROR: ", "\x1b[", "\x1b[0", "(caused by ", "1%", "1/1", "a b a b b ", "so it goes ", "Sure: ", "`", "_a1"),
    *(":", ";", "#", " # ", "“a”", "—", "00:01.000 --> "),
)  # fmt: skip


@pytest.mark.hostile("patterns")
@pytest.mark.parametrize("function", FUNCTIONS.values(), ids=FUNCTIONS)
def test_no_function_takes_longer_than_its_text(function: Callable[[str], object]) -> None:
    assert not slow_parts(function, 2_000)


def clips_and_sentences(count: int) -> None:
    spoken = tuple(Sentence(2.0 * i, 2.0 * i + 1.5, "So.") for i in range(count))
    video = example(Video, video_id="a", duration=2.0 * count, sentences=spoken)
    clips = [example(Segment, clip_id=str(i), scale="short", start=2.0 * i, end=2.0 * i + 2) for i in range(count)]
    assert len(sources_of(video, clips, {})) == count


def example(record: type[T], **values: object) -> T:
    """A record with these values, and with None or nothing for the others."""
    others = {f.name: () if "tuple" in str(f.type) else None for f in dataclasses.fields(record)}
    return record(**others | values)


def subtitle_files(count: int) -> None:
    listed = {f"en-{i}": {"url": f"https://a.example/{i}"} for i in range(count)}
    plan(listed, {f"{tag}-orig": file for tag, file in listed.items()}, ["all", "en", "de"])


def turns(count: int) -> list[Piece]:
    return [Piece(100.0 * i, 100.0 * i + 99, "a", turn=True) for i in range(count)]


def spans(count: int) -> list[tuple[int, int]]:
    return [(2 * i, 2 * i + 1) for i in range(count)]


def words(letter: str, count: int) -> str:
    return " ".join(f"{letter}{i}" for i in range(count))


def repeated_lines(count: int) -> None:
    """The last line of a cue with as many lines comes again as often, so that the cue lasts longer each time."""
    pieces_of("00:00.000 --> 00:02.000\n" + "a\n" * count + "\n" + "00:02.000 --> 00:03.000\na\n\n" * count)


COUNTS: dict[str, Callable[[int], object]] = {
    "clips and sentences": clips_and_sentences,
    "subtitle files": subtitle_files,
    "repeated lines": repeated_lines,
    "speakers": lambda count: sentences_in(Transcript(turns(count)), Spans(tuple(spans(count)), True), "de", PAUSES),
    "new words": lambda count: additions(words("b", count), words("a", count)),
    "scripts": lambda count: additions("今天。" * count, "明天！" * count),
}


@pytest.mark.hostile("patterns")
@pytest.mark.parametrize("work", COUNTS.values(), ids=COUNTS)
def test_no_number_of_things_takes_longer(work: Callable[[int], object]) -> None:
    assert not grows(work, 1_000, FLOOR_S)


@pytest.mark.long
@pytest.mark.hostile("patterns")
@pytest.mark.parametrize("function", (FUNCTIONS | SLOW).values(), ids=FUNCTIONS | SLOW)
def test_no_function_takes_longer_than_a_long_text(function: Callable[[str], object]) -> None:
    assert not slow_parts(function, 50_000)


def slow_parts(function: Callable[[str], object], size: int) -> list[str]:
    """The texts that, repeated, take the function longer than in proportion to their length."""

    def work_on(part: str) -> Callable[[int], object]:
        return lambda size: function(part * (size // len(part)))

    return [part for part in PARTS if grows(work_on(part), size, FLOOR_S)]
