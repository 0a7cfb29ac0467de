"""How a user's stay in a room ended, and whether there was one before: told from the chain of their own memberships."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.events.content import Membership
from homeserver.model.events import Event
from homeserver.model.nids import EventNid, RoomNid
from homeserver.model.rooms import RoomMembership
from homeserver.storage.events import Events

PENDING = (Membership.INVITE, Membership.KNOCK)


@dataclass(frozen=True, slots=True)
class Departure:
    """How a user came to be out of a room."""

    ended: Event | None
    """The event that ended their last stay; None if they were not in the room since the client last asked."""
    began_since: bool
    """Whether that stay is one that the client knows nothing of."""
    epilogue: Event | None
    """Their membership as it is now, if that is another one: they may have been banned after they had left."""
    until: int
    """The position at which the stay ended; without one, at which they came to stand to the room as they do now."""
    was_pending: bool
    """Whether the client may show an invite or a knock that is none any more, or a stay that came to nothing."""


def departures(
    conn: Connection, events: Events, standings: Iterable[RoomMembership], since: int
) -> dict[RoomNid, Departure]:
    """Return by room how a user that is out of it came to be so. One query for each step back, in memory as a rule."""
    by_room = {standing.room: standing for standing in standings}
    chains = _chains(conn, events, {room: standing.event for room, standing in by_room.items()}, since)
    found = {}
    for room, chain in chains.items():
        # An old event stands anew where branches of the room have met.
        places = [by_room[room].position, *(_place(event) for event in chain[1:])]
        ever_in = _membership_in(chain[-1]) == Membership.JOIN
        news = sum(place > since for place in places)
        kinds = [_membership_in(event) for event in chain[: news + 1]]
        last = kinds.index(Membership.JOIN) - 1 if Membership.JOIN in kinds else None
        ended = chain[last] if last is not None else None
        began_since = len(kinds) == news or kinds[-1] != Membership.JOIN
        epilogue = chain[0] if ever_in and ended is not chain[0] else None
        was_pending = not set(kinds).isdisjoint(PENDING) or chain[0].place != places[0]
        found[room] = Departure(ended, began_since, epilogue, places[last or 0], was_pending)
    return found


def returned(conn: Connection, events: Events, standings: Iterable[RoomMembership]) -> set[RoomNid]:
    """Return those of the rooms in which a user is that they had been in before and left."""
    began = events.by_nids(conn, [standing.began for standing in standings])
    before = {event.room: event.replaces for event in began.values() if event.replaces is not None}
    chains = _chains(conn, events, before, 0)
    return {room for room, chain in chains.items() if any(_membership_in(event) == Membership.JOIN for event in chain)}


def _chains(
    conn: Connection, events: Events, newest: Mapping[RoomNid, EventNid], since: int
) -> dict[RoomNid, list[Event]]:
    """Return a user's memberships from these on back, up to a join that held at `since`; from 0, to any join."""
    chains: dict[RoomNid, list[Event]] = {}
    wanted = dict(newest)
    while wanted:
        loaded = events.by_nids(conn, wanted.values())
        further: dict[RoomNid, EventNid] = {}
        for room, nid in wanted.items():
            event = loaded[nid]
            chains.setdefault(room, []).append(event)
            enough = _membership_in(event) == Membership.JOIN and (_place(event) <= since or since == 0)
            if not enough and event.replaces is not None:
                further[room] = event.replaces
        wanted = further
    return chains


def _place(event: Event) -> int:
    return event.place if event.place is not None else 0


def _membership_in(event: Event) -> object:
    return event.content.get("membership")
