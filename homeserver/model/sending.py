"""How the sending to other servers goes, for the metrics."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True, kw_only=True)
class SendingFigures:
    """Of all servers together, and of those that have been failing longest."""

    destinations: Mapping[str, int]
    """How many there are in each condition."""
    queued: int
    """Events and EDUs in memory."""
    behind: int
    """Servers for which more waits in the outbox than in memory."""
    failing_longest: Sequence[tuple[str, float]]
    """Names, and for how many seconds."""
    transactions: int
    failures: int
    pdus: int
    edus: int
    refused: int


NOTHING_SENT = SendingFigures(
    destinations={}, queued=0, behind=0, failing_longest=(), transactions=0, failures=0, pdus=0, edus=0, refused=0
)
