"""Profiles: https://spec.matrix.org/v1.19/client-server-api/#profiles."""

from typing import Any

import pytest

from tests.support.world import User, World, ok, q, refused

AVATAR = "mxc://hs1/SDGdghriugerRg"


def path(user: User, key: str | None = None) -> str:
    return f"/profile/{q(user.user_id)}" + (f"/{key}" if key is not None else "")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("displayname", "Alice Margatroid"),
        ("avatar_url", AVATAR),
        ("m.tz", "Europe/London"),
        ("org.example.language", ["en", {"level": 5}]),
        ("org.example-2.a_b", None),
        ("pronouns", "she"),
    ],
)
async def test_a_field_is_set_read_and_deleted(alice: User, bob: User, key: str, value: Any) -> None:
    refused(await alice.get(path(alice, key)), 404, "M_NOT_FOUND")
    assert await alice.put(path(alice, key), {key: value}) == (200, {})
    assert await bob.get(path(alice, key)) == (200, {key: value})
    assert await alice.delete(path(alice, key)) == (200, {})
    assert await alice.delete(path(alice, key)) == (200, {})
    refused(await bob.get(path(alice, key)), 404, "M_NOT_FOUND")


async def test_a_profile_is_read_whole_and_without_logging_in(world: World, alice: User) -> None:
    whole = "/_matrix/client/v3" + path(alice)
    assert await world.request("GET", whole) == (200, {})
    ok(await alice.put(path(alice, "displayname"), {"displayname": "Alice"}))
    ok(await alice.put(path(alice, "org.example.x"), {"org.example.x": {"a": 1}}))
    assert await world.request("GET", whole) == (200, {"displayname": "Alice", "org.example.x": {"a": 1}})


async def test_an_empty_name_or_avatar_is_none(alice: User) -> None:
    for key, value in (("displayname", "Alice"), ("avatar_url", AVATAR)):
        ok(await alice.put(path(alice, key), {key: value}))
        ok(await alice.put(path(alice, key), {key: ""}))
    assert ok(await alice.get(path(alice))) == {}


async def test_users_whom_nobody_knows_have_no_profile(alice: User) -> None:
    refused(await alice.get("/profile/@nobody:hs1"), 404, "M_NOT_FOUND")
    refused(await alice.get("/profile/@nobody:hs1/displayname"), 404, "M_NOT_FOUND")


async def test_a_profile_is_not_to_be_had_from_a_server_that_is_not_there(alice: User) -> None:
    refused(await alice.get("/profile/@somebody:elsewhere.invalid"), 502, "M_UNKNOWN")


async def test_nobody_changes_the_profile_of_another(alice: User, bob: User) -> None:
    refused(await bob.put(path(alice, "displayname"), {"displayname": "Bob's"}), 403, "M_FORBIDDEN")
    refused(await bob.delete(path(alice, "displayname")), 403, "M_FORBIDDEN")


@pytest.mark.parametrize(
    ("key", "body", "errcode"),
    [
        ("displayname", {}, "M_MISSING_PARAM"),
        ("displayname", {"avatar_url": AVATAR}, "M_MISSING_PARAM"),
        ("displayname", {"displayname": None}, "M_BAD_JSON"),
        ("displayname", {"displayname": 5}, "M_BAD_JSON"),
        ("displayname", {"displayname": "x" * 257}, "M_INVALID_PARAM"),
        ("avatar_url", {"avatar_url": "https://example.org/a.png"}, "M_INVALID_PARAM"),
        ("avatar_url", {"avatar_url": "mxc://hs1"}, "M_INVALID_PARAM"),
        ("m.tz", {"m.tz": 1}, "M_BAD_JSON"),
        ("Upper", {"Upper": 1}, "M_INVALID_PARAM"),
        ("1x", {"1x": 1}, "M_INVALID_PARAM"),
        ("a%20b", {"a b": 1}, "M_INVALID_PARAM"),
        ("a" * 256, {"a" * 256: 1}, "M_KEY_TOO_LARGE"),
        ("org.example.x", {"org.example.x": "x" * 65536}, "M_PROFILE_TOO_LARGE"),
    ],
)
async def test_what_is_no_field_is_refused(alice: User, key: str, body: dict[str, Any], errcode: str) -> None:
    refused(await alice.put(path(alice, key), body), 400, errcode)
    assert ok(await alice.get(path(alice))) == {}


async def test_a_whole_profile_is_bounded(alice: User) -> None:
    ok(await alice.put(path(alice, "org.example.a"), {"org.example.a": "x" * 40_000}))
    body = {"org.example.b": "x" * 40_000}
    refused(await alice.put(path(alice, "org.example.b"), body), 400, "M_PROFILE_TOO_LARGE")
    ok(await alice.put(path(alice, "org.example.a"), {"org.example.a": "small"}))
    ok(await alice.put(path(alice, "org.example.b"), body))


async def test_clients_that_take_it_for_a_proposal_are_answered_too(alice: User) -> None:
    old = f"/_matrix/client/unstable/uk.tcpip.msc4133/profile/{q(alice.user_id)}/org.example.x"
    ok(await alice.put(old, {"org.example.x": 1}))
    assert await alice.get(old) == (200, {"org.example.x": 1})
    assert await alice.get(path(alice, "org.example.x")) == (200, {"org.example.x": 1})
    ok(await alice.delete(old))


async def test_a_new_name_is_carried_into_all_rooms(alice: User, bob: User) -> None:
    rooms = [await alice.creates_room(bob) for _ in range(3)]
    await bob.joins(rooms[0])
    await bob.joins(rooms[1])
    ok(await bob.put(path(bob, "displayname"), {"displayname": "Robert"}))
    ok(await bob.put(path(bob, "avatar_url"), {"avatar_url": AVATAR}))

    for room in rooms[:2]:
        member = ok(await alice.get(f"/rooms/{q(room)}/state/m.room.member/{q(bob.user_id)}"))
        assert member == {"membership": "join", "displayname": "Robert", "avatar_url": AVATAR}
    invited = ok(await alice.get(f"/rooms/{q(rooms[2])}/state/m.room.member/{q(bob.user_id)}"))
    assert invited["membership"] == "invite"

    ok(await bob.delete(path(bob, "displayname")))
    member = ok(await alice.get(f"/rooms/{q(rooms[0])}/state/m.room.member/{q(bob.user_id)}"))
    assert member == {"membership": "join", "avatar_url": AVATAR}


async def test_setting_the_same_name_again_sends_nothing(alice: User) -> None:
    room = await alice.creates_room()
    ok(await alice.put(path(alice, "displayname"), {"displayname": "Alice"}))
    await alice.syncs()
    ok(await alice.put(path(alice, "displayname"), {"displayname": "Alice"}))
    assert room not in (await alice.syncs()).get("rooms", {}).get("join", {})


async def test_a_deactivated_user_has_no_profile(alice: User, bob: User) -> None:
    ok(await alice.put(path(alice, "displayname"), {"displayname": "Alice"}))
    body = {
        "auth": {
            "type": "m.login.password",
            "identifier": {"type": "m.id.user", "user": alice.user_id},
            "password": "correct horse battery",
        }
    }
    ok(await alice.post("/account/deactivate", body))
    refused(await bob.get(path(alice)), 404, "M_NOT_FOUND")
