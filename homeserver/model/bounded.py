"""Dictionaries in memory that forget their oldest entries."""

from itertools import islice
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


def forget_oldest(entries: dict[K, V], most: int) -> list[tuple[K, V]]:
    """If there are more than `most` entries, remove the oldest ones, about an eighth, and return them.

    Many at once: to find the first entry, Python walks over the places of all that were removed before it.
    """
    excess = len(entries) - most
    if excess <= 0:
        return []
    oldest = list(islice(entries.items(), excess + most // 8))
    for key, _ in oldest:
        del entries[key]
    return oldest
