"""Share of subtitle files read in the right encoding: every letter of the file, over languages and their encodings.

    python -m benchmarks.encodings

Each made-up text (benchmarks/encoding_texts.py) is written in each encoding in which files in its language are found,
whole and as its first three lines alone, with and without its language stated. A file is right if every letter is.
What an encoding lacks is written as people did: straight quotes for curly ones, a cedilla for a Romanian comma, the
Arabic letters for the Persian ones.
"""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from benchmarks.encoding_texts import TEXTS
from curation import guard
from curation.subtitles.text_encoding import decode

UNICODE = ("utf-8", "utf-8-sig", "utf-16", "utf-16-le", "utf-16-be")
WESTERN = ("cp1252", "iso8859_15", "mac_roman", "cp850")
CENTRAL = ("cp1250", "iso8859_2", "cp852", "mac_latin2")
CYRILLIC = ("cp1251", "koi8_u", "iso8859_5", "cp866")
LEGACY: dict[str, tuple[str, ...]] = {
    **dict.fromkeys(("af", "ca", "cy", "da", "de", "en", "es", "eu", "fi", "fr", "ga", "gl", "id", "is"), WESTERN),
    **dict.fromkeys(("it", "ms", "nl", "no", "pt", "sq", "sv", "sw"), WESTERN),
    **dict.fromkeys(("bs", "cs", "hr", "hu", "pl", "ro", "sk", "sl", "sr-Latn"), CENTRAL),
    **dict.fromkeys(("et", "lt", "lv"), ("cp1257", "iso8859_13")),
    **dict.fromkeys(("be", "bg", "mk", "sr", "uk"), CYRILLIC),
    "ru": ("cp1251", "koi8_r", "iso8859_5", "cp866", "mac_cyrillic"),
    "eo": ("iso8859_3",),
    "tr": ("cp1254", "iso8859_9", "cp857"),
    "el": ("cp1253", "iso8859_7", "cp737"),
    "he": ("cp1255", "iso8859_8", "cp862"),
    "ar": ("cp1256", "iso8859_6"),
    "fa": ("cp1256",),
    "th": ("cp874", "tis_620"),
    "vi": ("cp1258",),
    "ja": ("cp932", "euc_jp", "iso2022_jp"),
    "ko": ("cp949", "euc_kr"),
    "zh-Hans": ("gbk", "gb18030"),
    "zh-Hant": ("big5", "cp950", "big5hkscs"),
}
SHORT_LINES = 3
_PLAIN = str.maketrans(
    {"’": "'", "‘": "'", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-", "…": "...", "«": '"', "»": '"', "·": "."}
)
_CEDILLAS = str.maketrans("șȘțȚ", "şŞţŢ")
_ARABIC = str.maketrans("ی", "ي", "\u200c")


@dataclass(frozen=True)
class File:
    language: str
    encoding: str
    short: bool
    text: str
    data: bytes


def files() -> Iterator[File]:
    for language, text in TEXTS.items():
        lines = [line.strip() for line in text.strip().splitlines()]
        for encoding in (*UNICODE, *LEGACY.get(language, ())):
            for short in (False, True):
                file = subtitles(lines[:SHORT_LINES] if short else lines)
                if (data := written(file, encoding)) is not None:
                    yield File(language, encoding, short, data.decode(encoding), data)


def with_faults() -> Iterator[File]:
    """UTF-8 with one fault: a byte lost, a byte of another encoding, or a NUL, in the middle of the first lines."""
    for language, text in TEXTS.items():
        data = subtitles([line.strip() for line in text.strip().splitlines()]).encode()
        beyond = [at for at, byte in enumerate(data) if byte >= 0x80]
        if len(beyond) < 4:  # a lone one in the whole file
            continue
        for name, at, change in (
            ("lost byte", beyond[1], b""),
            ("lost byte later", beyond[len(beyond) // 2], b""),
            ("strange byte", beyond[1], b"\xff"),
            ("Western letter", data.index(b"\r\n\r\n"), b"\xe9\r"),
            ("NUL", data.index(b"\r\n\r\n"), b"\0\r"),
            ("cut end", len(data) - 1, b"\xe2"),
        ):
            yield File(language, name, False, data.decode(), data[:at] + change + data[at + 1 :])


def alike(one: str, other: str) -> bool:
    """Whether all lines but one are the same."""
    return sum(a != b for a, b in zip(one.split("\n"), other.split("\n"), strict=False)) <= 1


def subtitles(lines: list[str]) -> str:
    cues = (
        f"{n}\r\n00:00:{4 * n:02},000 --> 00:00:{4 * n + 3:02},500\r\n{line}\r\n\r\n" for n, line in enumerate(lines, 1)
    )
    return "".join(cues)


def written(text: str, encoding: str) -> bytes | None:
    """The text as people would have written it in an encoding; None if they could not."""
    for attempt in (text, text.translate(_PLAIN), text.translate(_CEDILLAS), text.translate(_ARABIC)):
        for form in (attempt, vietnamese(attempt), vietnamese(attempt).translate(_PLAIN)):
            try:
                return form.encode(encoding)
            except UnicodeEncodeError:
                continue
    try:
        return text.translate(_PLAIN).translate(_CEDILLAS).translate(_ARABIC).encode(encoding)
    except UnicodeEncodeError:
        return None


def vietnamese(text: str) -> str:
    """With tones as separate marks, as in cp1258, and other marks inside their letters."""
    tones = "\u0300\u0301\u0303\u0309\u0323"
    return "".join(
        unicodedata.normalize("NFC", "".join(c for c in whole if c not in tones))
        + "".join(c for c in whole if c in tones)
        for whole in (unicodedata.normalize("NFD", char) for char in text)
    )


def same(one: str, other: str) -> bool:
    return unicodedata.normalize("NFC", one).lstrip("\ufeff") == unicodedata.normalize("NFC", other).lstrip("\ufeff")


Key = tuple[str, str, bool, bool]
"""Language, encoding, whether the file is short, and whether its language is stated."""
_MARKS = {"w": (False, False), "W": (False, True), "s": (True, False), "S": (True, True)}


def main() -> None:
    right: dict[Key, bool] = {}
    for stated in (False, True):
        begun = guard.processor_s()
        for file in files():
            found = decode(file.data, file.language.partition("-")[0] if stated else None)
            right[file.language, file.encoding, file.short, stated] = same(found, file.text)
        print(f"language {'stated' if stated else 'not stated'}: {guard.processor_s() - begun:.1f} processor seconds")
    print("\nlanguage, its encodings, and which are wrong: w(hole), s(hort) files; W, S with the language stated")
    for language in TEXTS:
        print(f"{language:8}", ", ".join(outcome(language, right)))
    faulty = [alike(decode(file.data), file.text) for file in with_faults()]
    print(f"\nUTF-8 with one fault, right but for its line: {share(faulty)}")
    for name, wanted in (("all encodings", lambda _: True), ("legacy encodings alone", lambda e: e not in UNICODE)):
        for mark, key in _MARKS.items():
            some = [ok for (_, encoding, *of), ok in right.items() if tuple(of) == key and wanted(encoding)]
            print(f"{name}, {mark}: {share(some)}")


def outcome(language: str, right: Mapping[Key, bool]) -> Iterator[str]:
    """The encodings of a language, each with the marks of the files that are wrong."""
    for encoding in sorted({encoding for name, encoding, *_ in right if name == language}):
        wrong = [mark for mark, key in _MARKS.items() if not right.get((language, encoding, *key), True)]
        yield f"{encoding} WRONG {''.join(wrong)}" if wrong else encoding


def share(right: Sequence[bool]) -> str:
    return f"{sum(right)} of {len(right)} right ({sum(right) / len(right):.1%})"


if __name__ == "__main__":
    main()
