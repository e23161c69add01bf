"""Lists of bounded length out of a stream."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import TypeVar

T = TypeVar("T")


def batches(
    items: Iterable[T], most: int, most_bytes: int = 0, bytes_of: Callable[[T], int] = lambda _: 0
) -> Iterator[list[T]]:
    """`items`, in order, in lists of `most` and of `most_bytes` at most; a larger item has a list of its own."""
    batch: list[T] = []
    total = 0
    for item in items:
        size = bytes_of(item)
        if batch and (len(batch) == most or total + size > most_bytes):
            yield batch
            batch, total = [], 0
        batch.append(item)
        total += size
    if batch:
        yield batch
