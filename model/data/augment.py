"""What of its frames a clip shows: one square for all of them, mirrored or not, at the model's size."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class View:
    """A square of the picture, in pixels, and whether it is mirrored."""

    left: int
    top: int
    side: int
    flip: bool = False


def centre_view(height: int, width: int) -> View:
    """The largest square, in the middle: what CLIP is evaluated with."""
    side = min(height, width)
    return View((width - side) // 2, (height - side) // 2, side)


def random_view(height: int, width: int, crops: Sequence[float], flip: bool, random: Random) -> View:
    """A square with one of `crops` of the shorter side, anywhere; with `flip`, mirrored half of the time.

    Without `crops` it is the square of `centre_view`.
    """
    centre = centre_view(height, width)
    side = max(1, round(centre.side * random.choice(crops))) if crops else centre.side
    left, top = random.randint(0, width - side), random.randint(0, height - side)
    mirrored = random.random() < 0.5 and flip
    return View(left, top, side, mirrored) if crops else View(centre.left, centre.top, side, mirrored)


def show(pixels: torch.Tensor, view: View, size: int) -> torch.Tensor:
    """`pixels` uint8 [T, 3, H, W] as `view` shows them, in `size` pixels a side: uint8 [T, 3, size, size].

    Bicubic with antialiasing, as CLIP's own preprocessing.
    """
    square = pixels[:, :, view.top : view.top + view.side, view.left : view.left + view.side]
    if view.side != size:
        square = interpolate(square, size=(size, size), mode="bicubic", antialias=True)
    return square.flip(-1) if view.flip else square


def normalise(
    frames: torch.Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """`frames` uint8 [..., 3, H, W] as the model takes them: from 0 to 1, less `mean`, divided by `std`.

    To be called where the model runs: bytes are a quarter of what floats would be to move there.
    """
    scale = torch.tensor([1 / (255 * s) for s in std], device=frames.device)[:, None, None]
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=frames.device)[:, None, None]
    return torch.addcmul(shift, frames.to(torch.float32), scale).to(dtype)
