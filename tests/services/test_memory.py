"""How the memory for caches is shared out, and that dictionaries forget their oldest entries."""

import pytest

from homeserver.model.bounded import forget_oldest
from homeserver.services import memory
from homeserver.services.memory import shares


@pytest.mark.parametrize("budget", [4 * 1024**2, 128 * 1024**2, 10 * 1024**3])
def test_all_shares_together_are_within_the_budget(budget: int) -> None:
    share = shares(budget)
    entries = share.state_entries * memory.STATE_ENTRY + share.names * memory.NAME + share.counts * memory.COUNT
    others = share.told_members * memory.TOLD_MEMBER + share.auth_edges * memory.AUTH_EDGES
    assert 0.95 * budget < share.events + share.recent + entries + others <= budget


def test_the_oldest_entries_are_forgotten_a_few_at_a_time() -> None:
    entries: dict[int, str] = {}
    gone: list[int] = []
    for number in range(1000):
        entries[number] = str(number)
        gone += [key for key, _ in forget_oldest(entries, 80)]
        assert len(entries) <= 80
    assert gone == list(range(len(gone)))
    assert list(entries) == list(range(len(gone), 1000))
    assert len(entries) >= 70
