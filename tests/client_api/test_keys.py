"""Keys of devices: https://spec.matrix.org/v1.19/client-server-api/#key-management-api."""

import asyncio
from typing import Any

import pytest

from federation.core import unpadded_base64
from federation.core.ids import ServerName
from federation.core.signing import SigningKey, sign_json
from tests.support.world import PASSWORD, User, ok, q, refused

ALGORITHM = "signed_curve25519"


def device_keys(user: User, **more: Any) -> dict[str, Any]:
    return {
        "user_id": user.user_id,
        "device_id": user.device_id,
        "algorithms": ["m.olm.v1.curve25519-aes-sha2", "m.megolm.v1.aes-sha2"],
        "keys": {f"curve25519:{user.device_id}": "c", f"ed25519:{user.device_id}": "e"},
        **more,
    }


def one_time(*names: str) -> dict[str, Any]:
    return {f"{ALGORITHM}:{name}": {"key": f"public {name}"} for name in names}


async def uploads(user: User, **body: Any) -> dict[str, int]:
    return dict(ok(await user.post("/keys/upload", body))["one_time_key_counts"])


async def queries(user: User, *others: User) -> Any:
    return ok(await user.post("/keys/query", {"device_keys": {other.user_id: [] for other in others}}))


async def claims(user: User, other: User, algorithm: str = ALGORITHM) -> dict[str, Any]:
    wanted = {"one_time_keys": {other.user_id: {other.device_id: algorithm}}}
    return dict(ok(await user.post("/keys/claim", wanted))["one_time_keys"])


async def encrypted_room(alice: User, *others: User) -> str:
    room = await alice.creates_room(*others)
    await alice.sets(room, "m.room.encryption", {"algorithm": "m.megolm.v1.aes-sha2"})
    for other in others:
        await other.joins(room)
    return room


async def test_what_a_device_publishes_others_see_with_its_name(alice: User, bob: User) -> None:
    ok(await alice.put(f"/devices/{alice.device_id}", {"display_name": "Alice's phone"}))
    await uploads(alice, device_keys=device_keys(alice))
    found = await queries(bob, alice)
    shown = found["device_keys"][alice.user_id][alice.device_id]
    assert shown == {**device_keys(alice), "unsigned": {"device_display_name": "Alice's phone"}}
    assert found["failures"] == {}


async def test_of_devices_that_are_named_only_these_are_shown(alice: User, bob: User) -> None:
    phone = await alice.login_again("PHONE")
    await uploads(alice, device_keys=device_keys(alice))
    await uploads(phone, device_keys=device_keys(phone))
    answer = ok(await bob.post("/keys/query", {"device_keys": {alice.user_id: ["PHONE", "OTHER"]}}))
    assert set(answer["device_keys"][alice.user_id]) == {"PHONE"}


async def test_a_key_is_given_out_once_and_in_the_order_of_the_uploads(alice: User, bob: User) -> None:
    assert await uploads(alice, one_time_keys=one_time("b")) == {ALGORITHM: 1}
    assert await uploads(alice, one_time_keys=one_time("a")) == {ALGORITHM: 2}
    given = [await claims(bob, alice) for _ in range(3)]
    assert given == [
        {alice.user_id: {alice.device_id: one_time("b")}},
        {alice.user_id: {alice.device_id: one_time("a")}},
        {},
    ]


async def test_of_claims_at_the_same_time_no_two_get_the_same_key(alice: User, bob: User) -> None:
    await uploads(alice, one_time_keys=one_time(*(str(number) for number in range(10))))
    given = await asyncio.gather(*(claims(bob, alice) for _ in range(10)))
    names = [name for one in given for name in one[alice.user_id][alice.device_id]]
    assert len(set(names)) == 10


async def test_the_fallback_key_is_given_when_no_other_is_left_and_the_device_hears_of_it(
    alice: User, bob: User
) -> None:
    await uploads(alice, one_time_keys=one_time("a"), fallback_keys=one_time("spare"))
    answer = await alice.syncs()
    assert answer["device_one_time_keys_count"] == {ALGORITHM: 1}
    assert answer["device_unused_fallback_key_types"] == [ALGORITHM]

    waiting = asyncio.create_task(alice.syncs(timeout=20_000))
    assert await claims(bob, alice) == {alice.user_id: {alice.device_id: one_time("a")}}
    answer = await asyncio.wait_for(waiting, 10)
    assert answer["device_one_time_keys_count"] == {}

    for _ in range(2):
        assert await claims(bob, alice) == {alice.user_id: {alice.device_id: one_time("spare")}}
    assert (await alice.syncs())["device_unused_fallback_key_types"] == []


async def test_a_key_cannot_be_replaced_under_its_name(alice: User) -> None:
    await uploads(alice, one_time_keys=one_time("a"))
    assert await uploads(alice, one_time_keys=one_time("a")) == {ALGORITHM: 1}
    other = {f"{ALGORITHM}:a": {"key": "another"}}
    refused(await alice.post("/keys/upload", {"one_time_keys": other}), 400, "M_INVALID_PARAM")


@pytest.mark.parametrize("wrong", [{"user_id": "@bob:hs1"}, {"device_id": "OTHER"}])
async def test_a_device_publishes_its_own_keys_only(alice: User, wrong: dict[str, str]) -> None:
    body = {"device_keys": device_keys(alice, **wrong)}
    refused(await alice.post("/keys/upload", body), 400, "M_INVALID_PARAM")


@pytest.mark.parametrize("name", ["nocolon", ":x", "x:", f"{ALGORITHM}:\0", f"{ALGORITHM}:" + "x" * 300])
async def test_a_key_without_a_proper_name_is_refused(alice: User, name: str) -> None:
    refused(await alice.post("/keys/upload", {"one_time_keys": {name: {"key": "k"}}}), 400, "M_INVALID_PARAM")


async def test_keys_go_with_their_device(alice: User, bob: User) -> None:
    phone = await alice.login_again("PHONE")
    await uploads(phone, device_keys=device_keys(phone), one_time_keys=one_time("a"))
    ok(await phone.post("/logout"))
    assert (await queries(bob, alice))["device_keys"] == {alice.user_id: {}}
    assert await claims(bob, phone) == {}


# Who hears of changes


async def changed(user: User) -> tuple[set[str], set[str]]:
    lists = (await user.syncs()).get("device_lists", {})
    return set(lists.get("changed", ())), set(lists.get("left", ()))


async def test_who_shares_a_room_hears_that_keys_are_new(alice: User, bob: User) -> None:
    await encrypted_room(alice, bob)
    await bob.syncs()
    waiting = asyncio.create_task(bob.syncs(timeout=20_000))
    await uploads(alice, device_keys=device_keys(alice))
    assert (await asyncio.wait_for(waiting, 10))["device_lists"] == {"changed": [alice.user_id], "left": []}
    await uploads(alice, device_keys=device_keys(alice))
    assert await changed(bob) == (set(), set())
    ok(await alice.put(f"/devices/{alice.device_id}", {"display_name": "New name"}))
    assert await changed(bob) == ({alice.user_id}, set())


async def test_who_shares_no_room_hears_nothing(alice: User, bob: User) -> None:
    await bob.syncs()
    await uploads(alice, device_keys=device_keys(alice))
    assert await changed(bob) == (set(), set())


async def test_whoever_comes_into_an_encrypted_room_is_news_and_whoever_leaves_it_is_gone(
    alice: User, bob: User
) -> None:
    await alice.syncs()
    room = await encrypted_room(alice)
    await alice.syncs()
    ok(await alice.post(f"/rooms/{q(room)}/invite", {"user_id": bob.user_id}))
    await bob.syncs()
    await bob.joins(room)
    assert await changed(alice) == ({bob.user_id}, set())
    assert (await changed(bob))[0] >= {alice.user_id}
    since = alice.since
    ok(await bob.post(f"/rooms/{q(room)}/leave"))
    assert await changed(alice) == (set(), {bob.user_id})
    assert await changed(bob) == (set(), {alice.user_id})
    told = ok(await alice.get("/keys/changes", **{"from": since, "to": alice.since}))
    assert told == {"changed": [], "left": [bob.user_id]}


async def test_who_still_shares_another_room_is_not_gone(alice: User, bob: User) -> None:
    await encrypted_room(alice, bob)
    other = await encrypted_room(alice, bob)
    await alice.syncs()
    ok(await bob.post(f"/rooms/{q(other)}/leave"))
    assert await changed(alice) == (set(), set())


# Cross-signing: https://spec.matrix.org/v1.19/client-server-api/#cross-signing


class Keys:
    """A user's cross-signing keys."""

    def __init__(self, user: User) -> None:
        self.user_id = user.user_id
        self.seeds = {usage: SigningKey.generate("x") for usage in ("master", "self_signing", "user_signing")}

    def public(self, usage: str) -> str:
        return unpadded_base64.encode(self.seeds[usage].public_key)

    def signed(self, value: dict[str, Any], usage: str) -> dict[str, Any]:
        """Sign with one of the keys, under its public name."""
        signature = sign_json({**value, "signatures": {}}, ServerName("x"), self.seeds[usage])["signatures"]["x"]
        named = {f"ed25519:{self.public(usage)}": next(iter(signature.values()))}
        old = value.get("signatures", {})
        return {**value, "signatures": {**old, self.user_id: {**old.get(self.user_id, {}), **named}}}

    def key(self, usage: str) -> dict[str, Any]:
        public = self.public(usage)
        return {"user_id": self.user_id, "usage": [usage], "keys": {f"ed25519:{public}": public}}

    def body(self) -> dict[str, Any]:
        return {
            "master_key": self.key("master"),
            "self_signing_key": self.signed(self.key("self_signing"), "master"),
            "user_signing_key": self.signed(self.key("user_signing"), "master"),
        }


async def cross_signs(user: User) -> Keys:
    keys = Keys(user)
    assert await user.post("/keys/device_signing/upload", keys.body()) == (200, {})
    return keys


async def test_the_first_keys_need_no_password_others_do(alice: User) -> None:
    keys = await cross_signs(alice)
    assert await alice.post("/keys/device_signing/upload", keys.body()) == (200, {})
    others = Keys(alice)
    status, asked = await alice.post("/keys/device_signing/upload", others.body())
    assert status == 401
    auth = {
        "type": "m.login.password", "session": asked["session"], "password": PASSWORD,
        "identifier": {"type": "m.id.user", "user": alice.user_id},
    }  # fmt: skip
    assert await alice.post("/keys/device_signing/upload", {**others.body(), "auth": auth}) == (200, {})
    found = await queries(alice, alice)
    assert found["master_keys"][alice.user_id]["keys"] == others.key("master")["keys"]
    assert found["user_signing_keys"][alice.user_id]["keys"] == others.key("user_signing")["keys"]


async def test_only_the_user_sees_their_user_signing_key(alice: User, bob: User) -> None:
    keys = await cross_signs(alice)
    found = await queries(bob, alice)
    assert found["master_keys"] == {alice.user_id: keys.key("master")}
    assert found["self_signing_keys"][alice.user_id]["keys"] == keys.key("self_signing")["keys"]
    assert found["user_signing_keys"] == {}


async def test_a_key_that_the_master_key_has_not_signed_is_refused(alice: User) -> None:
    keys, others = Keys(alice), Keys(alice)
    body = {**keys.body(), "self_signing_key": others.signed(others.key("self_signing"), "master")}
    refused(await alice.post("/keys/device_signing/upload", body), 400, "M_INVALID_SIGNATURE")
    del body["master_key"]
    refused(await alice.post("/keys/device_signing/upload", body), 400, "M_MISSING_PARAM")
    assert (await queries(alice, alice))["master_keys"] == {}


async def test_a_user_vouches_for_their_device(alice: User, bob: User) -> None:
    await encrypted_room(alice, bob)
    await uploads(alice, device_keys=device_keys(alice))
    keys = await cross_signs(alice)
    await bob.syncs()
    signed = keys.signed(device_keys(alice), "self_signing")
    body = {alice.user_id: {alice.device_id: signed}}
    assert await alice.post("/keys/signatures/upload", body) == (200, {"failures": {}})
    shown = (await queries(bob, alice))["device_keys"][alice.user_id][alice.device_id]
    assert shown["signatures"] == signed["signatures"]
    assert await changed(bob) == ({alice.user_id}, set())


async def test_who_vouches_for_another_is_seen_by_themselves_only(alice: User, bob: User) -> None:
    mine, theirs = await cross_signs(alice), await cross_signs(bob)
    await alice.syncs()
    signed = mine.signed(theirs.key("master"), "user_signing")
    body = {bob.user_id: {theirs.public("master"): signed}}
    assert await alice.post("/keys/signatures/upload", body) == (200, {"failures": {}})
    assert await changed(alice) == ({bob.user_id}, set())
    assert (await queries(alice, bob))["master_keys"][bob.user_id]["signatures"] == signed["signatures"]
    assert "signatures" not in (await queries(bob, bob))["master_keys"][bob.user_id]


async def test_wrong_signatures_are_told_one_by_one(alice: User) -> None:
    await uploads(alice, device_keys=device_keys(alice))
    await cross_signs(alice)
    forged = Keys(alice).signed(device_keys(alice), "self_signing")
    changed_keys = {**device_keys(alice), "keys": {}}
    for value, errcode in ((forged, "M_INVALID_SIGNATURE"), (changed_keys, "M_INVALID_PARAM")):
        answer = ok(await alice.post("/keys/signatures/upload", {alice.user_id: {alice.device_id: value}}))
        assert answer["failures"][alice.user_id][alice.device_id]["errcode"] == errcode
    answer = ok(await alice.post("/keys/signatures/upload", {alice.user_id: {"NONE": forged}}))
    assert answer["failures"][alice.user_id]["NONE"]["errcode"] == "M_NOT_FOUND"
