"""What is around an event: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3roomsroomidcontexteventid."""

import json
from typing import Any

import pytest

from tests.support.reading import bodies, edit, messages
from tests.support.world import User, ok, q, refused


async def context(user: User, room: str, event_id: str, **query: Any) -> Any:
    """Return an answer of /context."""
    return ok(await user.get(f"/rooms/{q(room)}/context/{q(event_id)}", **query))


@pytest.mark.parametrize(
    ("limit", "before", "after"),
    [
        (0, [], []),
        (1, ["3"], []),
        (2, ["3"], ["5"]),
        (5, ["3", "2", "1"], ["5", "6"]),
        (6, ["3", "2", "1"], ["5", "6", "7"]),
    ],
)
async def test_the_limit_holds_for_both_sides_together(
    alice: User, limit: int, before: list[str], after: list[str]
) -> None:
    room = await alice.creates_room()
    said = [await alice.says(room, str(number)) for number in range(9)]

    around = await context(alice, room, said[4], limit=limit)
    assert around["event"]["event_id"] == said[4]
    assert bodies(around["events_before"]) == before
    assert bodies(around["events_after"]) == after


async def test_start_and_end_lead_on(alice: User) -> None:
    room = await alice.creates_room()
    said = [await alice.says(room, str(number)) for number in range(7)]

    for limit in (0, 2):
        around = await context(alice, room, said[3], limit=limit)
        older = await messages(alice, room, "b", limit=2, start=around["start"])
        newer = await messages(alice, room, "f", limit=2, start=around["end"])
        whole = [
            *older["chunk"][::-1],
            *around["events_before"],
            around["event"],
            *around["events_after"],
            *newer["chunk"],
        ]
        assert bodies(whole) == [str(number) for number in range(1, 6)] if limit == 0 else list("0123456")


async def test_the_state_is_that_at_the_last_event(alice: User) -> None:
    room = await alice.creates_room(name="old")
    said = await alice.says(room)
    await alice.sets(room, "m.room.name", {"name": "middle"})
    await alice.sets(room, "m.room.name", {"name": "new"})

    def name(around: Any) -> str:
        return next(str(each["content"]["name"]) for each in around["state"] if each["type"] == "m.room.name")

    assert name(await context(alice, room, said, limit=0)) == "old"
    assert name(await context(alice, room, said, limit=2)) == "middle"
    assert name(await context(alice, room, said)) == "new"


async def test_a_filter_holds_for_all_but_the_event_itself(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    await alice.says(room, "before")
    said = await alice.says(room, "this")
    await bob.says(room, "after")

    around = await context(alice, room, said, filter=json.dumps({"senders": [bob.user_id]}))
    assert bodies([around["event"]]) == ["this"]
    assert bodies(around["events_before"]) == []
    assert bodies(around["events_after"]) == ["after"]
    assert {each["sender"] for each in around["state"]} == {bob.user_id}


async def test_lazy_loading_leaves_out_members_who_say_nothing(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    for number in range(3):
        last = await alice.says(room, str(number))

    async def members(**wanted: Any) -> set[str]:
        around = await context(alice, room, last, limit=2, filter=json.dumps(wanted))
        assert "m.room.create" in {each["type"] for each in around["state"]}
        return {each["state_key"] for each in around["state"] if each["type"] == "m.room.member"}

    assert await members() == {alice.user_id, bob.user_id}
    assert await members(lazy_load_members=True) == {alice.user_id}


async def test_the_event_has_its_edit_with_it(alice: User) -> None:
    room = await alice.creates_room()
    said = await alice.says(room, "old")
    changed = await alice.says(room, "* new", **edit(said, "new"))

    around = await context(alice, room, said)
    assert around["event"]["unsigned"]["m.relations"]["m.replace"]["event_id"] == changed


async def test_a_negative_limit_is_refused(alice: User) -> None:
    room = await alice.creates_room()
    said = await alice.says(room)
    answer = await alice.get(f"/rooms/{q(room)}/context/{q(said)}", limit=-1)
    assert "limit" in refused(answer, 400, "M_INVALID_PARAM")["error"]
