"""The door for other servers: who may come in, and what is answered to the others."""

import asyncio
import gzip
import json
from collections.abc import AsyncIterator
from pathlib import Path

import msgspec
import pytest

from federation.core import request_auth
from federation.core.canonical_json import encode_lenient
from federation.core.ids import ServerName
from federation.core.signing import SigningKey
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Auth, Call, Json, Router, Routes
from tests.support.certificates import Authority
from tests.support.clock import MovableClock
from tests.support.pair import federating
from tests.support.peer import Peer, q
from tests.support.waiting import until
from tests.support.world import World, ok, refused

ECHO = "/_matrix/federation/v1/echo"
routes = Routes()


class Paging(msgspec.Struct):
    """A query."""

    limit: int = 0


class Said(msgspec.Struct):
    """A body of a form."""

    text: str = ""


@routes.get(ECHO + "/{text}", auth=Auth.SERVER)
async def echo(call: Call, text: str, query: Paging) -> Json:
    """Answer with what was asked, and who has asked."""
    return {"origin": call.origin, "text": text, "limit": query.limit}


@routes.put(ECHO + "/{text}", auth=Auth.SERVER)
async def put_echo(call: Call, text: str, body: JsonObject) -> Json:
    """Answer with the body."""
    return {"origin": call.origin, "text": text, "body": body}


@routes.post(ECHO, auth=Auth.SERVER)
async def post_echo(call: Call, body: Said) -> Json:
    """Answer with the body's text."""
    return {"origin": call.origin, "text": body.text}


released = asyncio.Event()


@routes.get("/_matrix/federation/v1/slow", auth=Auth.SERVER)
async def slow(call: Call) -> Json:
    """Answer when the test says so."""
    await released.wait()
    return {}


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def ours(authority: Authority, tmp_path: Path, clock: MovableClock) -> AsyncIterator[World]:
    """A server of ours with the endpoints above."""
    async with federating(authority, tmp_path, clock=clock) as world:
        answer(world)
        yield world


def answer(world: World) -> None:
    world.app.federation_door.router = world.app.door.router = Router([routes])


def name_of(world: World) -> str:
    return world.app.config.server_name


async def test_a_signed_request_comes_from_whom_it_says(ours: World, peer: Peer) -> None:
    heard: list[ServerName] = []
    ours.app.door.heard_from.append(heard.append)

    answer = ok(await peer.request("GET", name_of(ours), f"{ECHO}/{q('a/b ü')}", query={"limit": 5}))
    assert answer == {"origin": peer.name, "text": "a/b ü", "limit": 5}
    body = {"a": [1, "ü", None], "deep": json.loads("[" * 150 + "]" * 150), "nul": "\0"}
    answer = ok(await peer.request("PUT", name_of(ours), f"{ECHO}/x", body))
    assert answer == {"origin": peer.name, "text": "x", "body": body}
    assert ok(await peer.request("POST", name_of(ours), ECHO, {"text": "y"}))["text"] == "y"
    assert heard == [peer.name] * 3
    assert len([asked for asked in peer.asked if asked.ability == "keys"]) == 1


async def test_a_body_may_hold_what_old_rooms_allow(ours: World, peer: Peer) -> None:
    body = {"float": 1.5, "great": 2**60, "twice": 1}
    uri, content = f"{ECHO}/x", encode_lenient(body)
    header = request_auth.make(peer.key, peer.name, ServerName(name_of(ours)), "PUT", uri, content)
    raw = b'{"float": 1.50, "great": 1152921504606846976, "twice": 2, "twice": 1}'
    sent = ok(await peer.request("PUT", name_of(ours), uri, raw=raw, headers={"Authorization": header}))
    assert sent["body"] == body


async def test_the_plain_listener_behind_a_proxy_takes_servers_too(ours: World, peer: Peer) -> None:
    header = peer.authorization("GET", name_of(ours), f"{ECHO}/x")
    status, answer = await ours.request("GET", f"{ECHO}/x", headers={"Authorization": header})
    assert (status, answer["origin"]) == (200, peer.name)


async def test_a_request_without_a_signature_is_refused(ours: World, peer: Peer) -> None:
    refused(await peer.request("GET", name_of(ours), f"{ECHO}/x", signed=False), 401, "M_UNAUTHORIZED")
    bearer = {"Authorization": "Bearer abc"}
    refused(await peer.request("GET", name_of(ours), f"{ECHO}/x", headers=bearer), 401, "M_UNAUTHORIZED")


@pytest.mark.parametrize(
    "header",
    [
        "X-Matrix",
        "X-Matrix origin",
        'X-Matrix origin="them",key="ed25519:a",sig="!!"',
        'X-Matrix origin="not a name",key="ed25519:a",sig="AAAA"',
        'X-Matrix key="ed25519:a",sig="AAAA"',
        'X-Matrix origin="them.example",origin="us.example",key="ed25519:a",sig="AAAA"',
        "X-Matrix " + ",".join(f"x{number}=y" for number in range(400)),
        'X-Matrix origin="them.example",key="ed25519:a",sig="' + "A" * 5000 + '"',
    ],
)
async def test_a_header_that_is_none_is_refused(ours: World, header: str) -> None:
    refused(await ours.request("GET", f"{ECHO}/x", headers={"Authorization": header}), 401, "M_UNAUTHORIZED")


async def test_a_request_for_another_server_is_refused(ours: World, peer: Peer) -> None:
    elsewhere = "elsewhere.example"
    refused(await peer.request("GET", name_of(ours), f"{ECHO}/x", destination_signed=elsewhere), 401, "M_UNAUTHORIZED")
    # An old server does not say whom it means, but has signed it.
    for meant, status in ((name_of(ours), 200), (elsewhere, 401)):
        header = peer.authorization("GET", meant, f"{ECHO}/x").replace(f'destination="{meant}",', "")
        assert "destination" not in header
        assert (await ours.request("GET", f"{ECHO}/x", headers={"Authorization": header}))[0] == status


async def test_nobody_speaks_for_another_or_for_us(ours: World, peer: Peer, authority: Authority) -> None:
    async with Peer.start(authority) as other:
        for origin in (other.name, name_of(ours)):
            refused(await peer.request("GET", name_of(ours), f"{ECHO}/x", origin=origin), 401, "M_UNAUTHORIZED")
    own = ours.app.services.server_keys.own
    forged = await peer.request("GET", name_of(ours), f"{ECHO}/x", origin=own.server, key=own.signing)
    refused(forged, 401, "M_UNAUTHORIZED")


async def test_a_signature_is_for_one_request_alone(ours: World, peer: Peer) -> None:
    header = {"Authorization": peer.authorization("PUT", name_of(ours), f"{ECHO}/x?a=b", {"a": 1})}
    assert (await ours.request("PUT", f"{ECHO}/x?a=b", {"a": 1}, headers=header))[0] == 200
    for method, path, body in (
        ("PUT", f"{ECHO}/y?a=b", {"a": 1}),
        ("PUT", f"{ECHO}/x?a=c", {"a": 1}),
        ("PUT", f"{ECHO}/x", {"a": 1}),
        ("PUT", f"{ECHO}/x?a=b", {"a": 2}),
        ("PUT", f"{ECHO}/x?a=b", None),
        ("GET", f"{ECHO}/x?a=b", None),
    ):
        refused(await ours.request(method, path, body, headers=header), 401, "M_UNAUTHORIZED")


async def test_several_signatures_may_come_and_one_good_one_is_enough(ours: World, peer: Peer) -> None:
    good = peer.authorization("GET", name_of(ours), f"{ECHO}/x")
    unknown = peer.authorization("GET", name_of(ours), f"{ECHO}/x", key=SigningKey.generate("unknown"))
    for header in (f"{unknown}, {good}", f"{good}, {unknown}"):
        assert (await ours.request("GET", f"{ECHO}/x", headers={"Authorization": header}))[0] == 200
    refused(await ours.request("GET", f"{ECHO}/x", headers={"Authorization": unknown}), 401, "M_UNAUTHORIZED")


async def test_a_server_that_changes_its_key_is_known_again_soon(ours: World, peer: Peer, clock: MovableClock) -> None:
    ok(await peer.request("GET", name_of(ours), f"{ECHO}/x"))
    old = peer.key
    peer.changes_key()
    clock.advance(10)
    ok(await peer.request("GET", name_of(ours), f"{ECHO}/x"))
    refused(await peer.request("GET", name_of(ours), f"{ECHO}/x", key=old), 401, "M_UNAUTHORIZED")


async def test_a_key_that_has_run_out_is_asked_for_again(ours: World, peer: Peer, clock: MovableClock) -> None:
    peer.keys_valid_for_ms = 60_000
    ok(await peer.request("GET", name_of(ours), f"{ECHO}/x"))
    clock.advance(120)
    # Its document still says that it runs out at a time that has passed here.
    refused(await peer.request("GET", name_of(ours), f"{ECHO}/x"), 401, "M_UNAUTHORIZED")
    peer.keys_valid_for_ms = 300_000
    clock.advance(10)
    ok(await peer.request("GET", name_of(ours), f"{ECHO}/x"))


async def test_keys_outlive_a_restart(authority: Authority, tmp_path: Path, database_url: str, peer: Peer) -> None:
    for _ in range(2):
        async with federating(authority, tmp_path, database_url) as world:
            answer(world)
            ok(await peer.request("GET", name_of(world), f"{ECHO}/x"))
    assert len([asked for asked in peer.asked if asked.ability == "keys"]) == 1


async def test_a_server_without_keys_is_refused(ours: World, peer: Peer) -> None:
    peer.abilities.discard("keys")
    refused(await peer.request("GET", name_of(ours), f"{ECHO}/x"), 401, "M_UNAUTHORIZED")


async def test_unknown_endpoints_and_methods_have_the_errors_of_the_specification(ours: World, peer: Peer) -> None:
    refused(await peer.request("GET", name_of(ours), "/_matrix/federation/v1/nothing"), 404, "M_UNRECOGNIZED")
    refused(await peer.request("DELETE", name_of(ours), f"{ECHO}/x"), 405, "M_UNRECOGNIZED")


async def test_a_body_that_is_none_is_refused(ours: World, peer: Peer) -> None:
    for raw, errcode in ((b"{", "M_NOT_JSON"), (b"[]", "M_BAD_JSON"), (b'{"a": NaN}', "M_NOT_JSON")):
        refused(await peer.request("PUT", name_of(ours), f"{ECHO}/x", raw=raw), 400, errcode)
    refused(await peer.request("PUT", name_of(ours), f"{ECHO}/x"), 400, "M_NOT_JSON")
    deep = "[" * 400 + "]" * 400
    refused(await peer.request("PUT", name_of(ours), f"{ECHO}/x", raw=f'{{"a": {deep}}}'.encode()), 400, "M_BAD_JSON")
    refused(await peer.request("POST", name_of(ours), ECHO, {"text": 5}), 400, "M_BAD_JSON")
    refused(await peer.request("POST", name_of(ours), ECHO, {"text": "\0"}), 400, "M_INVALID_PARAM")
    refused(await peer.request("GET", name_of(ours), f"{ECHO}/x?limit=many"), 400, "M_INVALID_PARAM")


async def test_a_body_is_bounded_also_when_it_comes_packed(authority: Authority, tmp_path: Path, peer: Peer) -> None:
    async with federating(authority, tmp_path, HTTP__MAX_BODY_BYTES="200000") as world:
        answer(world)
        small, large = {"a": "x" * 100_000}, {"a": "x" * 300_000}
        packed = {"Content-Encoding": "gzip"}
        for body, status in ((small, 200), (large, 413)):
            raw = gzip.compress(json.dumps(body).encode())
            assert (await peer.request("PUT", name_of(world), f"{ECHO}/x", body))[0] == status
            signed = {**packed, "Authorization": peer.authorization("PUT", name_of(world), f"{ECHO}/x", body)}
            assert (await peer.request("PUT", name_of(world), f"{ECHO}/x", raw=raw, headers=signed))[0] == status


async def test_a_server_may_not_ask_without_end(authority: Authority, tmp_path: Path, peer: Peer) -> None:
    limits = {
        "RATE_LIMITS__ENABLED": "true",
        "RATE_LIMITS__FEDERATION_PER_SECOND": "0.001",
        "RATE_LIMITS__FEDERATION_BURST": "3",
    }
    async with federating(authority, tmp_path, **limits) as world:
        answer(world)
        for _ in range(3):
            ok(await peer.request("GET", name_of(world), f"{ECHO}/x"))
        refused(await peer.request("GET", name_of(world), f"{ECHO}/x"), 429, "M_LIMIT_EXCEEDED")
        async with Peer.start(authority) as other:
            ok(await other.request("GET", name_of(world), f"{ECHO}/x"))


async def test_who_forges_signatures_is_soon_not_listened_to(authority: Authority, tmp_path: Path, peer: Peer) -> None:
    async with federating(authority, tmp_path, RATE_LIMITS__ENABLED="true") as world:
        answer(world)
        stranger = SigningKey.generate("stranger")
        answers = [(await peer.request("GET", name_of(world), f"{ECHO}/x", key=stranger))[0] for _ in range(105)]
        assert set(answers[:100]) == {401}
        assert answers[-1] == 429


async def test_servers_have_places_of_their_own_and_none_takes_them_all(
    authority: Authority, tmp_path: Path, peer: Peer
) -> None:
    async with federating(authority, tmp_path, FEDERATION__MAX_PENDING="8") as world:
        answer(world)
        released.clear()
        async with Peer.start(authority) as other:
            for one in (peer, other):
                ok(await one.request("GET", name_of(world), f"{ECHO}/x"))
            waiting = [
                asyncio.create_task(peer.request("GET", name_of(world), "/_matrix/federation/v1/slow"))
                for _ in range(4)
            ]
            await until(lambda: sum(one.done() for one in waiting) == 2)
            ok(await other.request("GET", name_of(world), f"{ECHO}/x"))
            released.set()
            assert sorted([status for status, _ in await asyncio.gather(*waiting)]) == [200, 200, 503, 503]
            assert world.app.door.places.taken == 0
            assert not world.app.door.places.by_source


async def test_a_server_without_federation_has_no_door(authority: Authority, tmp_path: Path) -> None:
    async with federating(authority, tmp_path, FEDERATION__ENABLED="false") as world:
        for path in ("/_matrix/key/v2/server", "/_matrix/federation/v1/version", "/.well-known/matrix/server"):
            refused(await world.request("GET", path), 404, "M_UNRECOGNIZED")


async def test_the_listeners_for_servers_are_not_for_clients(authority: Authority, tmp_path: Path, peer: Peer) -> None:
    async with federating(authority, tmp_path) as world:
        for path in ("/_matrix/client/versions", "/_synapse/admin/v1/register", "/health"):
            refused(await peer.request("GET", name_of(world), path, signed=False), 404, "M_UNRECOGNIZED")
        server = ok(await peer.request("GET", name_of(world), "/_matrix/federation/v1/version", signed=False))["server"]
        assert server["name"] == "Isthmus"
