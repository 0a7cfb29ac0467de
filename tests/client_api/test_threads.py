"""Threads: https://spec.matrix.org/v1.19/client-server-api/#threading."""

from typing import Any

import pytest

from tests.support.reading import V1, bodies, edit, event, ids, thread
from tests.support.world import User, ok, q, refused


async def threads(user: User, room: str, **query: Any) -> Any:
    """Return an answer of /threads."""
    return ok(await user.get(f"{V1}/rooms/{q(room)}/threads", **query))


async def test_threads_are_listed_by_their_newest_reply(alice: User) -> None:
    room = await alice.creates_room()
    roots = [await alice.says(room, name) for name in ("one", "two", "three")]
    for root in (roots[0], roots[1], roots[2], roots[0]):
        await alice.says(room, "reply", **thread(root))
    await alice.says(room, "no thread")

    answer = await threads(alice, room)
    assert bodies(answer["chunk"]) == ["one", "three", "two"]
    assert "next_batch" not in answer
    assert [each["unsigned"]["m.relations"]["m.thread"]["count"] for each in answer["chunk"]] == [2, 1, 1]


async def test_pages_of_threads_add_up(alice: User) -> None:
    room = await alice.creates_room()
    roots = [await alice.says(room, str(number)) for number in range(5)]
    for root in roots:
        await alice.says(room, "reply", **thread(root))

    page = await threads(alice, room, limit=2)
    found = bodies(page["chunk"])
    while "next_batch" in page:
        page = await threads(alice, room, limit=2, **{"from": page["next_batch"]})
        found += bodies(page["chunk"])
    assert found == ["4", "3", "2", "1", "0"]


async def test_a_thread_is_summed_up_at_its_root(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    root = await alice.says(room, "root")
    await alice.says(room, "one", **thread(root))
    last = await alice.says(room, "two", **thread(root))

    for user, participated in ((alice, True), (bob, False)):
        told = (await event(user, room, root))["unsigned"]["m.relations"]["m.thread"]
        assert told["count"] == 2
        assert told["current_user_participated"] is participated
        assert told["latest_event"]["event_id"] == last
        assert told["latest_event"]["content"]["body"] == "two"
    await bob.says(room, "three", **thread(root))
    assert (await event(bob, room, root))["unsigned"]["m.relations"]["m.thread"]["current_user_participated"] is True


async def test_the_newest_reply_has_its_own_edit(alice: User) -> None:
    room = await alice.creates_room()
    root = await alice.says(room, "root")
    reply = await alice.says(room, "old", **thread(root))
    changed = await alice.says(room, "* new", **edit(reply, "new"))

    latest = (await event(alice, room, root))["unsigned"]["m.relations"]["m.thread"]["latest_event"]
    assert latest["event_id"] == reply
    assert latest["content"]["body"] == "old"
    assert latest["unsigned"]["m.relations"]["m.replace"]["event_id"] == changed


async def test_one_can_ask_for_the_threads_one_took_part_in(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    started, joined, other = await bob.says(room, "started"), await alice.says(room, "joined"), await alice.says(room)
    await alice.says(room, "reply", **thread(started))
    await bob.says(room, "reply", **thread(joined))
    await alice.says(room, "reply", **thread(joined))
    await alice.says(room, "reply", **thread(other))

    assert ids((await threads(bob, room, include="participated"))["chunk"]) == [joined, started]
    assert len((await threads(bob, room, include="all"))["chunk"]) == 3


async def test_the_root_of_an_ignored_user_is_shown_as_redacted(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    root = await bob.says(room, "noise")
    await alice.says(room, "reply", **thread(root))
    noise = await alice.says(room, "answered by noise only")
    await bob.says(room, "noise", **thread(noise))
    ignored = {"ignored_users": {bob.user_id: {}}}
    ok(await alice.put(f"/user/{q(alice.user_id)}/account_data/m.ignored_user_list", ignored))

    (only,) = (await threads(alice, room))["chunk"]
    assert only["event_id"] == root
    assert only["content"] == {}
    assert only["unsigned"]["m.relations"]["m.thread"]["count"] == 1


async def test_a_room_without_threads_has_none(alice: User) -> None:
    room = await alice.creates_room()
    assert await threads(alice, room) == {"chunk": []}


@pytest.mark.parametrize("query", [{"limit": 0}, {"include": "some"}, {"from": "x"}])
async def test_a_wrong_parameter_is_refused(alice: User, query: dict[str, Any]) -> None:
    room = await alice.creates_room()
    answer = await alice.get(f"{V1}/rooms/{q(room)}/threads", **query)
    assert next(iter(query)) in refused(answer, 400, "M_INVALID_PARAM")["error"]
