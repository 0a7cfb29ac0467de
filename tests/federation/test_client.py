"""Every endpoint is asked as the specification says, and signed so that another server believes it."""

from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any

import pytest

from federation.core.ids import EventID, RoomAlias, RoomID, ServerName, UserID
from federation.matrix.client import FederationClient
from federation.matrix.errors import BadAnswer, RemoteError, Unreachable
from homeserver.clock import SystemClock
from tests.support import lies
from tests.support.certificates import Authority
from tests.support.peer import Peer

ROOM, EVENT, USER = RoomID("!r/o:a.example"), EventID("$e+/"), UserID("@é u:a.example")
FEDERATION = "/_matrix/federation"
R, E, U = "%21r%2Fo%3Aa.example", "%24e%2B%2F", "%40%C3%A9%20u%3Aa.example"
PDU = {"type": "m.room.member", "float": 1.5, "great": 2**70}


@pytest.fixture
async def client(authority: Authority) -> AsyncIterator[FederationClient]:
    """The client of a server whose keys others can fetch."""
    async with Peer.start(authority) as us:
        made = FederationClient.open(us.name, us.key, SystemClock(), extra_ca=str(authority.ca), allow_private=True)
        yield made
        await made.close()


Call = Callable[[FederationClient, ServerName], Awaitable[Any]]

ENDPOINTS: dict[str, tuple[Call, str, str, Any]] = {
    # Name: the call, and the method, target and body that the other server gets.
    "send": (
        lambda c, d: c.send_transaction(d, "t/1", {"pdus": [PDU]}),
        "PUT", f"{FEDERATION}/v1/send/t%2F1", {"pdus": [PDU]},
    ),
    "event": (lambda c, d: c.event(d, EVENT), "GET", f"{FEDERATION}/v1/event/{E}", None),
    "state": (lambda c, d: c.state(d, ROOM, EVENT), "GET", f"{FEDERATION}/v1/state/{R}?event_id={E}", None),
    "state_ids": (
        lambda c, d: c.state_ids(d, ROOM, EVENT), "GET", f"{FEDERATION}/v1/state_ids/{R}?event_id={E}", None,
    ),
    "event_auth": (
        lambda c, d: c.event_auth(d, ROOM, EVENT), "GET", f"{FEDERATION}/v1/event_auth/{R}/{E}", None,
    ),
    "backfill": (
        lambda c, d: c.backfill(d, ROOM, [EVENT, EventID("$b")], 5),
        "GET", f"{FEDERATION}/v1/backfill/{R}?v={E}&v=%24b&limit=5", None,
    ),
    "missing_events": (
        lambda c, d: c.missing_events(d, ROOM, [EventID("$a")], {EVENT}, 5, 2),
        "POST", f"{FEDERATION}/v1/get_missing_events/{R}",
        {"earliest_events": ["$a"], "latest_events": [EVENT], "limit": 5, "min_depth": 2},
    ),
    "timestamp_to_event": (
        lambda c, d: c.timestamp_to_event(d, ROOM, 5, "b"),
        "GET", f"{FEDERATION}/v1/timestamp_to_event/{R}?ts=5&dir=b", None,
    ),
    "make_join": (
        lambda c, d: c.make_join(d, ROOM, USER, ["1", "12"]),
        "GET", f"{FEDERATION}/v1/make_join/{R}/{U}?ver=1&ver=12", None,
    ),
    "send_join": (
        lambda c, d: c.send_join(d, ROOM, EVENT, PDU), "PUT", f"{FEDERATION}/v2/send_join/{R}/{E}", PDU,
    ),
    "send_join without members": (
        lambda c, d: c.send_join(d, ROOM, EVENT, PDU, omit_members=True),
        "PUT", f"{FEDERATION}/v2/send_join/{R}/{E}?omit_members=true", PDU,
    ),
    "make_leave": (lambda c, d: c.make_leave(d, ROOM, USER), "GET", f"{FEDERATION}/v1/make_leave/{R}/{U}", None),
    "send_leave": (
        lambda c, d: c.send_leave(d, ROOM, EVENT, PDU), "PUT", f"{FEDERATION}/v2/send_leave/{R}/{E}", PDU,
    ),
    "make_knock": (
        lambda c, d: c.make_knock(d, ROOM, USER, ["7"]), "GET", f"{FEDERATION}/v1/make_knock/{R}/{U}?ver=7", None,
    ),
    "send_knock": (
        lambda c, d: c.send_knock(d, ROOM, EVENT, PDU), "PUT", f"{FEDERATION}/v1/send_knock/{R}/{E}", PDU,
    ),
    "invite": (
        lambda c, d: c.invite(d, ROOM, EVENT, {"room_version": "11", "event": PDU}),
        "PUT", f"{FEDERATION}/v2/invite/{R}/{E}", {"room_version": "11", "event": PDU},
    ),
    "exchange_third_party_invite": (
        lambda c, d: c.exchange_third_party_invite(d, ROOM, PDU),
        "PUT", f"{FEDERATION}/v1/exchange_third_party_invite/{R}", PDU,
    ),
    "public_rooms": (lambda c, d: c.public_rooms(d), "POST", f"{FEDERATION}/v1/publicRooms", {}),
    "public_rooms with a filter": (
        lambda c, d: c.public_rooms(
            d, limit=0, since="s", search={"room_types": [None]}, include_all_networks=True,
            third_party_instance_id="irc",
        ),
        "POST", f"{FEDERATION}/v1/publicRooms",
        {
            "limit": 0, "since": "s", "filter": {"room_types": [None]}, "include_all_networks": True,
            "third_party_instance_id": "irc",
        },
    ),
    "hierarchy": (
        lambda c, d: c.hierarchy(d, ROOM, suggested_only=True),
        "GET", f"{FEDERATION}/v1/hierarchy/{R}?suggested_only=true", None,
    ),
    "query_directory": (
        lambda c, d: c.query_directory(d, RoomAlias("#a b:a.example")),
        "GET", f"{FEDERATION}/v1/query/directory?room_alias=%23a%20b%3Aa.example", None,
    ),
    "query_profile": (
        lambda c, d: c.query_profile(d, USER), "GET", f"{FEDERATION}/v1/query/profile?user_id={U}", None,
    ),
    "query_profile of a field": (
        lambda c, d: c.query_profile(d, USER, "displayname"),
        "GET", f"{FEDERATION}/v1/query/profile?user_id={U}&field=displayname", None,
    ),
    "user_devices": (lambda c, d: c.user_devices(d, USER), "GET", f"{FEDERATION}/v1/user/devices/{U}", None),
    "query_user_keys": (
        lambda c, d: c.query_user_keys(d, {"device_keys": {}}),
        "POST", f"{FEDERATION}/v1/user/keys/query", {"device_keys": {}},
    ),
    "claim_user_keys": (
        lambda c, d: c.claim_user_keys(d, {"one_time_keys": {}}),
        "POST", f"{FEDERATION}/v1/user/keys/claim", {"one_time_keys": {}},
    ),
    "policy_sign": (lambda c, d: c.policy_sign(d, PDU), "POST", "/_matrix/policy/v1/sign", PDU),
}  # fmt: skip

UNSIGNED: dict[str, tuple[Call, str, str, Any]] = {
    "version": (lambda c, d: c.version(d), "GET", f"{FEDERATION}/v1/version", None),
    "server_keys": (lambda c, d: c.server_keys(d), "GET", "/_matrix/key/v2/server", None),
    "query_keys": (
        lambda c, d: c.query_keys(d, {ServerName("b.example"): {"ed25519:1": 5}, ServerName("c.example"): {}}),
        "POST", "/_matrix/key/v2/query",
        {"server_keys": {"b.example": {"ed25519:1": {"minimum_valid_until_ts": 5}}, "c.example": {}}},
    ),
    "openid_userinfo": (
        lambda c, d: c.openid_userinfo(d, "a&b"), "GET", f"{FEDERATION}/v1/openid/userinfo?access_token=a%26b", None,
    ),
}  # fmt: skip


def answer_everything(peer: Peer) -> None:
    for ability in peer.abilities:
        peer.instead[ability] = lies.says({"answer": 1})


@pytest.mark.parametrize("name", ENDPOINTS)
async def test_an_endpoint_is_asked_with_a_signature(client: FederationClient, peer: Peer, name: str) -> None:
    call, method, target, body = ENDPOINTS[name]
    answer_everything(peer)
    assert await call(client, peer.name) == {"answer": 1}
    (asked,) = peer.asked
    assert (asked.method, asked.target, asked.body) == (method, target, body)
    assert asked.ability
    assert asked.signed


@pytest.mark.parametrize("name", UNSIGNED)
async def test_an_endpoint_that_needs_no_signature_gets_none(client: FederationClient, peer: Peer, name: str) -> None:
    call, method, target, body = UNSIGNED[name]
    answer_everything(peer)
    assert await call(client, peer.name) == {"answer": 1}
    (asked,) = peer.asked
    assert (asked.method, asked.target, asked.body) == (method, target, body)
    assert asked.ability
    assert asked.origin is None


async def test_an_answer_that_is_no_object_is_no_answer(client: FederationClient, peer: Peer) -> None:
    for ability in peer.abilities:
        peer.instead[ability] = lies.sends(b'["answer"]')
    for call, *_ in (ENDPOINTS | UNSIGNED).values():
        with pytest.raises(BadAnswer, match="not an object"):
            await call(client, peer.name)


async def test_media_comes_with_its_headers(client: FederationClient, peer: Peer) -> None:
    for ability in ("media_download", "media_thumbnail"):
        peer.instead[ability] = lies.sends(b"--x", content_type="multipart/mixed")
    async with client.media_download(peer.name, "a/b") as (headers, pieces):
        assert headers["Content-Type"] == "multipart/mixed"
        assert [piece async for piece in pieces] == [b"--x"]
    async with client.media_thumbnail(peer.name, "abc", width=1, height=2, method="crop", animated=False):
        pass
    assert [asked.target for asked in peer.asked] == [
        f"{FEDERATION}/v1/media/download/a%2Fb?timeout_ms=20000",
        f"{FEDERATION}/v1/media/thumbnail/abc?width=1&height=2&method=crop&timeout_ms=20000&animated=false",
    ]
    assert all(asked.signed for asked in peer.asked)


async def test_an_old_server_is_invited_in_the_old_way(client: FederationClient, peer: Peer) -> None:
    peer.abilities.remove("invite")
    peer.instead["invite_v1"] = lies.sends(b'[200, {"event": {"signed": true}}]')
    state = [{"type": "m.room.create"}]
    body = {"room_version": "1", "event": {**PDU, "unsigned": {"age": 1}}, "invite_room_state": state}
    assert await client.invite(peer.name, ROOM, EVENT, body) == {"event": {"signed": True}}
    (asked,) = peer.asked_for("invite_v1")
    assert asked.target == f"{FEDERATION}/v1/invite/{R}/{E}"
    assert asked.body == {**PDU, "unsigned": {"age": 1, "invite_room_state": state}}
    assert asked.signed


@pytest.mark.parametrize("answer", [b"{}", b"[200]", b'[200, "x"]', b"[200, {}, {}]"])
async def test_an_old_server_answers_with_a_status_and_an_object(
    client: FederationClient, peer: Peer, answer: bytes
) -> None:
    peer.abilities.remove("invite")
    peer.instead["invite_v1"] = lies.sends(answer)
    with pytest.raises(BadAnswer):
        await client.invite(peer.name, ROOM, EVENT, {"room_version": "1", "event": PDU})


@pytest.mark.parametrize("version", ["3", "12", "unknown", None])
async def test_nobody_is_invited_in_the_old_way_into_a_new_room(
    client: FederationClient, peer: Peer, version: str | None
) -> None:
    peer.abilities.remove("invite")
    with pytest.raises(RemoteError, match="M_UNRECOGNIZED"):
        await client.invite(peer.name, ROOM, EVENT, {"room_version": version, "event": PDU})
    assert peer.asked_for("invite_v1") == []


async def test_who_says_no_to_an_invite_is_not_asked_again(client: FederationClient, peer: Peer) -> None:
    peer.instead["invite"] = lies.fails(403, "M_FORBIDDEN")
    with pytest.raises(RemoteError, match="M_FORBIDDEN"):
        await client.invite(peer.name, ROOM, EVENT, {"room_version": "1", "event": PDU})
    assert peer.asked_for("invite_v1") == []


async def test_a_server_is_found_by_its_address_too(client: FederationClient, peer: Peer) -> None:
    assert await client.version(ServerName(f"127.0.0.1:{peer.port}")) == {"server": {"name": "peer", "version": "1"}}


async def test_private_addresses_are_refused_unless_allowed(authority: Authority, peer: Peer) -> None:
    client = FederationClient.open(ServerName("us.example"), peer.key, SystemClock(), extra_ca=str(authority.ca))
    for name in (peer.name, f"127.0.0.1:{peer.port}", f"[::ffff:127.0.0.1]:{peer.port}"):
        with pytest.raises(Unreachable, match="is not an address to connect to"):
            await client.version(ServerName(name))
    await client.close()
    assert peer.asked == []


async def test_a_client_that_is_off_asks_nobody(authority: Authority, peer: Peer) -> None:
    client = FederationClient.open(
        ServerName("us.example"), peer.key, SystemClock(), enabled=False, extra_ca=str(authority.ca), allow_private=True
    )
    with pytest.raises(Unreachable, match="federation is off"):
        await client.version(peer.name)
    await client.close()
    assert peer.asked == []
