"""The planes of decoded frames as arrays, without copying them."""

from __future__ import annotations

from typing import Any, cast

import av
import numpy as np


def plane_of(frame: av.VideoFrame, index: int, samples: type[np.generic] = np.uint8) -> np.ndarray:
    """A view of one plane, [height, width] of the type of its samples: uint8, or uint16 for more than 8 bits."""
    plane = frame.planes[index]
    data: np.ndarray = np.frombuffer(memoryview(cast(Any, plane)), samples)
    return data.reshape(plane.height, -1)[:, : plane.width]
