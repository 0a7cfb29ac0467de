"""Paging through a room's history, and what comes with each event.

Source: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidmessages
"""

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any

import pytest
from sqlalchemy import event as listening
from sqlalchemy.engine import Engine

from tests.support.reading import bodies, edit, event, ids, messages, relation, thread
from tests.support.world import User, World, ok, q, refused


async def test_messages_come_newest_first_and_on_request_oldest_first(alice: User) -> None:
    room = await alice.creates_room()
    said = [await alice.says(room, str(number)) for number in range(3)]

    back = (await messages(alice, room, "b"))["chunk"]
    assert ids(back)[:3] == said[::-1]
    assert back[-1]["type"] == "m.room.create"
    assert ids((await messages(alice, room, "f"))["chunk"]) == ids(back)[::-1]


@pytest.mark.parametrize("limit", [1, 3, 4, 100])
@pytest.mark.parametrize("direction", ["b", "f"])
async def test_pages_add_up_to_the_whole_history(alice: User, direction: str, limit: int) -> None:
    room = await alice.creates_room()
    for number in range(5):
        await alice.says(room, str(number))
    whole = ids((await messages(alice, room, direction))["chunk"])

    found: list[str] = []
    page = await messages(alice, room, direction, limit=limit)
    found += ids(page["chunk"])
    while "end" in page:
        assert len(page["chunk"]) == limit
        page = await messages(alice, room, direction, limit=limit, start=page["end"])
        found += ids(page["chunk"])
    assert found == whole


async def test_there_are_ten_messages_on_a_page_unless_asked_otherwise(alice: User) -> None:
    room = await alice.creates_room()
    for number in range(8):
        await alice.says(room, str(number))

    assert len(ok(await alice.get(f"/rooms/{q(room)}/messages", dir="b"))["chunk"]) == 10
    empty = await messages(alice, room, limit=0)
    assert empty["chunk"] == []
    assert empty["end"] == empty["start"]


async def test_a_page_ends_where_to_says(alice: User) -> None:
    room = await alice.creates_room()
    await alice.says(room, "old")
    place = (await messages(alice, room, "b", limit=1))["start"]
    await alice.says(room, "new")

    page = await messages(alice, room, "b", to=place)
    assert bodies(page["chunk"]) == ["new"]
    assert "end" not in page
    assert bodies((await messages(alice, room, "f", to=place))["chunk"]) == ["old"]


async def test_reading_on_from_a_start_finds_what_came_since(alice: User) -> None:
    room = await alice.creates_room()
    await alice.says(room, "old")
    page = await messages(alice, room, "b", limit=1)
    await alice.says(room, "new")

    newer = await messages(alice, room, "f", start=page["start"])
    assert bodies(newer["chunk"]) == ["new"]
    assert newer["start"] == page["start"]


async def test_a_sync_token_is_a_place_in_the_history(alice: User) -> None:
    room = await alice.creates_room()
    await alice.says(room, "old")
    await alice.syncs()
    await alice.says(room, "new")

    assert bodies((await messages(alice, room, "f", start=alice.since))["chunk"]) == ["new"]
    assert bodies((await messages(alice, room, "b", start=alice.since))["chunk"]) == ["old"]


async def test_prev_batch_leads_to_what_is_before_the_timeline(alice: User) -> None:
    room = await alice.creates_room()
    for number in range(5):
        await alice.says(room, str(number))
    answer = await alice.syncs(filter='{"room":{"timeline":{"limit":2}}}')

    timeline = answer["rooms"]["join"][room]["timeline"]
    assert bodies(timeline["events"]) == ["3", "4"]
    assert bodies((await messages(alice, room, "b", start=timeline["prev_batch"]))["chunk"]) == ["2", "1", "0"]


@pytest.mark.parametrize(
    ("query", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"dir": "x"}, "M_INVALID_PARAM"),
        ({"dir": "b", "from": "x"}, "M_INVALID_PARAM"),
        ({"dir": "b", "from": ""}, "M_INVALID_PARAM"),
        ({"dir": "b", "from": "t9999999999999999999999"}, "M_INVALID_PARAM"),
        ({"dir": "b", "to": "s1"}, "M_INVALID_PARAM"),
        ({"dir": "b", "limit": "-1"}, "M_INVALID_PARAM"),
        ({"dir": "b", "limit": "many"}, "M_INVALID_PARAM"),
        ({"dir": "b", "filter": "{"}, "M_INVALID_PARAM"),
        ({"dir": "b", "filter": '{"types":1}'}, "M_INVALID_PARAM"),
    ],
)
async def test_a_wrong_parameter_is_named(alice: User, query: dict[str, Any], errcode: str) -> None:
    room = await alice.creates_room()
    error = refused(await alice.get(f"/rooms/{q(room)}/messages", **query), 400, errcode)
    assert (list(query)[-1] if query and errcode == "M_INVALID_PARAM" else "dir") in error["error"]


async def test_a_filter_chooses_by_type_sender_and_url(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    await alice.says(room, "from alice")
    await bob.says(room, "from bob")
    await alice.says(room, "image", url="mxc://hs1/a")

    async def shown(**wanted: Any) -> list[str]:
        return bodies((await messages(alice, room, "f", filter=wanted))["chunk"])

    assert await shown(types=["m.room.message"]) == ["from alice", "from bob", "image"]
    assert await shown(not_types=["m.room.*"]) == []
    assert await shown(senders=[bob.user_id], types=["m.room.message"]) == ["from bob"]
    assert await shown(not_senders=[bob.user_id]) == ["from alice", "image"]
    assert await shown(contains_url=True) == ["image"]
    assert await shown(rooms=[]) == []


async def test_a_filter_chooses_by_what_relates_to_an_event(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    threaded, liked = await alice.says(room, "threaded"), await alice.says(room, "liked")
    await alice.says(room, "reply", **thread(threaded))
    await bob.sends(room, "m.reaction", relation("m.annotation", liked, key="x"))

    async def shown(**wanted: Any) -> list[str]:
        return ids((await messages(alice, room, "f", filter=wanted))["chunk"])

    assert await shown(related_by_rel_types=["m.thread"]) == [threaded]
    assert await shown(related_by_senders=[bob.user_id]) == [liked]
    assert await shown(related_by_rel_types=["m.thread", "m.annotation"]) == [threaded, liked]
    assert await shown(related_by_rel_types=["m.thread"], related_by_senders=[bob.user_id]) == []


async def test_what_a_filter_wants_is_found_however_rare_it_is(alice: User) -> None:
    room = await alice.creates_room(name="old")
    for number in range(40):
        await alice.says(room, str(number))

    page = await messages(alice, room, "b", limit=1, filter={"types": ["m.room.name"]})
    assert [each["content"] for each in page["chunk"]] == [{"name": "old"}]


async def test_lazy_loading_brings_the_senders_with_the_page(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    await bob.says(room, "hello")
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    await alice.says(room, "gone?")

    only_messages = {"types": ["m.room.message"], "lazy_load_members": True}
    page = await messages(alice, room, filter=only_messages)
    members = {each["state_key"]: each["content"]["membership"] for each in page["state"]}
    assert members == {alice.user_id: "join", bob.user_id: "join"}
    page = await messages(alice, room, filter=only_messages, limit=1)
    assert [each["state_key"] for each in page["state"]] == [alice.user_id]
    assert "state" not in await messages(alice, room)


async def test_an_event_tells_its_age_the_readers_membership_and_their_transaction(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob, preset="public_chat")
    before = await alice.says(room, "before")
    await bob.joins(room)
    path = f"/rooms/{q(room)}/send/m.room.message/"
    mine = ok(await bob.put(path + "my%2Ftransaction", {"body": "mine", "msgtype": "m.text"}))["event_id"]

    told = await event(bob, room, mine)
    assert told["unsigned"]["transaction_id"] == "my/transaction"
    assert told["unsigned"]["membership"] == "join"
    assert 0 <= told["unsigned"]["age"] < 60_000
    assert told["room_id"] == room
    assert told["sender"] == bob.user_id
    assert abs(told["origin_server_ts"] - time.time() * 1000) < 60_000  # noqa: TID251
    assert (await event(bob, room, before))["unsigned"]["membership"] == "invite"
    assert (await messages(bob, room, limit=1))["chunk"] == [{**told, "unsigned": {**told["unsigned"], "age": ANY}}]
    for other in (alice, await bob.login_again("OTHER")):
        assert "transaction_id" not in (await event(other, room, mine))["unsigned"]


async def test_state_tells_what_it_replaced(alice: User) -> None:
    room = await alice.creates_room()
    first = await alice.sets(room, "m.room.topic", {"topic": "one"})
    second = await alice.sets(room, "m.room.topic", {"topic": "two"})

    told = (await event(alice, room, second))["unsigned"]
    assert told["prev_content"] == {"topic": "one"}
    assert told["replaces_state"] == first
    assert "prev_content" not in (await event(alice, room, first))["unsigned"]


async def test_a_redacted_event_tells_who_redacted_it_and_why(alice: User) -> None:
    room = await alice.creates_room()
    said = await alice.says(room, "oops")
    redaction = await alice.redacts(room, said, "a mistake")

    told = await event(alice, room, said)
    assert told["content"] == {}
    because = told["unsigned"]["redacted_because"]
    assert because["event_id"] == redaction
    assert because["content"]["reason"] == "a mistake"
    assert because["redacts"] == said
    assert "age" in because["unsigned"]
    assert (await event(alice, room, redaction))["redacts"] == said


ANY = type("Any", (), {"__eq__": lambda self, other: True, "__hash__": None})()


@contextmanager
def counting_statements() -> Iterator[list[str]]:
    """Collect the statements that reach any database."""
    seen: list[str] = []

    def count(_conn: object, _cursor: object, statement: str, *_more: object) -> None:
        seen.append(statement)

    listening.listen(Engine, "before_cursor_execute", count)
    try:
        yield seen
    finally:
        listening.remove(Engine, "before_cursor_execute", count)


@asynccontextmanager
async def restarted(world: World, directory: Path) -> AsyncIterator[World]:
    """A server on the same data that has nothing in memory."""
    url = world.environ["ISTHMUS_DATABASE__URL"]
    await world.app.stop()
    async with World.start(url, directory) as again:
        yield again


async def test_a_page_of_a_hundred_events_costs_as_many_queries_as_a_short_one(
    world: World, alice: User, bob: User, tmp_path: Path
) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    for number in range(12):
        said = await alice.says(room, f"message {number}")
        await alice.says(room, "* edited", **edit(said, "edited"))
        await alice.sets(room, "m.room.topic", {"topic": str(number)})
        await bob.says(room, "in a thread", **thread(said))
        await bob.sends(room, "m.reaction", relation("m.annotation", said, key=str(number)))
        await bob.sends(room, "com.example.note", relation("m.reference", said))
        redacted = await bob.says(room, "wrong")
        await bob.redacts(room, redacted)

    counts = {}
    for limit in (20, 100):
        async with restarted(world, tmp_path) as again:
            world = again
            reader = User(again, alice.user_id, alice.token, alice.device_id)
            await reader.get("/account/whoami")
            with counting_statements() as statements:
                page = await messages(reader, room, limit=limit, filter={"lazy_load_members": True})
            assert len(page["chunk"]) == limit
            counts[limit] = sum(
                each.startswith("SELECT") and not each.startswith("SELECT position") for each in statements
            )
    # One more or less, by what of the page's surroundings happens to be on the page itself.
    assert counts[100] <= counts[20] + 2
    assert counts[100] <= 20
