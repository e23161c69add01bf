"""Training learns: from small random towers, the model finds held-out clips of real animations by unseen names."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path

import pytest
import torch

from tests.support.animations import Animation, NoAnimations, fetch
from tests.support.learning import learn


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """Leave the other CPU to the worker that reads clips."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def animations() -> tuple[Path, list[Animation]]:
    try:
        return fetch()
    except NoAnimations as error:
        pytest.skip(f"{error}; install npm, and let it reach its registry")


@pytest.mark.long
@pytest.mark.timeout(3600)  # the first time, the animations are fetched and stored
@pytest.mark.parametrize("seed", [0, 1, 2])
def test_well_past_chance_and_every_control(
    seed: int, animations: tuple[Path, list[Animation]], tmp_path: Path
) -> None:
    found = learn(tmp_path, *animations, seed, io.StringIO())
    trained, chance = found.trained.every, found.trained.chance
    assert trained >= 10 * chance, found
    assert max(found.untrained.every, found.shuffled.every) < 5 * chance, found
    assert found.trained.known > found.trained.new, found  # mostly known things in another skin tone
