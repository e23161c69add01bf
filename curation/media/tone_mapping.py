"""From HDR (PQ, HLG) and wide gamuts (BT.2020, Display P3) to SDR in BT.709.

Display light is computed by the formulas of ITU-R BT.2100, its peak compressed to that of SDR by the EETF of ITU-R
BT.2390, and the gamut reduced by the matrix and clipping of ITU-R BT.2407. SDR white is 203 cd/m² (ITU-R BT.2408).
Curves are looked up in tables, at the size that the picture is wanted in.
"""

from __future__ import annotations

import struct
from functools import lru_cache
from typing import Any, cast

import av
import cv2
import numpy as np

from curation.media.colours import BT709, BT2020, DISPLAY_P3, HLG, PQ, Colours
from curation.media.planes import plane_of
from curation.media.side_data import side_data_of

CODED_AS = "gbrp12le"
"""The pixel format of the frames that are mapped: R'G'B' in 12 bits, full range."""
_CODES = 1 << 12
_STEPS = 1 << 12
_STRIP = 30_000  # pixels mapped at a time: larger arrays are given back to the system each time, which takes longer
_CONTENT_LIGHT = struct.Struct("=I")  # the first field of AVContentLightMetadata
_MASTERING_DISPLAY = struct.Struct("=72x2i2i")  # the last fields of AVMasteringDisplayMetadata

WHITE = 203.0  # cd/m², of SDR and of graphics in HDR
_HLG_PEAK = 1000.0  # cd/m²: the nominal display of HLG, whose system gamma is 1.2
_HLG_GAMMA = 1.2
_PEAKS = (500.0, 1000.0, 2000.0, 4000.0)  # cd/m²; what is stated is rounded up, so that tables are few
_USUAL_PEAK = 1000.0
_SDR_GAMMA = 2.4  # ITU-R BT.1886

_CHROMATICITIES = {  # x, y of red, green and blue; the white of all is D65
    BT709: ((0.64, 0.33), (0.30, 0.60), (0.15, 0.06)),
    BT2020: ((0.708, 0.292), (0.170, 0.797), (0.131, 0.046)),
    DISPLAY_P3: ((0.680, 0.320), (0.265, 0.690), (0.150, 0.060)),
}
_D65 = (0.3127, 0.3290)


def operator_for(colours: Colours) -> str | None:
    """The name of what makes SDR in BT.709 of pictures with `colours`; None if nothing has to."""
    if colours.is_hdr:
        return "bt2390"
    return "bt2407" if colours.primaries in (BT2020, DISPLAY_P3) else None


# --- formulas ---------------------------------------------------------------------------------------------------------

_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32


def pq_to_light(signal: np.ndarray) -> np.ndarray:
    """cd/m² of PQ's signal in [0, 1]: ITU-R BT.2100, table 4."""
    power = signal ** (1 / _M2)
    light: np.ndarray = 10_000.0 * (np.maximum(power - _C1, 0.0) / (_C2 - _C3 * power)) ** (1 / _M1)
    return light


def light_to_pq(light: np.ndarray) -> np.ndarray:
    """The inverse of `pq_to_light`."""
    power = (light / 10_000.0) ** _M1
    signal: np.ndarray = ((_C1 + _C2 * power) / (1 + _C3 * power)) ** _M2
    return signal


def hlg_to_scene(signal: np.ndarray) -> np.ndarray:
    """The light of the scene in [0, 1] of HLG's signal in [0, 1]: ITU-R BT.2100, table 5."""
    a, b, c = 0.17883277, 0.28466892, 0.55991073
    return np.where(signal <= 0.5, signal**2 / 3, (np.exp((signal - c) / a) + b) / 12)


def eetf(light: np.ndarray, peak: float, target: float) -> np.ndarray:
    """`light`, cd/m² up to `peak`, compressed to a lower `target`: ITU-R BT.2390, 5.4.1, with black at 0 in both."""
    source = light_to_pq(np.array(peak))
    signal = np.minimum(light_to_pq(light) / source, 1.0)
    most = light_to_pq(np.array(target)) / source
    knee = 1.5 * most - 0.5
    t = (signal - knee) / (1 - knee)
    spline = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee) + (3 * t**2 - 2 * t**3) * most
    return pq_to_light(np.where(signal < knee, signal, spline) * source)


def rgb_to_xyz(primaries: int) -> np.ndarray:
    """The matrix of linear RGB to CIE XYZ, float64 [3, 3]: SMPTE RP 177. Its second row is the luminance."""
    columns: np.ndarray = np.array([[x / y, 1.0, (1 - x - y) / y] for x, y in _CHROMATICITIES[primaries]]).T
    x, y = _D65
    return columns * np.linalg.solve(columns, [x / y, 1.0, (1 - x - y) / y])


# --- pictures ---------------------------------------------------------------------------------------------------------


def tone_mapper(colours: Colours, frame: av.VideoFrame) -> ToneMapper | None:
    """What makes SDR in BT.709 of `frame`, which has `colours`; None if it is that already."""
    if operator_for(colours) is None:
        return None
    primaries = colours.primaries if colours.primaries in _CHROMATICITIES else BT709
    return _tone_mapper(colours.transfer, primaries, _peak(frame) if colours.transfer == PQ else _USUAL_PEAK)


class ToneMapper:
    """Makes SDR in BT.709 of pictures with one transfer and primaries. `peak` is the brightest light of PQ, cd/m².

    The light is scaled by one factor in each pixel, that of its brightest colour, so that hues stay.
    """

    def __init__(self, transfer: int, primaries: int, peak: float) -> None:
        signal = np.linspace(0.0, 1.0, _CODES)
        matrix = np.linalg.solve(rgb_to_xyz(BT709), rgb_to_xyz(primaries))
        brightest = _HLG_PEAK / WHITE
        if transfer == PQ:
            light = pq_to_light(signal) / WHITE
            brightest = light[-1]
        elif transfer == HLG:
            light, peak = hlg_to_scene(signal), _HLG_PEAK
        else:  # greys stay as they are: the curve that is undone here is applied again
            light = signal**_SDR_GAMMA
        self._is_hlg = transfer == HLG
        self._is_hdr = transfer in (PQ, HLG)
        self._light = light.astype(np.float32)  # in units of white; for HLG that of the scene
        self._matrix = matrix.astype(np.float32)
        self._luminance = rgb_to_xyz(primaries)[1].astype(np.float32)
        self._most = float(brightest * np.maximum(matrix, 0).sum(1).max())
        quartic = np.maximum(np.linspace(0.0, 1.0, _STEPS), 0.1 / _STEPS) ** 4
        lights = quartic * self._most
        self._gain = (eetf(lights * WHITE, peak, WHITE) / WHITE / lights).astype(np.float32)
        self._ootf = (_HLG_PEAK / WHITE * quartic ** (_HLG_GAMMA - 1)).astype(np.float32)
        self._signal = np.rint(255 * np.linspace(0.0, 1.0, _STEPS) ** (2 / _SDR_GAMMA)).astype(np.uint8)

    def bgr(self, frame: av.VideoFrame) -> np.ndarray:
        """uint8 [height, width, 3] of a frame in `CODED_AS`, made strip by strip."""
        planes = [plane_of(frame, i, np.uint16) for i in range(3)]
        picture = np.empty((*planes[0].shape, 3), np.uint8)
        rows = max(1, _STRIP // frame.width)
        for top in range(0, frame.height, rows):
            picture[top : top + rows] = self._mapped(*(plane[top : top + rows] for plane in planes))
        return picture

    def _mapped(self, *codes: np.ndarray) -> np.ndarray:
        """uint8 [height, width, 3], BGR, of planes of green, blue and red: uint16 [height, width]."""
        green, blue, red = (np.take(self._light, plane, mode="clip") for plane in codes)
        mapped = [_weighted(row, red, green, blue) for row in self._matrix]
        if self._is_hdr:
            gain = self._gains(_weighted(self._luminance, red, green, blue) if self._is_hlg else None, mapped)
            mapped = [cv2.multiply(light, gain) for light in mapped]
        steps = (_steps(_root(light), 1.0) for light in mapped)
        return cv2.merge([np.take(self._signal, step, mode="clip") for step in steps][::-1])

    def _gains(self, luminance: np.ndarray | None, mapped: list[np.ndarray]) -> np.ndarray:
        """What the light of each pixel is multiplied by. `luminance` is that of the scene, given for HLG."""
        brightest = cv2.max(cv2.max(mapped[0], mapped[1]), mapped[2])
        if luminance is None:
            return np.take(self._gain, _quartic_steps(brightest, self._most), mode="clip")
        ootf = np.take(self._ootf, _quartic_steps(luminance, 1.0), mode="clip")
        displayed = cv2.multiply(brightest, ootf)
        return cv2.multiply(ootf, np.take(self._gain, _quartic_steps(displayed, self._most), mode="clip"))


_tone_mapper = lru_cache(maxsize=8)(ToneMapper)


def _weighted(weights: np.ndarray, red: np.ndarray, green: np.ndarray, blue: np.ndarray) -> np.ndarray:
    both = cv2.addWeighted(red, float(weights[0]), green, float(weights[1]), 0.0)
    return cv2.scaleAdd(blue, float(weights[2]), both)


def _quartic_steps(light: np.ndarray, most: float) -> np.ndarray:
    """Where `light` in [0, most] lies in a table whose steps are fourth roots, fine where it is dark."""
    return _steps(cv2.sqrt(_root(light)), most**0.25)


def _root(light: np.ndarray) -> np.ndarray:
    return cv2.sqrt(cv2.max(light, cast(Any, 0.0)))


def _steps(values: np.ndarray, most: float) -> np.ndarray:
    """`values` in [0, most] as places in a table, uint16."""
    return cv2.multiply(values, cast(Any, (_STEPS - 1) / most), dtype=cv2.CV_16U)


def _peak(frame: av.VideoFrame) -> float:
    """The brightest light that a frame of PQ claims, cd/m²: of its content, else of the display it was mastered on."""
    content = side_data_of(frame, "CONTENT_LIGHT_LEVEL")
    display = side_data_of(frame, "MASTERING_DISPLAY_METADATA")
    peak = float(_CONTENT_LIGHT.unpack_from(content)[0]) if content and len(content) >= _CONTENT_LIGHT.size else 0.0
    if not peak and display and len(display) >= _MASTERING_DISPLAY.size:
        numerator, denominator, _, has_luminance = _MASTERING_DISPLAY.unpack_from(display)
        peak = numerator / denominator if has_luminance and denominator else 0.0
    return next((usual for usual in _PEAKS if 0 < peak <= usual), _PEAKS[-1] if peak > 0 else _USUAL_PEAK)
