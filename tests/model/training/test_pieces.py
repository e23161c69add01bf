"""What is counted over the pieces of a step, in one process and in several."""

from __future__ import annotations

from typing import Any

import pytest
import torch

from model.data.loader import Batch, StoredBatch
from model.distributed import World
from model.training.pieces import Pieces
from tests.support.ranks import together


def piece(drawn: list[int], read: list[int], subtitles: list[int], captions: list[int]) -> StoredBatch:
    nothing = torch.zeros(len(drawn), 1)
    batch = Batch(
        frames=nothing,
        subtitle=nothing,
        caption=nothing,
        has_subtitle=torch.tensor(subtitles).bool(),
        has_caption=torch.tensor(captions).bool(),
        video=torch.zeros(len(drawn), dtype=torch.int64),
        index=torch.tensor(read),
        drawn=torch.tensor(drawn),
        times=nothing,
        view=nothing,
        unreadable={f"media/{a}.mp4": "gone" for a, b in zip(drawn, read, strict=True) if a != b},
    )
    return StoredBatch(batch, (), None, 0, False)


OF_RANK = [
    [piece([1, 2], [1, 2], [1, 0], [1, 1]), piece([3, 4], [9, 4], [0, 0], [1, 0])],
    [piece([5, 6], [9, 8], [1, 0], [1, 1]), piece([7, 8], [7, 8], [1, 0], [0, 0])],
]


def ungrouped(batch: Batch) -> torch.Tensor:
    return batch.video.new_empty(len(batch.video), 2, 0)


def counted(rank: int, size: int) -> dict[str, Any]:
    found = {}
    for is_together in (False, True):
        pieces = Pieces(iter(OF_RANK[rank]), 2)
        assert len(list(pieces)) == len(pieces) == 2
        pieces.waited = 1.5 + rank
        world = World(rank, size, torch.device("cpu"))
        totals = pieces.totals(world, ungrouped, together=is_together, stop=rank == 1, save=False)
        found[str(is_together)] = [
            totals.waiting, totals.clips, totals.replaced, totals.stop, totals.save, totals.without_contrast
        ]  # fmt: skip
        found["clips"], found["unreadable"] = pieces.clips, sorted(pieces.unreadable)
    return found


def test_in_one_process() -> None:
    found = counted(0, 1)
    assert found["clips"] == [1, 2, 9, 4] and found["unreadable"] == ["media/3.mp4"]
    # one subtitle, two captions; no subtitle, one caption
    assert found["False"] == [1.5, 4, 1, False, False, 3]
    assert found["True"] == [1.5, 4, 1, False, False, 1]


@pytest.mark.slow
def test_over_two_processes() -> None:
    for found in together(counted, 2):
        # two subtitles, four captions; one subtitle, one caption
        assert found["False"] == [4.0, 8, 3, True, False, 2]
        assert found["True"] == [4.0, 8, 3, True, False, 0]


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ([[5, 1], [5, 2], [5, 3]], 1),  # one text, three videos
        ([[5, 1], [6, 1], [7, 1]], 1),
        ([[5, 1], [5, 2], [6, 2]], 0),
        ([[-(2**63), 1], [2**63 - 1, 2], [0, 3]], 0),
        ([[-(2**63), 1]] * 3, 1),
    ],
)
def test_clips_of_one_group_have_nothing_to_contrast(groups: list[list[int]], expected: int) -> None:
    pieces = Pieces(iter([piece([1, 2, 3, 4], [1, 2, 3, 4], [0, 0, 0, 0], [1, 1, 1, 0])]), 1)
    list(pieces)
    numbers = torch.tensor([*groups, [9, 9]])[:, None].expand(-1, 2, -1)  # the last has no text
    world = World(0, 1, torch.device("cpu"))
    totals = pieces.totals(world, lambda _: numbers, together=False, stop=False, save=False)
    assert totals.without_contrast == 1 + expected, "and no subtitle"


@pytest.mark.parametrize(("has_texts", "expected"), [((True, True), 3), ((True, False), 2), ((False, True), 1)])
@pytest.mark.parametrize("is_together", [False, True])
def test_a_text_that_no_clip_of_the_run_has_is_not_missed(
    has_texts: tuple[bool, bool], expected: int, is_together: bool
) -> None:
    pieces = Pieces(iter(OF_RANK[0]), 2, has_texts)
    list(pieces)
    world = World(0, 1, torch.device("cpu"))
    totals = pieces.totals(world, ungrouped, together=is_together, stop=False, save=False)
    assert totals.without_contrast == (int(has_texts[0]) if is_together else expected)
