"""https://spec.matrix.org/v1.19/client-server-api/#room-upgrades."""

from typing import Any

import pytest

from federation.core.room_versions import ROOM_VERSIONS
from tests.support.footprint import footprint
from tests.support.state import content_of, member, membership, state_of, timeline
from tests.support.world import User, World, ok, q, refused

VERSIONS = list(ROOM_VERSIONS)


async def upgrade(user: User, room: str, version: str = "12", **body: Any) -> str:
    """Upgrade a room; return the new one."""
    return str(ok(await user.post(f"/rooms/{q(room)}/upgrade", {"new_version": version, **body}))["replacement_room"])


@pytest.mark.parametrize("old", VERSIONS)
async def test_a_room_of_every_version_is_upgraded_to_the_newest(alice: User, bob: User, old: str) -> None:
    await _check_upgrade(alice, bob, old, "12")


@pytest.mark.parametrize("new", VERSIONS)
async def test_a_room_is_upgraded_to_every_version(alice: User, bob: User, new: str) -> None:
    await _check_upgrade(alice, bob, "12", new)


async def _check_upgrade(alice: User, bob: User, old: str, new: str) -> None:
    room = await alice.creates_room(bob, room_version=old, name="Old", topic="T")
    await bob.joins(room)

    replacement = await upgrade(alice, room, new)

    before, after = await state_of(alice, room), await state_of(alice, replacement)
    assert before["m.room.tombstone", ""]["content"]["replacement_room"] == replacement
    create = after["m.room.create", ""]["content"]
    assert create["room_version"] == new
    assert create["predecessor"]["room_id"] == room
    assert create["predecessor"]["event_id"] in {event["event_id"] for event in await timeline(alice, room)}
    assert after["m.room.name", ""]["content"] == {"name": "Old"}
    assert after["m.room.topic", ""]["content"]["topic"] == "T"
    for event_type in ("m.room.join_rules", "m.room.history_visibility", "m.room.guest_access"):
        assert after[event_type, ""]["content"] == before[event_type, ""]["content"]
    # The upgrader can do there what they could do before.
    await alice.sets(replacement, "m.room.server_acl", {"allow": ["*"]})
    await alice.sets(replacement, "m.room.tombstone", {"body": "over", "replacement_room": "!x:hs1"})
    # In the old room nobody speaks.
    message = {"msgtype": "m.text", "body": "?"}
    refused(await bob.put(f"/rooms/{q(room)}/send/m.room.message/1", message), 403, "M_FORBIDDEN")


async def test_where_it_can_the_predecessor_names_the_tombstone(alice: User) -> None:
    room = await alice.creates_room(room_version="10")

    replacement = await upgrade(alice, room, "11")

    tombstone = (await state_of(alice, room))["m.room.tombstone", ""]["event_id"]
    predecessor = (await content_of(alice, replacement, "m.room.create"))["predecessor"]
    assert predecessor == {"room_id": room, "event_id": tombstone}


async def test_power_levels_move_to_a_version_that_knows_creators(alice: User, bob: User) -> None:
    users = {alice.user_id: 100, bob.user_id: 100, "@carol:elsewhere": 50}
    room = await alice.creates_room(
        bob, room_version="9", power_level_content_override={"users": users, "kick": "30", "events": {"org.x": " 7 "}}
    )
    await bob.joins(room)

    replacement = await upgrade(bob, room, "12")

    levels = await content_of(bob, replacement, "m.room.power_levels")
    assert levels["users"] == {alice.user_id: 100, "@carol:elsewhere": 50}
    assert levels["kick"] == 30
    assert levels["events"]["org.x"] == 7
    assert levels["events"]["m.room.tombstone"] > max(100, levels["state_default"])


async def test_additional_creators_are_those_that_the_upgrade_names(alice: User, bob: User) -> None:
    room = await alice.creates_room(
        bob, preset="trusted_private_chat", power_level_content_override={"users": {"@carol:elsewhere": 50}}
    )
    await bob.joins(room)

    without = await upgrade(alice, room)
    assert "additional_creators" not in await content_of(alice, without, "m.room.create")
    named = await upgrade(alice, room, additional_creators=["@carol:elsewhere"])
    assert (await content_of(alice, named, "m.room.create"))["additional_creators"] == ["@carol:elsewhere"]
    assert (await content_of(alice, named, "m.room.power_levels"))["users"] == {}


async def test_before_version_12_additional_creators_are_not_looked_at(alice: User) -> None:
    room = await alice.creates_room()

    replacement = await upgrade(alice, room, "11", additional_creators=["nonsense"])

    assert "additional_creators" not in await content_of(alice, replacement, "m.room.create")


async def test_who_stood_above_all_as_creator_keeps_enough_in_an_older_version(alice: User) -> None:
    room = await alice.creates_room(room_version="12")

    replacement = await upgrade(alice, room, "11")

    levels = await content_of(alice, replacement, "m.room.power_levels")
    assert levels["users"][alice.user_id] == levels["events"]["m.room.tombstone"]


async def test_a_moderator_who_may_upgrade_is_a_moderator_in_the_new_room(alice: User, bob: User) -> None:
    override = {"users": {alice.user_id: 100, bob.user_id: 50}, "events": {"m.room.tombstone": 50}}
    room = await alice.creates_room(bob, room_version="10", power_level_content_override=override)
    await bob.joins(room)

    replacement = await upgrade(bob, room, "11")

    levels = await content_of(bob, replacement, "m.room.power_levels")
    assert levels["users"] == override["users"]
    assert await content_of(bob, replacement, "m.room.history_visibility") == {"history_visibility": "shared"}


async def test_the_old_room_is_closed_for_all_but_moderators(alice: User) -> None:
    override = {"users_default": 60, "invite": 10}
    room = await alice.creates_room(room_version="11", power_level_content_override=override)

    await upgrade(alice, room)

    levels = await content_of(alice, room, "m.room.power_levels")
    assert (levels["events_default"], levels["invite"]) == (61, 61)


async def test_aliases_and_publication_move(alice: User) -> None:
    room = await alice.creates_room(room_alias_name="pub", visibility="public", room_version="11")
    ok(await alice.put(f"/directory/room/{q('#bar:hs1')}", {"room_id": room}))
    await alice.sets(room, "m.room.canonical_alias", {"alias": "#pub:hs1", "alt_aliases": ["#bar:hs1"]})

    replacement = await upgrade(alice, room)

    assert ok(await alice.get(f"/directory/room/{q('#pub:hs1')}"))["room_id"] == replacement
    assert ok(await alice.get(f"/rooms/{q(replacement)}/aliases")) == {"aliases": ["#bar:hs1", "#pub:hs1"]}
    assert await content_of(alice, replacement, "m.room.canonical_alias") == {
        "alias": "#pub:hs1",
        "alt_aliases": ["#bar:hs1"],
    }
    assert await content_of(alice, room, "m.room.canonical_alias") == {"alt_aliases": []}
    assert [shown["room_id"] for shown in ok(await alice.get("/publicRooms"))["chunk"]] == [replacement]


async def test_the_banned_stay_banned(alice: User, bob: User) -> None:
    room = await alice.creates_room(preset="public_chat", room_version="10")
    ok(await alice.post(f"/rooms/{q(room)}/ban", {"user_id": bob.user_id, "reason": "spam"}))

    replacement = await upgrade(alice, room)

    assert await member(alice, replacement, bob) == {"membership": "ban", "reason": "spam"}
    refused(await bob.post(f"/join/{q(replacement)}"), 403, "M_FORBIDDEN")


async def test_other_members_and_unknown_state_do_not_move(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob, initial_state=[{"type": "org.example.secret", "content": {"a": 1}}])
    await bob.joins(room)

    replacement = await upgrade(alice, room)

    assert await membership(alice, replacement, bob) is None
    assert await content_of(alice, replacement, "org.example.secret") is None


async def test_a_space_keeps_its_type_its_borders_and_its_rooms(alice: User) -> None:
    space = await alice.creates_room(creation_content={"type": "m.space", "m.federate": False, "org.x": 1})
    child = await alice.creates_room()
    await alice.sets(space, "m.space.child", {"via": ["hs1"], "suggested": True}, child)
    await alice.sets(space, "m.space.child", {}, "!removed:hs1")

    replacement = await upgrade(alice, space, "11")

    create = await content_of(alice, replacement, "m.room.create")
    assert (create["type"], create["m.federate"], "org.x" in create) == ("m.space", False, False)
    assert await content_of(alice, replacement, "m.space.child", child) == {"via": ["hs1"], "suggested": True}
    assert await content_of(alice, replacement, "m.space.child", "!removed:hs1") is None


@pytest.mark.parametrize(
    ("rule", "version", "becomes"),
    [
        ("restricted", "8", "restricted"),
        ("restricted", "7", "invite"),
        ("knock_restricted", "10", "knock_restricted"),
        ("knock_restricted", "9", "invite"),
        ("knock", "7", "knock"),
        ("knock", "6", "invite"),
        ("public", "1", "public"),
    ],
)
async def test_a_join_rule_that_the_version_does_not_know_becomes_invite(
    alice: User, rule: str, version: str, becomes: str
) -> None:
    state = [{"type": "m.room.join_rules", "content": {"join_rule": rule, "allow": []}}]
    room = await alice.creates_room(initial_state=state)

    replacement = await upgrade(alice, room, version)

    assert (await content_of(alice, replacement, "m.room.join_rules"))["join_rule"] == becomes


async def test_fractions_of_old_rooms_are_cut_off(alice: User) -> None:
    avatar = {"url": "mxc://hs1/a", "info": {"w": 64.5, "list": [1.5, {"x": 2.0}]}}
    room = await alice.creates_room(room_version="5", initial_state=[{"type": "m.room.avatar", "content": avatar}])

    replacement = await upgrade(alice, room)

    assert await content_of(alice, replacement, "m.room.avatar") == {
        "url": "mxc://hs1/a",
        "info": {"w": 64, "list": [1, {"x": 2}]},
    }


@pytest.mark.parametrize(
    ("body", "errcode"),
    [
        ({}, "M_MISSING_PARAM"),
        ({"new_version": 12}, "M_BAD_JSON"),
        ({"new_version": "99"}, "M_UNSUPPORTED_ROOM_VERSION"),
        ({"new_version": "12", "additional_creators": "@bob:hs1"}, "M_BAD_JSON"),
        ({"new_version": "12", "additional_creators": ["bob"]}, "M_BAD_JSON"),
        ({"new_version": "12", "additional_creators": [7]}, "M_BAD_JSON"),
    ],
)
async def test_a_bad_upgrade_changes_nothing(world: World, alice: User, body: dict[str, Any], errcode: str) -> None:
    room = await alice.creates_room(room_alias_name="pub", visibility="public")
    before = await footprint(world)

    refused(await alice.post(f"/rooms/{q(room)}/upgrade", body), 400, errcode)

    assert await footprint(world) == before


async def test_who_may_not_send_tombstones_upgrades_nothing(world: World, alice: User, bob: User) -> None:
    room = await alice.creates_room(bob)
    before = await footprint(world)

    refused(await bob.post(f"/rooms/{q(room)}/upgrade", {"new_version": "12"}), 403, "M_FORBIDDEN")
    assert await footprint(world) == before

    await bob.joins(room)
    before = await footprint(world)
    refused(await bob.post(f"/rooms/{q(room)}/upgrade", {"new_version": "12"}), 403, "M_FORBIDDEN")
    refused(await bob.post("/rooms/!none:hs1/upgrade", {"new_version": "12"}), 403, "M_FORBIDDEN")
    assert await footprint(world) == before


async def test_what_people_have_set_for_the_old_room_goes_with_them_into_the_new_one(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob, preset="public_chat")
    await bob.joins(room)
    mute = {"conditions": [{"kind": "event_match", "key": "room_id", "pattern": room}], "actions": []}
    for person in (alice, bob):
        ok(await person.put(f"/user/{person.user_id}/rooms/{q(room)}/tags/m.favourite", {"order": 0.5}))
        ok(await person.put(f"/pushrules/global/override/{q(room)}", mute))
        ok(await person.put(f"/pushrules/global/room/{q(room)}", {"actions": ["notify"]}))
        ok(await person.put(f"/user/{person.user_id}/account_data/m.direct", {"@x:hs1": [room], "@y:hs1": "?"}))

    new = await upgrade(alice, room)
    await bob.joins(new)

    for person in (alice, bob):
        tags = ok(await person.get(f"/user/{person.user_id}/rooms/{q(new)}/tags"))["tags"]
        assert tags == {"m.favourite": {"order": 0.5}}
        rule = ok(await person.get(f"/pushrules/global/override/{q(new)}"))
        assert rule["conditions"] == [{"kind": "event_match", "key": "room_id", "pattern": new}]
        assert ok(await person.get(f"/pushrules/global/room/{q(new)}"))["actions"] == ["notify"]
        direct = ok(await person.get(f"/user/{person.user_id}/account_data/m.direct"))
        assert direct == {"@x:hs1": [room, new], "@y:hs1": "?"}


async def test_a_room_that_only_claims_to_replace_another_gets_no_settings(alice: User, bob: User) -> None:
    room = await alice.creates_room(bob, preset="public_chat")
    await bob.joins(room)
    ok(await bob.put(f"/user/{bob.user_id}/rooms/{q(room)}/tags/m.favourite"))
    claim = {"predecessor": {"room_id": room, "event_id": "$x"}}
    false = await alice.creates_room(preset="public_chat", creation_content=claim)

    await bob.joins(false)

    assert ok(await bob.get(f"/user/{bob.user_id}/rooms/{q(false)}/tags")) == {"tags": {}}
