"""10,000 odd texts, always the same, and what open_clip's tokenizer makes of them.

`open_clip_tokens.bin` has four bytes per text: the beginning of the SHA-256 of its tokens, as open_clip_torch 3.3.0
(SimpleTokenizer, with ftfy 6.3.1 and regex 2026.11.15, on Python 3.11) gives them. Where open_clip is installed,
`python -m tests.support.odd_texts` writes the file again.
"""

from __future__ import annotations

import hashlib
import random
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path

COUNT = 10_000
DIGESTS = Path(__file__).with_name("open_clip_tokens.bin")
DIGEST_BYTES = 4

PIECES = (
    *("a photo of a cat", "Two men play guitar.", "the", "I"),
    *("x", "1st", "2024", "3.14", "COVID-19", "U.S.A.", "e.g."),
    *("it's", "It’s", "it‘s", "WE'LL", "we’ll", "don't", "I'm"),
    *("I´m", "they'RE", "'d", "''", "rock 'n' roll", "'ſ"),
    *("“quoted”", "«so»", "„so“", "‹so›", "–", "—", "…", "...", "‐", "-", "−", "•", "·", "″", "′", "`", "´"),
    *("&amp;", "&lt;b&gt;", "&amp;amp;", "&amp;lt;", "&quot;"),
    *("&#39;", "&#x27;", "&eacute;", "&nbsp;", "&copy", "&;"),
    *("&#0;", "&#128;", "&#xD800;", "&Aacute", "&NotAnEntity;"),
    *("&", "<i>", "</i>", "<br/>", "{\\an8}", "\\N", "%20"),
    *("naïve", "nai\u0308ve", "CAFÉ", "Straße", "STRASSE"),
    *("İstanbul", "ΣΊΣΥΦΟΣ", "ΌΔΟΣ ", "ﬁne", "oﬀer", "ﬅ", "ĳ", "Ǆ"),
    *("schÃ¶n", "cafÃ©", "â€œquotedâ€\x9d", "itâ€™s", "ä½\xa0å¥½"),
    *("ÐŸÑ€Ð¸", "Ã", "Â°", "Â\xa0", "Ã\xa0 la", "\x93q\x94"),
    *("ＦＵＬＬ　ｗｉｄｔｈ", "ｶﾞ", "①", "½", "²", "x²", "Ⅷ", "℃"),
    *("№", "™", "㎏", "٣", "३", "〇", "一二三", "𝟘", "𝓕𝓪𝓷𝓬𝔂"),
    *("日本語のテキスト", "中文", "한국어", "한국", "ไทย", "हिन्दी", "العربية"),
    *("עִבְרִית", "ქართული", "Русский", "tiếng Việt"),
    *("👍", "👍🏽", "👨‍👩‍👧", "🏳️‍🌈", "❤️", "🇩🇪", "☺", "♪ la ♪"),
    *("¿Qué?", "¡Sí!", "!?!", "???", "***", "###", "=>", "<3"),
    *(" ", "  ", "\t", "\n", "\r\n", "\xa0", "\u2003", "\u200b"),
    *("\u200d", "\ufeff", "\u2028", "\x85", "\x1c", "\x0c"),
    *("\x00", "\x07", "\x1b[31m", "\x7f", "\x80", "\x96"),
    *("\ufffd", "\ufffe", "\u0301", "\u0345", "\u202e", "\u00ad"),
    *("<|startoftext|>", "<|endoftext|>", "<|ENDOFTEXT|>"),
    *("<|endoftext", "|>", "</w>", "Ġ", "a</w>", "[MASK]", "<unk>"),
    *("@user", "#hashtag", "https://example.org/a_b?c=d&e=f"),
    *("a.b@example.org", "snake_case", "camelCase", "C++", "$5"),
    *("aaaaaaaaaaaaaaaa", "zzzzzz", "qwrtplkjh"),
    *("antidisestablishmentarianism", "ab" * 30, "0" * 20, "-" * 12, "é" * 9),
)  # fmt: skip
RANGES = ((0x20, 0x7E), (0xA0, 0x24F), (0x250, 0x36F), (0x391, 0x3CE), (0x400, 0x52F), (0x5D0, 0x5EA), (0x620, 0x64A),
          (0x900, 0x939), (0xE01, 0xE3A), (0x10D0, 0x10FA), (0x1E00, 0x1EFF), (0x2010, 0x205E), (0x20A0, 0x20BF),
          (0x2100, 0x218B), (0x2190, 0x23FF), (0x2500, 0x27BF), (0x3041, 0x3096), (0x30A1, 0x30FA), (0x4E00, 0x9FEF),
          (0xAC00, 0xD7A3), (0xFB00, 0xFB06), (0xFF01, 0xFF5E), (0x1D400, 0x1D454), (0x1F300, 0x1F64F))  # fmt: skip
"""Characters that every version of Unicode since 2020 knows."""


def odd_texts() -> Iterator[str]:
    """The texts; only `Random.random` draws them, whose numbers are the same in every version of Python."""
    draw = random.Random(2403).random

    def choose(choices: Sequence[str]) -> str:
        return choices[int(draw() * len(choices))]

    def character() -> str:
        first, last = RANGES[int(draw() * len(RANGES))]
        return chr(first + int(draw() * (last - first + 1)))

    for _ in range(COUNT):
        pieces = [choose(PIECES) if draw() < 0.8 else character() for _ in range(1 + int(draw() * 9))]
        yield choose(("", " ", " ")).join(pieces)


def digest(tokens: Sequence[int]) -> bytes:
    return hashlib.sha256(struct.pack(f"<{len(tokens)}H", *tokens)).digest()[:DIGEST_BYTES]


if __name__ == "__main__":
    from open_clip.tokenizer import SimpleTokenizer

    tokenizer = SimpleTokenizer()
    marks = tokenizer.sot_token_id, tokenizer.eot_token_id
    made = (digest([marks[0], *tokenizer.encode(text), marks[1]]) for text in odd_texts())
    DIGESTS.write_bytes(b"".join(made))
