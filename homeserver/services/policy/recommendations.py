"""Inside a write: whether an event has the word of its room's policy server, and which answers the write carries.

A write cannot ask another server. One that comes to an event without the signature that its room wants raises
`Unsigned`, is undone, and is run again with the answer: see `homeserver.services.policy.asking`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from types import TracebackType
from typing import cast

from sqlalchemy import Connection

from federation.core.events.pdu import Pdu
from federation.core.ids import EventID
from federation.core.policy import POLICY, PolicyServer, policy_server_of
from homeserver.errors import MatrixError, OtherServerFailed
from homeserver.model.nids import EventNid, RoomNid
from homeserver.services.current_state import CurrentState
from homeserver.storage.database import Write
from homeserver.storage.snapshots import State

Lacking = tuple[PolicyServer, Pdu]
"""An event, and the policy server that has to be asked about it."""


class Unsigned(Exception):
    """Policy servers have to be asked about events first. Nothing is stored."""

    def __init__(self, lacking: Sequence[Lacking]) -> None:
        """Take the events with whom to ask about them."""
        super().__init__(f"{len(lacking)} events are not signed by the policy servers of their rooms")
        self.lacking = tuple(lacking)


@dataclass(slots=True)
class Answers:
    """What policy servers have said about events that a write is to store; it is carried by the write."""

    began_ms: int
    """When the write was to be done first; what it makes anew each time is made as of then."""
    is_last: bool = False
    """Whether nobody will be asked any more."""
    _known: dict[tuple[PolicyServer, EventID], tuple[Pdu, Pdu | MatrixError]] = field(default_factory=dict)

    def add(self, asked: Sequence[Lacking], said: Sequence[Pdu | MatrixError]) -> None:
        """Remember, for each event that was asked about, its signed form or why there is none."""
        for (policy, event), answer in zip(asked, said, strict=True):
            self._known[policy, event.event_id] = (event, answer)

    def has(self, policy: PolicyServer, event: Pdu) -> bool:
        """Return whether a policy server was asked about an event."""
        return (policy, event.event_id) in self._known

    def about(self, policy: PolicyServer, event: Pdu) -> Pdu:
        """Return an event as its policy server has signed it.

        Raises `Unsigned`, or a `MatrixError` if the policy server refuses it or cannot be asked.
        """
        known = self._known.get((policy, event.event_id))
        if known is None:
            raise self.lacking(policy, event)
        return _signed(known[1])

    def alike(self, policy: PolicyServer, event: Pdu) -> Iterator[Pdu]:
        """Yield the signed events that say what an event of ours is to say; they may stand elsewhere in the room.

        Raises a `MatrixError` if the policy server has refused such a one.
        """
        for (by, _), (asked, answer) in self._known.items():
            if by == policy and _said_by(asked) == _said_by(event):
                yield _signed(answer)

    def lacking(self, policy: PolicyServer, event: Pdu) -> Exception:
        """Return what to raise for an event about which nobody was asked."""
        if self.is_last:
            return OtherServerFailed(f"The room changes faster than its policy server {policy.name} answers")
        return Unsigned([(policy, event)])


def answers_of(tx: Write) -> Answers:
    """Return the answers that a write carries."""
    return cast("Answers | None", tx.carried) or Answers(0)


class Gathered:
    """Events of one write that lack signatures, so that all are asked for at once: `with gathered: append(...)`."""

    def __init__(self) -> None:
        """Start with none."""
        self._lacking: list[Lacking] = []

    def __enter__(self) -> None:
        pass

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool:
        if isinstance(error, Unsigned):
            self._lacking += error.lacking
            return True
        return False

    def check(self) -> None:
        """Raise `Unsigned` for them all, if there are any. What the write did in between is undone by that."""
        if self._lacking:
            raise Unsigned(self._lacking)


def policy_of(tx: Write, current: CurrentState, room: RoomNid, state: State) -> PolicyServer | None:
    """Return the policy server that a room uses now; None for most, without a question to the database."""
    standing = state.get(current.names.intern_slot(tx, *POLICY))
    return policy_by(tx.conn, current, room, standing)


def policy_by(conn: Connection, current: CurrentState, room: RoomNid, standing: EventNid | None) -> PolicyServer | None:
    """Return the policy server that a room uses by what stands in the slot for it."""
    if standing is None:
        return None
    content = current.events.by_nid(conn, standing).content
    return policy_server_of(content, current.servers.servers(conn, room))


def _said_by(event: Pdu) -> tuple[object, ...]:
    return event.room_id, event.type, event.state_key, event.sender, event.redacts, event.content


def _signed(answer: Pdu | MatrixError) -> Pdu:
    if isinstance(answer, MatrixError):
        raise answer
    return answer
