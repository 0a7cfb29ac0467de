"""What relates to an event, and what is bundled with it.

Source: https://spec.matrix.org/v1.19/client-server-api/#forming-relationships-between-events
"""

from typing import Any

import pytest

from tests.support.reading import V1, bodies, edit, event, ids, messages, relation, thread
from tests.support.world import User, ok, q, refused


async def relations(user: User, room: str, parent: str, *kinds: str, **query: Any) -> Any:
    """Return an answer of /relations."""
    path = "/".join((f"{V1}/rooms/{q(room)}/relations", q(parent), *(q(kind) for kind in kinds)))
    return ok(await user.get(path, **query))


async def bundled(user: User, room: str, event_id: str) -> Any:
    """Return what is bundled with an event."""
    return (await event(user, room, event_id))["unsigned"].get("m.relations", {})


async def test_children_are_found_by_relation_and_by_type(alice: User) -> None:
    room = await alice.creates_room()
    parent = await alice.says(room)
    reaction = await alice.sends(room, "m.reaction", relation("m.annotation", parent, key="x"))
    reply = await alice.says(room, "reply", **thread(parent))
    note = await alice.sends(room, "com.example.note", relation("m.thread", parent))

    assert ids((await relations(alice, room, parent))["chunk"]) == [note, reply, reaction]
    assert ids((await relations(alice, room, parent, dir="f"))["chunk"]) == [reaction, reply, note]
    assert ids((await relations(alice, room, parent, "m.thread"))["chunk"]) == [note, reply]
    assert ids((await relations(alice, room, parent, "m.thread", "m.room.message"))["chunk"]) == [reply]
    assert ids((await relations(alice, room, parent, "com.example.never"))["chunk"]) == []
    assert ids((await relations(alice, room, parent, "m.thread", "com.example.never"))["chunk"]) == []
    assert "recursion_depth" not in await relations(alice, room, parent)


@pytest.mark.parametrize("direction", ["b", "f"])
async def test_pages_of_children_add_up(alice: User, direction: str) -> None:
    room = await alice.creates_room()
    parent = await alice.says(room)
    children = [await alice.says(room, str(number), **thread(parent)) for number in range(5)]

    page = await relations(alice, room, parent, dir=direction, limit=2)
    assert "prev_batch" not in page
    found = ids(page["chunk"])
    while "next_batch" in page:
        start = page["next_batch"]
        page = await relations(alice, room, parent, dir=direction, limit=2, **{"from": start})
        assert page["prev_batch"] == start
        found += ids(page["chunk"])
    assert found == (children if direction == "f" else children[::-1])


async def test_children_between_two_places_are_found(alice: User) -> None:
    room = await alice.creates_room()
    parent = await alice.says(room)
    await alice.says(room, "old", **thread(parent))
    place = (await messages(alice, room, limit=1))["start"]
    await alice.says(room, "new", **thread(parent))

    assert bodies((await relations(alice, room, parent, to=place))["chunk"]) == ["new"]
    assert bodies((await relations(alice, room, parent, **{"from": place}))["chunk"]) == ["old"]


async def test_recursion_finds_what_relates_to_children(alice: User) -> None:
    room = await alice.creates_room()
    root = await alice.says(room, "root")
    reply = await alice.says(room, "reply", **thread(root))
    changed = await alice.says(room, "* changed", **edit(reply, "changed"))
    reaction = await alice.sends(room, "m.reaction", relation("m.annotation", changed, key="x"))
    await alice.sends(room, "m.reaction", relation("m.annotation", reaction, key="too deep"))

    found = await relations(alice, room, root, recurse="true")
    assert ids(found["chunk"]) == [reaction, changed, reply]
    assert found["recursion_depth"] == 3
    deep = await relations(alice, room, root, "m.annotation", "m.reaction", recurse="true", limit=1)
    assert ids(deep["chunk"]) == [reaction]
    assert ids((await relations(alice, room, root, recurse="false"))["chunk"]) == [reply]


async def test_a_redacted_child_relates_to_nothing(alice: User) -> None:
    room = await alice.creates_room()
    parent = await alice.says(room)
    reply = await alice.says(room, "reply", **thread(parent))
    last = await alice.says(room, "last", **thread(parent))
    changed = await alice.says(room, "* new", **edit(parent, "new"))
    note = await alice.sends(room, "com.example.note", relation("m.reference", parent))
    for event_id in (last, changed, note):
        await alice.redacts(room, event_id)

    assert ids((await relations(alice, room, parent))["chunk"]) == [reply]
    summary = await bundled(alice, room, parent)
    assert set(summary) == {"m.thread"}
    assert summary["m.thread"]["count"] == 1
    assert summary["m.thread"]["latest_event"]["event_id"] == reply


async def test_the_last_edit_is_bundled_and_the_original_left_as_it_is(alice: User) -> None:
    room = await alice.creates_room()
    said = await alice.says(room, "one")
    await alice.says(room, "* two", **edit(said, "two"))
    last = await alice.says(room, "* three", **edit(said, "three"))

    told = await event(alice, room, said)
    assert told["content"]["body"] == "one"
    replacement = told["unsigned"]["m.relations"]["m.replace"]
    assert replacement["event_id"] == last
    assert replacement["content"]["m.new_content"]["body"] == "three"
    assert replacement["room_id"] == room
    await alice.redacts(room, last)
    assert (await bundled(alice, room, said))["m.replace"]["content"]["m.new_content"]["body"] == "two"


async def test_edits_that_are_not_valid_are_not_bundled(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    said = await alice.says(room, "one")
    await bob.says(room, "by another", **edit(said, "by another"))
    await alice.sends(room, "com.example.other", {"body": "of another type", **edit(said, "x")})
    await alice.sends(room, "m.room.message", {"body": "no new content", **relation("m.replace", said)})
    await alice.sets(room, "m.room.message", {"body": "state", **edit(said, "state")})
    assert await bundled(alice, room, said) == {}

    valid = await alice.says(room, "* two", **edit(said, "two"))
    await alice.sends(room, "m.room.message", {"body": "no new content", **relation("m.replace", said)})
    await alice.says(room, "* of an edit", **edit(valid, "of an edit"))
    assert (await bundled(alice, room, said))["m.replace"]["event_id"] == valid
    assert await bundled(alice, room, valid) == {}


async def test_state_cannot_be_edited(alice: User) -> None:
    room = await alice.creates_room()
    topic = await alice.sets(room, "m.room.topic", {"topic": "one"})
    await alice.sends(room, "m.room.topic", {"body": "two", **edit(topic, "two")})

    assert await bundled(alice, room, topic) == {}


async def test_a_redacted_original_has_no_edit(alice: User) -> None:
    room = await alice.creates_room()
    said = await alice.says(room, "one")
    await alice.says(room, "* two", **edit(said, "two"))
    await alice.says(room, "reply", **thread(said))
    await alice.redacts(room, said)

    assert set(await bundled(alice, room, said)) == {"m.thread"}


async def test_edits_of_encrypted_events_need_no_new_content_in_the_clear(alice: User) -> None:
    room = await alice.creates_room()
    secret = {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x", "session_id": "x"}
    said = await alice.sends(room, "m.room.encrypted", secret)
    changed = await alice.sends(room, "m.room.encrypted", {**secret, **relation("m.replace", said)})

    assert (await bundled(alice, room, said))["m.replace"]["event_id"] == changed


async def test_references_are_listed(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    said = await alice.says(room)
    one = await alice.sends(room, "com.example.note", relation("m.reference", said))
    two = await bob.sends(room, "com.example.note", relation("m.reference", said))

    chunk = (await bundled(bob, room, said))["m.reference"]["chunk"]
    assert chunk == [{"event_id": one}, {"event_id": two}]


async def test_aggregations_leave_out_ignored_users(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    said = await alice.says(room)
    reply = await alice.says(room, "reply", **thread(said))
    await bob.says(room, "noise", **thread(said))
    await bob.sends(room, "com.example.note", relation("m.reference", said))
    only_noise = await alice.says(room)
    await bob.says(room, "noise", **thread(only_noise))
    ignored = {"ignored_users": {bob.user_id: {}}}
    ok(await alice.put(f"/user/{q(alice.user_id)}/account_data/m.ignored_user_list", ignored))

    summary = await bundled(alice, room, said)
    assert set(summary) == {"m.thread"}
    assert summary["m.thread"]["count"] == 1
    assert summary["m.thread"]["latest_event"]["event_id"] == reply
    assert await bundled(alice, room, only_noise) == {}
    assert ids((await relations(alice, room, said))["chunk"]) == [reply]


async def test_relations_do_not_reach_into_other_rooms(alice: User) -> None:
    room, other = await alice.creates_room(), await alice.creates_room()
    said = await alice.says(room)
    await alice.says(other, "* elsewhere", **edit(said, "elsewhere"))
    await alice.sends(other, "com.example.note", relation("m.reference", said))

    assert await bundled(alice, room, said) == {}
    assert ids((await relations(alice, room, said))["chunk"]) == []


@pytest.mark.parametrize("query", [{"limit": 0}, {"limit": -1}, {"dir": "x"}, {"from": "x"}, {"recurse": "maybe"}])
async def test_a_wrong_parameter_is_refused(alice: User, query: dict[str, Any]) -> None:
    room = await alice.creates_room()
    said = await alice.says(room)
    answer = await alice.get(f"{V1}/rooms/{q(room)}/relations/{q(said)}", **query)
    assert next(iter(query)) in refused(answer, 400, "M_INVALID_PARAM")["error"]
