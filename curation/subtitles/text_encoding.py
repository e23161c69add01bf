"""The encodings of subtitle files: Unicode by what its bytes are like, others by the language of their text."""

from __future__ import annotations

import re
import unicodedata

from curation.subtitles.parsing import guess_code_page

_SAMPLE_BYTES = 10_000  # of lines with bytes beyond ASCII
_HEAD = 65_536  # bytes in which UTF-16 shows
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
)
_UTF_16_BOMS = (b"\xff\xfe", b"\xfe\xff")
_NULS = 0.1  # share of NULs in UTF-16: the times alone, which are ASCII, give more
_MARKED_NULS = 0.01  # where a byte order mark says that it is UTF-16
_ONE_SIDE = 0.9  # of these NULs, the share that are all the first or all the second of two bytes
_VALID_PER_PLACE = 5  # characters of UTF-8 for each place with faults
_FAULTS = re.compile("[\udc80-\udcff]+")
_VALID = re.compile("[^\x00-\x7f\udc80-\udcff]")
_LONE_LETTER = re.compile("(?:(?<=[A-Za-z])[\udcc0-\udcff]|[\udcc0-\udcff](?=[A-Za-z]))(?![\udc80-\udcff])")
_WORD_CHARACTERS = 5_000
_LINE = re.compile(rb"[^\r\n]+")
_EVENT = re.compile(rb"^Dialogue:(?:[^,]{0,200},){9}")  # of SubStation Alpha, before what is said
_NOT_WORDS = re.compile(r"[^A-Za-z'.,?!-]+")
_MARKUP = re.compile(rb"<[^<>]{0,200}>|\{[^{}]{0,200}\}")


def decode(data: bytes, stated: str | None = None) -> str:
    """The text of a subtitle file in any encoding, without NULs. `stated` is its language if known, an ISO 639-1 code.

    Raises Rejected if it takes too long to find the encoding.

    >>> decode("Où est-il ?".encode("utf-16"))
    'Où est-il ?'
    """
    return _decoded(data, stated).removeprefix("\ufeff").replace("\0", "")


def _decoded(data: bytes, stated: str | None) -> str:
    if (wide := _utf_16(data)) is not None:
        return data.decode(wide, "replace")
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data.decode(encoding, "replace")
    if data.startswith(_UTF_16_BOMS):  # where nothing else is like it
        data = data[2:]
    if b"\x1b$" in data:
        return data.decode("iso2022_jp_ext", "replace")
    text = data.decode("utf-8", "surrogateescape")
    if not (faults := _FAULTS.findall(text)):
        return text
    # Other encodings have a fault at nearly every letter, and what is valid there by chance is a small part.
    valid = len(_VALID.findall(text))
    if valid >= min(sum(map(len, faults)), _VALID_PER_PLACE * len(faults)):
        return _mended(text)
    page = guess_code_page(*sample_of(data), stated)
    if page == "utf-8":
        return _mended(text)
    text = data.decode(page, "replace")
    return unicodedata.normalize("NFC", text) if page == "cp1258" else text


def _utf_16(data: bytes) -> str | None:
    """The byte order of UTF-16, if there are NULs as in its ASCII characters: nearly all at even, or at odd places."""
    head = data[:_HEAD]
    even, odd = head[::2].count(0), head[1::2].count(0)
    least = _MARKED_NULS if data.startswith(_UTF_16_BOMS) else _NULS
    if even + odd < least * len(head) or max(even, odd) < _ONE_SIDE * (even + odd):
        return None
    return "utf-16-be" if even > odd else "utf-16-le"


def _mended(text: str) -> str:
    """UTF-8 with the faults replaced: a byte beside an ASCII letter was once a Western letter of its own."""
    text = _LONE_LETTER.sub(lambda found: chr(ord(found[0]) - 0xDC00), text)
    return _FAULTS.sub("\ufffd", text)


def sample_of(data: bytes) -> tuple[bytes, str]:
    """What tells encodings apart: the first lines with bytes beyond ASCII, and the first words that are plain ASCII.

    Both are without times and markup, and words with other letters are cut there.
    """
    telling: list[bytes] = []
    words: list[str] = []
    room, word_room = _SAMPLE_BYTES, _WORD_CHARACTERS
    for found in _LINE.finditer(data):
        line = found[0]
        if b"-->" in line or line.strip().isdigit():
            continue
        spoken = _MARKUP.sub(b" ", _EVENT.sub(b"", line[:room], 1))
        if not spoken.isascii():
            telling.append(spoken)
            room -= len(spoken)
        if word_room > 0:
            words.append(_NOT_WORDS.sub(" ", spoken.decode("ascii", "replace")))
            word_room -= len(spoken)
        if room <= 0:
            break
    return b"\n".join(telling), " ".join(words)
