"""Which colours the numbers of a frame stand for: its tags, and what stands for tags that are missing.

Codes are those of ITU-T H.273, as FFmpeg has them.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import NamedTuple

import av

from curation.media.side_data import side_data_of
from curation.rejects import Kind, Rejected

UNSPECIFIED = 2
BT709 = 1  # as matrix, primaries and transfer
BT2020 = 9  # as matrix and primaries
DISPLAY_P3 = 12
PQ = 16
HLG = 18
STUDIO_RANGE = 1
FULL_RANGE = 2

_SMPTE170M = 6
_RGB = 0
_DERIVED = 12  # the matrix follows from the primaries
_MATRICES = (BT709, 4, 5, _SMPTE170M, 7, BT2020)  # that FFmpeg converts
_NOT_CONVERTED = {
    8: "YCgCo",
    10: "BT.2020 with constant luminance",
    11: "SMPTE 2085",
    13: "constant luminance",
    14: "ICtCp",
    15: "IPT-PQ-C2",
    16: "YCgCo-Re",
    17: "YCgCo-Ro",
}
_HD = (1280, 720)  # pixels, lines; from either of them on, pictures are BT.709 if nothing is stated

TRANSFERS = {
    1: "bt709",
    4: "gamma22",
    5: "gamma28",
    6: "smpte170m",
    7: "smpte240m",
    8: "linear",
    9: "log100",
    10: "log316",
    11: "iec61966-2-4",
    12: "bt1361e",
    13: "iec61966-2-1",
    14: "bt2020-10",
    15: "bt2020-12",
    16: "smpte2084",
    17: "smpte428",
    18: "arib-std-b67",
}
"""FFmpeg's names of the transfer characteristics."""


class Colours(NamedTuple):
    """The colours of a frame: codes, and whether its samples use all of their range."""

    matrix: int
    full_range: bool
    primaries: int
    transfer: int

    @property
    def is_hdr(self) -> bool:
        return self.transfer in (PQ, HLG)

    @property
    def range(self) -> int:
        return FULL_RANGE if self.full_range else STUDIO_RANGE


def colours_of(frame: av.VideoFrame) -> Colours:
    """The colours of `frame`; missing tags are assumed: BT.709 for HD, BT.601 for smaller pictures.

    Raises Rejected (UNSUPPORTED) for a matrix that nothing here converts.
    """
    return _resolved(
        frame.colorspace,
        frame.color_range,
        frame.color_primaries,
        frame.color_trc,
        frame.format.name,
        frame.width >= _HD[0] or frame.height >= _HD[1],
    )


@lru_cache(maxsize=64)
def _resolved(matrix: int, range_: int, primaries: int, transfer: int, pixels: str, is_hd: bool) -> Colours:
    layout = av.VideoFormat(pixels)
    if layout.is_rgb or layout.has_palette:
        return Colours(_RGB, True, primaries, transfer)
    if matrix in _NOT_CONVERTED:
        raise Rejected(Kind.UNSUPPORTED, f"its colours are coded as {_NOT_CONVERTED[matrix]}")
    if matrix not in _MATRICES:
        derived = primaries if matrix == _DERIVED or primaries == BT2020 else UNSPECIFIED
        matrix = derived if derived in (BT709, BT2020) else BT709 if is_hd else _SMPTE170M
        if matrix == BT709:
            primaries, transfer = (BT709 if tag == UNSPECIFIED else tag for tag in (primaries, transfer))
    if primaries == UNSPECIFIED and (matrix == BT2020 or transfer in (PQ, HLG)):
        primaries = BT2020
    return Colours(matrix, range_ == FULL_RANGE or pixels.startswith("yuvj"), primaries, transfer)


def sdr(colours: Colours, is_converted: bool) -> Colours:
    """The colours of stored pictures whose source has `colours`: its own if they are SDR, else BT.709."""
    if is_converted or colours.matrix in (_RGB, BT2020):
        return Colours(BT709, False, BT709, BT709)
    return colours._replace(full_range=False)


_RPU_HEADER = struct.Struct("=BxHBBBBBBB")  # the first fields of AVDOVIRpuDataHeader: libavutil/dovi_meta.h


def check_dolby_vision(frame: av.VideoFrame) -> None:
    """Raises Rejected (UNSUPPORTED) for Dolby Vision profile 5, whose colours follow from its metadata alone.

    Its frames have full-range samples and the bitstream's profile 0, by which FFmpeg knows it (libavcodec/dovi_rpu.c).
    Those of the other profiles are in PQ, HLG or BT.709, and are read as such.
    """
    metadata = side_data_of(frame, "DOVI_METADATA")
    if metadata is None or len(metadata) < 8:
        return
    at = int.from_bytes(metadata[:8], "little")
    if at + _RPU_HEADER.size > len(metadata):
        return
    *_, profile, _, _, _, _, _, is_full_range = _RPU_HEADER.unpack_from(metadata, at)
    if profile == 0 and is_full_range:
        raise Rejected(Kind.UNSUPPORTED, "Dolby Vision profile 5, whose colours only Dolby's decoders know")
