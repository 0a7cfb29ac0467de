"""What follows when the current state of a room changes: memberships, counts, which servers are there, who is told.

By a new event, or because branches of the room have met and other events count than before.
"""

from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from sqlalchemy import Connection

from federation.core.auth.selection import CREATE
from federation.core.errors import InvalidIdentifier
from federation.core.events.content import Membership
from federation.core.ids import ServerName, UserID, parse_user_id, server_of
from homeserver.model.events import Event
from homeserver.model.nids import EventNid, RoomNid, SlotNid, UserNid
from homeserver.services.live import Live
from homeserver.storage import memberships
from homeserver.storage.database import Write
from homeserver.storage.events import Events
from homeserver.storage.memberships import NewMembership
from homeserver.storage.names import Names
from homeserver.storage.room_servers import RoomServers
from homeserver.storage.snapshots import State

MEMBER = "m.room.member"
STRIPPED = (
    CREATE, ("m.room.name", ""), ("m.room.avatar", ""), ("m.room.topic", ""), ("m.room.join_rules", ""),
    ("m.room.canonical_alias", ""), ("m.room.encryption", ""),
)  # fmt: skip
"""What an invited user is told of a room: https://spec.matrix.org/v1.19/client-server-api/#stripped-state."""
MOST_TOLD = 100
"""Members of other servers who come or go at once that anyone is told of one by one."""
_PENDING = (Membership.INVITE, Membership.KNOCK)

Changed = Mapping[SlotNid, tuple[EventNid | None, EventNid | None]]
"""Slots with the events that stood there before and stand there now."""


@dataclass(frozen=True, slots=True)
class Moved:
    """By how much a change of state changes the numbers of members."""

    joined: int = 0
    invited: int = 0


NOBODY = Moved()


@dataclass(frozen=True, slots=True)
class CurrentState:
    """Carries changes of rooms' states to all that is derived from them."""

    server_name: ServerName
    names: Names
    events: Events
    live: Live
    servers: RoomServers
    movers: list[Callable[[RoomNid, UserNid, UserID, bool], None]] = field(default_factory=list)
    """Told, after the commit, who has come into a room (True) or gone out of it; filled by the composition root."""

    def changed(self, tx: Write, room: RoomNid, position: int, changes: Changed, state: State) -> Moved:
        """Carry on what changed in a room at a position; `state` is the new one. Rings the room, too."""
        pairs = self.names.slot_pairs(tx.conn, changes)
        keys = {slot: key for slot, (kind, key) in pairs.items() if kind == MEMBER and _is_user(key)}
        members = {UserID(key): changes[slot] for slot, key in keys.items()}
        if not members:
            tx.after_commit(self.live.ring_room, position, room)
            return NOBODY
        users = self.names.intern_users(tx, members)
        loaded = self.events.by_nids(tx.conn, {nid for pair in members.values() for nid in pair if nid is not None})
        before = {user_id: _membership(loaded, old) for user_id, (old, _) in members.items()}
        after = {user_id: _membership(loaded, new) for user_id, (_, new) in members.items()}
        new = [
            self._new(tx.conn, users[user_id], user_id, loaded[nid], state)
            for user_id, (_, nid) in members.items()
            if nid is not None and after[user_id] is not None
        ]
        memberships.store(tx, room, position, new)
        memberships.remove(tx, room, [users[user_id] for user_id in members if after[user_id] is None])

        moved = [user_id for user_id in members if (before[user_id] == "join") != (after[user_id] == "join")]
        servers: Counter[ServerName] = Counter()
        for user_id in moved:
            servers[server_of(user_id)] += 1 if after[user_id] == "join" else -1
        self.servers.change(tx, room, servers)
        self._tell(tx, room, position, {users[user_id]: (user_id, after[user_id] == "join") for user_id in members})
        for user_id in moved:
            # Where a whole room comes to us, it is for our users that something has begun.
            if len(moved) <= MOST_TOLD or self.is_local(user_id):
                for tell in self.movers:
                    tx.after_commit(tell, room, users[user_id], user_id, after[user_id] == "join")
        return Moved(
            sum((after[user_id] == "join") - (before[user_id] == "join") for user_id in members),
            sum((after[user_id] == "invite") - (before[user_id] == "invite") for user_id in members),
        )

    def _tell(self, tx: Write, room: RoomNid, position: int, members: Mapping[UserNid, tuple[UserID, bool]]) -> None:
        """Tell the hub: who comes in before the room is rung, who goes out afterwards."""
        local = {user: joined for user, (user_id, joined) in members.items() if self.is_local(user_id)}
        for user, joined in local.items():
            if joined:
                tx.after_commit(self.live.member_moved, position, user, room, True)
        tx.after_commit(self.live.ring_room, position, room)
        for user, joined in local.items():
            if not joined:
                tx.after_commit(self.live.member_moved, position, user, room, False)

    def _new(self, conn: Connection, user: UserNid, user_id: UserID, event: Event, state: State) -> NewMembership:
        membership = Membership(event.content["membership"])
        stripped = None
        if membership in _PENDING and self.is_local(user_id):
            stripped = self.stripped(conn, state, event.sender)
        return NewMembership(
            user=user, membership=membership, event=event.nid, sender=event.sender_nid,
            display_name=_text(event.content.get("displayname")), avatar_url=_text(event.content.get("avatar_url")),
            stripped_state=stripped,
        )  # fmt: skip

    def is_local(self, user_id: UserID) -> bool:
        """Return whether a user is one of ours."""
        return server_of(user_id) == self.server_name

    def stripped(self, conn: Connection, state: State, sender: UserID) -> bytes:
        """Return the stripped state of a room as a JSON list, with who invites."""
        wanted = (*STRIPPED, (MEMBER, sender))
        slots = self.names.slots(conn, wanted)
        nids = [nid for pair in wanted if pair in slots and (nid := state.get(slots[pair])) is not None]
        found = self.events.by_nids(conn, nids)
        return b"[" + b",".join(found[nid].stripped() for nid in nids) + b"]"


def _text(value: object) -> str | None:
    # PostgreSQL's texts hold no NUL.
    return value.replace("\0", "") if isinstance(value, str) else None


def _is_user(state_key: str) -> bool:
    # The rules let people invite what is no user.
    try:
        parse_user_id(state_key)
    except InvalidIdentifier:
        return False
    return True


def _membership(loaded: Mapping[EventNid, Event], nid: EventNid | None) -> str | None:
    return str(loaded[nid].content["membership"]) if nid is not None else None
