"""A server that holds one large room and has little work with it: what others do to join it is what is measured."""

import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from aiohttp import web

from federation.core import request_auth, server_keys
from federation.core.auth.selection import auth_slots
from federation.core.canonical_json import encode_lenient
from federation.core.events.draft import Draft, build, template
from federation.core.events.pdu import Pdu
from federation.core.ids import EventID, ServerName, UserID
from federation.core.room_versions import ROOM_VERSIONS
from federation.core.signing import SigningKey

VERSION = ROOM_VERSIONS["11"]
SENT_AT = 1_700_000_000_000
DAY_MS = 24 * 60 * 60 * 1000
MOST_IN_A_TRANSACTION = 50


class Resident:
    """A public room with many members, all of them of this server."""

    def __init__(self, name: ServerName, members: int, now_ms: int) -> None:
        """Make the room."""
        self.name = name
        self.now_ms = now_ms
        self.key = SigningKey.generate("bench")
        self.room_id = f"!large:{name}"
        self.users = [UserID(f"@user{number}:{name}") for number in range(members)]
        self.state: dict[tuple[str, str], Pdu] = {}
        self.newest: Pdu | None = None
        creator = self.users[0]
        self._add(creator, "m.room.create", {"room_version": VERSION.id})
        self._add(creator, "m.room.member", {"membership": "join", "displayname": "User 0"}, creator)
        self._add(creator, "m.room.power_levels", {"users": {creator: 100}})
        self._add(creator, "m.room.join_rules", {"join_rule": "public"})
        self._add(creator, "m.room.history_visibility", {"history_visibility": "shared"})
        self._add(creator, "m.room.name", {"name": "A large room"})
        for number, user in enumerate(self.users[1:], 1):
            self._add(user, "m.room.member", {"membership": "join", "displayname": f"User {number}"}, user)
        self._state = [orjson.Fragment(encode_lenient(event.fields)) for event in self.state.values()]

    def says(self, count: int) -> list[Pdu]:
        """Append messages to the room, of its members in turn; return them."""
        sent = []
        for number in range(count):
            content = {"msgtype": "m.text", "body": f"Message {number} to a large room, as people write them."}
            sent.append(self._make(self.users[number % len(self.users)], "m.room.message", content))
        return sent

    def _add(self, sender: UserID, event_type: str, content: dict[str, Any], state_key: str = "") -> None:
        event = self._make(sender, event_type, content, state_key)
        self.state[event_type, state_key] = event

    def _make(self, sender: UserID, event_type: str, content: dict[str, Any], state_key: str | None = None) -> Pdu:
        draft = Draft(self.room_id, event_type, sender, content, state_key)  # type: ignore[arg-type]
        before = self.newest
        event = build(
            draft,
            version=VERSION,
            prev_events=[before.event_id] if before is not None else [],
            auth_events=self._auth_events(draft),
            depth=before.depth + 1 if before is not None else 1,
            now_ms=SENT_AT + (before.depth if before is not None else 0),
            server_name=self.name,
            key=self.key,
        )
        self.newest = event
        return event

    def _auth_events(self, draft: Draft) -> list[EventID]:
        slots = auth_slots(draft.type, draft.sender, draft.state_key, draft.content, VERSION)
        return [self.state[slot].event_id for slot in slots if slot in self.state]

    # What it answers

    async def answer(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer what a server asks that joins, and accept what it sends."""
        path = request.path
        if path == "/_matrix/key/v2/server":
            return _json(server_keys.make(self.name, [self.key], [], self.now_ms + DAY_MS))
        if "/make_join/" in path:
            user = UserID(path.rpartition("/")[2])
            draft = Draft(self.room_id, "m.room.member", user, {"membership": "join"}, user)  # type: ignore[arg-type]
            assert self.newest is not None
            offered = template(
                draft,
                version=VERSION,
                prev_events=[self.newest.event_id],
                auth_events=self._auth_events(draft),
                depth=self.newest.depth + 1,
                now_ms=self.now_ms,
            )
            return _json({"room_version": VERSION.id, "event": offered})
        if "/send_join/" in path:
            fields = await request.json()
            join = Pdu.from_wire(fields, VERSION)
            self.newest = join
            # Without the members left out, so that both servers get the same.
            answer = {
                "origin": self.name,
                "event": fields,
                "state": self._state,
                "auth_chain": self._state,
                "members_omitted": False,
                "servers_in_room": [self.name],
            }
            return _json(answer)
        if "/send/" in path:
            body = await request.json()
            return _json({"pdus": {EventID(str(number)): {} for number, _ in enumerate(body.get("pdus", []))}})
        if path.endswith("/version"):
            return _json({"server": {"name": "Resident", "version": "1"}})
        return _json({"errcode": "M_NOT_FOUND", "error": "not here"}, 404)

    async def sends(
        self, session: aiohttp.ClientSession, to: ServerName, port: int, events: Sequence[Pdu],
        taken: Callable[[Pdu], Awaitable[None]],
    ) -> None:  # fmt: skip
        """Send events to a server, fifty a transaction, each once the last event of the one before is `taken` in.

        Synapse puts what comes faster aside, and drops the oldest of more than a hundred.
        """
        for start in range(0, len(events), MOST_IN_A_TRANSACTION):
            part = events[start : start + MOST_IN_A_TRANSACTION]
            body = {
                "origin": self.name,
                "origin_server_ts": self.now_ms,
                "pdus": [dict(event.fields) for event in part],
            }
            uri = f"/_matrix/federation/v1/send/t{start}"
            content = encode_lenient(body)
            authorization = request_auth.make(self.key, self.name, to, "PUT", uri, content)
            headers = {"Authorization": authorization, "Content-Type": "application/json"}
            async with session.put(f"https://localhost:{port}{uri}", data=content, headers=headers) as response:
                answer = await response.json()
                refused = [each for each in answer.get("pdus", {}).values() if "error" in each]
                if response.status != 200 or refused:
                    raise SystemExit(f"{to} answers a transaction with {response.status}: {refused or answer}")
            await taken(part[-1])


@asynccontextmanager
async def serving(resident: Resident, port: int, certificate: tuple[Path, Path]) -> AsyncIterator[None]:
    """Let the resident listen with TLS."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(*certificate)
    runner = web.ServerRunner(web.Server(resident.answer, access_log=None))
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", port, ssl_context=context).start()
    try:
        yield
    finally:
        await runner.cleanup()


def _json(value: Any, status: int = 200) -> web.Response:
    return web.Response(body=orjson.dumps(value), status=status, content_type="application/json")
