"""The contrastive losses: their values, and that several processes get the loss and the gradients of one."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from curation.errors import ConfigError
from model.settings import resolve_training
from model.training.losses import Logits, clamp_logit_scale, vidla_loss
from tests.support.ranks import together

CLIPS, WIDTH = 8, 6
LOGITS: tuple[Logits, ...] = ("global", "local")
DTYPES = (torch.float32, torch.float64)
CASES: dict[str, list[list[int]]] = {
    "all texts": [[1, 1]] * CLIPS,
    "some texts": [[1, 1], [1, 0], [0, 1], [1, 0], [1, 1], [0, 1], [1, 1], [1, 0]],
    "no caption anywhere": [[1, 0]] * CLIPS,
    "none in the second half": [[1, 1]] * 4 + [[0, 1]] * 4,
}


def by_hand(features: Tensor, has: list[list[int]], logit_scale: Tensor) -> Tensor:
    """The sum of both losses, computed pair by pair."""
    total = torch.zeros((), dtype=features.dtype)
    for text in range(2):
        pairs = [i for i in range(len(features)) if has[i][text]]
        score = {
            (i, j): logit_scale.exp() * torch.cosine_similarity(features[i, 0], features[j, 1 + text], dim=0)
            for i in pairs
            for j in pairs
        }
        for i in pairs:
            to_text = score[i, i].exp() / torch.stack([score[i, j].exp() for j in pairs]).sum()
            to_video = score[i, i].exp() / torch.stack([score[j, i].exp() for j in pairs]).sum()
            total = total - (to_text.log() + to_video.log()) / len(pairs)
    return total


def inputs(dtype: torch.dtype = torch.float64) -> tuple[Tensor, Tensor, Tensor]:
    """The input of a small model with one matrix, the matrix, and the logit scale."""
    random = torch.Generator().manual_seed(0)
    x = torch.randn(CLIPS, 3, WIDTH, generator=random, dtype=torch.float64).to(dtype)
    matrix = torch.randn(WIDTH, WIDTH, generator=random, dtype=torch.float64).to(dtype).requires_grad_()
    return x, matrix, torch.tensor(1.5, dtype=dtype, requires_grad=True)


@pytest.mark.parametrize("case", CASES)
def test_is_both_directions_of_both_texts(case: str) -> None:
    x, matrix, scale = inputs()
    loss = vidla_loss(x @ matrix, torch.tensor(CASES[case]).bool(), scale)
    expected = by_hand(x @ matrix, CASES[case], scale)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for found, wanted in zip(
        torch.autograd.grad(loss, (matrix, scale)), torch.autograd.grad(expected, (matrix, scale)), strict=True
    ):
        assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)


def test_is_not_halved() -> None:
    features = torch.zeros(4, 3, WIDTH)
    features[..., 0] = 1.0  # all alike: each direction of each text costs log 4
    assert vidla_loss(features, torch.ones(4, 2).bool(), torch.tensor(0.0)).item() == pytest.approx(4 * math.log(4))


def test_a_text_that_is_not_there_changes_nothing() -> None:
    x, matrix, scale = inputs()
    has = torch.tensor(CASES["some texts"]).bool()
    other = x.clone()
    other[:, 1:][~has] = 100.0
    assert vidla_loss(x @ matrix, has, scale) == vidla_loss(other @ matrix, has, scale)


def test_without_a_pair_it_is_nothing_but_has_gradients() -> None:
    x, matrix, scale = inputs()
    loss = vidla_loss(x @ matrix, torch.zeros(CLIPS, 2).bool(), scale)
    assert loss.item() == 0
    assert all(not gradient.any() for gradient in torch.autograd.grad(loss, (matrix, scale)))


def test_is_computed_in_float32_under_autocast() -> None:
    x, matrix, scale = inputs(torch.float32)
    has = torch.ones(CLIPS, 2).bool()
    exact = vidla_loss(x @ matrix, has, scale)
    features = x @ matrix
    with torch.autocast("cpu", torch.bfloat16):
        assert vidla_loss(features, has, scale) == exact
        assert vidla_loss(features.bfloat16(), has, scale).dtype == torch.float32


def test_the_temperature_has_a_floor() -> None:
    scale = torch.tensor(9.0, requires_grad=True)
    clamp_logit_scale(scale)
    assert scale.exp().item() == pytest.approx(100)
    low = torch.tensor(3.0)
    clamp_logit_scale(low)
    assert low.item() == 3.0


def test_a_gather_without_gradient_cannot_be_asked_for() -> None:
    for wrong in ("gather_with_grad=false", "local_loss=true", "gather=detached"):
        with pytest.raises(ConfigError):
            resolve_training(None, ["model.weights=x", wrong])


# --- several processes ----------------------------------------------------------------------------------------------


def part(rank: int, size: int) -> dict[str, Any]:
    """The loss and the gradients for this process's share of the clips, averaged over processes, for every case."""
    most = -(-CLIPS // size)
    mine, found = slice(rank * CLIPS // size, (rank + 1) * CLIPS // size), {}
    for case, has in CASES.items():
        for logits in LOGITS:
            for dtype in DTYPES:
                x, matrix, scale = inputs(dtype)
                loss = vidla_loss(x[mine] @ matrix, torch.tensor(has)[mine].bool(), scale, logits, most)
                figures = [loss.detach(), *torch.autograd.grad(loss, (matrix, scale))]
                for figure in figures:
                    dist.all_reduce(figure)
                    figure /= size
                found[f"{case}, {logits}, {dtype}"] = figures
    return found


@pytest.mark.slow
@pytest.mark.parametrize("size", [2, 3, 4])  # three processes have two, three and three clips
def test_processes_have_the_loss_and_the_gradients_of_one(size: int) -> None:
    for found in together(part, size):
        for case, has in CASES.items():
            x, matrix, scale = inputs()
            loss = vidla_loss(x @ matrix, torch.tensor(has).bool(), scale)
            expected = [loss.detach(), *torch.autograd.grad(loss, (matrix, scale))]
            for logits in LOGITS:
                for dtype, bound in zip(DTYPES, (1e-6, 1e-13), strict=True):
                    for figure, wanted in zip(found[f"{case}, {logits}, {dtype}"], expected, strict=True):
                        assert (figure.double() - wanted).norm() <= bound * wanted.norm()
