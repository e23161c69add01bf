"""The contrastive losses: their values, and that several processes get the loss and the gradients of one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor

from curation.errors import ConfigError
from model.data.loader import Batch, tokenize
from model.settings import resolve_training
from model.training.losses import Logits, clamp_logit_scale, vidla_loss
from model.training.negatives import groups_of
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


GROUPS = [[[7, 1], [3, 1]], [[7, 1], [4, 1]], [[8, 2], [3, 2]], [[9, 3], [3, 3]]]
GROUPS += [[[i, i], [i, i]] for i in range(10, 10 + CLIPS - len(GROUPS))]
"""Of two kinds: the first two clips have a subtitle in common and a video, the first, third and fourth a caption."""


def by_hand(features: Tensor, has: list[list[int]], logit_scale: Tensor, groups: Sequence[Any] = ()) -> Tensor:
    """The sum of both losses, computed pair by pair."""

    def apart(i: int, j: int, text: int) -> bool:
        return i == j or not groups or all(a != b for a, b in zip(groups[i][text], groups[j][text], strict=True))

    total = torch.zeros((), dtype=features.dtype)
    for text in range(2):
        pairs = [i for i in range(len(features)) if has[i][text]]
        score = {
            (i, j): logit_scale.exp() * torch.cosine_similarity(features[i, 0], features[j, 1 + text], dim=0)
            for i in pairs
            for j in pairs
        }
        for i in pairs:
            to_text = score[i, i].exp() / torch.stack([score[i, j].exp() for j in pairs if apart(i, j, text)]).sum()
            to_video = score[i, i].exp() / torch.stack([score[j, i].exp() for j in pairs if apart(i, j, text)]).sum()
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


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("kinds", [[], [0], [1], [0, 1]])
def test_clips_of_one_group_are_not_contrasted(case: str, kinds: list[int]) -> None:
    x, matrix, scale = inputs()
    groups = torch.tensor(GROUPS)[..., kinds]
    loss = vidla_loss(x @ matrix, torch.tensor(CASES[case]).bool(), scale, groups=groups)
    expected = by_hand(x @ matrix, CASES[case], scale, groups.tolist())
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for found, wanted in zip(
        torch.autograd.grad(loss, (matrix, scale)), torch.autograd.grad(expected, (matrix, scale)), strict=True
    ):
        assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)


def test_a_model_that_is_right_has_no_loss_although_texts_repeat() -> None:
    """Sixteen clips of two things: unmasked, the loss cannot fall below what guessing among eight costs."""
    things = torch.eye(2).repeat_interleave(8, 0)
    features, has = things[:, None].expand(-1, 3, -1), torch.tensor([[False, True]] * 16)
    groups = torch.arange(2).repeat_interleave(8)[:, None, None].expand(-1, 2, 1)
    scale = torch.tensor(100.0).log()
    assert vidla_loss(features, has, scale).item() == pytest.approx(2 * math.log(8))
    assert vidla_loss(features, has, scale, groups=groups).item() == pytest.approx(0, abs=1e-6)


def test_unmasked_equal_texts_have_the_gradient_of_shared_targets() -> None:
    x, matrix, scale = inputs()
    x[[2, 5], 2] = x[0, 2]  # three clips with one caption
    has = torch.tensor([[False, True]] * CLIPS)
    (found,) = torch.autograd.grad(vidla_loss(x @ matrix, has, scale), matrix)
    features = torch.nn.functional.normalize(x @ matrix, dim=-1)
    logits = scale.exp() * features[:, 0] @ features[:, 2].T
    targets = torch.eye(CLIPS, dtype=torch.float64)
    targets[[[0], [2], [5]], [0, 2, 5]] = 1 / 3
    shared = sum(-(targets * way.log_softmax(1)).sum() / CLIPS for way in (logits, logits.T))
    (wanted,) = torch.autograd.grad(shared, matrix)
    assert torch.allclose(found, wanted, rtol=1e-10, atol=1e-12)


def test_groups_are_of_equal_tokens_and_of_videos() -> None:
    subtitles = ["Bees dance.", "bees  dance.", "Bees dance", "x " * 100, "x " * 101]
    batch = Batch(
        torch.empty(5, 0), tokenize(subtitles), tokenize(["a", "b", "c", "d", "a"]), *[torch.ones(5).bool()] * 2,
        torch.tensor([4, 4, 5, 6, 7]), *[torch.empty(5, 0)] * 4, {}
    )  # fmt: skip
    both = groups_of(batch, equal_texts=True, same_video=True)
    columns = [both[:, text, kind].tolist() for text in range(2) for kind in range(2)]
    pairs = [{(i, j) for i in range(5) for j in range(i) if ids[i] == ids[j]} for ids in columns]
    assert pairs == [{(1, 0), (4, 3)}, {(1, 0)}, {(4, 0)}, {(1, 0)}]
    assert groups_of(batch, equal_texts=False, same_video=False).shape == (5, 2, 0)
    assert torch.equal(groups_of(batch, equal_texts=True, same_video=False), both[..., :1])


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
                texts, groups = torch.tensor(has)[mine].bool(), torch.tensor(GROUPS)[mine]
                loss = vidla_loss(x[mine] @ matrix, texts, scale, logits, most, groups)
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
            loss = vidla_loss(x @ matrix, torch.tensor(has).bool(), scale, groups=torch.tensor(GROUPS))
            expected = [loss.detach(), *torch.autograd.grad(loss, (matrix, scale))]
            for logits in LOGITS:
                for dtype, bound in zip(DTYPES, (1e-6, 1e-13), strict=True):
                    for figure, wanted in zip(found[f"{case}, {logits}, {dtype}"], expected, strict=True):
                        assert (figure.double() - wanted).norm() <= bound * wanted.norm()
