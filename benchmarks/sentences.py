"""Accuracy of sentence ends found in unpunctuated speech: precision, recall and F1 within half a second.

    python -m benchmarks.sentences [FOLDER]

FOLDER (or the environment variable VIDLA_SAMPLE_MEDIA) holds sample.en-auto.vtt and truth.json; without it only the
synthetic sets are measured. Those are texts of several speakers with word times from espeak-ng. In the `hard` sets the
pauses are inside the sentences and never between them; in the `mixed` ones most pauses are at sentence ends and some
are not. Constants were tuned on the texts named `tune` only.

A second table has the ends in files of many languages (sentence_texts.py), by character: with punctuation, and without,
where most sentences end at a silence, cues are held for longer than they take to say, and ends inside cues are `torn`.
"""

from __future__ import annotations

import io
import itertools
import json
import os
import random
import re
import shutil
import subprocess
import sys
import time
import wave
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from benchmarks.sentence_texts import TEXTS, UNSTOPPED, cues_of, srt_of
from curation.records import SubtitleTrack
from curation.settings import SubtitleSettings
from curation.subtitles.cascade import sentences_of
from curation.subtitles.cues import Piece
from curation.subtitles.punctuation import Spans
from curation.subtitles.sentences import sentences_in
from curation.subtitles.transcript import Transcript

TOLERANCE_S = 0.5

TUNE = {
    "cooking": """Hi everyone and welcome back to my kitchen. Today we are making a simple tomato soup. You only need
    five ingredients and about half an hour. First chop one large onion and two cloves of garlic. It doesn't have to be
    pretty because we will blend everything later. Heat some olive oil in a heavy pot and add the onion. Let it cook
    slowly until it turns soft and golden. That takes about eight minutes. Now stir in the garlic and wait until you
    can smell it. If you like it spicy you can add a little chili here. Next come the tomatoes. I use canned ones in
    winter since the fresh ones have no taste. Pour in two cups of water and bring the whole thing to a boil. Then turn
    the heat down and put the lid on. While it simmers we can make some toast. Cut the bread into thick slices and rub
    them with garlic. My grandmother always did it this way. After twenty minutes the soup is ready to blend. Be
    careful with hot liquids in a blender. Taste it and add salt and pepper. What do you think? I think it needs a bit
    of sugar to balance the acid. There you go. Thanks for watching and see you next week.""",
    "workshop": """So in
    this video I want to show you how I built this little bookshelf. The wood is pine which is cheap and easy to work
    with. I started by cutting four boards to the same length. You should always measure twice before you cut. The saw
    I am using is nothing special. After that I sanded every piece with a fine paper. This is the boring part but it
    makes a huge difference. Then I marked where the shelves would go. I like to use a pencil and a square for this.
    Next I drilled the holes for the screws. If you skip this step the wood will probably split. Don't ask me how I
    know. I put glue on both ends and clamped everything together. We have to wait a full day for it to dry. Okay it is
    the next morning now. The glue has set and the frame feels really solid. All that is left is the finish. I went
    with two coats of clear oil because I love the look of the grain. Some people prefer paint and that is fine too.
    Let me know in the comments what you would have done. The whole project cost me less than thirty dollars. Not bad
    for an afternoon of work.""",
}
REPORT = {
    "travel": """We landed in Lisbon late last night. The first thing you notice is the light. Everything looks soft
    and warm even in November. Our hotel is on top of a steep hill so we took the old yellow tram. It was packed with
    people going home from work. I almost lost my hat out of the window. This morning we walked down to the river for
    breakfast. They make these small custard tarts that everybody talks about. Trust me they are worth the hype. I had
    four of them. After that we visited a monastery that is more than five hundred years old. You can climb up to the
    roof and see the whole bay. There was hardly anybody there. The guide told us that sailors used to pray here before
    long voyages. Many of them never came back. In the afternoon it started to rain. We hid in a tiny bookshop and
    stayed for two hours. The owner was a lovely man who spoke five languages. He recommended a place for dinner just
    around the corner. Do you like seafood? Then you have to try the grilled sardines. They serve them with potatoes
    and nothing else. Tomorrow we are taking the train to the coast.""",
    "science": """Have you ever wondered why the
    sky is blue? Sunlight looks white but it is really a mixture of many colors. When it enters the atmosphere it hits
    tiny molecules of gas. Those molecules scatter the light in every direction. Blue light has a shorter wavelength
    than red light. That means it is scattered much more. So when you look up you see blue coming from everywhere. At
    sunset the story is different. The light has to travel through a lot more air before it reaches your eyes. Most of
    the blue is gone by then. What remains is orange and red. Dust and smoke can make the effect even stronger. A big
    volcano once turned sunsets red around the whole world for years. Painters of that time put those skies on canvas.
    Now you might ask why the sky isn't violet. Violet has an even shorter wavelength after all. There are two reasons
    for that. The sun gives off less violet than blue. Our eyes are also not very sensitive to it. On Mars things are
    reversed. The sky there is a dusty pink during the day and turns blue around the setting sun. I find that
    amazing.""",
    "interview": """Well I grew up on a farm in the middle of nowhere. My parents had cows and a couple of
    horses. We didn't have a television until I was ten. So I read everything I could find. The school was an hour away
    by bus. I remember one teacher who changed my life. She gave me an old camera and told me to take pictures of what
    I saw. I shot three rolls of film that summer. Most of them were terrible. But one of those pictures won a prize in
    the city. That was the moment I knew what I wanted to do. My father was not happy about it at first. He thought
    that photography was a hobby. Later he came around. When I moved to the city I had no money and no friends. I
    worked in a bakery at night and went out with my camera during the day. It was hard but I loved it. People often
    ask me what camera they should buy. Honestly it doesn't matter. Use the one you have and learn to look. Light is
    the only thing that counts. I still have that first camera on my desk. It doesn't work anymore. I could never throw
    it away.""",
}


@dataclass(frozen=True)
class Speech:
    """Words as automatic subtitles give them (starts; an end is the next start), and when each sentence truly ends."""

    name: str
    pieces: list[Piece]
    ends: list[float]


@dataclass(frozen=True)
class Score:
    found: int
    predicted: int
    true: int

    @property
    def precision(self) -> float:
        return self.found / max(1, self.predicted)

    @property
    def recall(self) -> float:
        return self.found / max(1, self.true)

    @property
    def f1(self) -> float:
        return 2 * self.found / max(1, self.predicted + self.true)

    def __add__(self, other: Score) -> Score:
        return Score(self.found + other.found, self.predicted + other.predicted, self.true + other.true)


def score(predicted: list[float], true: list[float]) -> Score:
    """Match each predicted end with at most one true end within TOLERANCE_S, in order of time."""
    found = i = j = 0
    while i < len(predicted) and j < len(true):
        if abs(predicted[i] - true[j]) <= TOLERANCE_S:
            found, i, j = found + 1, i + 1, j + 1
        elif predicted[i] < true[j]:
            i += 1
        else:
            j += 1
    return Score(found, len(predicted), len(true))


# --- the sets -------------------------------------------------------------------------------------------------------


def spoken_seconds(words: set[str]) -> dict[str, float]:
    """The seconds that espeak-ng speaks each word, without the silence around it, shortened as in connected speech."""
    seconds = {}
    for word in sorted(words):
        command = ["espeak-ng", "-v", "en-us", "-s", "165", "-z", "--stdout", "--", word]
        sound = subprocess.run(command, capture_output=True, check=True, timeout=30).stdout
        with wave.open(io.BytesIO(sound)) as file:
            rate = file.getframerate()
        samples = np.frombuffer(sound[44:], dtype="<i2")
        loud = np.flatnonzero(np.abs(samples) > 300)
        seconds[word] = 0.75 * float(loud[-1] - loud[0]) / rate
    return seconds


def lay_out(name: str, text: str, seconds: dict[str, float], between: Pauses, inside: Pauses) -> Speech:
    """Lay out the text on a timeline, in lower case and without punctuation."""
    chance = random.Random(name)
    pieces: list[Piece] = []
    ends: list[float] = []
    clock = 0.0
    for sentence in sentences_of_text(text):
        words = spoken_words(sentence)
        count = 0 if len(words) < 4 else 1 if len(words) < 12 else 2
        halts = (
            {i for i in chance.sample(range(1, len(words)), count) if chance.random() < inside.share}
            if count
            else set()
        )
        for i, word in enumerate(words):
            clock += chance.uniform(inside.least, inside.most) if i in halts else 0.0
            pieces.append(Piece(clock, clock, word))
            clock += seconds[word]
        ends.append(clock)
        clock += chance.uniform(between.least, between.most) if chance.random() < between.share else 0.02
    starts = [p.start for p in pieces] + [clock]
    return Speech(name, [Piece(a, b, p.text) for p, a, b in zip(pieces, starts, starts[1:], strict=False)], ends)


@dataclass(frozen=True)
class Pauses:
    """Silences of `least` to `most` seconds, at a `share` of the possible places."""

    share: float
    least: float
    most: float


HARD = (Pauses(0.0, 0.0, 0.0), Pauses(1.0, 0.5, 1.2))
MIXED = (Pauses(0.7, 0.35, 1.0), Pauses(0.2, 0.4, 0.9))


def sentences_of_text(text: str) -> list[str]:
    return re.split(r"(?<=[.?!])\s+", " ".join(text.split()))


def spoken_words(sentence: str) -> list[str]:
    return re.sub(r"[^\w\s']", "", sentence.lower()).split()


def synthetic(texts: dict[str, str], between: Pauses, inside: Pauses) -> list[Speech]:
    words = {w for text in texts.values() for sentence in sentences_of_text(text) for w in spoken_words(sentence)}
    seconds = spoken_seconds(words)
    return [lay_out(name, text, seconds, between, inside) for name, text in texts.items()]


def true_ends(truth: Path) -> list[float]:
    """The times at which the sample's sentences end: at a cue's end, and inside a cue at the start of the word after a
    full stop."""
    ends: list[float] = []
    for cue in json.loads(truth.read_text())["cues"]:
        words = cue["words"]
        ends += [words[i + 1][0] for i, (_, word) in enumerate(words[:-1]) if word[-1] in ".?!"]
        ends.append(cue["end"])
    return ends


def predicted_ends(speech: Speech, settings: SubtitleSettings) -> list[float]:
    spoken = Transcript(speech.pieces)
    whole = Spans(((0, len(spoken.text)),), punctuated=False)
    return [s.end for s in sentences_in(spoken, whole, "en", settings)]


# --- files of many languages ----------------------------------------------------------------------------------------

PAUSES_ONLY = SubtitleSettings(sentence_ends="pauses")
SEEDS = 10  # ways in which each text is cut into cues


def letters(text: str) -> int:
    """The number of letters and digits: places in a text whatever its punctuation."""
    return sum(map(str.isalnum, text))


def ends_by_letter(texts: Iterable[str]) -> set[int]:
    return set(itertools.accumulate(letters(text) for text in texts))


def found_in(file: str, language: str) -> list[str]:
    track = SubtitleTrack(language, "manual", "srt", file)
    return [s.text for s in sentences_of([track], ["all"], PAUSES_ONLY, language).sentences]


def matched(predicted: set[int], true: set[int]) -> Score:
    return Score(len(predicted & true), len(predicted), len(true))


def punctuated(language: str, sentences: list[str], seed: int) -> Score:
    cues = cues_of(sentences * 3, language, random.Random(seed))
    file = srt_of((3.0 * i, 3.0 * i + 2.9, cue) for i, cue in enumerate(cues))
    return matched(ends_by_letter(found_in(file, language)), ends_by_letter(sentences * 3))


def unpunctuated(language: str, sentences: list[str], seed: int) -> tuple[Score, int]:
    """The score, and the number of ends inside cues."""
    chance = random.Random(seed)
    clock, cues = 0.0, []
    for sentence in sentences * 3:
        bare = re.sub(r"[^\w\s'’\u0300-\u036f\u0900-\u0dff\u0e00-\u109f\u1780-\u17ff]|[।။។၊]", "", sentence)
        for cue in cues_of([bare.lower()], language, chance):
            held = chance.uniform(1.0, 4.0) * len(cue) / 15
            cues.append((clock, clock + held, cue))
            clock += held + 0.05
        clock += chance.uniform(0.5, 1.0) if chance.random() < 0.7 else 0.05
    predicted = ends_by_letter(found_in(srt_of(cues), language))
    score = matched(predicted, ends_by_letter(sentences * 3))
    return score, len(predicted - ends_by_letter(cue for _, _, cue in cues))


def print_languages() -> None:
    print(f"\n{'language':<10}{'punctuated F1':>14}{'unpunctuated F1':>17}{'torn':>6}")
    for language, sentences in (TEXTS | UNSTOPPED).items():
        stopped = sum((punctuated(language, sentences, seed) for seed in range(SEEDS)), Score(0, 0, 0))
        plain = [unpunctuated(language, sentences, seed) for seed in range(SEEDS)]
        torn = sum(count for _, count in plain)
        shown = f"{stopped.f1:.3f}" if language in TEXTS else "–"
        print(f"{language:<10}{shown:>14}{sum((s for s, _ in plain), Score(0, 0, 0)).f1:>17.3f}{torn:>6}", flush=True)


# --- the table ------------------------------------------------------------------------------------------------------

METHODS = {
    "pauses": SubtitleSettings(sentence_ends="pauses"),
    "pauses and language": SubtitleSettings(sentence_ends="language"),
}


def main() -> None:
    rows: list[tuple[str, str, Score, float]] = []
    folder = Path(sys.argv[1] if len(sys.argv) > 1 else os.environ.get("VIDLA_SAMPLE_MEDIA", ""))
    track = folder / "sample.en-auto.vtt"
    if track.is_file():
        tracks = [SubtitleTrack("en", "automatic", "vtt", track.read_text())]
        true = true_ends(folder / "truth.json")
        for method, settings in METHODS.items():
            began = time.perf_counter()
            predicted = [s.end for s in sentences_of(tracks, ["en"], settings).sentences]
            rows.append(("sample", method, score(predicted, true), time.perf_counter() - began))
    if shutil.which("espeak-ng"):
        for group, texts in (("tune", TUNE), ("report", REPORT)):
            for kind, pauses in (("hard", HARD), ("mixed", MIXED)):
                speeches = synthetic(texts, *pauses)
                for method, settings in METHODS.items():
                    began = time.perf_counter()
                    scores = [score(predicted_ends(x, settings), x.ends) for x in speeches]
                    rows.append((f"{kind}, {group}", method, sum(scores, Score(0, 0, 0)), time.perf_counter() - began))
    else:
        print("espeak-ng is not installed: the synthetic sets are skipped")
    print(f"{'set':<16}{'method':<22}{'precision':>10}{'recall':>8}{'F1':>7}{'ends':>6}{'seconds':>9}")
    for name, method, result, seconds in rows:
        print(
            f"{name:<16}{method:<22}{result.precision:>10.3f}{result.recall:>8.3f}{result.f1:>7.3f}"
            f"{result.true:>6}{seconds:>9.1f}"
        )
    print_languages()


if __name__ == "__main__":
    main()
