"""Several processes that train together: results and errors of one reach all."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch

from curation.errors import DatasetError
from model.distributed import World
from tests.support.ranks import together


def exchange(rank: int, size: int) -> dict[str, Any]:
    world = World(rank, size, torch.device("cpu"))
    found: dict[str, Any] = {
        "collected": world.all_gather(f"of {rank}"),
        "first": world.run_on_main(lambda: f"made by {rank}"),
        "mean": world.mean(torch.tensor(float(rank))).item(),
        "spoilt": world.mean(torch.tensor(math.nan if rank == 1 else 1.0)).item(),
    }
    try:
        world.run_on_main(lambda: refuse(rank))
    except DatasetError as error:
        found["error"] = str(error)
    world.barrier()
    return found


def refuse(rank: int) -> None:
    raise DatasetError(f"refused by {rank}")


@pytest.mark.slow
def test_all_have_what_one_has() -> None:
    for found in together(exchange, 3):
        assert found["collected"] == ["of 0", "of 1", "of 2"]
        assert found["first"] == "made by 0"
        assert found["mean"] == 1.0 and math.isnan(found["spoilt"])
        assert found["error"] == "refused by 0"


def test_one_process_needs_no_other() -> None:
    alone = World(0, 1, torch.device("cpu"))
    assert exchange(0, 1) | {"spoilt": 1.0} == {
        "collected": ["of 0"],
        "first": "made by 0",
        "mean": 0.0,
        "spoilt": 1.0,
        "error": "refused by 0",
    }
    assert alone.is_main
