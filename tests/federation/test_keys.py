"""Our keys as others see them, and those of others as we tell them: a notary.

https://spec.matrix.org/v1.19/server-server-api/#retrieving-server-keys
"""

import asyncio
import ssl
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from federation.core.ids import ServerName
from federation.core.server_keys import read
from federation.core.signing import verify_json
from homeserver.app import build
from homeserver.clock import SystemIds
from homeserver.config import signing_keys
from homeserver.http.tls import ShownCertificate
from tests.support.certificates import Authority
from tests.support.clock import MovableClock
from tests.support.pair import federating
from tests.support.peer import Peer, q
from tests.support.world import World, ok, refused

OWN = "/_matrix/key/v2/server"
QUERY = "/_matrix/key/v2/query"
HOUR = 60 * 60
DAY = 24 * HOUR


@pytest.fixture
def clock() -> MovableClock:
    return MovableClock()


@pytest.fixture
async def ours(authority: Authority, database_url: str, tmp_path: Path, clock: MovableClock) -> AsyncIterator[World]:
    async with federating(authority, tmp_path, database_url, clock=clock) as world:
        yield world


def name_of(world: World) -> ServerName:
    return ServerName(world.app.config.server_name)


async def notarised(world: World, body: Any) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = ok(await world.request("POST", QUERY, body))["server_keys"]
    own = world.app.services.server_keys.own
    for document in found:
        verify_json(document, name_of(world), own.signing.key_id, own.signing.public_key)
        read(document, ServerName(document["server_name"]), world.app.services.clock.now_ms())
    return found


def asked_for_keys(peer: Peer) -> int:
    return len([asked for asked in peer.asked if asked.ability == "keys"])


async def test_our_keys_are_published(ours: World, peer: Peer, clock: MovableClock) -> None:
    document = ok(await peer.request("GET", name_of(ours), OWN, signed=False))
    now = clock.now_ms()
    found = read(document, name_of(ours), now)
    assert set(found.keys) == {ours.app.services.server_keys.own.signing.key_id}
    assert document["old_verify_keys"] == {}
    assert abs(found.valid_until_ts - (now + DAY * 1000)) < 60_000


async def test_our_document_never_has_less_than_an_hour_to_live(ours: World, clock: MovableClock) -> None:
    for _ in range(60):
        document = ok(await ours.request("GET", OWN))
        assert document["valid_until_ts"] > clock.now_ms() + HOUR * 1000
        clock.advance(HOUR / 2)


async def test_a_key_that_was_rotated_is_an_old_one_from_the_next_start_on(
    authority: Authority, tmp_path: Path, database_url: str
) -> None:
    file = tmp_path / "signing.key"
    async with federating(authority, tmp_path, database_url) as world:
        old = world.app.services.server_keys.own.signing
        new = signing_keys.rotate(file, SystemIds())
        assert set(ok(await world.request("GET", OWN))["verify_keys"]) == {old.key_id}, "it goes on with the old one"

    clock = MovableClock()
    began = clock.now_ms()
    async with federating(authority, tmp_path, database_url, clock=clock) as world:
        document = ok(await world.request("GET", OWN))
        assert set(document["verify_keys"]) == {new.key_id}
        expired = document["old_verify_keys"][old.key_id]["expired_ts"]
        assert began <= expired <= clock.now_ms()
        verify_json(document, ServerName(document["server_name"]), new.key_id, new.public_key)

    # It stays so, when time passes and when the file forgets the old key.
    file.write_text(new.serialise())
    clock.advance(100 * DAY)
    async with federating(authority, tmp_path, database_url, clock=clock) as world:
        assert ok(await world.request("GET", OWN))["old_verify_keys"][old.key_id]["expired_ts"] == expired

    # Whoever goes back to the old key uses it again.
    file.write_text(old.serialise() + new.serialise())
    async with federating(authority, tmp_path, database_url, clock=clock) as world:
        document = ok(await world.request("GET", OWN))
        assert (set(document["verify_keys"]), set(document["old_verify_keys"])) == ({old.key_id}, {new.key_id})


async def test_making_a_user_beside_the_server_retires_no_key(
    authority: Authority, tmp_path: Path, database_url: str
) -> None:
    async with federating(authority, tmp_path, database_url) as world:
        signing_keys.rotate(tmp_path / "signing.key", SystemIds())
        beside = await build(world.app.config)
        await beside.stop()
        assert ok(await world.request("GET", OWN))["old_verify_keys"] == {}
    async with federating(authority, tmp_path, database_url) as world:
        assert len(ok(await world.request("GET", OWN))["old_verify_keys"]) == 1


async def test_a_notary_tells_keys_and_signs_what_it_tells(ours: World, peer: Peer) -> None:
    (document,) = ok(await ours.request("GET", f"{QUERY}/{q(peer.name)}"))["server_keys"]
    own = ours.app.services.server_keys.own
    verify_json(document, name_of(ours), own.signing.key_id, own.signing.public_key)
    verify_json(document, peer.name, peer.key.key_id, peer.key.public_key)
    assert document["verify_keys"] == peer.key_document()["verify_keys"]


async def test_a_notary_is_asked_for_many_at_once(ours: World, peer: Peer, authority: Authority) -> None:
    async with Peer.start(authority) as other:
        wanted = {
            peer.name: {peer.key.key_id: {"minimum_valid_until_ts": 1}},
            other.name: {},
            name_of(ours): {},
            "nobody.invalid": {},
            "not a name!": {"ed25519:x": {}},
        }
        found = await notarised(ours, {"server_keys": wanted})
        assert {document["server_name"] for document in found} == {peer.name, other.name, name_of(ours)}
        assert await notarised(ours, {"server_keys": {}}) == []
        # What is known is not asked for again.
        await notarised(ours, {"server_keys": wanted})
        assert (asked_for_keys(peer), asked_for_keys(other)) == (1, 1)


async def test_a_notary_asks_again_after_half_of_a_documents_life(ours: World, peer: Peer, clock: MovableClock) -> None:
    peer.now_ms = clock.now_ms
    peer.keys_valid_for_ms = 10 * HOUR * 1000
    wanted = {"server_keys": {peer.name: {}}}
    for advance, times in ((0, 1), (4 * HOUR, 1), (2 * HOUR, 2), (4 * HOUR, 2), (2 * HOUR, 3)):
        clock.advance(advance)
        assert len(await notarised(ours, wanted)) == 1
        assert asked_for_keys(peer) == times


async def test_a_notary_asks_for_what_must_be_good_for_longer(ours: World, peer: Peer, clock: MovableClock) -> None:
    peer.now_ms = clock.now_ms
    await notarised(ours, {"server_keys": {peer.name: {}}})
    clock.advance(10)
    later = clock.now_ms() + peer.keys_valid_for_ms
    path = f"{QUERY}/{q(peer.name)}"
    (document,) = ok(await ours.request("GET", path, minimum_valid_until_ts=later))["server_keys"]
    assert document["valid_until_ts"] >= later - 1000
    assert asked_for_keys(peer) == 2
    refused(await ours.request("GET", path, minimum_valid_until_ts="soon"), 400, "M_INVALID_PARAM")


async def test_a_notary_tells_of_a_dead_server_what_it_knew_last(ours: World, peer: Peer, clock: MovableClock) -> None:
    peer.now_ms = clock.now_ms
    await notarised(ours, {"server_keys": {peer.name: {}}})
    old = peer.key
    peer.changes_key(forget=True)
    clock.advance(10)
    both = {old.key_id: {}, peer.key.key_id: {}}
    assert len(await notarised(ours, {"server_keys": {peer.name: both}})) == 2, "one document names each of the keys"

    peer.abilities.discard("keys")
    clock.advance(30 * DAY)
    for keys in ({old.key_id: {}}, {peer.key.key_id: {}}):
        (document,) = await notarised(ours, {"server_keys": {peer.name: keys}})
        assert set(document["verify_keys"]) == set(keys)


async def test_keys_of_which_nobody_speaks_are_forgotten_after_a_year(
    ours: World, peer: Peer, clock: MovableClock
) -> None:
    await notarised(ours, {"server_keys": {peer.name: {}}})
    peer.abilities.discard("keys")
    others = ours.app.services.server_keys.others
    clock.advance(365 * DAY)
    await others.prune()
    assert len(await others.documents([peer.name])) == 1
    clock.advance(2 * DAY)
    await others.prune()
    assert not await others.documents([peer.name])


async def test_a_notary_does_not_tell_what_a_liar_says(ours: World, peer: Peer) -> None:
    async def lie(peer: Peer, _: object) -> dict[str, Any]:
        return {**peer.key_document(), "verify_keys": {"ed25519:x": {"key": "A" * 43}}}

    peer.instead["keys"] = lie
    assert await notarised(ours, {"server_keys": {peer.name: {}}}) == []


@pytest.mark.parametrize(
    "body",
    [
        {},
        {"server_keys": []},
        {"server_keys": {"a": []}},
        {"server_keys": {"a": {"k": {"minimum_valid_until_ts": "x"}}}},
    ],
)
async def test_a_query_of_another_form_is_refused(ours: World, body: Any) -> None:
    status, _ = await ours.request("POST", QUERY, body)
    assert status == 400


async def test_a_query_for_thousands_is_refused(ours: World) -> None:
    wanted = {f"s{number}.example": {} for number in range(1001)}
    refused(await ours.request("POST", QUERY, {"server_keys": wanted}), 400, "M_INVALID_PARAM")


async def test_where_others_reach_us_is_told_if_it_is_elsewhere(authority: Authority, tmp_path: Path) -> None:
    path = "/.well-known/matrix/server"
    async with federating(authority, tmp_path / "a") as world:
        refused(await world.request("GET", path), 404, "M_NOT_FOUND")
    async with federating(authority, tmp_path / "b", FEDERATION__WELL_KNOWN="hs.example.org:443") as world:
        assert await world.request("GET", path) == (200, {"m.server": "hs.example.org:443"})


async def test_a_renewed_certificate_is_shown_without_a_restart(authority: Authority, tmp_path: Path) -> None:
    first, second = authority.certificate("localhost"), authority.certificate("localhost", "renewed.example")
    certificate, key = tmp_path / "shown.pem", tmp_path / "shown.key"
    certificate.write_bytes(first.certificate.read_bytes())
    key.write_bytes(first.key.read_bytes())
    shown = ShownCertificate(str(certificate), str(key))

    async def names() -> set[str]:
        listener = await asyncio.start_server(lambda _, writer: writer.close(), "127.0.0.1", 0, ssl=shown.context)
        port = listener.sockets[0].getsockname()[1]
        trusting = authority.client_context()
        _, writer = await asyncio.open_connection("127.0.0.1", port, ssl=trusting, server_hostname="localhost")
        seen = writer.get_extra_info("peercert")
        writer.close()
        listener.close()
        return {name for _, name in seen["subjectAltName"]}

    assert await names() == {"localhost"}
    certificate.write_bytes(second.certificate.read_bytes())
    shown.reload()
    assert await names() == {"localhost"}, "its key has not come yet"
    key.write_bytes(second.key.read_bytes())
    shown.reload()
    assert await names() == {"localhost", "renewed.example"}
    key.unlink()
    shown.reload()
    assert await names() == {"localhost", "renewed.example"}


async def test_a_server_does_not_start_with_a_certificate_that_is_not_its_keys(
    authority: Authority, tmp_path: Path
) -> None:
    unfit = {"FEDERATION__TLS_KEY": str(authority.certificate("other.example").key)}
    with pytest.raises(ssl.SSLError):
        async with federating(authority, tmp_path, **unfit):
            pass
