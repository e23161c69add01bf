"""Lists of bounded length out of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batches(
    items: Iterable[T], max_items: int, max_bytes: int = 0, bytes_of: Callable[[T], int] = lambda _: 0
) -> Iterator[list[T]]:
    """`items` in order, in lists of at most `max_items` and `max_bytes`; a larger item is alone in its list.

    >>> list(batches([3, 3, 5, 9, 1, 1, 1], max_items=3, max_bytes=6, bytes_of=lambda n: n))
    [[3, 3], [5], [9], [1, 1, 1]]
    """
    batch: list[T] = []
    total = 0
    for item in items:
        size = bytes_of(item)
        if batch and (len(batch) == max_items or total + size > max_bytes):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch
