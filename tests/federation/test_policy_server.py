"""This server as a policy server: https://spec.matrix.org/v1.19/server-server-api/#policy-servers."""

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from federation.core import unpadded_base64
from federation.core.events.pdu import Pdu
from federation.core.policy import KEY_ID, PolicyServer, is_recommended
from federation.core.room_versions import ROOM_VERSIONS
from federation.core.signing import SigningKey, parse_keys, sign_event
from homeserver.config.options import ConfigError
from homeserver.config.policy_key import read_or_make
from tests.federation.across import joins
from tests.support import policy
from tests.support.certificates import Authority
from tests.support.ear import Ear
from tests.support.pair import federating
from tests.support.peer import Peer
from tests.support.shared_room import SharedRoom, wire
from tests.support.waiting import asking
from tests.support.world import User, World, ok, q, refused

SIGN = "/_matrix/policy/v1/sign"
KEYS = "/.well-known/matrix/policy_server"


@pytest.fixture
async def watcher(authority: Authority, database_url: str, tmp_path: Path) -> AsyncIterator[World]:
    """A server of ours that is a policy server."""
    options = {
        "POLICY__ENABLED": "true",
        "POLICY__REFUSED_SENDERS": "@spam*:*, @mallory:*",
        "POLICY__REFUSED_WORDS": "buy * now, casino",
    }
    async with federating(authority, tmp_path / "watcher", database_url, **options) as world:
        yield world


@pytest.fixture
async def other(authority: Authority, tmp_path: Path) -> AsyncIterator[World]:
    """Another server of ours, which is none."""
    (tmp_path / "other").mkdir()
    async with federating(authority, tmp_path / "other") as world:
        yield world


@pytest.fixture
def key_file(watcher: World) -> Path:
    """Where the watcher keeps its key."""
    return Path(watcher.environ["ISTHMUS_KEYS__SIGNING_KEY"]).with_name("policy.key")


def only_key(file: Path) -> SigningKey:
    """Return the key of a file that nobody else may read."""
    assert file.stat().st_mode & 0o777 == 0o600
    (key,) = parse_keys(file.read_text())
    assert key.key_id == KEY_ID
    return key


async def naming(world: World) -> dict[str, Any]:
    """Return what a room says that makes a server its policy server, as clients find it out."""
    keys = ok(await world.request("GET", KEYS))
    return {"via": world.name, **keys}


async def watched_room(owner: User, guard: User, watcher: World, version: str = "12") -> str:
    """Let somebody make a room whose policy server is the watcher; `guard` is its user."""
    room = await owner.creates_room(preset="public_chat", room_version=version)
    await joins(guard, room, owner.world.name)
    await names(owner, room, watcher, guard)
    return room


async def names(owner: User, room: str, watcher: World, guard: User) -> None:
    """Let a room make the watcher its policy server; wait until that has heard of it."""
    await owner.sets(room, policy.POLICY, await naming(watcher))
    await asking(lambda: guard.get(f"/rooms/{q(room)}/state/{policy.POLICY}/"), lambda answer: answer[0] == 200)


async def test_its_key_is_made_once_and_told(watcher: World, key_file: Path) -> None:
    key = only_key(key_file)
    told = ok(await watcher.request("GET", KEYS))
    assert told == {"public_keys": {"ed25519": unpadded_base64.encode(key.public_key)}}
    assert read_or_make(key_file).public_key == key.public_key
    published = ok(await watcher.request("GET", "/_matrix/key/v2/server"))
    assert KEY_ID not in published["verify_keys"]


def test_a_key_file_with_another_key_is_an_error(tmp_path: Path) -> None:
    file = tmp_path / "policy.key"
    for content in ("", "nonsense", "ed25519 a " + "A" * 43):
        file.write_text(content)
        with pytest.raises(ConfigError, match=r"policy\.signing_key"):
            read_or_make(file)
    with pytest.raises(ConfigError, match=r"policy\.signing_key"):
        read_or_make(tmp_path / "no" / "policy.key")


async def test_one_that_is_none_says_so(ours: World, peer: Peer) -> None:
    refused(await ours.request("GET", KEYS), 404, "M_NOT_FOUND")
    refused(await peer.request("POST", ours.name, SIGN, {}), 404, "M_NOT_FOUND")
    refused(await peer.request("POST", ours.name, SIGN, {}, signed=False), 401, "M_UNAUTHORIZED")


# Two servers of ours


@pytest.mark.parametrize("version", ["6", "11", "12"])
async def test_it_watches_over_a_room_of_another_server(watcher: World, other: World, version: str) -> None:
    alice, guard = await other.user("alice"), await watcher.user("guard")
    room = await watched_room(alice, guard, watcher, version)
    hers, his = await Ear.of(alice), await Ear.of(guard)
    said = await alice.says(room, "hello")
    await his.hears(room, said)
    await hers.hears(room, await guard.says(room, "hello yourself"))

    path = f"/rooms/{q(room)}/send/m.room.message/"
    for number, text in enumerate(("Buy this now!", "the best CASINO in town")):
        answer = await alice.put(f"{path}{number}", {"msgtype": "m.text", "body": text})
        assert "words" in refused(answer, 403, "M_FORBIDDEN")["error"]
        refused(await guard.put(f"{path}{number}", {"msgtype": "m.text", "body": text}), 403, "M_FORBIDDEN")
    edit = {
        "body": "x",
        "m.new_content": {"body": "casino"},
        "m.relates_to": {"rel_type": "m.replace", "event_id": said},
    }
    refused(await alice.put(f"{path}edit", edit), 403, "M_FORBIDDEN")
    await his.hears(room, await alice.says(room, "buying casinos is fine"))

    # Somebody who is refused as such cannot even come in, and one who is in can go.
    mallory = await other.user("mallory")
    refused(await mallory.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")
    spammer = await watcher.user("spammer")
    refused(await spammer.post(f"/join/{q(room)}"), 403, "M_FORBIDDEN")
    ok(await alice.post(f"/rooms/{q(room)}/ban", {"user_id": mallory.user_id}))

    # The room goes on without it.
    await alice.sets(room, policy.POLICY, {})
    ok(await alice.put(f"{path}last", {"msgtype": "m.text", "body": "casino"}))


async def test_one_who_is_refused_can_leave(watcher: World, other: World) -> None:
    alice, guard, mallory = await other.user("alice"), await watcher.user("guard"), await other.user("mallory")
    room = await alice.creates_room(preset="public_chat")
    await joins(guard, room, other.name)
    await mallory.joins(room)
    await names(alice, room, watcher, guard)
    refused(await mallory.put(f"/rooms/{q(room)}/send/m.room.message/1", {"body": "x"}), 403, "M_FORBIDDEN")
    refused(await mallory.post(f"/rooms/{q(room)}/leave", {"reason": "casino"}), 403, "M_FORBIDDEN")
    ok(await mallory.post(f"/rooms/{q(room)}/leave"))
    path = f"/rooms/{q(room)}/state/m.room.member/{q(mallory.user_id)}"
    await asking(lambda: guard.get(path), lambda answer: answer[1].get("membership") == "leave")


async def test_what_goes_around_it_is_not_shown(watcher: World, peer: Peer) -> None:
    guard = await watcher.user("guard")
    room = peer.creates_room("11")
    creator = peer.user("creator")
    ok(await guard.post(f"/join/{q(room.room_id)}", via=peer.name))
    ear = await Ear.of(guard)
    named = room.sets(creator, policy.POLICY, await naming(watcher))
    bad, good = room.says(creator, "casino"), room.says(creator, "hello")
    await peer.delivers(watcher.name, named, bad, good)
    # It signs what it sees itself, and keeps the signature.
    await ear.hears(room.room_id, good.event_id)
    assert ear.messages(room.room_id) == ["hello"]
    refused(await guard.get(f"/rooms/{q(room.room_id)}/event/{q(bad.event_id)}"), 404, "M_NOT_FOUND")
    path = f"/_matrix/federation/v1/event/{q(good.event_id)}"
    (served,) = ok(await peer.request("GET", watcher.name, path))["pdus"]
    assert KEY_ID in served["signatures"][watcher.name]

    # With its hash wrong, an event may be another than it seems: no signature could be had for the true one so.
    true = room.make(creator, "m.room.message", {"body": "casino"})
    await peer.delivers(watcher.name, {**wire(true), "content": {"body": "harmless"}})
    status, answer = await peer.request("GET", watcher.name, f"/_matrix/federation/v1/event/{q(true.event_id)}")
    assert status == 404 or KEY_ID not in answer["pdus"][0]["signatures"].get(watcher.name, {})


async def test_a_room_of_its_own_needs_nobody_else(watcher: World) -> None:
    guard = await watcher.user("guard")
    named = {"type": policy.POLICY, "state_key": "", "content": await naming(watcher)}
    room = await guard.creates_room(preset="public_chat", initial_state=[named], name="Guarded")
    await guard.says(room, "hello")
    refused(await guard.put(f"/rooms/{q(room)}/send/m.room.message/1", {"body": "casino"}), 403, "M_FORBIDDEN")
    refused(await guard.put(f"/rooms/{q(room)}/state/m.room.topic/", {"topic": "casino"}), 403, "M_FORBIDDEN")
    ok(await guard.post(f"/rooms/{q(room)}/upgrade", {"new_version": "11"}))


async def test_a_room_that_names_it_with_another_key_has_nobody_who_recommends(watcher: World, ours: World) -> None:
    for world in (watcher, ours):
        guard = await world.user("guard2")
        room = await guard.creates_room(preset="public_chat")
        wrong = {"via": world.name, "public_keys": {"ed25519": unpadded_base64.encode(policy.key().public_key)}}
        await guard.sets(room, policy.POLICY, wrong)
        path = f"/rooms/{q(room)}/send/m.room.message/1"
        refused(await guard.put(path, {"body": "x"}), 403, "M_FORBIDDEN")
        await guard.sets(room, policy.POLICY, {})
        ok(await guard.put(path, {"body": "x"}))


async def test_it_follows_a_policy_list(authority: Authority, tmp_path: Path, other: World) -> None:
    directory = tmp_path / "follower"
    async with federating(authority, directory) as world:
        curator = await world.user("curator")
        rules = await curator.creates_room(preset="public_chat")
        port = int(world.name.rpartition(":")[2])
    options = {"POLICY__ENABLED": "true", "POLICY__LIST_ROOM": rules}
    async with federating(authority, directory, port=port, **options) as world:
        guard = await world.user("guard")
        curator.world = world
        alice, eve = await other.user("alice"), await other.user("eve")
        room = await watched_room(alice, guard, world)
        await eve.joins(room)
        await eve.says(room, "nobody knows me")

        ban = {"recommendation": "m.ban", "reason": "spam"}
        await curator.sets(rules, "m.policy.rule.user", {**ban, "entity": eve.user_id}, "1")
        await curator.sets(rules, "m.policy.rule.user", {**ban, "entity": 7, "reason": "nonsense"}, "2")
        await curator.sets(rules, "m.policy.rule.user", {"entity": alice.user_id, "recommendation": "m.watch"}, "3")
        path = f"/rooms/{q(room)}/send/m.room.message/"
        assert "list" in refused(await eve.put(f"{path}1", {"body": "x"}), 403, "M_FORBIDDEN")["error"]
        await alice.says(room, "I am not on it")
        await curator.sets(rules, "m.policy.rule.user", {}, "1")
        await eve.says(room, "forgiven")
        for number, entity in enumerate((other.name, "local?ost", "localhost")):
            await curator.sets(rules, "m.policy.rule.server", {**ban, "entity": entity}, "other")
            refused(await eve.put(f"{path}s{number}", {"body": "x"}), 403, "M_FORBIDDEN")


# What other servers may ask


@pytest.fixture
async def room(watcher: World, peer: Peer) -> SharedRoom:
    """A room of the peer whose policy server is the watcher."""
    guard = await watcher.user("guard")
    made = peer.creates_room("11")
    ok(await guard.post(f"/join/{q(made.room_id)}", via=peer.name))
    named = made.sets(peer.user("creator"), policy.POLICY, await naming(watcher))
    assert await peer.delivers(watcher.name, named) == {named.event_id: {}}
    return made


async def signs(peer: Peer, watcher: World, event: Any) -> tuple[int, Any]:
    """Ask the watcher to sign an event."""
    return await peer.request("POST", watcher.name, SIGN, wire(event))


async def test_only_its_signature_is_given(watcher: World, peer: Peer, room: SharedRoom) -> None:
    event = room.make(peer.user("creator"), "m.room.message", {"body": "hello"})
    answer = ok(await signs(peer, watcher, event))
    assert answer.keys() == {watcher.name}
    assert answer[watcher.name].keys() == {KEY_ID}
    keys = (await naming(watcher))["public_keys"]
    server = PolicyServer(watcher.name, unpadded_base64.decode(keys["ed25519"]))  # type: ignore[arg-type]
    signed = {**event.fields, "signatures": {**event.fields["signatures"], **answer}}
    assert is_recommended(Pdu.from_wire(signed, event.version), server)


async def test_what_is_no_event_of_the_room_is_not_signed(watcher: World, peer: Peer, room: SharedRoom) -> None:
    creator = peer.user("creator")
    good = wire(room.make(creator, "m.room.message", {"body": "hello"}))
    unknown = {**good, "room_id": "!nowhere:elsewhere.example"}
    refused(await signs(peer, watcher, unknown), 404, "M_NOT_FOUND")
    unwatched = peer.creates_room("11")
    ok(await (await watcher.user("other")).post(f"/join/{q(unwatched.room_id)}", via=peer.name))
    refused(await signs(peer, watcher, unwatched.make(creator, "m.room.message", {})), 404, "M_NOT_FOUND")
    for fields in ({}, {"room_id": 7}, {"room_id": "x"}, {"room_id": room.room_id}, {**good, "depth": "x"}):
        refused(await signs(peer, watcher, fields), 400, "M_BAD_JSON")
    refused(await signs(peer, watcher, {**good, "content": {"body": "other"}}), 400, "M_BAD_JSON")
    refused(await peer.request("POST", watcher.name, SIGN, []), 400, "M_BAD_JSON")
    for fields in (
        {**good, "signatures": {}},
        {**good, "depth": 99},
        wire(room.make(creator, "m.room.message", {"body": "hello"}, key=policy.key())),
        wire(room.make(creator, policy.POLICY, {}, "")),
        wire(room.make(creator, "m.room.message", {"body": "casino"})),
        wire(room.make(peer.user("mallory"), "m.room.message", {"body": "hello"})),
    ):
        refused(await signs(peer, watcher, fields), 400, "M_FORBIDDEN")


async def test_its_signature_is_none_of_the_senders_server(watcher: World, peer: Peer, room: SharedRoom) -> None:
    # A guest of the watcher's has sent nothing: whoever says so cannot use its word as their signature.
    event = room.make(peer.user("creator"), "m.room.message", {"body": "hello"})
    claimed = {**wire(event), "sender": f"@guard:{watcher.name}"}
    signed = sign_event(claimed, ROOM_VERSIONS["11"], peer.name, peer.key)
    refused(await signs(peer, watcher, signed), 400, "M_FORBIDDEN")


async def test_a_server_that_the_room_refuses_is_not_served(watcher: World, peer: Peer, room: SharedRoom) -> None:
    creator = peer.user("creator")
    denied = room.sets(creator, "m.room.server_acl", {"allow": ["*"], "deny": ["localhost"]})
    assert await peer.delivers(watcher.name, denied) == {denied.event_id: {}}
    refused(await signs(peer, watcher, room.make(creator, "m.room.message", {})), 403, "M_FORBIDDEN")


async def test_a_room_that_nobody_of_it_is_in_cannot_make_it_work(watcher: World, peer: Peer, room: SharedRoom) -> None:
    kicked = room.member(peer.user("creator"), f"@guard:{watcher.name}", "leave")
    await peer.delivers(watcher.name, kicked)
    event = room.make(peer.user("creator"), "m.room.message", {"body": "hello"})
    refused(await signs(peer, watcher, event), 404, "M_NOT_FOUND")
