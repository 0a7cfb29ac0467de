"""https://spec.matrix.org/v1.19/client-server-api/#discovering-rooms-within-spaces."""

from itertools import pairwise
from typing import Any

import pytest

from tests.support.world import User, World, ok, q, refused


def path(space: str) -> str:
    return f"/_matrix/client/v1/rooms/{q(space)}/hierarchy"


async def space(alice: User, name: str = "", **body: Any) -> str:
    """Return a space of Alice's."""
    return await alice.creates_room(name=name, creation_content={"type": "m.space"}, **body)


async def put_in(alice: User, parent: str, *children: str, **content: Any) -> None:
    """Put rooms into a space."""
    for child in children:
        await alice.sets(parent, "m.space.child", {"via": ["hs1"], **content}, child)


def names(answer: Any) -> list[str]:
    """Return the names of the rooms of a page."""
    return [room.get("name", "") for room in answer["rooms"]]


async def test_a_space_comes_first_then_its_rooms_depth_first(alice: User) -> None:
    root, inner = await space(alice, "root"), await space(alice, "inner")
    first, last = await alice.creates_room(name="first"), await alice.creates_room(name="last")
    deep = await alice.creates_room(name="deep")
    await put_in(alice, root, first, inner, last)
    await put_in(alice, inner, deep)

    answer = ok(await alice.get(path(root)))

    assert names(answer) == ["root", "first", "inner", "deep", "last"]
    assert "next_batch" not in answer
    shown = answer["rooms"][0]
    assert shown["room_type"] == "m.space"
    assert shown["room_version"] == "12"
    assert [child["state_key"] for child in shown["children_state"]] == [first, inner, last]
    assert set(shown["children_state"][0]) == {"type", "state_key", "content", "sender", "origin_server_ts"}
    assert [room["children_state"] for room in answer["rooms"] if room["name"] == "deep"] == [[]]


async def test_children_are_in_the_order_that_the_specification_says(alice: User) -> None:
    root = await space(alice, "root")
    rooms = {name: await alice.creates_room(name=name) for name in ("d", "e", "c", "a", "b", "f")}
    for name, order in (("e", None), ("d", None), ("c", "first"), ("a", "aaaa"), ("b", " "), ("f", "x" * 51)):
        await put_in(alice, root, rooms[name], **({} if order is None else {"order": order}))

    assert names(ok(await alice.get(path(root)))) == ["root", "b", "a", "c", "e", "d", "f"]


async def test_one_goes_no_deeper_than_asked(alice: User) -> None:
    levels = [await space(alice, str(number)) for number in range(4)]
    for parent, child in pairwise(levels):
        await put_in(alice, parent, child)

    assert names(ok(await alice.get(path(levels[0]), max_depth=0))) == ["0"]
    assert names(ok(await alice.get(path(levels[0]), max_depth=2))) == ["0", "1", "2"]
    assert names(ok(await alice.get(path(levels[0])))) == ["0", "1", "2", "3"]


async def test_only_suggested_rooms_are_shown_if_one_asks_so(alice: User) -> None:
    root = await space(alice, "root")
    suggested, other = await alice.creates_room(name="suggested"), await alice.creates_room(name="other")
    await put_in(alice, root, other)
    await put_in(alice, root, suggested, suggested=True)

    answer = ok(await alice.get(path(root), suggested_only="true"))

    assert names(answer) == ["root", "suggested"]
    assert [child["state_key"] for child in answer["rooms"][0]["children_state"]] == [suggested]
    assert names(ok(await alice.get(path(root), suggested_only="false"))) == ["root", "other", "suggested"]


async def test_a_loop_ends_and_a_room_in_two_spaces_is_shown_once(alice: User) -> None:
    root, inner = await space(alice, "root"), await space(alice, "inner")
    room = await alice.creates_room(name="room")
    await put_in(alice, root, inner, room)
    await put_in(alice, inner, room, root, inner)

    assert names(ok(await alice.get(path(root)))) == ["root", "inner", "room"]


async def test_a_child_that_was_removed_or_is_elsewhere_is_not_shown(alice: User) -> None:
    root, gone = await space(alice, "root"), await alice.creates_room(name="gone")
    await put_in(alice, root, gone, "!far:elsewhere.example", "not a room")
    await alice.sets(root, "m.space.child", {}, gone)
    await alice.sets(root, "m.space.child", {"via": "hs1"}, "!bad:hs1")

    answer = ok(await alice.get(path(root)))

    assert names(answer) == ["root"]
    children = [child["state_key"] for child in answer["rooms"][0]["children_state"]]
    assert children == ["!far:elsewhere.example", "not a room"]


async def test_children_of_what_is_no_space_do_not_count(alice: User) -> None:
    room, child = await alice.creates_room(name="room"), await alice.creates_room(name="child")
    await put_in(alice, room, child)

    (shown,) = ok(await alice.get(path(room)))["rooms"]
    assert shown["children_state"] == []


async def test_one_sees_only_rooms_that_one_is_in_or_could_enter_or_read(world: World, alice: User, bob: User) -> None:
    def rules(rule: str, *allowed: str) -> dict[str, Any]:
        allow = [{"type": "m.room_membership", "room_id": room} for room in allowed]
        return {"type": "m.room.join_rules", "content": {"join_rule": rule, "allow": allow}}

    readable = {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}}
    root = await space(alice, "root", preset="public_chat")
    mine = await alice.creates_room(bob, name="joined")
    await bob.joins(mine)
    rooms = [
        await alice.creates_room(name="closed"),
        mine,
        await alice.creates_room(bob, name="invited"),
        await alice.creates_room(name="public", preset="public_chat"),
        await alice.creates_room(name="knock", initial_state=[rules("knock")]),
        await alice.creates_room(name="old knock", room_version="6", initial_state=[rules("knock")]),
        await alice.creates_room(name="restricted to me", initial_state=[rules("restricted", mine)]),
        await alice.creates_room(name="restricted to others", initial_state=[rules("restricted", root)]),
        await alice.creates_room(name="readable", initial_state=[readable]),
    ]
    banned = await alice.creates_room(name="banned", preset="public_chat")
    ok(await alice.post(f"/rooms/{q(banned)}/ban", {"user_id": bob.user_id}))
    await put_in(alice, root, *rooms, banned)

    assert names(ok(await bob.get(path(root)))) == [
        "root", "joined", "invited", "public", "knock", "restricted to me", "readable",
    ]  # fmt: skip


async def test_a_closed_space_is_as_one_that_is_not_there(alice: User, bob: User) -> None:
    root = await space(alice)

    known = refused(await bob.get(path(root)), 403, "M_FORBIDDEN")
    assert refused(await bob.get(path("!none:hs1")), 403, "M_FORBIDDEN") == known


async def test_pages_make_up_the_whole(alice: User) -> None:
    root, inner = await space(alice, "root"), await space(alice, "inner")
    await put_in(alice, inner, *[await alice.creates_room(name=f"i{n}") for n in range(3)])
    await put_in(alice, root, inner, *[await alice.creates_room(name=f"r{n}") for n in range(2)])
    whole = ok(await alice.get(path(root), max_depth=5))["rooms"]

    found: list[Any] = []
    query: dict[str, Any] = {"limit": 2, "max_depth": 5, "suggested_only": "false"}
    for _ in range(4):
        answer = ok(await alice.get(path(root), **query))
        found += answer["rooms"]
        query["from"] = answer.get("next_batch")

    assert found == whole
    assert query["from"] is None


async def test_parameters_stay_the_same_from_page_to_page(alice: User) -> None:
    root = await space(alice)
    await put_in(alice, root, await alice.creates_room())
    token = ok(await alice.get(path(root), limit=1, max_depth=3))["next_batch"]

    for changed in ({"max_depth": 4}, {"suggested_only": "true"}):
        refused(await alice.get(path(root), **{"from": token, "max_depth": 3, **changed}), 400, "M_INVALID_PARAM")
    assert len(ok(await alice.get(path(root), **{"from": token}))["rooms"]) == 1


@pytest.mark.parametrize(
    "query",
    [{"limit": 0}, {"limit": -1}, {"limit": "x"}, {"max_depth": -1}, {"max_depth": "x"}, {"suggested_only": "perhaps"},
     {"from": "somewhere"}, {"from": "h1_2_3"}],
)  # fmt: skip
async def test_a_bad_question_is_refused(alice: User, query: dict[str, Any]) -> None:
    root = await space(alice)

    refused(await alice.get(path(root), **query), 400, "M_INVALID_PARAM")
