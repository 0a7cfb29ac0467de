"""A person who listens: what all syncs have told them so far, on whatever homeserver they live."""

import asyncio
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, TypeVar

from tests.support.world import User

PATIENCE_SECONDS = 30
POLL_MS = 2000

Found = TypeVar("Found")


@dataclass
class Ear:
    """What one person has heard since they began to listen."""

    user: User
    since: str | None = None
    timelines: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    memberships: dict[str, str] = field(default_factory=dict)
    """In which section each room came last: `join`, `invite`, `knock` or `leave`."""
    told: dict[str, list[dict[str, Any]]] = field(default_factory=dict)
    """Stripped state of rooms they are invited to or knock on."""
    typing: dict[str, list[str]] = field(default_factory=dict)
    receipts: list[tuple[str, str, str, str, Mapping[str, Any]]] = field(default_factory=list)
    """Room, event, kind, user, content."""
    presence: dict[str, dict[str, Any]] = field(default_factory=dict)
    to_device: list[dict[str, Any]] = field(default_factory=list)
    changed_devices: set[str] = field(default_factory=set)

    @classmethod
    async def of(cls, user: User) -> "Ear":
        """Begin to listen: all that there is now is heard."""
        ear = cls(user)
        await ear.listens(0)
        return ear

    async def listens(self, timeout_ms: int = POLL_MS) -> None:
        """Sync once."""
        query = {"timeout": timeout_ms, **({"since": self.since} if self.since is not None else {})}
        status, answer = await self.user.get("/sync", **query)
        assert status == 200, answer
        self.since = answer["next_batch"]
        rooms = answer.get("rooms", {})
        for membership in ("join", "invite", "knock", "leave"):
            for room_id, room in rooms.get(membership, {}).items():
                self.memberships[room_id] = membership
                self.timelines[room_id] += room.get("timeline", {}).get("events", [])
                if membership in ("invite", "knock"):
                    self.told[room_id] = room[f"{membership}_state"]["events"]
                for event in room.get("ephemeral", {}).get("events", []):
                    self._hears_ephemeral(room_id, event)
        for event in answer.get("presence", {}).get("events", []):
            self.presence[event["sender"]] = event["content"]
        self.to_device += answer.get("to_device", {}).get("events", [])
        self.changed_devices |= set(answer.get("device_lists", {}).get("changed", []))

    def _hears_ephemeral(self, room_id: str, event: Mapping[str, Any]) -> None:
        if event["type"] == "m.typing":
            self.typing[room_id] = event["content"]["user_ids"]
        elif event["type"] == "m.receipt":
            self.receipts += [
                (room_id, event_id, kind, user_id, content)
                for event_id, kinds in event["content"].items()
                for kind, users in kinds.items()
                for user_id, content in users.items()
            ]

    async def until(self, condition: Callable[["Ear"], Found]) -> Found:
        """Listen until a condition holds; return what it gave."""
        loop = asyncio.get_running_loop()
        deadline = loop.time() + PATIENCE_SECONDS
        while not (found := condition(self)):
            assert loop.time() < deadline, f"{self.user.user_id} waits in vain; all that came: {self.summary()}"
            await self.listens()
        return found

    async def hears(self, room_id: str, event_id: str) -> dict[str, Any]:
        """Listen until an event comes; return it as it came."""

        def found(ear: Ear) -> dict[str, Any] | None:
            return next((event for event in ear.timelines[room_id] if event["event_id"] == event_id), None)

        event = await self.until(found)
        assert event is not None
        return event

    async def is_now(self, room_id: str, membership: str) -> None:
        """Listen until a room is in a section of the sync."""
        await self.until(lambda ear: ear.memberships.get(room_id) == membership)

    def summary(self) -> str:
        """Return what has been heard, for people."""
        last = {
            room_id: [(event["type"], event["sender"], event["content"]) for event in events[-5:]]
            for room_id, events in self.timelines.items()
        }
        ephemeral = (self.typing, self.receipts, self.presence, self.to_device, self.changed_devices)
        return f"{self.memberships}, {last}, {ephemeral}"

    def messages(self, room_id: str) -> list[str]:
        """Return the texts heard in a room, in the order they came."""
        return [
            event["content"].get("body", "") for event in self.timelines[room_id] if event["type"] == "m.room.message"
        ]
