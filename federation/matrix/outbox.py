"""What the sender needs: somewhere durable for what is on its way, and someone who carries it.

The outbox holds *items*, PDUs and durable EDUs, each with a position; for one server they are delivered in the order of
these. A server has one *cursor*: it has taken everything up to that position. `Record` is all that is kept of a server.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from federation.core.ids import EventID, ServerName
from federation.matrix.backoff import Backoff


@dataclass(frozen=True, slots=True)
class Item:
    """A PDU, or an EDU that may not be lost, as it is sent."""

    position: int
    content: Mapping[str, Any]
    size: int
    """Bytes, about."""
    event_id: EventID | None
    """None for an EDU."""


@dataclass(frozen=True, slots=True)
class Page:
    """Items that wait for a server, in order."""

    items: Sequence[Item]
    more: bool
    """Whether there may be others behind them."""


@dataclass(frozen=True, slots=True)
class Transaction:
    """A transaction that was begun: it is repeated as it is until the other server has taken it."""

    txn_id: str
    began_at: int
    positions: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Record:
    """What is kept of a server."""

    server: ServerName
    cursor: int
    transaction: Transaction | None
    backoff: Backoff | None
    error: str | None
    """Why the last attempt failed, if it did."""


class Outbox(Protocol):
    """Keeps what is on its way."""

    async def page(self, server: ServerName, after: int) -> Page:
        """Return the first items behind a position. The store decides what is too old to be worth sending."""
        ...

    async def items(self, server: ServerName, positions: Sequence[int]) -> Sequence[Item]:
        """Return the items at these positions, in order; those that are gone, with their room, are left out."""
        ...

    async def save(self, record: Record) -> None:
        """Return once the record is durable."""
        ...

    def note(self, record: Record, taken: Sequence[int] = ()) -> None:
        """Let the record become durable soon. `taken` are the positions of EDUs that the server has taken."""
        ...


class Carrier(Protocol):
    """Carries transactions to other servers."""

    async def send_transaction(
        self, destination: ServerName, txn_id: str, body: Mapping[str, Any]
    ) -> Mapping[str, Any]:
        """Return the answer. Raises `FederationError`.

        https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv1sendtxnid
        """
        ...


class Time(Protocol):
    """Tells the time."""

    def now_ms(self) -> int:
        """Return milliseconds since 1970."""
        ...


class Chance(Protocol):
    """Makes what nobody can guess."""

    def letters(self, count: int) -> str:
        """Return `count` random ASCII letters."""
        ...
