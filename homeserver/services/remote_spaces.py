"""Rooms of spaces that are not here: https://spec.matrix.org/v1.19/server-server-api/#spaces."""

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from federation.core.ids import RoomID, ServerName
from federation.matrix.client import FederationClient
from federation.matrix.errors import FederationError
from federation.matrix.expiring import Expiring
from homeserver.clock import Clock
from homeserver.services.elsewhere import room_told

KEPT_SECONDS = 300.0
MOST_KEPT = 2_000
MOST_CHILDREN = 1_000
"""Rooms in one answer; those after them are not looked at."""
SERVERS_ASKED = 3
ASKED_AT_ONCE = 10

TEXTS = (
    "avatar_url", "canonical_alias", "encryption", "join_rule", "name", "room_type", "room_version", "topic",
)  # fmt: skip


@dataclass(frozen=True, slots=True)
class RemoteRoom:
    """What another server has said of a room. An empty summary: nobody knows of it."""

    summary: Mapping[str, Any]
    children_state: Sequence[Mapping[str, Any]] = ()
    children: Mapping[RoomID, "RemoteRoom"] | None = None
    inaccessible: frozenset[str] = frozenset()

    def child(self, room_id: RoomID) -> "RemoteRoom | None":
        """Return what was said of a child; None if one must ask for it, as for a space's own children."""
        if room_id in self.inaccessible:
            return NOTHING
        found = (self.children or {}).get(room_id)
        return found if found is not None and found.summary.get("room_type") != "m.space" else None


NOTHING = RemoteRoom({})


@dataclass(frozen=True, slots=True)
class _Wanted:
    """A room, and whom to ask for it."""

    room_id: RoomID
    via: Sequence[ServerName] = field(default=(), compare=False)


class RemoteSpaces:
    """Asks other servers for rooms, and keeps what they say for a few minutes."""

    def __init__(self, client: FederationClient, clock: Clock) -> None:
        """Take how to ask."""
        self._client = client
        self._kept: Expiring[_Wanted, RemoteRoom] = Expiring(self._ask, clock.monotonic, MOST_KEPT)
        self._turns = asyncio.Semaphore(ASKED_AT_ONCE)

    def known(self, room_id: RoomID) -> RemoteRoom | None:
        """Return what was said of a room lately; None if nobody was asked."""
        return self._kept.known(_Wanted(room_id))

    async def learn(self, wanted: Mapping[RoomID, Sequence[ServerName]]) -> None:
        """Ask for rooms, each at the servers that are named for it in turn, until one knows it."""
        await asyncio.gather(*(self._kept.get(_Wanted(room_id, via)) for room_id, via in wanted.items()))

    async def _ask(self, wanted: _Wanted) -> tuple[RemoteRoom, float]:
        async with self._turns:
            for server in wanted.via[:SERVERS_ASKED]:
                try:
                    answer = await self._client.hierarchy(server, wanted.room_id, suggested_only=False)
                except FederationError:
                    continue
                found = _read(wanted.room_id, answer)
                if found is not None:
                    return found, KEPT_SECONDS
        return NOTHING, KEPT_SECONDS


def _read(room_id: RoomID, answer: Mapping[str, Any]) -> RemoteRoom | None:
    """Return what an answer says, None if it makes no sense."""
    room = answer.get("room")
    summary = _summary(room)
    if summary is None or summary["room_id"] != room_id:
        return None
    listed = answer.get("children")
    children = {}
    for each in listed[:MOST_CHILDREN] if isinstance(listed, list) else ():
        child = _summary(each)
        if child is not None:
            children[RoomID(child["room_id"])] = RemoteRoom(child)
    refused = answer.get("inaccessible_children")
    inaccessible = frozenset(each for each in refused if isinstance(each, str)) if isinstance(refused, list) else ()
    return RemoteRoom(summary, _children_state(room), children, frozenset(inaccessible))


def _summary(room: object) -> dict[str, Any] | None:
    """Return the fields that clients may be told, each of the type it must have; None without a room ID."""
    summary = room_told(room, TEXTS)
    if summary is not None and isinstance(room, dict) and isinstance(room.get("allowed_room_ids"), list):
        summary["allowed_room_ids"] = [each for each in room["allowed_room_ids"] if isinstance(each, str)]
    return summary


def _children_state(room: Any) -> list[dict[str, Any]]:
    listed = room.get("children_state")
    found = []
    for event in listed[:MOST_CHILDREN] if isinstance(listed, list) else ():
        if (
            isinstance(event, dict)
            and event.get("type") == "m.space.child"
            and isinstance(event.get("state_key"), str)
            and isinstance(event.get("sender"), str)
            and isinstance(event.get("content"), dict)
            and isinstance(event.get("origin_server_ts"), int)
        ):
            wanted = ("type", "state_key", "content", "sender", "origin_server_ts")
            found.append({name: event[name] for name in wanted})
    return found
