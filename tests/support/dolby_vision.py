"""Add the metadata of Dolby Vision to HEVC, as bitstreams carry it: one unit of type 62 at the end of each picture."""

from __future__ import annotations

import re
from pathlib import Path

from tests.support import media_files as files

_SLICES = range(32)  # types of the units that hold a picture


class Bits:
    def __init__(self) -> None:
        self.text = ""

    def fixed(self, value: int, length: int) -> None:
        self.text += f"{value:0{length}b}"

    def golomb(self, *values: int) -> None:
        for value in values:
            code = f"{value + 1:b}"
            self.text += "0" * (len(code) - 1) + code

    def whole(self) -> bytes:
        text = self.text + "0" * (-len(self.text) % 8)
        return int(text, 2).to_bytes(len(text) // 8, "big")


def metadata(profile: int, is_full_range: bool) -> bytes:
    """A reference processing unit that changes nothing. `profile` is the bitstream's: 0 for profile 5, 1 for 8."""
    bits = Bits()
    bits.fixed(2, 6)  # type
    bits.fixed(18, 11)  # format
    bits.fixed(profile, 4)
    bits.fixed(0, 4)  # level
    bits.fixed(0b1_0_00, 4)  # a header follows; no filter; coefficients in fixed point
    bits.golomb(23)  # bits of their fractions
    bits.fixed(1, 2)
    bits.fixed(is_full_range, 1)
    bits.golomb(2, 2, 4)  # bits of base layer, enhancement and picture, less 8
    bits.fixed(0b0_000_0_1, 6)  # no residual
    bits.fixed(0b0_0, 2)  # no display management; not as before
    bits.golomb(0, 0, 0)
    for _ in range(3):
        bits.golomb(0)
        bits.fixed(0, 10)
        bits.fixed(1023, 10)
    bits.golomb(0, 0)  # one partition
    for _ in range(3):
        bits.golomb(0, 0)  # a polynomial of order 1
        bits.fixed(0, 1)
        for coefficient in (0, 2):  # 0 + 1 x
            bits.golomb(coefficient)
            bits.fixed(0, 23)
    body = bits.whole()
    return b"\x19" + body + _crc(body).to_bytes(4, "big") + b"\x80"


def _crc(data: bytes) -> int:
    """CRC-32/MPEG-2."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc ^= byte << 24
        for _ in range(8):
            crc = (crc << 1 ^ (0x04C11DB7 if crc >> 31 else 0)) & 0xFFFFFFFF
    return crc


def with_metadata(source: Path, unit: bytes, out: Path) -> Path:
    """The HEVC of `source` with `unit` after every picture; one slice a picture."""
    plain, marked = out.with_suffix(".plain.hevc"), out.with_suffix(".marked.hevc")
    files.ffmpeg("-i", source, "-c:v", "copy", "-an", "-bsf:v", "hevc_mp4toannexb", plain)
    escaped = re.sub(rb"\0\0(?=[\0-\3])", lambda _: b"\0\0\3", unit)
    extra = b"\0\0\0\1\x7c\1" + escaped
    parts = re.split(rb"(?=\0\0\0\x01|(?<!\0)\0\0\x01)", plain.read_bytes())
    marked.write_bytes(b"".join(part + extra * _is_picture(part) for part in parts if part))
    files.ffmpeg("-fflags", "+genpts", "-f", "hevc", "-r", "5", "-i", marked, "-c", "copy", out)
    return out


def _is_picture(unit: bytes) -> bool:
    return unit.lstrip(b"\0")[1] >> 1 & 63 in _SLICES
