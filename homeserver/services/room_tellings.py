"""What a server is told of a room that one of its users has come to: large rooms as bytes, without an object an event.

Source: https://spec.matrix.org/v1.19/server-server-api/#put_matrixfederationv2send_joinroomideventid
"""

from collections.abc import Collection
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.ids import EventID, ServerName, UserID
from homeserver.model.events import Event
from homeserver.model.nids import EventNid
from homeserver.model.rooms import Room
from homeserver.services.auth_chains import AuthChains
from homeserver.services.serving import chain_json
from homeserver.services.states_before import StatesBefore
from homeserver.services.timeline import MEMBER, STRIPPED
from homeserver.storage import heroes, pdus, rooms
from homeserver.storage.events import Events, in_order
from homeserver.storage.names import Names
from homeserver.storage.pdus import AuthMemory, StoredPdu
from homeserver.storage.snapshots import Snapshots, State

NAMES = (("m.room.name", "", "name"), ("m.room.canonical_alias", "", "alias"))


@dataclass(frozen=True, slots=True)
class Joined:
    """What a server is told of a room that it has joined, each event as servers exchange it."""

    event: bytes
    state: list[bytes]
    auth_chain: list[bytes]
    servers: list[ServerName] | None = None
    """The servers in the room before the join, if members were left out of the state."""


@dataclass(frozen=True, slots=True)
class RoomTellings:
    """Tells rooms as they were before somebody came."""

    names: Names
    events: Events
    snapshots: Snapshots
    states: StatesBefore
    auth_chains: AuthChains

    def joined(self, conn: Connection, event_id: EventID) -> Joined:
        """Return the whole state before a join that was taken in, and all that authorises it and the join."""
        event, room, state = self._before(conn, event_id)
        stored = pdus.load(conn, list(state.values()))
        chain = self._chain(conn, room, event, stored)
        return Joined(event.federation_json, [pdu.json for pdu in stored], chain_json(conn, room, chain))

    def joined_without_members(self, conn: Connection, event_id: EventID, servers: Collection[ServerName]) -> Joined:
        """Return the same without members but those after whom the room is called; nothing is told twice."""
        event, room, state = self._before(conn, event_id)
        entries = set(state.values())
        stored = pdus.load(conn, entries, besides=self.names.type(conn, MEMBER))
        stored += pdus.load(conn, entries & self._heroes(conn, room, event, state))
        chain = self._chain(conn, room, event, stored) - {pdu.event_id for pdu in stored}
        return Joined(
            event.federation_json,
            [pdu.json for pdu in stored],
            chain_json(conn, room, chain),
            sorted(servers),
        )

    def stripped(self, conn: Connection, room: Room, inviter: UserID | None = None) -> list[bytes]:
        """Return what one who knocks or is invited is told of a room, and of who invites them.

        Since v1.16 of the specification these are the events themselves.
        """
        if room.snapshot is None:
            return []
        state = self.snapshots.state(conn, room.snapshot)
        slots = self.names.slots(conn, [*STRIPPED, *([(MEMBER, inviter)] if inviter is not None else ())])
        nids = [nid for slot in slots.values() if (nid := state.get(slot)) is not None]
        return [event.federation_json for event in in_order(self.events.by_nids(conn, nids), nids)]

    def _before(self, conn: Connection, event_id: EventID) -> tuple[Event, Room, State]:
        event = self.events.by_ids(conn, [event_id])[event_id]
        return event, rooms.load(conn, event.room), self.states.before(conn, event)

    def _chain(self, conn: Connection, room: Room, event: Event, stored: list[StoredPdu]) -> set[EventID]:
        memory: AuthMemory = {}
        cited = {above for pdu in stored for above in pdus.auth_events(pdu.envelope, memory)}
        return self.auth_chains.above(conn, room, {*cited, *event.pdu.auth_events}, memory)

    def _heroes(self, conn: Connection, room: Room, event: Event, state: State) -> set[EventNid]:
        """Return the members after whom a room is called that has no name of its own."""
        slots = self.names.slots(conn, [(kind, key) for kind, key, _ in NAMES])
        nids = {kind: nid for (kind, _), slot in slots.items() if (nid := state.get(slot)) is not None}
        loaded = self.events.by_nids(conn, nids.values())
        if any(kind in nids and loaded[nids[kind]].content.get(member) for kind, _, member in NAMES):
            return set()
        found = heroes.heroes(conn, [room.nid], event.sender_nid)
        return {nid for _, nid in found.get(room.nid, [])}
