"""A homeserver that is not ours: made from `federation.core`, with TLS on loopback, it speaks and it lies.

It answers what its `abilities` name, from the rooms it holds, and notes all that it is asked. `instead` replaces
an answer by any other: see `tests.support.lies`.
"""

import io
import itertools
import json
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, quote, urlencode

import aiohttp
from aiohttp import web
from yarl import URL

from federation.core import unpadded_base64
from federation.core.canonical_json import encode_lenient
from federation.core.errors import BadSignature
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, RoomID, ServerName, UserID, server_of
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from federation.core.signing import SigningKey, sign_json, verify_json
from homeserver.clock import SystemClock
from tests.support.answers import ANSWERS, Answer, Asked, Media, Refusal, Reply, ability_of
from tests.support.certificates import Authority, Certificate
from tests.support.shared_room import SharedRoom, wire
from tests.support.waiting import until

FEDERATION = "/_matrix/federation"
ROOM_STATE_TOLD = ("m.room.create", "m.room.join_rules", "m.room.name", "m.room.avatar", "m.room.topic",
                   "m.room.canonical_alias", "m.room.encryption")  # fmt: skip

_numbers = itertools.count(1)


@dataclass
class Peer:
    """A running server. What it has can be changed at any time."""

    name: ServerName
    authority: Authority
    keys: list[SigningKey]
    """The keys it publishes; the last one signs."""
    now_ms: Callable[[], int]
    http: aiohttp.ClientSession
    abilities: set[str] = field(default_factory=lambda: set(ANSWERS))
    instead: dict[str, Answer] = field(default_factory=dict)
    """Answers, by ability, that it gives instead of its own: functions of the peer and what it was asked."""
    old_keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    keys_valid_for_ms: int = 3_600_000

    rooms: dict[RoomID, SharedRoom] = field(default_factory=dict)
    profiles: dict[str, dict[str, Any]] = field(default_factory=dict)
    aliases: dict[str, RoomID] = field(default_factory=dict)
    public_rooms: list[dict[str, Any]] = field(default_factory=list)
    hierarchy: dict[str, dict[str, Any]] = field(default_factory=dict)
    devices: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Answers to `user/devices`, by user."""
    device_keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    cross_signing: dict[str, dict[str, Any]] = field(default_factory=dict)
    """`master_keys` and `self_signing_keys`, by user."""
    one_time_keys: dict[str, dict[str, Any]] = field(default_factory=dict)
    media: dict[str, Media] = field(default_factory=dict)
    openid: dict[str, str] = field(default_factory=dict)

    asked: list[Asked] = field(default_factory=list)
    transactions: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of transactions, each once."""
    edus: list[dict[str, Any]] = field(default_factory=list)
    pdus: list[dict[str, Any]] = field(default_factory=list)
    invites: list[dict[str, Any]] = field(default_factory=list)
    """The bodies of `PUT invite` version 2."""
    poured: int = 0
    """Bytes that lies have sent."""
    seen: dict[tuple[ServerName | None, str], Reply] = field(default_factory=dict)
    _others_keys: dict[ServerName, Mapping[str, Any]] = field(default_factory=dict)

    @classmethod
    @asynccontextmanager
    async def start(
        cls,
        authority: Authority,
        *,
        name: str = "",
        certificate: Certificate | None = None,
        now_ms: Callable[[], int] | None = None,
        port: int = 0,
        **settings: Any,
    ) -> AsyncIterator["Peer"]:
        """Start a peer called `localhost:PORT`; `settings` are fields. Another `name` must lead to it somehow."""
        listening = socket.create_server(("127.0.0.1", port), reuse_port=False)
        async with aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=authority.client_context()), auto_decompress=True
        ) as http:
            own = ServerName(name or f"localhost:{listening.getsockname()[1]}")
            keys = [SigningKey.generate(f"k{next(_numbers)}")]
            peer = cls(own, authority, keys, now_ms or SystemClock().now_ms, http, **settings)
            async with serving(peer._answer, listening, certificate or authority.certificate()):
                yield peer

    @property
    def key(self) -> SigningKey:
        """The key that signs."""
        return self.keys[-1]

    @property
    def port(self) -> int:
        """Where it listens, if its name says so."""
        return int(self.name.rpartition(":")[2])

    def user(self, localpart: str) -> UserID:
        """Return the ID of a user of this server. There is nothing more to a user."""
        return UserID(f"@{localpart}:{self.name}")

    def changes_key(self, *, expired_ts: int | None = None, forget: bool = False) -> None:
        """Publish another key, and the last one among the old ones unless it is forgotten."""
        last = self.keys.pop()
        if not forget:
            self.old_keys[last.key_id] = {
                "key": unpadded_base64.encode(last.public_key),
                "expired_ts": self.now_ms() if expired_ts is None else expired_ts,
            }
        self.keys.append(SigningKey.generate(f"k{next(_numbers)}"))

    # Rooms

    def room(self, version: RoomVersion | str, room_id: str = "") -> SharedRoom:
        """Return a room with nothing in it, not even among `rooms` yet."""
        found = ROOM_VERSIONS[version] if isinstance(version, str) else version
        return SharedRoom(found, self._signing_key, self.now_ms, room_id=RoomID(room_id))

    def creates_room(
        self,
        version: str = "11",
        creator: str = "creator",
        *,
        join_rule: str | Mapping[str, Any] = "public",
        history: str = "shared",
        levels: Mapping[str, Any] | None = None,
        name: str = "",
        **content: Any,
    ) -> SharedRoom:
        """Create a room as clients do, with what makes it usable; its creator is `creator` of this server."""
        room = self.room(version)
        user = self.user(creator)
        room.create(user, **content)
        room.member(user, user, "join")
        users = {} if room.version.creators_have_all_power else {str(user): 100}
        given = dict(levels or {})
        room.sets(user, "m.room.power_levels", {**given, "users": {**users, **given.get("users", {})}})
        rule = {"join_rule": join_rule} if isinstance(join_rule, str) else dict(join_rule)
        room.sets(user, "m.room.join_rules", rule)
        room.sets(user, "m.room.history_visibility", {"history_visibility": history})
        if name:
            room.sets(user, "m.room.name", {"name": name})
        self.rooms[room.room_id] = room
        return room

    # Requests to others

    async def request(
        self,
        method: str,
        destination: str,
        path: str,
        body: Any = None,
        *,
        query: Mapping[str, Any] | Sequence[tuple[str, Any]] = (),
        origin: str | None = None,
        key: SigningKey | None = None,
        destination_signed: str | None = None,
        headers: Mapping[str, str] | None = None,
        signed: bool = True,
        raw: bytes | None = None,
        timeout: float = 60,  # noqa: ASYNC109 - a setting of the HTTP client
    ) -> tuple[int, Any]:
        """Ask another server; return the status and the JSON of the answer (or bytes, if it is not JSON)."""
        target = path + (f"?{urlencode(query, doseq=True)}" if query else "")
        sent = dict(headers or {})
        if signed and "Authorization" not in sent:
            sent["Authorization"] = self.authorization(
                method, destination, target, body, origin=origin, key=key, destination_signed=destination_signed
            )
        if body is not None and raw is None:
            raw = json.dumps(body).encode()
        if raw is not None:
            sent.setdefault("Content-Type", "application/json")
        url = URL(f"https://{destination}{target}", encoded=True)
        limit = aiohttp.ClientTimeout(total=timeout)
        data = None if raw is None else io.BytesIO(raw)
        async with self.http.request(method, url, data=data, headers=sent, timeout=limit) as response:
            content = await response.read()
            if response.content_type == "application/json":
                return response.status, json.loads(content)
            return response.status, content

    def authorization(
        self, method: str, destination: str, target: str, body: Any = None, *, origin: str | None = None,
        key: SigningKey | None = None, destination_signed: str | None = None,
    ) -> str:  # fmt: skip
        """Return the `X-Matrix` header of a request."""
        claimed = ServerName(origin or self.name)
        towards = destination_signed or destination
        signed = {"method": method, "uri": target, "origin": claimed, "destination": towards}
        if body is not None:
            signed["content"] = body
        key = key or self.key
        # The bodies of old rooms hold numbers that canonical JSON has not.
        signature = unpadded_base64.encode(key.sign_bytes(encode_lenient(signed)))
        return f'X-Matrix origin="{claimed}",destination="{towards}",key="{key.key_id}",sig="{signature}"'

    async def sends(
        self,
        destination: str,
        pdus: Iterable[Any] = (),
        edus: Iterable[Any] = (),
        *,
        txn_id: str = "",
        **how: Any,
    ) -> tuple[int, Any]:
        """Send a transaction of events, or of anything else; return its answer."""
        body = {
            "origin": how.get("origin") or self.name,
            "origin_server_ts": self.now_ms(),
            "pdus": [wire(pdu) if isinstance(pdu, Pdu) else pdu for pdu in pdus],
            "edus": list(edus),
        }
        txn_id = txn_id or f"t{next(_numbers)}x{self.now_ms()}"
        return await self.request("PUT", destination, f"{FEDERATION}/v1/send/{quote(txn_id, safe='')}", body, **how)

    async def delivers(self, destination: str, *pdus: Pdu | Mapping[str, Any]) -> dict[str, Any]:
        """Send events that are to be taken; return what became of each."""
        status, answer = await self.sends(destination, pdus)
        assert status == 200, answer
        results: dict[str, Any] = answer["pdus"]
        return results

    async def joins(
        self, user: UserID, room_id: str, via: str, *, content: Mapping[str, Any] | None = None,
        meanwhile: Callable[[], Awaitable[object]] | None = None,
    ) -> SharedRoom:  # fmt: skip
        """Join a room through another server; return it, with what that server says is its state.

        `meanwhile` is what happens between the halves of the handshake.
        """
        room, event = await self._handshake("join", user, room_id, via, content)
        if meanwhile is not None:
            await meanwhile()
        status, answer = await self.request(
            "PUT", via, f"{FEDERATION}/v2/send_join/{q(room_id)}/{q(event.event_id)}", wire(event)
        )
        assert status == 200, answer
        known = self.rooms.setdefault(room.room_id, room)
        state = [Pdu.from_wire(each, room.version) for each in answer["state"]]
        known.know([*(Pdu.from_wire(each, room.version) for each in answer["auth_chain"]), *state])
        joined = Pdu.from_wire(answer["event"], room.version) if "event" in answer else event
        known.add(joined, {each.slot: each.event_id for each in state})
        known.heads = (joined.event_id,)
        return known

    async def leaves(self, user: UserID, room_id: str, via: str) -> Pdu:
        """Leave a room, or refuse an invite, through another server."""
        return await self._hands_over("leave", "v2", user, room_id, via)

    async def knocks(self, user: UserID, room_id: str, via: str, reason: str = "") -> Pdu:
        """Knock on a room through another server."""
        return await self._hands_over("knock", "v1", user, room_id, via, {"reason": reason} if reason else None)

    async def invites_user(self, room: SharedRoom, sender: UserID, target: str, destination: str = "") -> Pdu:
        """Invite a user of another server; the event is in the room afterwards. Raises AssertionError if refused."""
        event = room.make(sender, "m.room.member", {"membership": "invite"}, target)
        destination = destination or server_of(UserID(target))
        status, answer = await self.asks_for_invite(room, event, destination)
        assert status == 200, answer
        signed = Pdu.from_wire(answer["event"], room.version)
        room.add(signed)
        return signed

    async def asks_for_invite(
        self, room: SharedRoom, event: Pdu | Mapping[str, Any], destination: str, **body: Any
    ) -> tuple[int, Any]:
        """Send an invite (version 2) to the invited user's server; `body` replaces fields of the body."""
        event_id = event.event_id if isinstance(event, Pdu) else Pdu.from_wire(event, room.version).event_id
        path = f"{FEDERATION}/v2/invite/{q(room.room_id)}/{q(event_id)}"
        told = {
            "room_version": room.version.id, "event": wire(event), "invite_room_state": self.told(room), **body,
        }  # fmt: skip
        return await self.request("PUT", destination, path, told)

    def told(self, room: SharedRoom) -> list[dict[str, Any]]:
        """Return what someone who is not in a room is told of it: events as they are, as v1.16 has it."""
        found = (room.state_event(event_type) for event_type in ROOM_STATE_TOLD)
        return [wire(event) for event in found if event is not None]

    async def _handshake(
        self, what: str, user: UserID, room_id: str, via: str, content: Mapping[str, Any] | None
    ) -> tuple[SharedRoom, Pdu]:
        query = [("ver", version) for version in ROOM_VERSIONS] if what != "leave" else []
        path = f"{FEDERATION}/v1/make_{what}/{q(room_id)}/{q(user)}"
        status, offer = await self.request("GET", via, path, query=query)
        assert status == 200, offer
        room = self.rooms.get(RoomID(room_id)) or self.room(offer.get("room_version", "1"), room_id)
        template = offer["event"]
        assert (template["type"], template["room_id"], template["sender"], template["state_key"]) == (
            "m.room.member", room_id, user, user,
        ), template  # fmt: skip
        assert template["content"]["membership"] == what, template

        def ids(references: Iterable[Any]) -> list[EventID]:
            return [each[0] if room.version.references_carry_hashes else each for each in references]

        event = room.make(
            user, "m.room.member", {**template["content"], **(content or {})}, user, depth=template["depth"],
            prev=ids(template["prev_events"]), auth=ids(template["auth_events"]),
        )  # fmt: skip
        return room, event

    async def _hands_over(
        self, what: str, version: str, user: UserID, room_id: str, via: str, content: Mapping[str, Any] | None = None
    ) -> Pdu:
        _, event = await self._handshake(what, user, room_id, via, content)
        path = f"{FEDERATION}/{version}/send_{what}/{q(room_id)}/{q(event.event_id)}"
        status, answer = await self.request("PUT", via, path, wire(event))
        assert status == 200, answer
        return event

    # What it got

    def asked_for(self, ability: str) -> list[Asked]:
        """Return the requests for one ability."""
        return [asked for asked in self.asked if asked.ability == ability]

    def has(self, event_id: str) -> bool:
        """Return whether an event has come, or was made here."""
        return any(event_id in room.after for room in self.rooms.values())

    async def gets(self, *event_ids: str) -> None:
        """Wait until events have come."""
        await until(lambda: all(self.has(event_id) for event_id in event_ids))

    async def gets_edu(self, edu_type: str, condition: Callable[[Mapping[str, Any]], object] = bool) -> dict[str, Any]:
        """Wait until an EDU has come whose content meets a condition (not to be empty); return its content."""

        def found() -> list[dict[str, Any]]:
            return [edu["content"] for edu in self.edus if edu["edu_type"] == edu_type and condition(edu["content"])]

        await until(found)
        return found()[0]

    # Answers

    def _signing_key(self, server: ServerName) -> SigningKey:
        assert server == self.name, f"{self.name} has no key of {server}"
        return self.key

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        asked = await self._read(request)
        self.asked.append(asked)
        if asked.ability not in self.abilities:
            return _error(Refusal(404, "M_UNRECOGNIZED"))
        answer = self.instead.get(asked.ability, ANSWERS[asked.ability])
        try:
            reply = await answer(self, asked)
        except Refusal as refusal:
            return _error(refusal)
        if isinstance(reply, web.StreamResponse):
            return reply
        return web.json_response(reply)

    async def _read(self, request: web.BaseRequest) -> Asked:
        target = request.raw_path
        path, _, query = target.partition("?")
        ability, values = ability_of(request.method, path)
        content = await request.read()
        body = None
        with suppress(ValueError):
            body = json.loads(content) if content else None
        asked = Asked(ability, request.method, target, values, parse_qs(query), body, None, False, request)
        header = request.headers.get("Authorization", "")
        if header.startswith("X-Matrix "):
            claims = dict(re.findall(r'(\w+)="?([^",]*)"?', header.removeprefix("X-Matrix ")))
            asked.origin = ServerName(claims["origin"])
            asked.signed = await self._is_signed(asked, claims)
        return asked

    async def _is_signed(self, asked: Asked, claims: Mapping[str, str]) -> bool:
        if asked.origin is None or claims.get("destination") != self.name:
            return False
        signed = {
            "method": asked.method, "uri": asked.target, "origin": asked.origin, "destination": self.name,
            "signatures": {asked.origin: {claims["key"]: claims["sig"]}},
        }  # fmt: skip
        if asked.body is not None:
            signed["content"] = asked.body
        if claims["key"] not in self._others_keys.get(asked.origin, {}):
            try:
                _, document = await self.request("GET", asked.origin, "/_matrix/key/v2/server", signed=False)
            except (aiohttp.ClientError, TimeoutError):
                return False
            self._others_keys[asked.origin] = document["verify_keys"] if isinstance(document, dict) else {}
        known = self._others_keys[asked.origin].get(claims["key"])
        if known is None:
            return False
        try:
            verify_json(signed, asked.origin, claims["key"], unpadded_base64.decode(known["key"]))
        except BadSignature:
            return False
        return True

    def key_document(self, **replaced: Any) -> dict[str, Any]:
        """Return what it publishes, signed with all its keys; `replaced` fields are signed too."""
        document: dict[str, Any] = {
            "server_name": self.name,
            "valid_until_ts": self.now_ms() + self.keys_valid_for_ms,
            "verify_keys": {key.key_id: {"key": unpadded_base64.encode(key.public_key)} for key in self.keys},
            "old_verify_keys": self.old_keys,
            **replaced,
        }
        for key in self.keys:
            document = sign_json(document, self.name, key)
        return document


def q(text: str) -> str:
    """Percent-encode a part of a path."""
    return quote(text, safe="")


@asynccontextmanager
async def serving(
    handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], listening: socket.socket, shown: Certificate
) -> AsyncIterator[None]:
    """Answer requests over TLS."""
    server = web.Server(handler, access_log=None)
    runner = web.ServerRunner(server, shutdown_timeout=0.1)
    await runner.setup()
    await web.SockSite(runner, listening, ssl_context=shown.server_context()).start()
    try:
        yield
    finally:
        # Nobody waits for whom it leaves in the middle of something.
        for connection in server.connections:
            if connection.transport is not None:
                connection.transport.abort()
        await runner.cleanup()


def _error(refusal: Refusal) -> web.Response:
    return web.json_response(refusal.body, status=refusal.status)
