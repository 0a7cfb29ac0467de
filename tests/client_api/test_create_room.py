"""https://spec.matrix.org/v1.19/client-server-api/#creation."""

from typing import Any

import pytest

from federation.core.room_versions import ROOM_VERSIONS
from tests.support.footprint import footprint
from tests.support.state import content_of, member, membership, state_of, timeline
from tests.support.world import SERVER_NAME, User, World, ok, refused

VERSIONS = list(ROOM_VERSIONS)


@pytest.mark.parametrize("version", VERSIONS)
async def test_a_room_of_every_version_begins_with_the_events_in_the_order_of_the_specification(
    alice: User, bob: User, version: str
) -> None:
    room = await alice.creates_room(
        bob, room_version=version, preset="public_chat", room_alias_name="pub", name="The Pub", topic="Hours",
        initial_state=[{"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}],
    )  # fmt: skip

    events = await timeline(alice, room)

    assert [event["type"] for event in events] == [
        "m.room.create", "m.room.member", "m.room.power_levels", "m.room.canonical_alias", "m.room.join_rules",
        "m.room.history_visibility", "m.room.guest_access", "m.room.encryption", "m.room.name", "m.room.topic",
        "m.room.member",
    ]  # fmt: skip
    assert events[0]["content"]["room_version"] == version
    assert events[1]["content"]["membership"] == "join"
    assert events[-1]["state_key"] == bob.user_id
    assert {event["sender"] for event in events} == {alice.user_id}


@pytest.mark.parametrize("version", VERSIONS)
async def test_the_creator_may_do_everything_in_a_room_of_every_version(alice: User, bob: User, version: str) -> None:
    room = await alice.creates_room(bob, room_version=version)
    await bob.joins(room)
    levels = await content_of(alice, room, "m.room.power_levels")

    await alice.sets(room, "m.room.power_levels", {**levels, "users": {**levels["users"], bob.user_id: 50}})
    await alice.sets(room, "m.room.name", {"name": "New"})
    await alice.sets(room, "m.room.tombstone", {"body": "over", "replacement_room": "!x:hs1"})

    assert (await content_of(bob, room, "m.room.power_levels"))["users"][bob.user_id] == 50


async def test_the_version_is_the_configured_one_unless_another_is_asked_for(alice: User) -> None:
    usual = await state_of(alice, await alice.creates_room())
    asked = await state_of(alice, await alice.creates_room(room_version="9"))

    assert usual["m.room.create", ""]["content"]["room_version"] == "12"
    assert asked["m.room.create", ""]["content"]["room_version"] == "9"


async def test_since_version_12_the_room_id_is_that_of_the_create_event(alice: User) -> None:
    new, old = await alice.creates_room(room_version="12"), await alice.creates_room(room_version="11")

    create = (await state_of(alice, new))["m.room.create", ""]
    assert new == "!" + create["event_id"][1:]
    assert old.endswith(f":{SERVER_NAME}")


async def test_two_equal_rooms_made_at_once_are_two_rooms(alice: User) -> None:
    import asyncio

    made = await asyncio.gather(*(alice.creates_room() for _ in range(8)))

    assert len(set(made)) == 8


@pytest.mark.parametrize(
    ("version", "creator_is_named"), [(version, ROOM_VERSIONS[version].creator_in_content) for version in VERSIONS]
)
async def test_the_create_event_names_its_creator_where_the_version_wants_it(
    alice: User, version: str, creator_is_named: bool
) -> None:
    room = await alice.creates_room(
        room_version=version,
        creation_content={"creator": "@mallory:hs1", "room_version": "3", "org.example": [1]},
    )

    content = await content_of(alice, room, "m.room.create")
    expected = {"room_version": version, "org.example": [1]}
    assert content == ({**expected, "creator": alice.user_id} if creator_is_named else expected)


@pytest.mark.parametrize(
    ("preset", "join_rule", "guest_access"),
    [
        ("private_chat", "invite", "can_join"),
        ("trusted_private_chat", "invite", "can_join"),
        ("public_chat", "public", "forbidden"),
    ],
)
async def test_a_preset_sets_the_rules(alice: User, preset: str, join_rule: str, guest_access: str) -> None:
    room = await alice.creates_room(preset=preset)

    assert await content_of(alice, room, "m.room.join_rules") == {"join_rule": join_rule}
    assert await content_of(alice, room, "m.room.history_visibility") == {"history_visibility": "shared"}
    assert await content_of(alice, room, "m.room.guest_access") == {"guest_access": guest_access}


@pytest.mark.parametrize(("visibility", "join_rule"), [("public", "public"), ("private", "invite"), (None, "invite")])
async def test_without_a_preset_the_visibility_says_which(alice: User, visibility: str | None, join_rule: str) -> None:
    room = await alice.creates_room(**({} if visibility is None else {"visibility": visibility}))

    assert (await content_of(alice, room, "m.room.join_rules"))["join_rule"] == join_rule


async def test_a_private_preset_may_be_listed_and_a_public_one_not(alice: User) -> None:
    listed = await alice.creates_room(visibility="public", preset="private_chat")
    hidden = await alice.creates_room(visibility="private", preset="public_chat")

    chunk = ok(await alice.get("/publicRooms"))["chunk"]
    assert [room["room_id"] for room in chunk] == [listed]
    assert (await content_of(alice, listed, "m.room.join_rules"))["join_rule"] == "invite"
    assert (await content_of(alice, hidden, "m.room.join_rules"))["join_rule"] == "public"


async def test_initial_state_takes_the_place_of_what_the_preset_says(alice: User) -> None:
    room = await alice.creates_room(
        preset="public_chat",
        initial_state=[
            {"type": "m.room.join_rules", "content": {"join_rule": "knock"}},
            {"type": "org.example.a", "state_key": "x", "content": {"n": 1}},
            {"type": "org.example.a", "state_key": "y", "content": {"n": 2}},
        ],
    )

    assert await content_of(alice, room, "m.room.join_rules") == {"join_rule": "knock"}
    assert await content_of(alice, room, "org.example.a", "y") == {"n": 2}
    assert [event["type"] for event in await timeline(alice, room)].count("m.room.join_rules") == 1


async def test_name_and_topic_take_the_place_of_those_in_the_initial_state(alice: User) -> None:
    room = await alice.creates_room(
        name="Right",
        topic="Right topic",
        initial_state=[
            {"type": "m.room.name", "content": {"name": "Wrong"}},
            {"type": "m.room.topic", "content": {"topic": "Wrong"}},
        ],
    )

    assert await content_of(alice, room, "m.room.name") == {"name": "Right"}
    topic = await content_of(alice, room, "m.room.topic")
    assert topic["topic"] == "Right topic"
    assert topic["m.topic"] == {"m.text": [{"body": "Right topic", "mimetype": "text/plain"}]}


async def test_the_override_is_laid_over_the_power_levels(alice: User) -> None:
    room = await alice.creates_room(power_level_content_override={"events_default": 100, "events": {"org.x": 7}})

    levels = await content_of(alice, room, "m.room.power_levels")
    assert levels["events_default"] == 100
    assert levels["events"] == {"org.x": 7}
    assert levels["state_default"] == 50


@pytest.mark.parametrize("version", VERSIONS)
async def test_only_the_creator_may_set_state_at_first(alice: User, bob: User, version: str) -> None:
    room = await alice.creates_room(bob, room_version=version)
    await bob.joins(room)

    refused(await bob.put(f"/rooms/{room}/state/m.room.name/", {"name": "Bob's"}), 403, "M_FORBIDDEN")


@pytest.mark.parametrize("version", ["1", "6", "11"])
async def test_in_a_trusted_private_chat_everybody_invited_is_as_powerful_as_the_creator(
    alice: User, bob: User, version: str
) -> None:
    room = await alice.creates_room(bob, preset="trusted_private_chat", room_version=version)

    levels = await content_of(alice, room, "m.room.power_levels")
    assert levels["users"] == {alice.user_id: 100, bob.user_id: 100}


async def test_in_a_trusted_private_chat_everybody_invited_is_a_creator_since_version_12(
    world: World, alice: User, bob: User
) -> None:
    carol = await world.user("carol")
    room = await alice.creates_room(
        bob, carol, preset="trusted_private_chat", room_version="12",
        creation_content={"additional_creators": ["@dave:elsewhere", bob.user_id]},
    )  # fmt: skip

    create = await content_of(alice, room, "m.room.create")
    assert create["additional_creators"] == ["@dave:elsewhere", bob.user_id, carol.user_id]
    assert (await content_of(alice, room, "m.room.power_levels"))["users"] == {}
    await bob.joins(room)
    await bob.sets(room, "m.room.tombstone", {"body": "over", "replacement_room": "!x:hs1"})


async def test_the_creators_are_nowhere_in_the_power_levels_since_version_12(alice: User) -> None:
    room = await alice.creates_room(room_version="12")

    levels = await content_of(alice, room, "m.room.power_levels")
    assert levels["users"] == {}
    assert levels["events"]["m.room.tombstone"] > max(levels["state_default"], 100)


async def test_before_version_12_additional_creators_mean_nothing(alice: User) -> None:
    room = await alice.creates_room(room_version="11", creation_content={"additional_creators": "anything"})

    assert (await content_of(alice, room, "m.room.create"))["additional_creators"] == "anything"


async def test_invited_users_are_told_that_it_is_direct(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob, is_direct=True)

    assert await member(alice, room, bob) == {"membership": "invite", "is_direct": True}
    assert "is_direct" not in await member(alice, room, alice)


async def test_an_alias_belongs_to_the_new_room_and_is_its_canonical_one(alice: User) -> None:
    room = await alice.creates_room(room_alias_name="Größe")

    assert await content_of(alice, room, "m.room.canonical_alias") == {"alias": f"#Größe:{SERVER_NAME}"}
    found = ok(await alice.get("/directory/room/%23Gr%C3%B6%C3%9Fe%3Ahs1"))
    assert found == {"room_id": room, "servers": [SERVER_NAME]}


async def test_a_space_is_a_room_with_that_type(alice: User) -> None:
    room = await alice.creates_room(creation_content={"type": "m.space", "m.federate": False})

    content = await content_of(alice, room, "m.room.create")
    assert (content["type"], content["m.federate"]) == ("m.space", False)


async def test_members_bear_their_names(alice: User, bob: User) -> None:
    ok(await alice.put(f"/profile/{alice.user_id}/displayname", {"displayname": "Alice"}))
    ok(await bob.put(f"/profile/{bob.user_id}/avatar_url", {"avatar_url": "mxc://hs1/bob"}))

    room = await alice.creates_room(bob)

    assert await member(alice, room, alice) == {"membership": "join", "displayname": "Alice"}
    assert await member(alice, room, bob) == {"membership": "invite", "avatar_url": "mxc://hs1/bob"}


async def test_a_taken_alias_makes_no_room(world: World, alice: User, bob: User) -> None:
    await alice.creates_room(room_alias_name="pub")
    before = await footprint(world)

    refused(await bob.post("/createRoom", {"room_alias_name": "pub"}), 400, "M_ROOM_IN_USE")

    assert await footprint(world) == before


@pytest.mark.parametrize(
    ("body", "status", "errcode"),
    [
        ({"preset": "secret_chat"}, 400, "M_BAD_JSON"),
        ({"preset": 1}, 400, "M_BAD_JSON"),
        ({"visibility": "hidden"}, 400, "M_BAD_JSON"),
        ({"visibility": None}, 400, "M_BAD_JSON"),
        ({"name": 1}, 400, "M_BAD_JSON"),
        ({"topic": ["x"]}, 400, "M_BAD_JSON"),
        ({"is_direct": "yes"}, 400, "M_BAD_JSON"),
        ({"invite": "@bob:hs1"}, 400, "M_BAD_JSON"),
        ({"invite": ["bob"]}, 400, "M_BAD_JSON"),
        ({"invite": [1]}, 400, "M_BAD_JSON"),
        ({"invite": ["@nobody:hs1"]}, 404, "M_NOT_FOUND"),
        ({"invite": ["@alice:hs1"]}, 400, "M_INVALID_ROOM_STATE"),
        ({"invite_3pid": [{"id_server": "vector.im", "id_access_token": "t", "medium": "email", "address": "a@b"}]},
         403, "M_SERVER_NOT_TRUSTED"),
        ({"invite_3pid": [{"medium": "email"}]}, 400, "M_MISSING_PARAM"),
        ({"room_version": "13"}, 400, "M_UNSUPPORTED_ROOM_VERSION"),
        ({"room_version": "org.example.own"}, 400, "M_UNSUPPORTED_ROOM_VERSION"),
        ({"room_version": 11}, 400, "M_BAD_JSON"),
        ({"room_version": ""}, 400, "M_UNSUPPORTED_ROOM_VERSION"),
        ({"room_alias_name": "two words"}, 400, "M_INVALID_PARAM"),
        ({"room_alias_name": ""}, 400, "M_INVALID_PARAM"),
        ({"room_alias_name": "a:b"}, 400, "M_INVALID_PARAM"),
        ({"room_alias_name": "a" * 300}, 400, "M_INVALID_PARAM"),
        ({"room_alias_name": 7}, 400, "M_BAD_JSON"),
        ({"creation_content": "x"}, 400, "M_BAD_JSON"),
        ({"creation_content": {"m.federate": "no"}}, 400, "M_BAD_JSON"),
        ({"creation_content": {"type": 3}}, 400, "M_BAD_JSON"),
        ({"creation_content": {"predecessor": "!x:y"}}, 400, "M_BAD_JSON"),
        ({"room_version": "12", "creation_content": {"additional_creators": "@b:c"}}, 400, "M_BAD_JSON"),
        ({"room_version": "12", "creation_content": {"additional_creators": ["b"]}}, 400, "M_BAD_JSON"),
        ({"room_version": "12", "creation_content": {"additional_creators": [None]}}, 400, "M_BAD_JSON"),
        ({"room_version": "12", "power_level_content_override": {"users": {"@alice:hs1": 100}}},
         400, "M_INVALID_ROOM_STATE"),
        ({"room_version": "11", "power_level_content_override": {"users": {"@alice:hs1": 0}}, "name": "x"},
         400, "M_INVALID_ROOM_STATE"),
        ({"power_level_content_override": {"state_default": "high"}}, 400, "M_INVALID_ROOM_STATE"),
        ({"power_level_content_override": {"state_default": 1.5}}, 400, "M_BAD_JSON"),
        ({"power_level_content_override": []}, 400, "M_BAD_JSON"),
        ({"initial_state": {}}, 400, "M_BAD_JSON"),
        ({"initial_state": [{"type": "m.room.name"}]}, 400, "M_MISSING_PARAM"),
        ({"initial_state": [{"content": {}}]}, 400, "M_MISSING_PARAM"),
        ({"initial_state": [{"type": "a", "content": {}, "state_key": 1}]}, 400, "M_BAD_JSON"),
        ({"initial_state": [{"type": "m.room.create", "content": {}}]}, 400, "M_INVALID_ROOM_STATE"),
        ({"initial_state": [{"type": "m.room.member", "state_key": "@bob:hs1", "content": {"membership": "join"}}]},
         400, "M_INVALID_ROOM_STATE"),
        ({"initial_state": [{"type": "m.room.canonical_alias", "content": {"alias": "#no:hs1"}}]}, 400, "M_BAD_ALIAS"),
        ({"initial_state": [{"type": "a", "content": {"f": 0.5}}]}, 400, "M_BAD_JSON"),
        ({"initial_state": [{"type": "a", "content": {"f": "x" * 66000}}]}, 413, "M_TOO_LARGE"),
        ({"name": "x" * 66000}, 413, "M_TOO_LARGE"),
    ],
)  # fmt: skip
async def test_a_room_that_cannot_be_leaves_nothing_behind(
    world: World, alice: User, bob: User, body: dict[str, Any], status: int, errcode: str
) -> None:
    before = await footprint(world)

    refused(await alice.post("/createRoom", body), status, errcode)

    assert await footprint(world) == before


async def test_whoever_takes_no_invites_is_not_invited_by_making_a_room(world: World, alice: User, bob: User) -> None:
    ok(await bob.put(f"/user/{bob.user_id}/account_data/m.invite_permission_config", {"default_action": "block"}))
    before = await footprint(world)

    refused(await alice.post("/createRoom", {"invite": [bob.user_id]}), 403, "M_INVITE_BLOCKED")

    assert await footprint(world) == before


async def test_making_a_room_needs_a_token(world: World) -> None:
    refused(await world.request("POST", "/_matrix/client/v3/createRoom", {}), 401, "M_MISSING_TOKEN")


async def test_the_same_user_is_invited_once_however_often_they_are_named(alice: User, bob: User) -> None:
    room = ok(await alice.post("/createRoom", {"invite": [bob.user_id, bob.user_id]}))["room_id"]

    assert await membership(alice, room, bob) == "invite"
