"""Whatever another server sends, signed as it must be: no fault of ours comes of it, and what is stored fits together.

A peer is in a room of every version with a user of ours. It sends events, transactions, EDUs and requests to every
endpoint, all of which were right before something was changed in them; it puts `X-Matrix` headers together that are
none; and it lies where it is asked. `ISTHMUS_TEST_FUZZ_EXAMPLES` says how many plays are tried where 60 are not enough.
"""

import asyncio
import logging
import os
import tempfile
import time
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import AsyncExitStack, suppress
from copy import deepcopy
from pathlib import Path
from typing import Any

import aiohttp
import msgspec
import pytest
import structlog
from hypothesis import HealthCheck, Phase, example, given, settings
from hypothesis import strategies as st
from yarl import URL

from federation.core.errors import ProtocolError
from federation.core.events.pdu import Pdu
from federation.core.ids import UserID
from federation.core.room_versions import ROOM_VERSIONS
from homeserver import federation_api
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Endpoint
from tests.conftest import DATABASES, POSTGRES
from tests.support import forked_consistency
from tests.support.answers import ANSWERS, Asked, Reply
from tests.support.certificates import Authority
from tests.support.hostile import PATH_VALUES, QUERY_VALUES, VALUES
from tests.support.pair import federating
from tests.support.peer import FEDERATION, Peer
from tests.support.shared_room import SharedRoom, signed_again, wire
from tests.support.world import User, World, fresh_postgres_database, ok, q

EXAMPLES = int(os.environ.get("ISTHMUS_TEST_FUZZ_EXAMPLES", "60"))
ENDPOINTS = [endpoint for routes in federation_api.ROUTES for endpoint in routes.endpoints]
SECONDS = 30.0
"""What no request may take."""
PLAYS_A_CHECK = 40
VERSIONS = tuple(ROOM_VERSIONS)
MEMBER = "m.room.member"

NAMES = (
    "type", "content", "sender", "state_key", "depth", "prev_events", "auth_events", "origin_server_ts", "hashes",
    "signatures", "room_id", "event_id", "redacts", "unsigned", "origin", "membership", "users", "ban", "join_rule",
    "allow", "join_authorised_via_users_server", "third_party_invite", "signed", "m.relates_to", "pdus", "edus",
    "edu_type", "user_id", "device_id", "messages", "m.read", "data", "thread_id", "event_ids", "push", "keys",
    "stream_id", "prev_id", "room_version", "event", "invite_room_state", "creator", "predecessor", "deny",
    "displayname", "additional_creators", "sha256", "devices", "limit", "master_key",
)  # fmt: skip
"""Names that the server looks for."""
ODD: tuple[Any, ...] = (
    *VALUES, 2**63, -(2**63), 2**70, 1e300, "join", "leave", "ban", "invite", "knock", "restricted", "public",
    "$" + "A" * 43, ["$" + "A" * 43], [["$x:y", {"sha256": "AA"}]], [["$x:y", 5]], {"ed25519:1": "AA"},
    {"x": {"ed25519:1": 5}}, "\x00", "@" + "a" * 300 + ":x", {"": {"": {"": {}}}}, "!" + "A" * 43,
)  # fmt: skip

odd = (
    st.sampled_from(ODD)
    | st.recursive(
        st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False)
        | st.text(max_size=8) | st.sampled_from(ODD),
        lambda inner: st.lists(inner, max_size=3)
        | st.dictionaries(st.sampled_from(NAMES) | st.text(max_size=6), inner, max_size=3),
        max_leaves=6,
    )
)  # fmt: skip
Change = tuple[list[int], str, Any]
changes = st.lists(
    st.tuples(
        st.lists(st.integers(0, 30), min_size=1, max_size=5),
        st.sampled_from(("replace", "replace", "remove", "double", "add", "cite", "name")),
        odd,
    ),
    max_size=3,
)
encoded = st.sampled_from([*PATH_VALUES, *QUERY_VALUES]) | st.text(st.characters(exclude_categories=["Cs"])).map(q)
headers = (
    st.text(st.characters(min_codepoint=32, max_codepoint=255, exclude_categories=["Cc"]), max_size=80)
    | st.lists(
        st.sampled_from(
            ['origin="{us}"', 'origin="{them}"', "origin={them}", 'destination="{us}"', "destination=x", 'key="{key}"',
             'key=""', 'key="ed25519:1"', 'sig="{sig}"', 'sig="A"', "sig=", '"', "\\", ",", "=", "origin", 'x="\\"',
             'origin="\xe9"', 'sig="' + "A" * 9000 + '"', 'origin="[::1]:1"', 'origin="' + "a" * 300 + '"']
        ),
        max_size=7,
    ).map(lambda parts: "X-Matrix " + ",".join(parts))
)  # fmt: skip

EVENTS = (
    "m.room.message", "m.room.topic", MEMBER, "m.room.power_levels", "m.room.join_rules", "m.room.server_acl",
    "m.room.redaction", "m.room.create", "m.room.third_party_invite", "m.room.history_visibility", "m.room.aliases",
    "m.room.encryption", "m.room.policy", "m.room.canonical_alias",
)  # fmt: skip
EDUS = ("m.typing", "m.presence", "m.receipt", "m.device_list_update", "m.signing_key_update", "m.direct_to_device")
FETCHED = ("missing_events", "state_ids", "state", "event", "event_auth", "backfill", "user_devices")


@st.composite
def steps(draw: st.DrawFn) -> tuple[Any, ...]:
    """One thing that the peer does."""
    version = draw(st.integers(0, len(VERSIONS) - 1))
    what = draw(st.sampled_from(("event", "event", "event", "edu", "transaction", "endpoint", "endpoint", "header")))
    if what == "event":
        several = draw(st.lists(st.tuples(st.sampled_from(EVENTS), changes, st.integers(0, 3)), min_size=1, max_size=4))
        lies = draw(st.dictionaries(st.sampled_from(FETCHED), changes, max_size=3))
        return what, version, several, lies
    if what == "edu":
        return what, version, draw(st.sampled_from(EDUS)), draw(changes)
    if what == "transaction":
        body = st.dictionaries(st.sampled_from(("pdus", "edus", "origin", "origin_server_ts")), odd | st.lists(odd))
        return what, draw(body), draw(encoded)
    if what == "header":
        return what, draw(st.lists(headers, min_size=1, max_size=3))
    endpoint = draw(st.sampled_from(ENDPOINTS))
    path = {name: draw(encoded) for name in endpoint.names if draw(st.integers(0, 4)) == 0}
    query = {}
    if endpoint.query is not None:
        for each in msgspec.structs.fields(endpoint.query):
            if draw(st.booleans()):
                query[each.encode_name] = draw(encoded)
    return what, version, endpoint, path, query, draw(changes), draw(st.sampled_from(EVENTS))


class Faults(logging.Handler):
    """Whatever is logged as an error, by whomever."""

    def __init__(self) -> None:
        super().__init__(logging.ERROR)
        self.found: list[str] = []

    def emit(self, record: logging.LogRecord) -> None:
        self.found.append(self.format(record))

    def hear(self, _logger: Any, method: str, event: MutableMapping[str, Any]) -> dict[str, Any]:
        """Be a processor of structlog."""
        if method in ("error", "critical", "exception") or event.get("exc_info"):
            self.found.append(str(structlog.processors.format_exc_info(_logger, method, dict(event))))
        raise structlog.DropEvent


class Game:
    """A server and a peer that live as long as the test, for Hypothesis calls a plain function many times."""

    def __init__(self, kind: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.faults = Faults()
        self.rooms: list[SharedRoom] = []
        self.plays = 0
        self.slowest = 0.0
        self.ours, self.peer, self.alice = self.loop.run_until_complete(self._start(kind))

    async def _start(self, kind: str) -> tuple[World, Peer, User]:
        directory = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        authority = Authority.make(directory)
        url = ""
        if kind == "postgresql":
            url = await self.stack.enter_async_context(fresh_postgres_database(POSTGRES))
        ours = await self.stack.enter_async_context(federating(authority, directory, url))
        peer = await self.stack.enter_async_context(Peer.start(authority))
        alice = await ours.user("alice")
        logging.getLogger().addHandler(self.faults)
        self._configured = structlog.get_config()
        structlog.configure(processors=[self.faults.hear])
        self.peer, self.ours, self.alice = peer, ours, alice
        for version in VERSIONS:
            self.rooms.append(await self._room(version))
        return ours, peer, alice

    async def _room(self, version: str) -> SharedRoom:
        room = self.peer.creates_room(version)
        guest = self.peer.user("guest")
        room.member(guest, guest, "join")
        ok(await self.alice.post(f"/join/{q(room.room_id)}", via=self.peer.name))
        return room

    async def play(self, asked: list[tuple[Any, ...]]) -> None:
        """Do what is asked, and see that the server is well."""
        for step in asked:
            began = time.monotonic()
            # What the peer cannot sign or send, nobody can.
            with suppress(ProtocolError, aiohttp.ClientPayloadError, aiohttp.InvalidURL):
                async with asyncio.timeout(SECONDS):
                    await getattr(self, f"_{step[0]}")(*step[1:])
            self.slowest = max(self.slowest, time.monotonic() - began)
            self.peer.instead.clear()
        self.plays += 1
        await self._is_well()
        self.peer.asked.clear()
        self.peer.edus.clear()
        self.peer.transactions.clear()
        if self.plays % PLAYS_A_CHECK == 0:
            await self.ours.app.db.read(forked_consistency.check)

    async def _is_well(self) -> None:
        assert self.faults.found == [], self.faults.found
        self.alice.since = None
        joined = ok(await self.alice.get("/joined_rooms"))["joined_rooms"]
        await self.alice.syncs()
        assert self.faults.found == [], self.faults.found
        for number, room in enumerate(self.rooms):
            if room.room_id not in joined:
                self.rooms[number] = await self._room(room.version.id)

    # What the peer does

    async def _event(
        self, which: int, several: list[tuple[str, list[Change], int]], lies: Mapping[str, list[Change]]
    ) -> None:
        room = self.rooms[which]
        for ability, change in lies.items():
            self.peer.instead[ability] = self._lie(ability, change)
        made = []
        for event_type, change, how in several:
            # One that is kept back is missed by what comes after it.
            made += self._made(room, event_type, change, keep=how == 0)[: 0 if how == 1 else 1]
        status, answer = await self.peer.sends(self.ours.name, made)
        assert status == 200, (status, answer)

    def _made(self, room: SharedRoom, event_type: str, change: list[Change], *, keep: bool) -> list[dict[str, Any]]:
        sender, state_key, content = self._plausible(room, event_type)
        target = room.heads[0] if event_type == "m.room.redaction" else None
        event = room.make(sender, event_type, content, state_key, redacts=target)
        changed = self._mangled(wire(event), change, room)
        fields = changed if isinstance(changed, dict) else wire(event)
        if change:
            with suppress(Exception):
                fields = signed_again(fields, room.version, self.peer.name, self.peer.key)
        if not change or keep:
            with suppress(Exception):
                room.add(Pdu.from_wire(fields, room.version))
        if room.heads and len(room.heads) > 15:
            room.heads = room.heads[-2:]
        return [fields]

    def _plausible(self, room: SharedRoom, event_type: str) -> tuple[UserID, str | None, dict[str, Any]]:
        creator, guest = self.peer.user("creator"), self.peer.user("guest")
        powers = {} if room.version.creators_have_all_power else {str(creator): 100}
        found: dict[str, tuple[UserID, str | None, dict[str, Any]]] = {
            "m.room.message": (guest, None, {"msgtype": "m.text", "body": "x"}),
            "m.room.redaction": (creator, None, {"redacts": room.heads[0]}),
            MEMBER: (guest, guest, {"membership": "join", "displayname": "G"}),
            "m.room.power_levels": (creator, "", {"users": powers}),
            "m.room.join_rules": (creator, "", {"join_rule": "public"}),
            "m.room.server_acl": (creator, "", {"allow": ["*"], "deny": ["x"]}),
            "m.room.create": (creator, "", {"creator": creator, "room_version": room.version.id}),
            "m.room.history_visibility": (creator, "", {"history_visibility": "shared"}),
            "m.room.aliases": (creator, self.peer.name, {"aliases": ["#x:y"]}),
            "m.room.policy": (creator, "", {"via": "x", "public_key": "AA"}),
        }
        return found.get(event_type, (creator, "", {"topic": "x", "alias": "#x:y", "algorithm": "x"}))

    async def _edu(self, which: int, edu_type: str, change: list[Change]) -> None:
        room, guest, us = self.rooms[which], str(self.peer.user("guest")), self.alice.user_id
        contents: dict[str, dict[str, Any]] = {
            "m.typing": {"room_id": room.room_id, "user_id": guest, "typing": True},
            "m.presence": {"push": [{"user_id": guest, "presence": "online", "last_active_ago": 5}]},
            "m.receipt": {room.room_id: {"m.read": {guest: {"event_ids": [room.heads[0]], "data": {"ts": 5}}}}},
            "m.device_list_update": {
                "user_id": guest, "device_id": "D", "stream_id": 5, "prev_id": [], "device_display_name": "x",
                "keys": {"user_id": guest, "device_id": "D", "algorithms": [], "keys": {}, "signatures": {}},
            },
            "m.signing_key_update": {
                "user_id": guest, "master_key": {"user_id": guest, "usage": ["master"], "keys": {"ed25519:x": "x"}},
            },
            "m.direct_to_device": {
                "sender": guest, "type": "m.x", "message_id": str(time.monotonic_ns()), "messages": {us: {"*": {}}},
            },
        }  # fmt: skip
        edu = self._mangled({"edu_type": edu_type, "content": contents[edu_type]}, change, room)
        status, answer = await self.peer.sends(self.ours.name, [], [edu])
        assert status == 200, (status, answer)

    async def _transaction(self, body: dict[str, Any], txn_id: str) -> None:
        # Whole ones must come to an end; the ID is anything.
        await self._asks("PUT", f"{FEDERATION}/v1/send/{txn_id}x{time.monotonic_ns()}", body)

    async def _header(self, values: list[str]) -> None:
        path = f"{FEDERATION}/v1/event/$x"
        real = self.peer.authorization("GET", self.ours.name, path)
        names = {"us": self.ours.name, "them": self.peer.name, "key": self.peer.key.key_id, "sig": real[-87:-1]}
        sent = []
        for value in values:
            for name, known in names.items():
                value = value.replace(f"{{{name}}}", known)
            sent.append(("Authorization", value.replace("\r", "").replace("\n", "")))
        url = URL(f"https://{self.ours.name}{path}", encoded=True)
        async with self.peer.http.get(url, headers=sent) as response:
            assert response.status < 500, (values, response.status, await response.read())

    async def _endpoint(
        self, which: int, endpoint: Endpoint, path: dict[str, str], query: dict[str, str], change: list[Change],
        event_type: str,
    ) -> None:  # fmt: skip
        room = self.rooms[which]
        body = self._mangled(self._body(room, endpoint, event_type), change, room)
        event = body.get("event", body) if isinstance(body, dict) else body
        event_id: str = room.heads[0]
        if isinstance(event, dict) and "type" in event:
            with suppress(Exception):
                event.update(signed_again(event, room.version, self.peer.name, self.peer.key))
                event_id = Pdu.from_wire(event, room.version).event_id
        plausible = {
            "room_id": room.room_id, "user_id": str(self.peer.user("joiner")), "event_id": event_id, "txn_id": "x",
            "server": self.peer.name, "media_id": "abc", "alias": "#x:y",
        }  # fmt: skip
        if "user/devices" in endpoint.path:
            plausible["user_id"] = self.alice.user_id
        target = endpoint.path.format(**{name: path.get(name, q(plausible.get(name, "x"))) for name in endpoint.names})
        asked = {"event_id": q(room.heads[0]), "v": q(room.heads[0]), "ver": room.version.id, "limit": "10"} | query
        known = {each.encode_name for each in msgspec.structs.fields(endpoint.query)} if endpoint.query else set()
        text = "&".join(f"{name}={value}" for name, value in asked.items() if name in known)
        await self._asks(endpoint.method, target + (f"?{text}" if text else ""), body)

    def _body(self, room: SharedRoom, endpoint: Endpoint, event_type: str) -> Any:
        if endpoint.body is None:
            return None
        joiner, path = self.peer.user("joiner"), endpoint.path
        if "/invite/" in path:
            creator, us = self.peer.user("creator"), self.alice.user_id
            event = wire(room.make(creator, MEMBER, {"membership": "invite"}, us))
            # Of a room that nobody of ours is in, or of one that they are in.
            if event_type < "m.room.m":
                event["room_id"] = f"!elsewhere:{self.peer.name}"
            told = self.peer.told(room)
            if "/v1/" in path:
                return {**event, "unsigned": {"invite_room_state": told}}
            return {"room_version": room.version.id, "event": event, "invite_room_state": told}
        for what in ("join", "leave", "knock"):
            if f"send_{what}" in path:
                return wire(room.make(joiner, MEMBER, {"membership": what}, joiner))
        if "/send/" in path:
            return {"pdus": self._made(room, event_type, [], keep=False), "edus": []}
        us = self.alice.user_id
        if endpoint.body is JsonObject:
            return wire(room.make(joiner, MEMBER, {"membership": "invite"}, us))
        plausible = {
            "device_keys": {us: []}, "one_time_keys": {us: {"D": "signed_curve25519"}}, "server_keys": {},
            "earliest_events": [], "latest_events": list(room.heads), "limit": 10,
        }  # fmt: skip
        assert issubclass(endpoint.body, msgspec.Struct)
        return {each.encode_name: plausible.get(each.encode_name) for each in msgspec.structs.fields(endpoint.body)}

    async def _asks(self, method: str, target: str, body: Any) -> None:
        """Send a request that is signed, if anybody can sign it."""
        if "+" in target or "//" in target or "/../" in target or "/./" in target:
            return
        status, answer = await self.peer.request(method, self.ours.name, target, body)
        # What we would have to fetch, and cannot, is the other server's fault.
        assert status < 500 or status in (502, 504), (method, target, body, status, answer)
        if status >= 400 and isinstance(answer, dict):
            assert str(answer.get("errcode", "")).startswith("M_"), (method, target, status, answer)

    def _lie(self, ability: str, change: list[Change]) -> Any:
        async def reply(peer: Peer, asked: Asked) -> Reply:
            honest = await ANSWERS[ability](peer, asked)
            return self._mangled(deepcopy(honest), change, self.rooms[0])  # type: ignore[no-any-return]

        return reply

    def _mangled(self, value: Any, several: list[Change], room: SharedRoom) -> Any:
        """Return a copy of a value in which something is different."""
        holder = [deepcopy(value)]
        for path, how, given_value in several:
            other = deepcopy(given_value)
            at: Any = holder
            key: Any = 0
            for number in path:
                inner = at[key]
                if not isinstance(inner, dict | list) or not inner:
                    break
                at, key = inner, sorted(inner)[number % len(inner)] if isinstance(inner, dict) else number % len(inner)
            match how:
                case "replace":
                    at[key] = other
                case "remove" if at is not holder:
                    del at[key]
                case "double" if isinstance(at, list):
                    at.extend(deepcopy(at) * (path[0] % 4))
                case "add" if isinstance(at, dict):
                    at[NAMES[path[-1] % len(NAMES)]] = other
                case "cite":
                    every = [*room.events, *self.rooms[path[0] % len(self.rooms)].heads]
                    cited = every[(path[-1] * 7) % len(every)]
                    old = [[cited, {"sha256": "AA"}]] if room.version.references_carry_hashes else [cited]
                    at[key] = old if isinstance(at[key], list) else cited
                case "name":
                    peer = self.peer
                    names = (self.alice.user_id, peer.user("creator"), peer.user("x"), room.room_id, self.ours.name)
                    at[key] = names[path[-1] % len(names)]
                case _:
                    continue
        return holder[0]

    def end(self) -> None:
        """Hold the database against itself for the last time, and stop."""
        try:
            self.loop.run_until_complete(self.ours.app.db.read(forked_consistency.check))
        finally:
            structlog.configure(**self._configured)
            logging.getLogger().removeHandler(self.faults)
            self.loop.run_until_complete(self.stack.aclose())
            self.loop.close()
        assert self.faults.found == [], self.faults.found


@pytest.fixture(params=DATABASES)
def game(request: pytest.FixtureRequest) -> Iterator[Game]:
    started = Game(request.param)
    yield started
    started.end()


@pytest.mark.timeout(0 if EXAMPLES > 60 else 120)
def test_whatever_another_server_sends_does_no_harm(game: Game) -> None:
    # A server that has been played with is never the same again, so there is nothing to be shrunk.
    @settings(
        max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck),
        phases=[Phase.explicit, Phase.generate],
    )  # fmt: skip
    @given(st.lists(steps(), min_size=1, max_size=5))
    @example([("header", ["X-Matrix"])])
    def play(asked: list[tuple[Any, ...]]) -> None:
        game.loop.run_until_complete(game.play(asked))

    play()
