"""Make colour bars in every system of colours, and compute what they look like on an SDR display: from ITU's formulas.

Nothing here is shared with the code that is tested. Light is in cd/m²; a bar is R, G, B.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from tests.support import media_files as files

Triple = tuple[float, float, float]

WIDTH, HEIGHT = 256, 64
SDR_BARS: tuple[Triple, ...] = (
    *((0.75, 0.75, 0.75), (0.75, 0.75, 0.1), (0.1, 0.75, 0.75), (0.1, 0.75, 0.1)),
    *((0.75, 0.1, 0.75), (0.75, 0.1, 0.1), (0.1, 0.1, 0.75), (0.35, 0.6, 0.9)),
)
HDR_BARS: tuple[Triple, ...] = (  # light in BT.2020's primaries
    *((100.0, 100.0, 100.0), (203.0, 203.0, 203.0), (1000.0, 1000.0, 1000.0), (1.0, 1.0, 1.0)),
    *((45.0, 85.0, 150.0), (150.0, 95.0, 60.0), (600.0, 250.0, 60.0), (2.0, 150.0, 2.0)),
)
"""Greys, a blue sky, skin, a fire, and a green that BT.709 does not have."""
_LUMA = {"bt709": (0.2126, 0.0722), "smpte170m": (0.299, 0.114), "bt2020nc": (0.2627, 0.0593)}
_FROM_2020 = ((1.6605, -0.5876, -0.0728), (-0.1246, 1.1329, -0.0083), (-0.0182, -0.1006, 1.1187))  # BT.2407, 2.2
_FROM_P3 = ((1.2249, -0.2247, 0.0), (-0.0420, 1.0419, 0.0), (-0.0197, -0.0786, 1.0979))


@dataclass(frozen=True)
class Code:
    """How R'G'B' becomes numbers: luma's weights, bits, range."""

    matrix: str = "bt709"
    bits: int = 8
    full_range: bool = False

    def encode(self, signal: Triple) -> tuple[int, int, int]:
        """Y'CbCr of R'G'B' in [0, 1]: ITU-R BT.709, 3; BT.2100, table 9."""
        red, blue = _LUMA[self.matrix]
        luma = red * signal[0] + (1 - red - blue) * signal[1] + blue * signal[2]
        differences = (signal[2] - luma) / (2 - 2 * blue), (signal[0] - luma) / (2 - 2 * red)
        base, luma_range, chroma_range, middle = self._range()
        return (round(base + luma * luma_range), *(round(middle + d * chroma_range) for d in differences))  # type: ignore[return-value]

    def decode(self, code: tuple[int, int, int]) -> Triple:
        red, blue = _LUMA[self.matrix]
        base, luma_range, chroma_range, middle = self._range()
        luma, cb, cr = (
            (code[0] - base) / luma_range,
            (code[1] - middle) / chroma_range,
            (code[2] - middle) / chroma_range,
        )
        r, b = luma + (2 - 2 * red) * cr, luma + (2 - 2 * blue) * cb
        g = (luma - red * r - blue * b) / (1 - red - blue)
        return tuple(min(1.0, max(0.0, part)) for part in (r, g, b))  # type: ignore[return-value]

    def _range(self) -> tuple[int, int, int, int]:
        more = 1 << (self.bits - 8)
        if self.full_range:
            return 0, 256 * more - 1, 256 * more - 1, 128 * more
        return 16 * more, 219 * more, 224 * more, 128 * more


def raw(path: Path, bars: list[tuple[int, int, int]], bits: int, size: tuple[int, int], frames: int = 5) -> Path:
    """Raw frames in yuv420p of vertical `bars`."""
    width, height = size
    planes = [
        np.repeat([bar[i] for bar in bars], (width if i == 0 else width // 2) // len(bars))[None].repeat(
            height if i == 0 else height // 2, 0
        )
        for i in range(3)
    ]
    frame = b"".join(plane.astype("<u2" if bits > 8 else np.uint8).tobytes() for plane in planes)
    path.write_bytes(frame * frames)
    return path


def encoded(
    path: Path, bars: list[tuple[int, int, int]], code: Code, *arguments: str, size: tuple[int, int] = (WIDTH, HEIGHT)
) -> Path:
    """One second of vertical `bars`, encoded with `arguments`."""
    pixels = f"yuv420p{code.bits}le" if code.bits > 8 else "yuvj420p" if code.full_range else "yuv420p"
    source = raw(path.with_suffix(".yuv"), bars, code.bits, size)
    form = ("-f", "rawvideo", "-s", f"{size[0]}x{size[1]}", "-r", "5", "-pix_fmt", pixels)
    files.ffmpeg(*form, "-i", source, *arguments, path)
    return path


# --- light and signal -------------------------------------------------------------------------------------------------


def pq(light: float) -> float:
    """The signal of `light`: SMPTE ST 2084."""
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = (light / 10_000) ** m1
    return float(((c1 + c2 * power) / (1 + c3 * power)) ** m2)


def pq_light(signal: float) -> float:
    m1, m2, c1, c2, c3 = 0.1593017578125, 78.84375, 0.8359375, 18.8515625, 18.6875
    power = signal ** (1 / m2)
    return float(10_000 * (max(power - c1, 0) / (c2 - c3 * power)) ** (1 / m1))


def hlg(light: Triple) -> Triple:
    """The signal of displayed light, at 1000 cd/m² and system gamma 1.2: ITU-R BT.2100, tables 5."""
    shown = _luminance(light) / 1000
    scene = [part / 1000 / shown ** (0.2 / 1.2) for part in light]
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return tuple(math.sqrt(3 * e) if e <= 1 / 12 else a * math.log(12 * e - b) + c for e in scene)  # type: ignore[return-value]


def hlg_light(signal: Triple) -> Triple:
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    scene = [e * e / 3 if e <= 0.5 else (math.exp((e - c) / a) + b) / 12 for e in signal]
    luminance = _luminance(scene)
    return tuple(1000 * luminance**0.2 * part for part in scene)


def _luminance(light: Triple | list[float]) -> float:
    return 0.2627 * light[0] + 0.6780 * light[1] + 0.0593 * light[2]


def bt2390(light: float, peak: float, target: float = 203.0) -> float:
    """ITU-R BT.2390-11, 5.4.1, without black lift."""
    e, most = min(1.0, pq(light) / pq(peak)), pq(target) / pq(peak)
    knee = 1.5 * most - 0.5
    if e < knee:
        return light
    t = (e - knee) / (1 - knee)
    return pq_light(
        pq(peak)
        * ((2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (-2 * t**3 + 3 * t**2) * most)
    )


def shown_hdr(light: Triple, peak: float = 1000.0) -> Triple:
    """R'G'B' in [0, 255] on an SDR display, of light in BT.2020's primaries."""
    in_709 = [sum(m * part for m, part in zip(row, light, strict=True)) for row in _FROM_2020]
    brightest = max(in_709)
    factor = bt2390(brightest, peak) / brightest
    return tuple(255 * min(1.0, max(0.0, part * factor / 203)) ** (1 / 2.4) for part in in_709)


def shown_wide(signal: Triple, is_p3: bool) -> Triple:
    """R'G'B' in [0, 255] on an SDR display, of SDR in BT.2020's or Display P3's primaries."""
    light = [part**2.4 for part in signal]
    in_709 = [sum(m * part for m, part in zip(row, light, strict=True)) for row in (_FROM_P3 if is_p3 else _FROM_2020)]
    return tuple(255 * min(1.0, max(0.0, part)) ** (1 / 2.4) for part in in_709)


def shown_sdr(signal: Triple) -> Triple:
    return tuple(255 * part for part in signal)  # type: ignore[return-value]
