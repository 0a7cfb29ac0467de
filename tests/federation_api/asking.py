"""A peer's questions to our server, each a line in a test."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.core.events.pdu import Pdu
from tests.support.peer import FEDERATION, Peer, q
from tests.support.shared_room import wire

Answer = tuple[int, Any]


@dataclass(frozen=True, slots=True)
class Asking:
    """One peer and the server that it asks."""

    peer: Peer
    whom: str

    async def get(self, path: str, **query: Any) -> Answer:
        """GET below `/_matrix/federation`."""
        return await self.peer.request("GET", self.whom, FEDERATION + path, query=query)

    async def put(self, path: str, body: Any, **query: Any) -> Answer:
        """PUT below `/_matrix/federation`."""
        return await self.peer.request("PUT", self.whom, FEDERATION + path, body, query=query)

    async def post(self, path: str, body: Any) -> Answer:
        """POST below `/_matrix/federation`."""
        return await self.peer.request("POST", self.whom, FEDERATION + path, body)

    async def make(self, what: str, room_id: str, user_id: str, *versions: str) -> Answer:
        """Ask for the event with which a user joins, leaves or knocks."""
        query = {"ver": list(versions)} if versions else {}
        return await self.get(f"/v1/make_{what}/{q(room_id)}/{q(user_id)}", **query)

    async def send(self, what: str, event: Pdu | Mapping[str, Any], event_id: str = "", **query: Any) -> Answer:
        """Hand such an event over; `event_id` is what the path names, if not the event's own."""
        version = "v1" if what == "knock" else "v2"
        room_id = event.room_id if isinstance(event, Pdu) else event["room_id"]
        event_id = event_id or (event.event_id if isinstance(event, Pdu) else "")
        return await self.put(f"/{version}/send_{what}/{q(room_id)}/{q(event_id)}", wire(event), **query)

    async def event(self, event_id: str) -> Answer:
        """Ask for one event."""
        return await self.get(f"/v1/event/{q(event_id)}")

    async def state(self, room_id: str, event_id: str) -> Answer:
        """Ask for the state before an event."""
        return await self.get(f"/v1/state/{q(room_id)}", event_id=event_id)

    async def state_ids(self, room_id: str, event_id: str) -> Answer:
        """Ask of what the state before an event consists."""
        return await self.get(f"/v1/state_ids/{q(room_id)}", event_id=event_id)

    async def event_auth(self, room_id: str, event_id: str) -> Answer:
        """Ask what authorises an event."""
        return await self.get(f"/v1/event_auth/{q(room_id)}/{q(event_id)}")

    async def backfill(self, room_id: str, *event_ids: str, limit: int = 10) -> Answer:
        """Ask for events and what was before them."""
        return await self.get(f"/v1/backfill/{q(room_id)}", v=list(event_ids), limit=limit)

    async def missing(self, room_id: str, earliest: list[str], latest: list[str], **more: Any) -> Answer:
        """Ask for what was between events."""
        body = {"earliest_events": earliest, "latest_events": latest, **more}
        return await self.post(f"/v1/get_missing_events/{q(room_id)}", body)

    async def at_time(self, room_id: str, ts: int, direction: str) -> Answer:
        """Ask which event was sent nearest to a moment."""
        return await self.get(f"/v1/timestamp_to_event/{q(room_id)}", ts=ts, dir=direction)
