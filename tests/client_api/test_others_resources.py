"""What belongs to others: refused on every endpoint, in the same words whether it exists or not.

Every test walks the whole router, so that a new endpoint is tried too.
"""

from typing import Any

import pytest

from homeserver.http.routing import Auth, Endpoint
from tests.support.hostile import ENDPOINTS, Attacker, Reply
from tests.support.world import User, World, ok, q

MISSING_ROOM = "!" + "A" * 43
MISSING_EVENT = "$" + "B" * 43
MISSING_USER = "@nobody:hs1"
MISSING_DEVICE = "NOTHING"

# Profiles and presence are for everybody who may see a user; administration says by itself that it is refused.
PUBLIC_OF_USERS = ("/profile/", "/presence/")
# "The visibility of a given room in the server's published room directory" is told to everybody, as is that the room
# is not known: https://spec.matrix.org/v1.19/client-server-api/#get_matrixclientv3directorylistroomroomid
PUBLIC_OF_ROOMS = ("/directory/list/room/",)

# Whoever cannot join has to know why. The IDs of rooms cannot be guessed.
TELL_OF_ROOMS = ("join", "join_by_id", "knock")


def shape(reply: Reply, *texts: str) -> tuple[int, str]:
    """Return status and body, without what the request itself said."""
    body = str(reply.body)
    for text in texts:
        body = body.replace(text, "…")
    return reply.status, body


@pytest.fixture
async def mallory(world: World) -> Attacker:
    """Somebody who has an account, and nothing to do with Alice and her room."""
    return await Attacker.prepare(world)


async def test_a_room_of_others_is_as_if_it_did_not_exist(world: World, alice: User, mallory: Attacker) -> None:
    room = await alice.creates_room()
    said = await alice.says(room)
    for endpoint in ENDPOINTS:
        name = next((name for name in endpoint.names if name in ("room_id", "room_id_or_alias")), None)
        if name is None or any(part in endpoint.path for part in PUBLIC_OF_ROOMS):
            continue
        for event_id in (said, MISSING_EVENT):
            events = {"event_id": q(event_id)} if "event_id" in endpoint.names else {}
            there = await mallory.send(endpoint, path=mallory.path(endpoint, **{name: q(room)}, **events))
            missing = await mallory.send(endpoint, path=mallory.path(endpoint, **{name: q(MISSING_ROOM)}, **events))
            if endpoint.handler.__name__ == "get_in_room":
                assert there.status == missing.status == 404, there
            assert there.status in (403, 404), there
            if endpoint.handler.__name__ not in TELL_OF_ROOMS:
                assert shape(there, room, said) == shape(missing, MISSING_ROOM, said), f"{there}\n{missing}"
    await mallory.check_unchanged()


async def test_a_room_in_the_body_is_as_if_it_did_not_exist(world: World, alice: User, mallory: Attacker) -> None:
    room = await alice.creates_room()
    answers = []
    for room_id in (room, MISSING_ROOM):
        status, answer = await mallory.user.put(f"/directory/room/{q('#theirs:hs1')}", {"room_id": room_id})
        answers.append((status, str(answer).replace(room_id, "…")))
    assert answers[0] == answers[1]
    assert answers[0][0] in (403, 404)
    status, _ = await mallory.user.get(f"/directory/room/{q('#theirs:hs1')}")
    assert status == 404


async def test_an_event_of_another_room_is_as_if_it_did_not_exist(world: World, alice: User, mallory: Attacker) -> None:
    said = await alice.says(await alice.creates_room())
    for endpoint in ENDPOINTS:
        if not {"room_id", "event_id"} <= set(endpoint.names):
            continue
        there = await mallory.send(endpoint, path=mallory.path(endpoint, event_id=q(said)))
        missing = await mallory.send(endpoint, path=mallory.path(endpoint, event_id=q(MISSING_EVENT)))
        if endpoint.handler.__name__ == "redact":
            # What has not arrived yet may be redacted before it does; what is in another room stays as it is.
            assert there.status == 403, there
            continue
        assert there.status in (403, 404), there
        assert shape(there, said) == shape(missing, MISSING_EVENT), f"{there}\n{missing}"
    status, event = await alice.get(f"/rooms/{q((await alice.syncs())['rooms']['join'].popitem()[0])}/event/{q(said)}")
    assert (status, event["content"]["body"]) == (200, "hello")


async def test_what_is_under_another_users_name_is_refused(world: World, alice: User, mallory: Attacker) -> None:
    filter_id = ok(await alice.post(f"/user/{q(alice.user_id)}/filter", {}))["filter_id"]
    ok(await alice.put(f"/user/{q(alice.user_id)}/account_data/org.example.data", {"secret": 1}))
    for endpoint in ENDPOINTS:
        if "user_id" not in endpoint.names or _is_public(endpoint):
            continue
        more: dict[str, Any] = {"filter_id": filter_id} if "filter_id" in endpoint.names else {}
        there = await mallory.send(endpoint, path=mallory.path(endpoint, user_id=q(alice.user_id), **more))
        missing = await mallory.send(endpoint, path=mallory.path(endpoint, user_id=q(MISSING_USER), **more))
        assert (there.status, there.errcode) == (403, "M_FORBIDDEN"), there
        assert shape(there, alice.user_id) == shape(missing, MISSING_USER), f"{there}\n{missing}"
    await mallory.check_unchanged()


async def test_another_users_presence_is_as_if_it_did_not_exist(world: World, alice: User, mallory: Attacker) -> None:
    await alice.syncs()
    answers = [await mallory.user.get(f"/presence/{q(who)}/status") for who in (alice.user_id, MISSING_USER)]
    assert answers[0] == answers[1]
    assert answers[0][0] in (403, 404)


async def test_devices_and_filters_of_others_are_not_found(world: World, alice: User, mallory: Attacker) -> None:
    await alice.post(f"/user/{q(alice.user_id)}/filter", {"room": {"timeline": {"limit": 3}}})
    for endpoint in ENDPOINTS:
        if "device_id" in endpoint.names:
            there = await mallory.send(endpoint, path=mallory.path(endpoint, device_id=alice.device_id))
            missing = await mallory.send(endpoint, path=mallory.path(endpoint, device_id=MISSING_DEVICE))
            # Removing asks for the password first, whatever the device.
            assert there.status in (401, 404), there
            assert there.status == missing.status, f"{there}\n{missing}"
    for filter_id in range(1, 5):
        status, _ = await mallory.user.get(f"/user/{q(mallory.user.user_id)}/filter/{filter_id}")
        assert status == 404
        status, _ = await mallory.user.get("/sync", filter=filter_id)
        assert status in (400, 404)
    assert ok(await alice.get("/devices"))["devices"]


async def test_the_same_transaction_of_another_user_is_another_one(
    world: World, alice: User, mallory: Attacker
) -> None:
    room = await alice.creates_room(mallory.user)
    await mallory.user.joins(room)
    path = f"/rooms/{q(room)}/send/m.room.message/t"
    sent = [ok(await user.put(path, {"body": user.user_id}))["event_id"] for user in (alice, mallory.user)]
    assert len(set(sent)) == 2


async def test_administration_is_for_administrators(world: World, alice: User, mallory: Attacker) -> None:
    for endpoint in ENDPOINTS:
        if "/admin/" not in endpoint.path and not endpoint.path.startswith("/_synapse"):
            continue
        if endpoint.auth is Auth.NONE:
            continue
        values = {"user_id": q(alice.user_id)} if "user_id" in endpoint.names else {}
        reply = await mallory.send(endpoint, path=mallory.path(endpoint, **values))
        assert (reply.status, reply.errcode) == (403, "M_FORBIDDEN"), reply
    assert (await alice.get("/account/whoami"))[0] == 200


def _is_public(endpoint: Endpoint) -> bool:
    return endpoint.method == "GET" and any(part in endpoint.path for part in PUBLIC_OF_USERS)
