"""What tests of reading rooms share: asking for pages, and looking at what is in them."""

import json
from collections.abc import Iterable, Mapping
from typing import Any

from tests.support.world import User, ok, q

V1 = "/_matrix/client/v1"


async def messages(user: User, room: str, direction: str = "b", **query: Any) -> Any:
    """Return an answer of /messages."""
    query.setdefault("limit", 100)
    if isinstance(query.get("filter"), Mapping):
        query["filter"] = json.dumps(query["filter"])
    start = query.pop("start", None)
    if start is not None:
        query["from"] = start
    return ok(await user.get(f"/rooms/{q(room)}/messages", dir=direction, **query))


async def event(user: User, room: str, event_id: str) -> Any:
    """Return a single event."""
    return ok(await user.get(f"/rooms/{q(room)}/event/{q(event_id)}"))


async def history_visibility(user: User, room: str, value: str) -> str:
    """Set who may read the room's past; return the event's ID."""
    return await user.sets(room, "m.room.history_visibility", {"history_visibility": value})


def ids(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return the events' IDs."""
    return [event["event_id"] for event in events]


def bodies(events: Iterable[Mapping[str, Any]]) -> list[str]:
    """Return what the messages among the events say."""
    return [event["content"]["body"] for event in events if "body" in event["content"]]


def thread(root: str) -> dict[str, Any]:
    """Return the relation of a reply in a thread."""
    return {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}


def edit(original: str, text: str) -> dict[str, Any]:
    """Return the content of an edit but for its fallback."""
    return {
        "m.new_content": {"msgtype": "m.text", "body": text},
        "m.relates_to": {"rel_type": "m.replace", "event_id": original},
    }


def relation(rel_type: str, parent: str, **more: Any) -> dict[str, Any]:
    """Return a content that does nothing but relate to an event."""
    return {"m.relates_to": {"rel_type": rel_type, "event_id": parent, **more}}
