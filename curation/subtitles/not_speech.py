"""What stands in subtitle files without being speech: telemetry of drones and cameras, chapter lists, URLs."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import replace

from curation.subtitles.cue_blocks import Block
from curation.subtitles.signs import ends_in_sign

DATA_SHARE = 0.6  # if this share of the cues are readings of instruments, or of one form with other digits, all are
DIGIT_SHARE = 0.4  # of the letters and digits of such cues
READING_SHARE = 0.3  # of cues that name what they measure
CHAPTER_S = 20.0  # half of the cues of a chapter list last longer
CHAPTER_RATE = 1.5  # characters a second; who speaks says about 15
_SAMPLE = 2_000  # cues that show what a file is

_TAG = re.compile(r"<[^<>]{0,200}>")
_READING = re.compile(
    r"\b(?:gps|latitude|longitude|lat|lon|long|altitude|rel_alt|abs_alt|alt|iso|shutter|fnum|focal_len|dzoom|framecnt|srtcnt|"
    r"frame|difftime|home|barometer|ev|ct|color_md|ss|speed|h\.s|v\.s|gb_yaw|pp_yaw|heading|pitch|roll|yaw|temp|battery|"
    r"satellites?|drone|distance|accel|gyro)\s?[:(=]\s?[\[(]?[-+]?[\d./]|\b(?:iso|f/|ss|ev)\s?[-+]?\d|"
    r"\b\d{1,3}(?:\.\d{1,2})?\s?(?:km/h|mph|m/s)\b|\b[NS]:?\s?\d{1,2}\.\d{3,9}|\b[EW]:?\s?\d{1,3}\.\d{3,9}",
    re.IGNORECASE,
)
_STAMP = re.compile(r"\b\d{4}[-./]\d{1,2}[-./]\d{1,2}[ T]{1,2}\d{1,2}:\d{2}:\d{2}")
_DIGITS, _NUMBER = re.compile(r"\d"), re.compile(r"[-+]?\d{1,12}(?:[.,]\d{1,12})?")
_MEASURED = re.compile(r"\d[.,]\d{2}|\d{4}[-./:]\d{1,2}[-./:]\d{1,2}|(?:[-+]?\d{1,12}[\s,;|/]{1,3}){3}[-+]?\d")
_URL = re.compile(r"(?:https?://|www\.)[^\s<>\"“”]{1,500}", re.IGNORECASE)
_ADDRESS = re.compile(
    r"(?<![\w.@-])[\w.+-]{1,64}@[\w-]{1,63}(?:\.[\w-]{2,63}){1,3}(?![\w-])|"
    r"(?<![\w.@-])(?:[\w-]{2,63}\.){1,3}(?:com|org|net|io|tv|co|info|me|cc|ru|de|fr|uk|eu|mx|am)(?:/[^\s<>]{0,300})?(?![\w-])",
    re.IGNORECASE,
)
_CREDIT = re.compile(
    r"\b(?:subtitl(?:es|ed|ing)|captions?|captioned|transcripts?|transcribed|transcription|translat(?:ed|ion)|sync(?:ed|hronized)?|"
    r"corrected|corrections|downloaded|ripped|encoded|provided|resync(?:ed)?|subs?|timed)\b[\w\s&,/]{0,30}(?:\b(?:by|from)\b|:)|"
    r"\b(?:vip|untertitel\w{0,3}|sous-titr\w{0,5}|subtítul\w{0,5}|legendas?|sottotitol\w{0,3}|napisy|субтитр\w{0,3}|"
    r"перевод\w{0,2})\b|字幕|翻译",
    re.IGNORECASE,
)
_FEWEST_WORDS = 3  # left of a line without its URL, to be speech


def without_data(blocks: Sequence[Block]) -> list[Block]:
    """The speech: cues without data or URLs; none if the whole file is data.

    >>> without_data([Block(0.0, 1.0, ("www.example.com",)), Block(1.0, 2.0, ("Good morning.", "http://a.example"))])
    [Block(start=1.0, end=2.0, lines=('Good morning.',))]
    """
    blocks = [block for block in blocks if block.lines]
    sample = blocks[:: max(1, len(blocks) // _SAMPLE)]
    texts = [_TAG.sub(" ", " ".join(block.lines)[:1000]) for block in sample]
    if _is_telemetry(texts) or _is_chapters(sample, texts):
        return []
    kept = (replace(block, lines=_without_urls(block.lines)) for block in blocks if not _is_readings(block.lines))
    return [block for block in kept if block.lines]


def _is_telemetry(texts: Sequence[str]) -> bool:
    """Whether a file has the readings of instruments: by their names, or as most cues differ in digits alone."""
    if len(texts) < 3:
        return False
    if sum(_are_readings(text) for text in texts) >= DATA_SHARE * len(texts):
        return True
    numbers = [text for text in texts if _is_measured(text)]
    forms = Counter(_DIGITS.sub("0", _NUMBER.sub("0", text)) for text in numbers)
    return bool(forms) and forms.most_common(1)[0][1] >= DATA_SHARE * len(texts)


def _is_measured(text: str) -> bool:
    """Whether a cue is mostly numbers, as instruments write them."""
    return _digit_share(text) >= DIGIT_SHARE and len(_NUMBER.findall(text)) >= 3 and bool(_MEASURED.search(text))


def _is_readings(lines: Sequence[str]) -> bool:
    text = " ".join(lines)
    return any(c.isdigit() for c in text[:1000]) and _are_readings(_TAG.sub(" ", text[:1000]))


def _are_readings(text: str) -> bool:
    """Whether a cue has several readings, or a date with a time of the clock and nothing much else."""
    readings = len({found.lower()[:3] for found in _READING.findall(text)})
    stamp = _STAMP.search(text)
    if readings >= 3 or (readings and stamp):
        return _digit_share(text) >= READING_SHARE
    return bool(stamp) and _digit_share(text) >= DIGIT_SHARE


def _digit_share(text: str) -> float:
    """The share of digits among letters and digits."""
    digits, both = sum(map(str.isdigit, text)), sum(map(str.isalnum, text))
    return digits / max(1, both)


def _is_chapters(blocks: Sequence[Block], texts: Sequence[str]) -> bool:
    """Whether the cues are titles of chapters: shown for long, one after the other, each a few words."""
    if len(blocks) < 2 or any(len(text) > 200 for text in texts):
        return False
    if 2 * sum(map(ends_in_sign, texts)) > len(texts):  # titles have no full stops
        return False
    lengths = sorted(max(0.0, block.end - block.start) for block in blocks)
    return lengths[len(lengths) // 2] >= CHAPTER_S and sum(map(len, texts)) < CHAPTER_RATE * sum(lengths)


def _without_urls(lines: tuple[str, ...]) -> tuple[str, ...]:
    """A cue's lines without URLs, and without those of little more than one; none if a credit is left."""
    text = " ".join(lines)
    if "." not in text or not (_URL.search(text) or _ADDRESS.search(text)):
        return lines
    kept = tuple(filter(None, map(_without_url, lines)))
    return () if _CREDIT.search(_TAG.sub(" ", " ".join(kept))) else kept


def _without_url(line: str) -> str:
    rest = " ".join(_URL.sub(" ", line).split())
    bare = _ADDRESS.sub(" ", _TAG.sub(" ", rest))
    words = sum(any(map(str.isalnum, word)) for word in bare.split())
    fewest = _FEWEST_WORDS if rest != line else 2 if _ADDRESS.search(line) else 0
    return rest if words >= fewest else ""
