"""The state of rooms, as their members read it."""

from typing import Any

from tests.support.world import User, ok, q

State = dict[tuple[str, str], dict[str, Any]]


async def state_of(user: User, room_id: str) -> State:
    """Return the current state of a room: by type and state key the whole event."""
    events = ok(await user.get(f"/rooms/{q(room_id)}/state"))
    return {(event["type"], event["state_key"]): event for event in events}


async def content_of(user: User, room_id: str, event_type: str, state_key: str = "") -> Any:
    """Return the content of one state event, None if there is none."""
    status, body = await user.get(f"/rooms/{q(room_id)}/state/{q(event_type)}/{q(state_key)}")
    return body if status == 200 else None


async def member(user: User, room_id: str, of: User) -> Any:
    """Return what a room's state says of somebody's membership."""
    return await content_of(user, room_id, "m.room.member", of.user_id)


async def membership(user: User, room_id: str, of: User) -> str | None:
    """Return somebody's membership."""
    content = await member(user, room_id, of)
    return None if content is None else str(content["membership"])


async def timeline(user: User, room_id: str) -> list[dict[str, Any]]:
    """Return all events of a room that a member can read, oldest first."""
    return list(ok(await user.get(f"/rooms/{q(room_id)}/messages", dir="f", limit=500))["chunk"])
