"""The encodings of subtitle files."""

from __future__ import annotations

from charset_normalizer import from_bytes

from curation.subtitles.parsing import guess_encoding

_SAMPLE_BYTES = 100_000  # enough to tell encodings apart
_BOMS = (
    (b"\xef\xbb\xbf", "utf-8-sig"),
    (b"\xff\xfe\x00\x00", "utf-32"),
    (b"\x00\x00\xfe\xff", "utf-32"),
    (b"\xff\xfe", "utf-16"),
    (b"\xfe\xff", "utf-16"),
)
# Common encodings of subtitle files; a closed list, since a short text looks plausible in dozens of encodings.
_ENCODINGS = [
    *("cp1252", "cp1250", "cp1251", "cp1253", "cp1254", "cp1255", "cp1256", "cp1257", "cp1258", "cp874"),
    *("koi8_r", "iso8859_2", "mac_roman", "cp932", "euc_jp", "iso2022_jp", "gb18030", "big5", "cp949"),
]


def decode(data: bytes) -> str:
    """The text of a subtitle file in any encoding: by its byte order mark, as UTF-8, or as charset-normalizer guesses.

    Raises Rejected if it takes too long to guess.

    >>> decode("Où est-il ?".encode("utf-16"))
    'Où est-il ?'
    """
    for bom, encoding in _BOMS:
        if data.startswith(bom):
            return data.decode(encoding, "replace").removeprefix("\ufeff")
    if b"\x00" in data[:4096]:  # UTF-16 without a mark: the ASCII in the timing lines shows the byte order
        head = data[:4096]
        return data.decode("utf-16-be" if head[::2].count(0) > head[1::2].count(0) else "utf-16-le", "replace")
    if b"\x1b$" not in data:
        text = data.decode("utf-8", "replace")
        wrong = text.count("\ufffd")
        if wrong == 0 or wrong * 20 < len(text) - len(text.encode("ascii", "ignore")):  # UTF-8 with a few damaged bytes
            return text
    # Times and numbers are the same in all encodings and would drown the informative bytes.
    telling = b"\n".join(line for line in data.splitlines() if b"-->" not in line and not line.strip().isdigit())
    return data.decode(guess_encoding(telling[:_SAMPLE_BYTES]), "replace")


def likeliest(sample: bytes) -> str:
    """The likeliest encoding of `sample`, by charset-normalizer."""
    matches = from_bytes(sample, cp_isolation=_ENCODINGS)
    best = matches.best()
    # Similar encodings such as cp1250 and cp1252 often fit equally well: take the more common one, listed first.
    equal = {m.encoding for m in matches if best and m.chaos <= best.chaos and m.coherence >= best.coherence - 0.05}
    return next((e for e in _ENCODINGS if e in equal), "cp1252")
