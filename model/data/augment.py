"""Crops, flips and resizes a clip's frames to the model's input size: one square for all of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from random import Random

import torch
from torch.nn.functional import interpolate


@dataclass(frozen=True)
class View:
    """A square crop, in pixels, and whether it is mirrored."""

    left: int
    top: int
    side: int
    flip: bool = False

    def moved(self, left: int, top: int) -> View:
        return replace(self, left=self.left + left, top=self.top + top)


def centre_view(height: int, width: int) -> View:
    """The largest square in the middle, as CLIP is evaluated.

    >>> centre_view(height=360, width=640)
    View(left=140, top=0, side=360, flip=False)
    """
    side = min(height, width)
    return View((width - side) // 2, (height - side) // 2, side)


def random_view(height: int, width: int, crops: Sequence[float], flip: bool, random: Random) -> View:
    """A square at a random place, its side one of `crops` times the shorter side; with `flip`, mirrored at random.

    Without `crops`, the square of `centre_view`.
    """
    centre = centre_view(height, width)
    side = max(1, round(centre.side * random.choice(crops))) if crops else centre.side
    left, top = random.randint(0, width - side), random.randint(0, height - side)
    mirrored = random.random() < 0.5 and flip
    return View(left, top, side, mirrored) if crops else View(centre.left, centre.top, side, mirrored)


def apply_view(pixels: torch.Tensor, view: View, size: int) -> torch.Tensor:
    """Crop and flip `pixels`, uint8 [T, 3, H, W], and resize them to uint8 [T, 3, size, size].

    Bicubic with antialiasing, like CLIP's own preprocessing.
    """
    square = pixels[:, :, view.top : view.top + view.side, view.left : view.left + view.side]
    if view.side != size:
        square = interpolate(square, size=(size, size), mode="bicubic", antialias=True)
    return square.flip(-1) if view.flip else square


def normalise(
    frames: torch.Tensor, mean: Sequence[float], std: Sequence[float], dtype: torch.dtype = torch.float32
) -> torch.Tensor:
    """The model's input from `frames`, uint8 [..., 3, H, W]: scaled to 0..1, minus `mean`, divided by `std`.

    Call it on the model's device: moving bytes there costs a quarter of moving floats.
    """
    scale = torch.tensor([1 / (255 * s) for s in std], device=frames.device)[:, None, None]
    shift = torch.tensor([-m / s for m, s in zip(mean, std, strict=True)], device=frames.device)[:, None, None]
    return torch.addcmul(shift, frames.to(torch.float32), scale).to(dtype)
