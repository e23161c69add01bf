"""Crops, flips and sizes of a clip's frames."""

from __future__ import annotations

from collections import Counter
from random import Random

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.nn.functional import interpolate

from model.data.augment import View, apply_view, centre_view, normalise, random_view
from model.network.architecture import CLIP_MEAN, CLIP_STD

CROPS = (1.0, 0.8)


def picture(frames: int = 3) -> torch.Tensor:
    """Smooth frames of 54 x 96, laid out in memory as by a decoder."""
    coarse = torch.rand(frames, 3, 9, 16, generator=torch.Generator().manual_seed(0))
    smooth = (255 * interpolate(coarse, size=(54, 96), mode="bilinear")).to(torch.uint8)
    return smooth.contiguous(memory_format=torch.channels_last)


@given(
    height=st.integers(1, 500),
    width=st.integers(1, 500),
    seed=st.integers(),
    crops=st.sampled_from([(), CROPS, (0.01,), (0.5, 0.333)]),
)
def test_a_view_lies_in_the_picture(height: int, width: int, seed: int, crops: tuple[float, ...]) -> None:
    view = random_view(height, width, crops, True, Random(seed))
    assert 0 <= view.left <= view.left + view.side <= width
    assert 0 <= view.top <= view.top + view.side <= height
    assert view.side in {max(1, round(crop * min(height, width))) for crop in crops or (1.0,)}
    assert view == random_view(height, width, crops, True, Random(seed))


def test_draws_every_side_place_and_mirroring() -> None:
    views = [random_view(36, 64, CROPS, True, Random(seed)) for seed in range(2000)]
    assert set(Counter(view.side for view in views)) == {36, 29}
    assert min(Counter(view.side for view in views).values()) > 900
    assert {view.left for view in views if view.side == 36} == set(range(29))
    assert {view.top for view in views if view.side == 29} == set(range(8))
    assert 900 < sum(view.flip for view in views) < 1100
    assert not any(random_view(36, 64, CROPS, False, Random(seed)).flip for seed in range(99))


def test_the_centre() -> None:
    assert centre_view(36, 64) == View(14, 0, 36, False) == random_view(36, 64, (), False, Random(3))
    assert centre_view(64, 36) == View(0, 14, 36, False)
    assert {random_view(36, 64, (), True, Random(seed)).flip for seed in range(99)} == {True, False}


@pytest.mark.parametrize("size", [16, 54, 80])
@pytest.mark.parametrize("flip", [False, True])
def test_shows_the_same_square_of_every_frame(size: int, flip: bool) -> None:
    pixels = picture()
    found = apply_view(pixels, View(20, 10, 40, flip), size)
    square = pixels[:, :, 10:50, 20:60].float()
    wanted = interpolate(square, size=(size, size), mode="bicubic", antialias=True).round().clamp(0, 255)
    assert found.shape == (3, 3, size, size) and found.dtype == torch.uint8
    assert (found.float() - (wanted.flip(-1) if flip else wanted)).abs().max() <= 1
    assert torch.equal(apply_view(pixels[1:2], View(20, 10, 40, flip), size)[0], found[1])


def test_a_square_of_the_right_size_is_left_as_it_is() -> None:
    pixels = picture()
    assert torch.equal(apply_view(pixels, View(20, 10, 40), 40), pixels[:, :, 10:50, 20:60])


def test_normalises_as_clip_does() -> None:
    pixels = picture()[None]
    mean, std = (torch.tensor(values)[:, None, None] for values in (CLIP_MEAN, CLIP_STD))
    assert torch.allclose(normalise(pixels, CLIP_MEAN, CLIP_STD), (pixels / 255 - mean) / std, atol=1e-6)
    assert normalise(pixels, CLIP_MEAN, CLIP_STD, torch.bfloat16).dtype == torch.bfloat16
