"""A policy list: a room whose state says who is banned.

https://spec.matrix.org/v1.19/client-server-api/#moderation-policy-lists
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.ids import RoomID, UserID, server_of, split_server_name
from homeserver.model import globs
from homeserver.model.events import Event
from homeserver.model.nids import SnapshotNid
from homeserver.storage import policy_lists, rooms
from homeserver.storage.database import fresh
from homeserver.storage.events import Events
from homeserver.storage.names import Names
from homeserver.storage.snapshots import Snapshots

# COMPAT: lists that are older than the recommendation's name are still kept.
_BAN = ("m.ban", "org.matrix.mjolnir.ban")


class Entities:
    """Whom a list names, by names and by patterns."""

    def __init__(self, patterns: Iterable[str]) -> None:
        """Take the patterns."""
        self._names: set[str] = set()
        self._matchers: list[Callable[[str], bool]] = []
        for pattern in patterns:
            if globs.has_wildcards(pattern):
                self._matchers.append(globs.whole(pattern))
            else:
                self._names.add(pattern.lower())

    def cover(self, text: str) -> bool:
        """Return whether one of them is meant."""
        text = text.lower()
        return text in self._names or any(matches(text) for matches in self._matchers)


@dataclass(frozen=True, slots=True)
class _Read:
    snapshot: SnapshotNid
    users: Entities
    servers: Entities


class PolicyList:
    """A list that is followed. It is read anew when its room's state has changed."""

    def __init__(self, room_id: RoomID, names: Names, events: Events, snapshots: Snapshots) -> None:
        """Follow the list in a room, which this server has to be in."""
        self._room_id = room_id
        self._names = names
        self._events = events
        self._snapshots = snapshots
        self._read: _Read | None = None

    def bans(self, conn: Connection, user_id: UserID) -> bool:
        """Return whether the list bans a user, or their server; False if the room is not known here."""
        now = self._now(conn)
        if now is None:
            return False
        host, _ = split_server_name(server_of(user_id))
        return now.users.cover(user_id) or now.servers.cover(server_of(user_id)) or now.servers.cover(host)

    def _now(self, conn: Connection) -> _Read | None:
        room = self._names.room(conn, self._room_id)
        snapshot = rooms.load(conn, room).snapshot if room is not None else None
        if snapshot is None:
            return None
        known = self._read
        if known is None or known.snapshot != snapshot:
            state = self._snapshots.state(conn, snapshot)
            users, servers = (
                self._events.by_nids(conn, [nid for slot in slots if (nid := state.get(slot)) is not None]).values()
                for slots in policy_lists.rule_slots(conn)
            )
            known = _Read(snapshot, Entities(_banned(users)), Entities(_banned(servers)))
            memory = fresh(conn)
            if memory is None or memory.get("snapshot", snapshot) is None:
                # One that is not committed yet may be undone, and its number given to another.
                self._read = known
        return known


def _banned(rules: Iterable[Event]) -> Iterable[str]:
    for rule in rules:
        entity = rule.content.get("entity")
        if isinstance(entity, str) and rule.content.get("recommendation") in _BAN:
            yield entity
