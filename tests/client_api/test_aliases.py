"""https://spec.matrix.org/v1.19/client-server-api/#room-aliases."""

from typing import Any

import pytest

from tests.support.footprint import footprint
from tests.support.people import administrator
from tests.support.state import content_of
from tests.support.world import User, World, ok, q, refused


def path(alias: str) -> str:
    return f"/directory/room/{q(alias)}"


async def test_an_alias_points_to_its_room_for_anyone_who_asks(world: World, alice: User) -> None:
    room = await alice.creates_room()

    assert ok(await alice.put(path("#pub:hs1"), {"room_id": room})) == {}

    answer = await world.request("GET", f"/_matrix/client/v3{path('#pub:hs1')}")
    assert ok(answer) == {"room_id": room, "servers": ["hs1"]}


async def test_an_alias_exists_once(world: World, alice: User) -> None:
    first, second = await alice.creates_room(), await alice.creates_room()
    ok(await alice.put(path("#pub:hs1"), {"room_id": first}))
    before = await footprint(world)

    refused(await alice.put(path("#pub:hs1"), {"room_id": second}), 409, "M_UNKNOWN")

    assert await footprint(world) == before


async def test_the_aliases_of_a_room_are_for_its_members(alice: User, bob: User) -> None:
    room = await alice.creates_room(room_alias_name="b")
    ok(await alice.put(path("#a:hs1"), {"room_id": room}))

    assert ok(await alice.get(f"/rooms/{q(room)}/aliases")) == {"aliases": ["#a:hs1", "#b:hs1"]}
    known = refused(await bob.get(f"/rooms/{q(room)}/aliases"), 403, "M_FORBIDDEN")
    assert refused(await bob.get("/rooms/!none:hs1/aliases"), 403, "M_FORBIDDEN") == known


async def test_the_aliases_of_a_room_that_the_world_may_read_are_for_all(alice: User, bob: User) -> None:
    room = await alice.creates_room(room_alias_name="b")
    await alice.sets(room, "m.room.history_visibility", {"history_visibility": "world_readable"})

    assert ok(await bob.get(f"/rooms/{q(room)}/aliases")) == {"aliases": ["#b:hs1"]}


async def test_an_alias_is_deleted_by_who_made_it(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    ok(await bob.put(path("#bobs:hs1"), {"room_id": room}))
    ok(await bob.post(f"/rooms/{q(room)}/leave"))

    assert ok(await bob.delete(path("#bobs:hs1"))) == {}

    refused(await alice.get(path("#bobs:hs1")), 404, "M_NOT_FOUND")


async def test_an_alias_is_deleted_by_a_moderator_of_the_room_and_by_administrators(
    world: World, alice: User, bob: User
) -> None:
    root = await administrator(world)
    room = await alice.creates_room(bob)
    await bob.joins(room)
    for alias in ("#one:hs1", "#two:hs1"):
        ok(await bob.put(path(alias), {"room_id": room}))

    ok(await alice.delete(path("#one:hs1")))
    ok(await root.delete(path("#two:hs1")))

    assert ok(await alice.get(f"/rooms/{q(room)}/aliases")) == {"aliases": []}


async def test_others_delete_no_alias(world: World, alice: User, bob: User) -> None:
    carol = await world.user("carol")
    room = await alice.creates_room(bob, room_alias_name="pub")
    await bob.joins(room)
    before = await footprint(world)

    refused(await bob.delete(path("#pub:hs1")), 403, "M_FORBIDDEN")
    refused(await carol.delete(path("#pub:hs1")), 403, "M_FORBIDDEN")

    assert await footprint(world) == before


async def test_a_deleted_alias_is_published_no_longer(alice: User) -> None:
    room = await alice.creates_room(room_alias_name="pub")
    ok(await alice.put(path("#bar:hs1"), {"room_id": room}))
    await alice.sets(room, "m.room.canonical_alias", {"alias": "#pub:hs1", "alt_aliases": ["#bar:hs1", "#pub:hs1"]})

    ok(await alice.delete(path("#pub:hs1")))

    assert await content_of(alice, room, "m.room.canonical_alias") == {"alt_aliases": ["#bar:hs1"]}


async def test_an_alias_goes_even_if_its_maker_may_not_change_what_is_published(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    await bob.joins(room)
    ok(await bob.put(path("#bobs:hs1"), {"room_id": room}))
    await alice.sets(room, "m.room.canonical_alias", {"alt_aliases": ["#bobs:hs1"]})

    ok(await bob.delete(path("#bobs:hs1")))

    refused(await bob.get(path("#bobs:hs1")), 404, "M_NOT_FOUND")
    assert await content_of(alice, room, "m.room.canonical_alias") == {"alt_aliases": ["#bobs:hs1"]}


@pytest.mark.parametrize(
    ("alias", "body", "status", "errcode"),
    [
        ("#pub:hs1", {}, 400, "M_MISSING_PARAM"),
        ("#pub:hs1", {"room_id": 1}, 400, "M_BAD_JSON"),
        ("#pub:hs1", {"room_id": "room"}, 400, "M_INVALID_PARAM"),
        ("#pub:hs1", {"room_id": "!none:hs1"}, 403, "M_FORBIDDEN"),
        ("pub", {"room_id": "{room}"}, 400, "M_INVALID_PARAM"),
        ("#pub", {"room_id": "{room}"}, 400, "M_INVALID_PARAM"),
        ("#:hs1", {"room_id": "{room}"}, 400, "M_INVALID_PARAM"),
        ("#two words:hs1", {"room_id": "{room}"}, 400, "M_INVALID_PARAM"),
        ("#a\tb:hs1", {"room_id": "{room}"}, 400, "M_INVALID_PARAM"),
        ("#" + "a" * 300 + ":hs1", {"room_id": "{room}"}, 400, "M_INVALID_PARAM"),
        ("#pub:elsewhere", {"room_id": "{room}"}, 400, "M_INVALID_PARAM"),
    ],
)
async def test_an_alias_that_cannot_be_is_not_made(
    world: World, alice: User, alias: str, body: dict[str, Any], status: int, errcode: str
) -> None:
    room = await alice.creates_room()
    before = await footprint(world)
    if body.get("room_id") == "{room}":
        body = {"room_id": room}

    refused(await alice.put(path(alias), body), status, errcode)

    assert await footprint(world) == before


async def test_who_is_not_in_a_room_gives_it_no_alias(world: World, alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    before = await footprint(world)

    refused(await bob.put(path("#pub:hs1"), {"room_id": room}), 403, "M_FORBIDDEN")

    assert await footprint(world) == before


@pytest.mark.parametrize(
    ("alias", "status", "errcode"),
    [
        ("#none:hs1", 404, "M_NOT_FOUND"),
        ("none", 400, "M_INVALID_PARAM"),
        ("!room:hs1", 400, "M_INVALID_PARAM"),
    ],
)
async def test_an_alias_that_is_not_there_is_not_found(alice: User, alias: str, status: int, errcode: str) -> None:
    refused(await alice.get(path(alias)), status, errcode)
    refused(await alice.delete(path(alias)), status, errcode)


async def test_an_alias_of_a_server_that_gives_no_answer_is_neither_there_nor_not_there(alice: User) -> None:
    refused(await alice.get(path("#none:127.0.0.1:9")), 502, "M_UNKNOWN")


@pytest.mark.parametrize(
    ("content", "errcode"),
    [
        ({"alias": "#other:hs1"}, "M_BAD_ALIAS"),
        ({"alias": "#none:hs1"}, "M_BAD_ALIAS"),
        ({"alias": "#none:127.0.0.1:9"}, "M_BAD_ALIAS"),
        ({"alt_aliases": ["#pub:hs1", "#other:hs1"]}, "M_BAD_ALIAS"),
        ({"alias": "pub"}, "M_INVALID_PARAM"),
        ({"alt_aliases": ["#pub"]}, "M_INVALID_PARAM"),
        ({"alt_aliases": [f"#a{n}:hs1" for n in range(101)]}, "M_INVALID_PARAM"),
        ({"alias": 1}, "M_BAD_JSON"),
        ({"alt_aliases": "#pub:hs1"}, "M_BAD_JSON"),
        ({"alt_aliases": [1]}, "M_BAD_JSON"),
    ],
)
async def test_a_room_publishes_only_aliases_that_point_to_it(
    world: World, alice: User, content: dict[str, Any], errcode: str
) -> None:
    await alice.creates_room(room_alias_name="other")
    room = await alice.creates_room()
    ok(await alice.put(path("#pub:hs1"), {"room_id": room}))
    before = await footprint(world)

    refused(await alice.put(f"/rooms/{q(room)}/state/m.room.canonical_alias", content), 400, errcode)

    assert await footprint(world) == before


async def test_what_is_published_already_is_not_checked_again(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob, room_alias_name="own")
    await bob.joins(room)
    ok(await bob.put(path("#bobs:hs1"), {"room_id": room}))
    await alice.sets(room, "m.room.canonical_alias", {"alias": "#bobs:hs1"})
    ok(await bob.delete(path("#bobs:hs1")))

    await alice.sets(room, "m.room.canonical_alias", {"alias": "#own:hs1", "alt_aliases": ["#bobs:hs1"]})
    await alice.sets(room, "m.room.canonical_alias", {"alias": None})
    refused(
        await alice.put(f"/rooms/{q(room)}/state/m.room.canonical_alias", {"alias": "#bobs:hs1"}), 400, "M_BAD_ALIAS"
    )
