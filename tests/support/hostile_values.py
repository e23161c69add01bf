"""Values that have stopped or fooled programs, by what is wrong with them."""

from __future__ import annotations

import json
from datetime import timedelta

import pyarrow as pa

TEXTS = {
    "half a pair": "cut \ud83d",
    "halves apart": "\ude00 \ud83d",
    "an escaped byte": "caf\udce9",
    "NUL": "a\0b",
    "controls": "\x1b[2J\x07\x08\r\n\x7f\x9b",
    "right to left": "\u202egpj.exe\u2066",
    "no characters": "\ufffe\uffff\U0010ffff",
    "long": "long " * 40_000,
    "semicolons": ";" * 200_000,
    "path": "../../../../../../etc/passwd",
    "quotes": "'; drop table videos; --\"",
    "markup": "<script>alert(1)</script> [red]red[/red] %s {0}",
    "redacted": "REDACTED",
    "blank": " \t ",
    "number": "1e400",
    "date": "99999999",
}

JSON_VALUES = {name: json.dumps(text) for name, text in TEXTS.items()} | {
    "nested lists": "[" * 600 + "]" * 600,
    "nested objects": '{"a":' * 600 + "1" + "}" * 600,
    "nested too deep to parse": "[" * 100_000 + "]" * 100_000,
    "many digits": "9" * 5_000,
    "beyond 64 bits": "9" * 400,
    "beyond any float": "1e400",
    "a great number": "1e250",
    "not a number": "NaN",
    "negative": "-1e-320",
    "list": '["\\ud83d", {"\\udc00": "\\ud83d"}]',
    "object with a bad name": '{"\\ud83d": 1, "": null}',
    "true": "true",
}

_BAD = [b"caf\xe9", b"\xed\xa0\xbd", b"\xff\xfe\x00"]
_LATE = 253402300800  # the year 10000


def _utf8(values: list[bytes], kind: pa.DataType) -> pa.Array:
    """Text without a check that it is UTF-8."""
    binary = pa.array(values, pa.large_binary() if kind == pa.large_string() else pa.binary())
    return pa.Array.from_buffers(kind, len(values), binary.buffers())


PARQUET_COLUMNS: dict[str, pa.Array] = {
    "no UTF-8": _utf8(_BAD[:1], pa.string()),
    "half a pair": _utf8(_BAD[1:2], pa.string()),
    "no large UTF-8": _utf8(_BAD[2:], pa.large_string()),
    "list with no UTF-8": pa.ListArray.from_arrays([0, 3], _utf8(_BAD, pa.string())),
    "record with no UTF-8": pa.StructArray.from_arrays([_utf8(_BAD[:1], pa.string())], ["a"]),
    "year 10000": pa.array([_LATE], pa.timestamp("s")),
    "year 10000 of a zone": pa.array([_LATE * 10**6], pa.timestamp("us", "UTC")),
    "year 146138": pa.array([2**62], pa.timestamp("us")),
    "year -290308": pa.array([-(2**63)], pa.timestamp("us")),
    "nanoseconds": pa.array([1], pa.timestamp("ns")),
    "list with the year 10000": pa.array([[_LATE]], pa.list_(pa.timestamp("s"))),
    "date beyond": pa.array([2**31 - 1], pa.date32()),
    "duration": pa.array([2**62], pa.duration("s")),
    "short duration": pa.array([timedelta(microseconds=1)]),
    "time": pa.array([86_399_999_999], pa.time64("us")),
    "decimal": pa.array([None], pa.decimal128(38, 10)),
    "infinite": pa.array([float("inf")]),
    "map": pa.array([[("a", 1), ("a", 2)]], pa.map_(pa.string(), pa.int64())),
    "binary": pa.array([b"\xff"]),
    "long": pa.array(["x" * (3 << 20)]),
    "many": pa.array([["x" * 90_000] * 20]),
    "unsigned": pa.array([2**64 - 1], pa.uint64()),
}

CSV_CELLS = {
    "no UTF-8": b"caf\xe9",
    "half a pair": b"\xed\xa0\xbd",
    "NUL": b"a\0b",
    "quote that is not closed": b'"never',
    "quote that is closed too early": b'"a"b',
    "comma": b"a,b",
    "long": b"x" * 200_000,
    "longer than a line may be": b"x" * (3 << 20),
    "blank": b"  ",
    "formula": b"=cmd|' /C calc'!A0",
    "carriage return": b"a\rb",  # the last, since it ends a line
}

FILE_NAMES = {
    "no UTF-8": b"caf\xe9.mp4",
    "half a pair": b"\xed\xa0\xbd.mp4",
    "line end": b"a\nb.mp4",
    "escape": b"\x1b[2J.mp4",
    "percent": b"%E9%00.mp4",
    "long": b"x" * 250 + b".mp4",
    "query": b"a?b=c#d;e.mp4",
    "blank": b" .mp4",
    "quotes": b"'\".mp4",
    "right to left": "\u202egp4.mp4".encode(),
    "option": b"-i.mp4",
}
