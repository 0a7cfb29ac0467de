"""A real server on a real port, and people who use it over HTTP."""

import itertools
import json
import uuid
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import asyncpg

from federation.core.signing import SigningKey
from homeserver.app import Application, build
from homeserver.clock import Clock
from homeserver.config import load
from homeserver.services import passwords
from homeserver.storage.database import open_database
from homeserver.storage.migrations import runner
from homeserver.storage.schema import metadata

SERVER_NAME = "hs1"
PASSWORD = "correct horse battery"
CLIENT = "/_matrix/client/v3"
NO_NEWS = {"next_batch", "device_one_time_keys_count", "device_unused_fallback_key_types"}
"""What stands in every answer of /sync."""

_numbers = itertools.count(1)


_free: list[str] = []
"""Databases of this process that no test uses now. Emptying one is much faster than making one."""
_made: list[str] = []


@asynccontextmanager
async def fresh_postgres_database(url: str) -> AsyncIterator[str]:
    """Yield the URL of a database on the server at `url` that has all tables and nothing in them."""
    name = _free.pop() if _free else await _make(url)
    try:
        yield beside(url, name)
    finally:
        await _empty(beside(url, name))
        _free.append(name)


async def _make(url: str) -> str:
    name = f"isthmus_{uuid.uuid4().hex}"
    admin = await asyncpg.connect(url)
    await admin.execute(f"CREATE DATABASE {name}")
    await admin.close()
    _made.append(name)
    database = open_database(beside(url, name))
    await runner.prepare(database)
    await database.close()
    return name


_self_signed: dict[str, list[bytes]] = {}
"""The certificates and keys for XMPP that servers have made, by server name: to take them again saves the making."""

SCRAM_AS_SHIPPED = dict(passwords.SCRAM_ITERATIONS)
# To derive keys for SCRAM so often that it takes long is no part of what most tests show.
passwords.SCRAM_ITERATIONS.update(dict.fromkeys(passwords.SCRAM_ITERATIONS, 64))


async def _empty(url: str) -> None:
    conn = await asyncpg.connect(url)
    # Whoever is still connected would hold up the truncation.
    await conn.execute(
        "SELECT pg_terminate_backend(pid) FROM pg_stat_activity"
        " WHERE datname = current_database() AND pid <> pg_backend_pid()"
    )
    # With foreign keys off for this session, plain deletes are a tenth of a TRUNCATE of so many small tables.
    deletes = [f'DELETE FROM "{table.name}"' for table in metadata.sorted_tables if table.name != "schema_version"]
    await conn.execute("; ".join(["SET session_replication_role = replica", *deletes]))
    await conn.execute("INSERT INTO position (id, value) VALUES (1, 0)")
    await conn.close()


async def drop_databases(url: str) -> None:
    """Drop what this process made, after the last test."""
    admin = await asyncpg.connect(url)
    for name in _made:
        await admin.execute(f"DROP DATABASE IF EXISTS {name} WITH (FORCE)")
    await admin.close()


def beside(url: str, name: str) -> str:
    """Return the URL of another database on the same server."""
    return url.rsplit("/", 1)[0] + f"/{name}"


def q(text: str) -> str:
    """Percent-encode a part of a path."""
    return quote(text, safe="")


@dataclass
class Site:
    """A running homeserver, ours or not, as its users see it; `user` makes people who are logged in."""

    base: str
    http: aiohttp.ClientSession
    name: str
    """The server name."""

    async def request(
        self, method: str, path: str, /, body: Any = None, *, token: str | None = None, raw: bytes | None = None,
        headers: Mapping[str, str] | None = None, **query: Any,
    ) -> tuple[int, Any]:  # fmt: skip
        """Ask the server; return the status and the JSON answer (or bytes, if it is not JSON)."""
        sent = dict(headers or {})
        if token is not None:
            sent["Authorization"] = f"Bearer {token}"
        if body is not None:
            raw = json.dumps(body).encode()
            sent.setdefault("Content-Type", "application/json")
        params = [
            (name, str(v)) for name, value in query.items() for v in (value if isinstance(value, list) else [value])
        ]
        url = aiohttp.client.URL(self.base + path, encoded=True)
        if params:
            url = url.update_query(params)
        async with self.http.request(method, url, data=raw, headers=sent) as response:
            content = await response.read()
            if response.content_type == "application/json":
                return response.status, json.loads(content)
            return response.status, content

    async def user(self, name: str, password: str = PASSWORD) -> "User":
        """Register a user and return them, logged in."""
        status, answer = await self.request(
            "POST", f"{CLIENT}/register",
            {
                "username": name, "password": password, "auth": {"type": "m.login.dummy"},
                "device_id": f"{name.upper()}1",
            },
        )  # fmt: skip
        assert status == 200, answer
        return User(self, answer["user_id"], answer["access_token"], answer["device_id"])


@dataclass
class World(Site):
    """A running server of ours, in this process."""

    # The whole server would be told wherever asyncio tells of a task, which it does for each fixture and test.
    app: Application = field(repr=False)
    environ: dict[str, str] = field(repr=False)

    @classmethod
    @asynccontextmanager
    async def start(
        cls, database_url: str, directory: Path, *, clock: Clock | None = None, **options: str
    ) -> AsyncIterator["World"]:
        """Start a server; options are those of the environment, such as `REGISTRATION__ENABLED="true"`."""
        key = directory / "signing.key"
        if not key.exists():
            key.write_text(SigningKey.generate("test").serialise() + "\n")
        server_name = options.get("SERVER_NAME", SERVER_NAME)
        self_signed = [directory / f"xmpp-self-signed.{kind}" for kind in ("pem", "key")]
        if server_name in _self_signed and not self_signed[0].exists():
            for file, content in zip(self_signed, _self_signed[server_name], strict=True):
                file.write_bytes(content)
        environ = {
            "ISTHMUS_SERVER_NAME": SERVER_NAME,
            "ISTHMUS_DATABASE__URL": database_url,
            "ISTHMUS_KEYS__SIGNING_KEY": str(key),
            "ISTHMUS_MEDIA__PATH": str(directory / "media"),
            "ISTHMUS_HTTP__LISTEN": "127.0.0.1:0",
            "ISTHMUS_XMPP__LISTEN": "127.0.0.1:0",
            "ISTHMUS_REGISTRATION__ENABLED": "true",
            "ISTHMUS_RATE_LIMITS__ENABLED": "false",
            "ISTHMUS_PASSWORDS__ARGON2_MEMORY_KIB": "1024",
            "ISTHMUS_PASSWORDS__ARGON2_ITERATIONS": "1",
            **{f"ISTHMUS_{name}": value for name, value in options.items()},
        }
        app = await build(load(None, environ), clock=clock)
        address, *_ = await app.start()
        if self_signed[0].exists():
            _self_signed[server_name] = [file.read_bytes() for file in self_signed]
        try:
            async with aiohttp.ClientSession() as http:
                yield cls(f"http://{address}", http, environ["ISTHMUS_SERVER_NAME"], app, environ)
        finally:
            await app.stop()


@dataclass
class User:
    """A person on one device."""

    world: Any
    """Their server: a `World`, or another `Site`."""
    user_id: str
    token: str
    device_id: str
    since: str | None = None
    rooms: dict[str, Any] = field(default_factory=dict)

    async def get(self, path: str, /, **query: Any) -> tuple[int, Any]:
        """GET a path (without `/_matrix/client/v3`, or whole)."""
        return await self.world.request("GET", _whole(path), token=self.token, **query)

    async def post(self, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        """POST a JSON body."""
        return await self.world.request("POST", _whole(path), {} if body is None else body, token=self.token, **query)

    async def put(self, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        """PUT a JSON body."""
        return await self.world.request("PUT", _whole(path), {} if body is None else body, token=self.token, **query)

    async def delete(self, path: str, body: Any = None, **query: Any) -> tuple[int, Any]:
        """DELETE a path."""
        return await self.world.request("DELETE", _whole(path), body, token=self.token, **query)

    async def login_again(self, device_id: str | None = None) -> "User":
        """Log the same person in on another device."""
        body = {
            "type": "m.login.password", "identifier": {"type": "m.id.user", "user": self.user_id}, "password": PASSWORD,
        }  # fmt: skip
        if device_id is not None:
            body["device_id"] = device_id
        status, answer = await self.world.request("POST", f"{CLIENT}/login", body)
        assert status == 200, answer
        return User(self.world, self.user_id, answer["access_token"], answer["device_id"])

    async def creates_room(self, *invited: "User", **body: Any) -> str:
        """Create a room; return its ID."""
        if invited:
            body["invite"] = [user.user_id for user in invited]
        return str(ok(await self.post("/createRoom", body))["room_id"])

    async def joins(self, room_id: str) -> None:
        """Join a room."""
        ok(await self.post(f"/join/{q(room_id)}"))

    async def says(self, room_id: str, text: str = "hello", **content: Any) -> str:
        """Send a text message; return its event ID."""
        return await self.sends(room_id, "m.room.message", {"msgtype": "m.text", "body": text, **content})

    async def sends(self, room_id: str, event_type: str, content: Mapping[str, Any]) -> str:
        """Send an event; return its ID."""
        path = f"/rooms/{q(room_id)}/send/{q(event_type)}/t{next(_numbers)}"
        return str(ok(await self.put(path, content))["event_id"])

    async def sets(self, room_id: str, event_type: str, content: Mapping[str, Any], state_key: str = "") -> str:
        """Set state; return the event's ID."""
        return str(ok(await self.put(f"/rooms/{q(room_id)}/state/{q(event_type)}/{q(state_key)}", content))["event_id"])

    async def redacts(self, room_id: str, event_id: str, reason: str | None = None) -> str:
        """Redact an event; return the redaction's ID."""
        body = {} if reason is None else {"reason": reason}
        return str(ok(await self.put(f"/rooms/{q(room_id)}/redact/{q(event_id)}/t{next(_numbers)}", body))["event_id"])

    async def syncs(self, *, timeout: int = 0, **query: Any) -> Any:  # noqa: ASYNC109 - the API's own parameter
        """Sync from where the last one ended; return the answer."""
        if self.since is not None:
            query.setdefault("since", self.since)
        answer = ok(await self.get("/sync", timeout=timeout, **query))
        self.since = answer["next_batch"]
        return answer


def ok(answer: tuple[int, Any]) -> Any:
    """Return the body of an answer that must be 200."""
    status, body = answer
    assert status == 200, body
    return body


def refused(answer: tuple[int, Any], status: int, errcode: str) -> Any:
    """Return the body of an answer that must be this error."""
    assert answer[0] == status, answer
    assert answer[1]["errcode"] == errcode, answer
    return answer[1]


def _whole(path: str) -> str:
    return path if path.startswith(("/_", "/.")) else CLIENT + path
