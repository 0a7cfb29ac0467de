"""How the memory for caches is shared out: `[caches] budget_bytes`.

What a thing takes was measured on 64-bit CPython 3.11, with what belongs to it alone.
"""

from dataclasses import dataclass

STATE_ENTRY = 200
NAME = 250
COUNT = 1_100
"""What is unread in one room for one user."""
TOLD_MEMBER = 200
AUTH_EDGES = 600


@dataclass(frozen=True, slots=True)
class Shares:
    """Bytes, or numbers of things, that each cache may hold."""

    events: int
    recent: int
    state_entries: int
    names: int
    counts: int
    told_members: int
    auth_edges: int


def shares(budget: int) -> Shares:
    """Share out so many bytes."""
    part = budget // 32
    return Shares(
        events=12 * part,
        recent=4 * part,
        state_entries=6 * part // STATE_ENTRY,
        names=4 * part // NAME,
        counts=2 * part // COUNT,
        told_members=part // TOLD_MEMBER,
        auth_edges=3 * part // AUTH_EDGES,
    )
