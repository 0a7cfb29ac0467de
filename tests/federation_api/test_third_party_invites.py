"""Invites of addresses become invites of users, across servers."""

from typing import Any

from federation.core import unpadded_base64
from federation.core.ids import RoomID, ServerName, UserID
from federation.core.signing import SigningKey, sign_json
from tests.federation_api.asking import Asking
from tests.federation_api.rooms import memberships
from tests.support.peer import FEDERATION, Peer, q
from tests.support.world import User, World, ok, refused

IDENTITY_SERVER = ServerName("id.example.org")
KEY = SigningKey.from_seed("0", b"identity server of the tests 123")
TOKEN = "token"
THIRD_PARTY_INVITE = "m.room.third_party_invite"


def invitation() -> dict[str, Any]:
    """Return the content of a room's invite of an address."""
    public_key = unpadded_base64.encode(KEY.public_key)
    return {
        "display_name": "c...@e...",
        "key_validity_url": "https://id.example.org/valid",
        "public_key": public_key,
        "public_keys": [{"public_key": public_key}],
    }


def signed(user: str, token: str = TOKEN, key: SigningKey = KEY) -> dict[str, Any]:
    """Return the identity server's word that a user is who was invited."""
    return sign_json({"mxid": user, "token": token}, IDENTITY_SERVER, key)


def wanted(room_id: str, sender: str, user: str, proof: dict[str, Any], **fields: Any) -> dict[str, Any]:
    """Return the event that a server asks another one to make."""
    content = {"membership": "invite", "third_party_invite": {"display_name": "x", "signed": proof}}
    return {
        "type": "m.room.member", "room_id": room_id, "sender": sender, "state_key": user, "content": content, **fields,
    }  # fmt: skip


async def room_with_invitation(alice: User) -> RoomID:
    """Let Alice create a room and invite an address."""
    room_id = RoomID(await alice.creates_room(preset="private_chat"))
    await alice.sets(room_id, THIRD_PARTY_INVITE, invitation(), TOKEN)
    return room_id


async def exchange(asks: Asking, body: dict[str, Any], room_id: str = "") -> tuple[int, Any]:
    """Ask for an invite."""
    return await asks.put(f"/v1/exchange_third_party_invite/{q(room_id or body['room_id'])}", body)


async def binds(ours: World, user: str, *invites: dict[str, Any], **fields: Any) -> tuple[int, Any]:
    """Let the identity server say that an address is a user's."""
    address = {"medium": "email", "address": "carol@example.org", "mxid": user}
    body = {**address, "invites": [{**address, **each} for each in invites], **fields}
    return await ours.request("PUT", f"{FEDERATION}/v1/3pid/onbind", body)


# Another server asks ours


async def test_the_user_of_another_server_is_invited_in_the_name_of_who_invited_the_address(
    asks: Asking, alice: User
) -> None:
    room_id, bob = await room_with_invitation(alice), asks.peer.user("bob")
    assert ok(await exchange(asks, wanted(room_id, alice.user_id, bob, signed(bob)))) == {}
    assert (await memberships(alice, room_id))[bob] == "invite"
    content = ok(await alice.get(f"/rooms/{q(room_id)}/state/m.room.member/{q(bob)}"))
    assert content["third_party_invite"] == {"display_name": "c...@e...", "signed": signed(bob)}
    assert [each["event"]["state_key"] for each in asks.peer.invites] == [bob]
    await asks.peer.joins(bob, room_id, asks.whom)


async def test_who_was_not_invited_or_proves_nothing_is_not_invited(asks: Asking, alice: User) -> None:
    room_id, bob = await room_with_invitation(alice), asks.peer.user("bob")
    forged = signed(bob, key=SigningKey.generate("0"))
    for body in (
        wanted(room_id, alice.user_id, bob, forged),
        wanted(room_id, alice.user_id, bob, signed(bob, token="another")),
        wanted(room_id, alice.user_id, bob, {"mxid": bob}),
        wanted(room_id, f"@eve:{asks.whom}", bob, signed(bob)),
        wanted(room_id, asks.peer.user("eve"), bob, signed(bob)),
        wanted(room_id, alice.user_id, "@bob:elsewhere.example", signed("@bob:elsewhere.example")),
    ):
        refused(await exchange(asks, body), 403, "M_FORBIDDEN")
    assert bob not in await memberships(alice, room_id)
    assert asks.peer.invites == []


async def test_what_is_asked_for_must_be_such_an_invite(asks: Asking, alice: User) -> None:
    room_id, bob = await room_with_invitation(alice), asks.peer.user("bob")
    good = wanted(room_id, alice.user_id, bob, signed(bob))
    refused(await exchange(asks, good, "!another:example.org"), 400, "M_INVALID_PARAM")
    refused(await exchange(asks, {**good, "state_key": "nonsense"}), 400, "M_INVALID_PARAM")
    refused(await exchange(asks, {**good, "state_key": asks.peer.user("eve")}), 400, "M_INVALID_PARAM")
    refused(await exchange(asks, {**good, "type": "m.room.message"}), 400, "M_BAD_JSON")
    refused(await exchange(asks, {**good, "content": {"membership": "invite"}}), 400, "M_MISSING_PARAM")


async def test_only_rooms_that_we_are_in_and_servers_that_they_take_count(asks: Asking, alice: User) -> None:
    room_id, bob = await room_with_invitation(alice), asks.peer.user("bob")
    elsewhere = wanted("!nowhere:example.org", alice.user_id, bob, signed(bob))
    refused(await exchange(asks, elsewhere), 404, "M_NOT_FOUND")
    await alice.sets(room_id, "m.room.server_acl", {"allow": ["*"], "deny": ["localhost"]})
    refused(await exchange(asks, wanted(room_id, alice.user_id, bob, signed(bob))), 403, "M_FORBIDDEN")


# The identity server tells ours


async def test_a_user_of_ours_has_the_invite_that_waited_for_their_address(ours: World, alice: User) -> None:
    room_id, carol = await room_with_invitation(alice), await ours.user("carol")
    invite = {"room_id": room_id, "sender": alice.user_id, "signed": signed(carol.user_id)}
    assert ok(await binds(ours, carol.user_id, invite)) == {}
    assert list((await carol.syncs())["rooms"]["invite"]) == [room_id]
    await carol.joins(room_id)


async def test_the_server_of_who_invited_is_asked_where_we_are_not_in_the_room(
    ours: World, peer: Peer, alice: User
) -> None:
    invite = {"room_id": "!there:example.org", "sender": peer.user("bob"), "signed": signed(alice.user_id)}
    ok(await binds(ours, alice.user_id, invite))
    (asked,) = [each for each in peer.asked if each.ability == "exchange_third_party_invite"]
    assert asked.signed
    assert asked.body is not None
    assert asked.body["content"]["third_party_invite"]["signed"] == signed(alice.user_id)
    assert (asked.body["sender"], asked.body["state_key"]) == (peer.user("bob"), alice.user_id)


async def test_an_invite_that_leads_nowhere_does_not_keep_others_back(ours: World, alice: User) -> None:
    room_id, carol = await room_with_invitation(alice), await ours.user("carol")
    proof = signed(carol.user_id)
    invites = [
        {"room_id": room_id, "sender": alice.user_id, "signed": signed(carol.user_id, token="another")},
        {"room_id": "!nowhere:example.org", "sender": "@eve:unreachable.invalid", "signed": proof},
        {"room_id": "!nowhere:example.org", "sender": alice.user_id, "signed": proof},
        {"room_id": room_id, "sender": alice.user_id, "signed": proof},
    ]
    ok(await binds(ours, carol.user_id, *invites))
    assert list((await carol.syncs())["rooms"]["invite"]) == [room_id]


async def test_a_binding_is_refused_that_makes_no_sense(ours: World, alice: User) -> None:
    room_id = await room_with_invitation(alice)
    good = {"room_id": room_id, "sender": alice.user_id, "signed": signed(alice.user_id)}
    refused(await binds(ours, "nonsense"), 400, "M_INVALID_PARAM")
    refused(await binds(ours, alice.user_id, {**good, "room_id": "nonsense"}), 400, "M_INVALID_PARAM")
    refused(await binds(ours, alice.user_id, {**good, "sender": "nonsense"}), 400, "M_INVALID_PARAM")
    refused(await binds(ours, alice.user_id, {**good, "signed": signed("@eve:x")}), 400, "M_INVALID_PARAM")
    refused(await binds(ours, alice.user_id, *[good] * 21), 400, "M_INVALID_PARAM")
    refused(await binds(ours, alice.user_id, invites=None), 400, "M_BAD_JSON")
    refused(await binds(ours, UserID(f"@nobody:{ours.name}")), 404, "M_NOT_FOUND")


async def test_who_takes_no_invites_gets_none_by_this_way(ours: World, alice: User) -> None:
    room_id, carol = await room_with_invitation(alice), await ours.user("carol")
    path = f"/user/{q(carol.user_id)}/account_data/m.invite_permission_config"
    ok(await carol.put(path, {"default_action": "block"}))
    invite = {"room_id": room_id, "sender": alice.user_id, "signed": signed(carol.user_id)}
    refused(await binds(ours, carol.user_id, invite), 403, "M_INVITE_BLOCKED")
