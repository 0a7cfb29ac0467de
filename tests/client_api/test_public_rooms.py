"""https://spec.matrix.org/v1.19/client-server-api/#published-room-directory."""

from typing import Any

import pytest

from tests.support.footprint import footprint
from tests.support.people import administrator
from tests.support.world import User, World, ok, q, refused

LISTING = "/_matrix/client/v3/publicRooms"


def names(page: Any) -> list[str]:
    """Return the names of the rooms on a page."""
    return [room.get("name", "") for room in page["chunk"]]


async def listed(alice: User, *others: User, **body: Any) -> str:
    """Return a room of Alice's that is in the list, and that others have joined."""
    room = await alice.creates_room(**{"visibility": "public", **body})
    for other in others:
        await other.joins(room)
    return room


async def test_a_room_is_listed_with_what_there_is_to_know(alice: User, bob: User) -> None:
    room = await listed(
        alice, bob, name="The Pub", topic="Hours", room_alias_name="pub", creation_content={"type": "m.space"},
        initial_state=[
            {"type": "m.room.avatar", "content": {"url": "mxc://hs1/a"}},
            {"type": "m.room.history_visibility", "content": {"history_visibility": "world_readable"}},
            {"type": "m.room.guest_access", "content": {"guest_access": "can_join"}},
        ],
    )  # fmt: skip

    assert ok(await alice.get("/publicRooms")) == {
        "chunk": [
            {
                "room_id": room, "name": "The Pub", "topic": "Hours", "canonical_alias": "#pub:hs1",
                "avatar_url": "mxc://hs1/a", "join_rule": "public", "room_type": "m.space", "num_joined_members": 2,
                "world_readable": True, "guest_can_join": True,
            }
        ],
        "total_room_count_estimate": 1,
    }  # fmt: skip


async def test_what_a_room_does_not_say_is_left_out(alice: User) -> None:
    room = await listed(alice, initial_state=[
        {"type": "m.room.topic", "content": {"topic": "old", "m.topic": {"m.text": [
            {"mimetype": "text/html", "body": "<b>rich</b>"}, {"body": "plain"}]}}},
        {"type": "m.room.avatar", "content": {"url": 5}},
    ])  # fmt: skip

    (shown,) = ok(await alice.get("/publicRooms"))["chunk"]

    assert shown == {
        "room_id": room, "topic": "plain", "join_rule": "public", "num_joined_members": 1, "world_readable": False,
        "guest_can_join": False,
    }  # fmt: skip


async def test_anyone_may_look_at_the_list_without_an_account(world: World, alice: User) -> None:
    await listed(alice, name="A")

    assert names(ok(await world.request("GET", LISTING))) == ["A"]
    refused(await world.request("POST", LISTING, {}), 401, "M_MISSING_TOKEN")


async def test_the_largest_rooms_come_first_page_by_page_in_both_directions(
    world: World, alice: User, bob: User
) -> None:
    carol = await world.user("carol")
    for name, others in (("1a", ()), ("1b", ()), ("3", (bob, carol)), ("2a", (bob,)), ("2b", (carol,))):
        await listed(alice, *others, name=name)

    first = ok(await alice.get("/publicRooms", limit=2))
    second = ok(await alice.get("/publicRooms", limit=2, since=first["next_batch"]))
    third = ok(await alice.get("/publicRooms", limit=2, since=second["next_batch"]))
    back = ok(await alice.get("/publicRooms", limit=2, since=third["prev_batch"]))
    start = ok(await alice.get("/publicRooms", limit=2, since=back["prev_batch"]))

    assert [names(page) for page in (first, second, third)] == [["3", "2a"], ["2b", "1a"], ["1b"]]
    assert "prev_batch" not in first
    assert "next_batch" not in third
    assert (names(back), names(start)) == (names(second), names(first))
    assert {page["total_room_count_estimate"] for page in (first, second, third)} == {5}


async def test_a_room_that_vanishes_between_two_pages_hides_no_other(alice: User) -> None:
    rooms = [await listed(alice, name=name) for name in ("a", "b", "c")]
    first = ok(await alice.get("/publicRooms", limit=2))
    ok(await alice.put(f"/directory/list/room/{q(rooms[0])}", {"visibility": "private"}))

    assert names(ok(await alice.get("/publicRooms", limit=2, since=first["next_batch"]))) == ["c"]


@pytest.mark.parametrize(
    ("term", "found"),
    [("cheese", ["Cheese"]), ("TASTY", ["Cheese"]), ("#wine", ["Wine"]), ("straße", ["Straße"]),
     ("STRASSE", ["Straße"]), ("nothing", []), ("", ["Cheese", "Wine", "Straße"])],
)  # fmt: skip
async def test_one_searches_in_names_topics_and_addresses(alice: User, term: str, found: list[str]) -> None:
    await listed(alice, name="Cheese", topic="Tasty things")
    await listed(alice, name="Wine", room_alias_name="wine-lovers")
    await listed(alice, name="Straße")

    page = ok(await alice.post("/publicRooms", {"filter": {"generic_search_term": term}}))

    assert names(page) == found
    assert page["total_room_count_estimate"] == len(found)


@pytest.mark.parametrize(
    ("types", "found"),
    [(None, ["room", "space", "other"]), ([], []), ([None], ["room"]), (["m.space"], ["space"]),
     ([None, "m.space"], ["room", "space"]), (["org.unknown"], [])],
)  # fmt: skip
async def test_one_asks_for_rooms_of_some_types(alice: User, types: Any, found: list[str]) -> None:
    await listed(alice, name="room")
    await listed(alice, name="space", creation_content={"type": "m.space"})
    await listed(alice, name="other", creation_content={"type": "org.other"})

    page = ok(await alice.post("/publicRooms", {"filter": {"room_types": types}, "limit": 10}))

    assert names(page) == found


async def test_a_search_goes_on_from_page_to_page(alice: User) -> None:
    for name in ("wine 1", "beer", "wine 2"):
        await listed(alice, name=name)
    body = {"filter": {"generic_search_term": "wine"}, "limit": 1}

    first = ok(await alice.post("/publicRooms", body))
    second = ok(await alice.post("/publicRooms", {**body, "since": first["next_batch"]}))

    assert (names(first), names(second), second.get("next_batch")) == (["wine 1"], ["wine 2"], None)


async def test_a_room_of_a_network_that_nobody_bridges_is_not_found(alice: User) -> None:
    await listed(alice, name="a")

    assert ok(await alice.post("/publicRooms", {"third_party_instance_id": "irc"}))["chunk"] == []
    everything = {"third_party_instance_id": "irc", "include_all_networks": True}
    assert names(ok(await alice.post("/publicRooms", everything))) == ["a"]


async def test_a_moderator_or_an_administrator_lists_a_room(world: World, alice: User, bob: User) -> None:
    root = await administrator(world)
    room = await alice.creates_room(bob)
    await bob.joins(room)
    path = f"/directory/list/room/{q(room)}"
    assert ok(await world.request("GET", f"/_matrix/client/v3{path}")) == {"visibility": "private"}

    ok(await alice.put(path))
    assert ok(await bob.get(path)) == {"visibility": "public"}
    ok(await root.put(path, {"visibility": "private"}))
    assert ok(await bob.get(path)) == {"visibility": "private"}


async def test_others_list_no_room(world: World, alice: User, bob: User) -> None:
    room, carol = await alice.creates_room(bob), await world.user("carol")
    await bob.joins(room)
    before = await footprint(world)

    refused(await bob.put(f"/directory/list/room/{q(room)}"), 403, "M_FORBIDDEN")
    refused(await carol.put(f"/directory/list/room/{q(room)}"), 403, "M_FORBIDDEN")

    assert await footprint(world) == before


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [({"visibility": "secret"}, 400, "M_BAD_JSON"), ({"visibility": 1}, 400, "M_BAD_JSON")],
)
async def test_a_bad_visibility_changes_nothing(
    world: World, alice: User, body: dict[str, Any], status: int, errcode: str
) -> None:
    room = await alice.creates_room()
    before = await footprint(world)

    refused(await alice.put(f"/directory/list/room/{q(room)}", body), status, errcode)

    assert await footprint(world) == before


async def test_a_room_that_is_not_here_has_no_visibility(alice: User) -> None:
    refused(await alice.get("/directory/list/room/!none:hs1"), 404, "M_NOT_FOUND")
    refused(await alice.put("/directory/list/room/!none:hs1"), 404, "M_NOT_FOUND")
    refused(await alice.get("/directory/list/room/none"), 400, "M_INVALID_PARAM")


@pytest.mark.parametrize(
    ("query", "status", "errcode"),
    [
        ({"limit": "many"}, 400, "M_INVALID_PARAM"),
        ({"limit": -1}, 400, "M_INVALID_PARAM"),
        ({"since": "s123"}, 400, "M_INVALID_PARAM"),
        ({"since": "n" + "9" * 40 + "_1"}, 400, "M_INVALID_PARAM"),
        ({"server": "elsewhere.invalid"}, 502, "M_UNKNOWN"),
        ({"server": "no server"}, 400, "M_INVALID_PARAM"),
    ],
)
async def test_a_bad_question_to_the_list_is_refused(
    alice: User, query: dict[str, Any], status: int, errcode: str
) -> None:
    refused(await alice.get("/publicRooms", **query), status, errcode)


@pytest.mark.parametrize(
    "body",
    [{"limit": "5"}, {"limit": -5}, {"since": 1}, {"filter": []}, {"filter": {"room_types": "m.space"}},
     {"filter": {"room_types": [1]}}, {"filter": {"generic_search_term": 1}}, {"include_all_networks": 1}],
)  # fmt: skip
async def test_a_bad_search_is_refused(alice: User, body: dict[str, Any]) -> None:
    refused(await alice.post("/publicRooms", body), 400, "M_BAD_JSON")


async def test_our_own_list_may_be_asked_for_by_name_and_zero_means_any_number(alice: User) -> None:
    await listed(alice, name="a")

    assert names(ok(await alice.get("/publicRooms", server="hs1", limit=0))) == ["a"]
