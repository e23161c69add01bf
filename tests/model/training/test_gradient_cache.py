"""The gradient cache gives the gradients of one large forward pass, in one process and in several."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.parallel import DistributedDataParallel

from model.network.clip_conversion import from_clip
from model.network.vidla import VidLA
from model.settings import ModelSettings
from model.training import gradient_cache
from model.training.losses import vidla_loss
from tests.support.ranks import together
from tests.support.small_clip import EOS, SIDE, small_clip

CLIPS, FRAMES = 6, 2
HAS = torch.tensor([[1, 1], [1, 0], [0, 1], [1, 1], [1, 1], [1, 0]]).bool()


def model_of(folder: Path) -> VidLA:
    settings = ModelSettings(weights=str(small_clip(folder / "clip")), frames=FRAMES, levels=1, tokens=2)
    model = from_clip(settings).double()
    torch.manual_seed(1)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.05 * torch.randn_like(parameter))
    return model


def clips_of() -> tuple[Tensor, Tensor]:
    """Frames and two texts for each clip."""
    random = torch.Generator().manual_seed(0)
    frames = torch.randn(CLIPS, FRAMES, 3, SIDE, SIDE, generator=random, dtype=torch.float64)
    texts = torch.randint(3, EOS, (CLIPS, 2, 8), generator=random)
    texts[..., -1] = EOS
    return frames, texts


def features_of(model: VidLA, frames: Tensor, texts: Tensor) -> Tensor:
    return torch.cat([model.encode_video(frames)[:, None], model.encode_text(texts.flatten(0, 1)).view(-1, 2, 24)], 1)


def gradients(model: nn.Module) -> dict[str, Tensor]:
    return {name: p.grad.clone() for name, p in model.named_parameters() if p.grad is not None}


@pytest.mark.parametrize("sizes", [[1] * 6, [4, 2], [6]])
def test_equals_one_forward_pass(sizes: list[int], tmp_path: Path) -> None:
    model, (frames, texts) = model_of(tmp_path), clips_of()
    whole = vidla_loss(features_of(model, frames, texts), HAS, model.logit_scale)
    whole.backward()
    expected = gradients(model)
    model.zero_grad()
    pieces = list(zip(frames.split(sizes), texts.split(sizes), strict=True))
    loss = gradient_cache.backward(
        lambda piece: features_of(model, *piece),
        lambda features, scale: vidla_loss(features, HAS, scale),
        pieces,
        model.logit_scale,
    )
    assert loss.item() == pytest.approx(whole.item(), rel=1e-12)
    found = gradients(model)
    assert found.keys() == expected.keys() == dict(model.named_parameters()).keys()
    for name, gradient in expected.items():
        assert (found[name] - gradient).norm() <= 1e-11 * max(gradient.norm(), 1e-3), name


def test_pieces_of_an_ordinary_accumulation_are_another_loss(tmp_path: Path) -> None:
    """Shows that the test above can fail: here a clip is contrasted only with those of its own micro-batch."""
    model, (frames, texts) = model_of(tmp_path), clips_of()
    whole = vidla_loss(features_of(model, frames, texts), HAS, model.logit_scale)
    parts = [
        vidla_loss(features_of(model, f, t), h, model.logit_scale)
        for f, t, h in zip(frames.split(2), texts.split(2), HAS.split(2), strict=True)
    ]
    assert abs(torch.stack(parts).mean() - whole) > 0.1 * whole


# --- several processes ----------------------------------------------------------------------------------------------


class Matrix(nn.Module):
    """A model with one matrix, and the logit scale, which its forward pass does not use."""

    def __init__(self) -> None:
        super().__init__()
        random = torch.Generator().manual_seed(3)
        self.weight = nn.Parameter(torch.randn(5, 5, generator=random, dtype=torch.float64))
        self.logit_scale = nn.Parameter(torch.tensor(1.0, dtype=torch.float64))

    def forward(self, x: Tensor) -> Tensor:
        return x @ self.weight


X = torch.randn(13, 3, 5, generator=torch.Generator().manual_seed(4), dtype=torch.float64)


def part(rank: int, size: int) -> dict[str, Any]:
    """Gradients of a third of the clips in micro-batches of two, averaged by PyTorch's DDP.

    The last process has three clips in two micro-batches, the others have five in three.
    """
    found, mine, most = {}, X.chunk(size)[rank], -(-len(X) // size)
    for logits in ("global", "local"):
        parallel = DistributedDataParallel(Matrix())
        model = parallel.module
        has = torch.ones(len(mine), 2).bool()
        loss = gradient_cache.backward(
            parallel,
            lambda features, scale, has=has, form=logits: vidla_loss(features, has, scale, form, most),
            list(mine.split(2)),
            model.logit_scale,
            parallel.no_sync,
        )
        dist.all_reduce(loss)
        found[logits] = [loss / size, model.weight.grad, model.logit_scale.grad]
    return found


@pytest.mark.slow
def test_processes_have_the_gradients_of_one() -> None:
    model = Matrix()
    whole = vidla_loss(model(X), torch.ones(13, 2).bool(), model.logit_scale)
    whole.backward()
    assert model.weight.grad is not None and model.logit_scale.grad is not None
    expected = [whole.detach(), model.weight.grad, model.logit_scale.grad]
    for found in together(part, 3):
        for logits in ("global", "local"):
            for figure, wanted in zip(found[logits], expected, strict=True):
                assert (figure - wanted).norm() <= 1e-12 * wanted.norm()
