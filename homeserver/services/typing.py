"""Who is typing where, in memory only.

https://spec.matrix.org/v1.19/client-server-api/#typing-notifications and, for other servers,
https://spec.matrix.org/v1.19/server-server-api/#typing-notifications
"""

import asyncio
from collections import OrderedDict
from collections.abc import Container, Mapping
from heapq import heappop, heappush
from typing import Any

from sqlalchemy import Connection

from federation.core.events.content import Membership
from federation.core.ids import RoomID, ServerName, UserID
from federation.matrix.edus import TYPING
from homeserver.clock import Clock
from homeserver.errors import Forbidden
from homeserver.model.accounts import Requester
from homeserver.model.nids import RoomNid, UserNid
from homeserver.services.access import joined_room
from homeserver.services.live import Live
from homeserver.services.neighbours import Neighbours
from homeserver.services.outgoing import Outgoing
from homeserver.storage import memberships
from homeserver.storage.database import Database
from homeserver.storage.names import Names

DEFAULT_MS = 30_000
SHORTEST_MS = 1_000
LONGEST_MS = 120_000
ELSEWHERE_MS = 40_000
"""How long a user of another server types whose server does not say so again."""
MOST_TYPING = 50_000
"""People who type at the same time; of more, the last ones are not shown."""
MOST_ROOMS = 100_000
"""Rooms of which it is remembered when somebody last began or ended typing."""


class Typing:
    """Knows who types; whoever does not say so again stops by themselves."""

    def __init__(
        self, db: Database, clock: Clock, names: Names, live: Live, neighbours: Neighbours, outgoing: Outgoing
    ) -> None:
        """Start with nobody typing."""
        self._db = db
        self._neighbours = neighbours
        self._outgoing = outgoing
        self._clock = clock
        self._names = names
        self._live = live
        self._ends: dict[RoomNid, dict[UserID, float]] = {}
        self._count = 0
        self._changed: OrderedDict[RoomNid, int] = OrderedDict()
        """The serial of each room's last change, newest last."""
        self._due: list[tuple[float, RoomNid, UserID]] = []
        self._timer: asyncio.TimerHandle | None = None
        self._told: dict[tuple[RoomNid, UserID], tuple[RoomID, frozenset[ServerName]]] = {}
        """The servers that know of a local user that they type."""

    async def set(
        self, who: Requester, user_id: UserID, room_id: RoomID, typing: bool, timeout_ms: int | None = None
    ) -> None:
        """Say that the user types in a room they have joined, or no longer does. Raises `Forbidden`."""
        if user_id != who.user_id:
            raise Forbidden("You cannot type for another user")

        def read(conn: Connection) -> tuple[RoomNid, frozenset[ServerName]]:
            room = joined_room(conn, self._names, who.user, room_id)
            return room, self._neighbours.of(conn, room)

        room, others = await self._db.read(read)
        if not typing:
            self.stop(room, user_id)
            return
        milliseconds = min(max(DEFAULT_MS if timeout_ms is None else timeout_ms, SHORTEST_MS), LONGEST_MS)
        if self._start(room, user_id, self._clock.monotonic() + milliseconds / 1000) and others:
            self._told[room, user_id] = room_id, others
            self._tell_servers(room_id, user_id, others, typing=True)

    async def hear(self, _origin: ServerName, content: Mapping[str, Any]) -> None:
        """Take what another server says of one of its users: a checked `m.typing`."""
        user_id, room_id = UserID(content["user_id"]), RoomID(content["room_id"])

        def read(conn: Connection) -> RoomNid | None:
            room, user = self._names.room(conn, room_id), self._names.user(conn, user_id)
            standing = memberships.of_user_in(conn, room, user) if room is not None and user is not None else None
            return room if standing is not None and standing.membership is Membership.JOIN else None

        room = await self._db.read(read)
        if room is None:
            return
        if content["typing"]:
            self._start(room, user_id, self._clock.monotonic() + ELSEWHERE_MS / 1000)
        else:
            self.stop(room, user_id)

    def stop(self, room: RoomNid, user_id: UserID) -> None:
        """Let a user type no longer, because they say so or have left the room."""
        typing = self._ends.get(room)
        if typing is None or typing.pop(user_id, None) is None:
            return
        self._count -= 1
        if not typing:
            del self._ends[room]
        self._tell(room)
        told = self._told.pop((room, user_id), None)
        if told is not None:
            self._tell_servers(told[0], user_id, told[1], typing=False)

    def current(self, room: RoomNid) -> list[UserID]:
        """Return who types in a room, in the order in which they began."""
        return list(self._ends.get(room, ()))

    def moved(self, room: RoomNid, _user: UserNid, user_id: UserID, joined: bool) -> None:
        """Let a user who has left a room type there no longer."""
        if not joined:
            self.stop(room, user_id)

    def since(self, serial: int, rooms: Container[RoomNid]) -> dict[RoomNid, list[UserID]]:
        """Return who types in those of the rooms where that changed after a serial; from 0 on, where anybody does."""
        if serial == 0:
            return {room: list(typing) for room, typing in self._ends.items() if room in rooms}
        found: dict[RoomNid, list[UserID]] = {}
        for room, changed in reversed(self._changed.items()):
            if changed <= serial:
                break
            if room in rooms:
                found[room] = self.current(room)
        return found

    def close(self) -> None:
        """Stop the clock."""
        if self._timer is not None:
            self._timer.cancel()

    def _start(self, room: RoomNid, user_id: UserID, end: float) -> bool:
        """Let a user type until `end`; return False if too many do."""
        typing = self._ends.setdefault(room, {})
        new = user_id not in typing
        if new and self._count >= MOST_TYPING:
            if not typing:
                del self._ends[room]
            return False
        typing[user_id] = end
        heappush(self._due, (end, room, user_id))
        # Who is to end before all others must not wait for the one whose turn it was.
        if self._timer is None or self._due[0][0] == end:
            self._wait()
        if new:
            self._count += 1
            self._tell(room)
        return True

    def _tell_servers(self, room_id: RoomID, user_id: UserID, others: frozenset[ServerName], *, typing: bool) -> None:
        content = {"room_id": room_id, "user_id": user_id, "typing": typing}
        edu = {"edu_type": TYPING, "content": content}
        self._outgoing.edu(None, others, edu, key=f"{TYPING} {room_id} {user_id}")

    def _tell(self, room: RoomNid) -> None:
        self._changed[room] = self._live.next_ephemeral()
        self._changed.move_to_end(room)
        if len(self._changed) > MOST_ROOMS:
            self._changed.popitem(last=False)
        self._live.ring_room_ephemeral(room)

    def _wait(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        seconds = max(0.0, self._due[0][0] - self._clock.monotonic())
        self._timer = asyncio.get_running_loop().call_later(seconds, self._expire)

    def _expire(self) -> None:
        now = self._clock.monotonic()
        while self._due and self._due[0][0] <= now:
            end, room, user_id = heappop(self._due)
            # Who has said again that they type has a later end, in another entry.
            if self._ends.get(room, {}).get(user_id) == end:
                self.stop(room, user_id)
        self._timer = None
        if self._due:
            self._wait()
