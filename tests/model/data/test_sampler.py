"""The order of samples: the same for any number of ranks, from any step on, with or without weights."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from curation.errors import ConfigError, DatasetError
from curation.records import Scale
from model.data.sampler import Draw, EpochSampler, SequentialBatchSampler, TrainBatchSampler, seed_of

COUNTS: dict[Scale, int] = {"short": 40, "medium": 17, "long": 6}


def scale_of(index: int) -> str:
    return "short" if index < 40 else "medium" if index < 57 else "long"


def global_batches(order: EpochSampler, ranks: int, micro_batch: int, first: int, last: int) -> list[list[Draw]]:
    """Each step's batch, assembled from the parts of all ranks."""
    parts = [list(TrainBatchSampler(order, first, last, micro_batch, rank, ranks)) for rank in range(ranks)]
    groups = [[draw for piece in group for draw in piece] for group in zip(*parts, strict=True)]
    count = order.batch // ranks // micro_batch
    return [
        [draw for group in groups[step * count : (step + 1) * count] for draw in group] for step in range(last - first)
    ]


@pytest.mark.parametrize("weights", [None, {"short": 1.0, "medium": 1.0, "long": 2.0}])
def test_ranks_make_the_same_batches_together(weights: dict[Scale, float] | None) -> None:
    order = EpochSampler(COUNTS, batch=8, seed=3, weights=weights)
    alone = global_batches(order, 1, 8, 0, 20)
    assert alone == global_batches(order, 2, 2, 0, 20) == global_batches(order, 4, 1, 0, 20)
    assert len({seed for batch in alone for _, seed in batch}) == 20 * 8  # every draw has its own seed


def test_half_as_many_ranks_with_twice_the_micro_batch_contrast_the_same_clips() -> None:
    order = EpochSampler(COUNTS, batch=8, seed=3)
    alone = list(TrainBatchSampler(order, 0, 20, micro_batch=4))
    two = [TrainBatchSampler(order, 0, 20, micro_batch=2, rank=rank, world_size=2) for rank in range(2)]
    assert [first + second for first, second in zip(*two, strict=True)] == alone


@given(step=st.integers(0, 19))
def test_begins_at_any_step(step: int) -> None:
    order = EpochSampler(COUNTS, batch=8, seed=3, weights={"short": 1.0, "medium": 1.0, "long": 2.0})
    assert list(TrainBatchSampler(order, step, 20, 4)) == list(TrainBatchSampler(order, 0, 20, 4))[step * 2 :]


def test_an_epoch_draws_every_clip_once_in_an_order_of_its_own() -> None:
    order = EpochSampler(COUNTS, batch=8, seed=3)
    epochs = [order.epoch(number).tolist() for number in range(3)]
    assert all(sorted(epoch) == list(range(63)) for epoch in epochs)
    assert len({tuple(epoch) for epoch in epochs}) == 3
    assert order.epoch(1).tolist() != EpochSampler(COUNTS, batch=8, seed=4).epoch(1).tolist()
    assert order.steps == 7  # seven batches of 8; the 7 clips left over differ in each epoch
    assert set(epochs[0][56:]) != set(epochs[1][56:])


def test_shares_of_the_scales_hold_in_every_epoch() -> None:
    order = EpochSampler(COUNTS, batch=8, seed=3, weights={"short": 1.0, "medium": 1.0, "long": 2.0})
    assert order.shares() == {"short": 16, "medium": 16, "long": 31}
    epochs = [order.epoch(number).tolist() for number in range(5)]
    for epoch in epochs:
        assert Counter(map(scale_of, epoch)) == {"short": 16, "medium": 16, "long": 31}
    assert [scale_of(index) for index in epochs[0]] != sorted(map(scale_of, epochs[0]))  # mixed


def test_a_clip_waits_until_all_others_of_its_scale_have_come() -> None:
    order = EpochSampler(COUNTS, batch=8, seed=3, weights={"short": 1.0, "long": 1.0})
    assert order.shares() == {"short": 32, "long": 31}
    seen: Counter[int] = Counter()
    for number in range(10):
        seen.update(order.epoch(number).tolist())
        assert not any(scale_of(index) == "medium" for index in seen)
        for first, last in ((0, 40), (57, 63)):
            times = [seen[index] for index in range(first, last)]
            assert max(times) - min(times) <= 1


@given(
    counts=st.tuples(*[st.integers(1, 30)] * 3),
    weights=st.tuples(*[st.floats(0.01, 10)] * 3),
    number=st.integers(0, 5),
)
def test_shares_add_up(counts: tuple[int, int, int], weights: tuple[float, float, float], number: int) -> None:
    scales: tuple[Scale, ...] = ("short", "medium", "long")
    order = EpochSampler(dict(zip(scales, counts, strict=True)), 1, 0, dict(zip(scales, weights, strict=True)))
    drawn = order.epoch(number)
    assert len(drawn) == sum(order.shares().values()) == sum(counts)
    assert 0 <= int(drawn.min()) <= int(drawn.max()) < sum(counts)
    exact = {s: sum(counts) * w / sum(weights) for s, w in zip(scales, weights, strict=True)}
    assert all(abs(order.shares()[s] - exact[s]) < 1 for s in scales)


def test_refuses_what_cannot_be() -> None:
    with pytest.raises(DatasetError, match="63 clips are selected, fewer than one batch of 64; lower `batch`"):
        EpochSampler(COUNTS, batch=64, seed=0)
    with pytest.raises(DatasetError, match="asks for long clips, but none are selected"):
        EpochSampler({"short": 10, "medium": 0, "long": 0}, batch=2, seed=0, weights={"long": 1.0})
    with pytest.raises(ConfigError, match=r"batch \(8\) must be a multiple of micro_batch .* \(3 x 2\)"):
        TrainBatchSampler(EpochSampler(COUNTS, batch=8, seed=0), 0, 1, micro_batch=3, world_size=2)
    with pytest.raises(ConfigError, match=r"batch \(8\) is less than the number of processes \(9\)"):
        TrainBatchSampler(EpochSampler(COUNTS, batch=8, seed=0), 0, 1, 3, world_size=9, uneven=True)


@given(batch=st.integers(1, 40), size=st.integers(1, 9), micro_batch=st.integers(1, 12))
def test_uneven_parts_are_the_batch(batch: int, size: int, micro_batch: int) -> None:
    if batch < size:
        return
    order = EpochSampler(COUNTS, batch, seed=0)
    ranks = [TrainBatchSampler(order, 0, 1, micro_batch, rank, size, uneven=True) for rank in range(size)]
    parts = [[draw for piece in rank for draw in piece] for rank in ranks]
    (whole,) = TrainBatchSampler(order, 0, 1, batch)
    assert [draw for part in parts for draw in part] == whole
    assert max(map(len, parts)) - min(map(len, parts)) <= 1
    assert [len(rank) for rank in ranks] == [len(list(rank)) for rank in ranks]
    assert max(len(piece) for rank in ranks for piece in rank) <= micro_batch


@pytest.mark.parametrize("ranks", [1, 2, 3])
def test_an_evaluation_takes_every_clip_once(ranks: int) -> None:
    parts = [SequentialBatchSampler(23, 4, rank, ranks) for rank in range(ranks)]
    batches = [batch for part in parts for batch in part]
    assert sorted(index for batch in batches for index, _ in batch) == list(range(23))
    assert [len(part) for part in parts] == [len(list(part)) for part in parts]
    assert max(map(len, batches)) == 4


def test_seeds_are_the_same_everywhere() -> None:
    assert seed_of(0, 1, 2) == 1772749440416956875
    assert len({seed_of(0, 1, i) for i in range(1000)}) == 1000
