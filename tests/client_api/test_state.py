"""Reading state: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidstate."""

from typing import Any

from tests.support.reading import history_visibility
from tests.support.world import User, World, ok, q, refused


async def names(user: User, room: str) -> list[str]:
    """Return the room's names in its state."""
    state = ok(await user.get(f"/rooms/{q(room)}/state"))
    return [str(each["content"]["name"]) for each in state if each["type"] == "m.room.name"]


async def test_the_state_has_each_entry_once_as_it_is_now(alice: User) -> None:
    room = await alice.creates_room(name="old", topic="a topic")
    await alice.sets(room, "m.room.name", {"name": "new"})

    state = ok(await alice.get(f"/rooms/{q(room)}/state"))
    assert await names(alice, room) == ["new"]
    slots = [(each["type"], each["state_key"]) for each in state]
    assert len(slots) == len(set(slots))
    assert {"m.room.create", "m.room.member", "m.room.power_levels", "m.room.topic"} <= {kind for kind, _ in slots}
    assert {each["room_id"] for each in state} == {room}
    assert all(each["unsigned"]["age"] >= 0 for each in state)


async def test_one_entry_is_given_as_content_or_as_event(alice: User) -> None:
    room = await alice.creates_room()
    set_event = await alice.sets(room, "com.example.thing", {"some": "thing"}, "a/key")
    path = f"/rooms/{q(room)}/state/com.example.thing/a%2Fkey"

    assert ok(await alice.get(path)) == {"some": "thing"}
    assert ok(await alice.get(path, format="content")) == {"some": "thing"}
    event = ok(await alice.get(path, format="event"))
    assert event["event_id"] == set_event
    assert (event["type"], event["state_key"]) == ("com.example.thing", "a/key")
    assert event["content"] == {"some": "thing"}
    refused(await alice.get(path, format="xml"), 400, "M_INVALID_PARAM")


async def test_the_slash_before_an_empty_key_may_be_left_out(alice: User) -> None:
    room = await alice.creates_room(name="A room")
    for path in ("m.room.name", "m.room.name/"):
        assert ok(await alice.get(f"/rooms/{q(room)}/state/{path}")) == {"name": "A room"}


async def test_an_entry_that_nobody_set_is_not_found(alice: User) -> None:
    room = await alice.creates_room()
    for path in ("m.room.topic", "com.example.never", "m.room.name/some"):
        refused(await alice.get(f"/rooms/{q(room)}/state/{path}"), 404, "M_NOT_FOUND")


async def test_one_who_left_sees_the_state_in_which_they_left(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob, name="then")
    await bob.joins(room)
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    await alice.sets(room, "m.room.name", {"name": "now"})

    assert await names(bob, room) == ["then"]
    assert ok(await bob.get(f"/rooms/{q(room)}/state/m.room.name")) == {"name": "then"}
    assert ok(await bob.get(f"/rooms/{q(room)}/state/m.room.member/{q(bob.user_id)}"))["membership"] == "leave"
    assert await names(alice, room) == ["now"]


async def test_the_state_of_a_world_readable_room_is_open_to_all(alice: User, bob: User) -> None:
    room = await alice.creates_room(name="open")
    refused(await bob.get(f"/rooms/{q(room)}/state"), 403, "M_FORBIDDEN")
    await history_visibility(alice, room, "world_readable")

    assert await names(bob, room) == ["open"]
    await history_visibility(alice, room, "shared")
    refused(await bob.get(f"/rooms/{q(room)}/state/m.room.name"), 403, "M_FORBIDDEN")


async def test_an_invited_user_sees_no_state(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    for path in ("state", "state/m.room.name", "members"):
        refused(await bob.get(f"/rooms/{q(room)}/{path}"), 403, "M_FORBIDDEN")


async def test_redacted_state_tells_who_redacted_it(alice: User) -> None:
    room = await alice.creates_room()
    topic = await alice.sets(room, "m.room.topic", {"topic": "oops"})
    redaction = await alice.redacts(room, topic)

    state = ok(await alice.get(f"/rooms/{q(room)}/state"))
    shown: Any = next(each for each in state if each["type"] == "m.room.topic")
    assert shown["content"] == {}
    assert shown["unsigned"]["redacted_because"]["event_id"] == redaction


async def test_the_rooms_that_one_has_joined_are_listed(world: World, alice: User, bob: User) -> None:
    rooms = {await alice.creates_room(bob) for _ in range(3)}
    left = rooms.pop()
    ok(await alice.post(f"/rooms/{q(left)}/leave"))

    assert set(ok(await alice.get("/joined_rooms"))["joined_rooms"]) == rooms
    assert ok(await bob.get("/joined_rooms"))["joined_rooms"] == []
