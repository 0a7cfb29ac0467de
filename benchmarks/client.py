"""A small HTTP client that costs little itself, and the few requests of the Matrix API that the scenarios need."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote

import orjson

V3 = "/_matrix/client/v3"
PASSWORD = "correct horse battery"


class RequestFailed(Exception):
    """The server answered with an error."""


class _Connection(asyncio.Protocol):
    """One connection, one request at a time; the moment of an answer is that of its last byte."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.answered_at = 0.0
        self.open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        head, found, body = self._buffer.partition(b"\r\n\r\n")
        if not found:
            return
        lines = head.lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        if len(body) < length:
            return
        self.answered_at = time.perf_counter()
        self._buffer = body[length:]
        self.open = b"connection: close" not in lines
        if self._answer is not None:
            self._answer.set_result((int(head[9:12]), body[:length]))
            self._answer = None

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._answer is not None:
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))
            self._answer = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        return await self._answer


@dataclass
class Client:
    """Sends requests to one server, over as many connections as run at once."""

    host: str
    port: int
    _idle: list[_Connection] = field(default_factory=list)

    async def ask(self, method: str, path: str, body: Any = None, token: str = "") -> tuple[Any, float]:
        """Return an answer and the moment of its arrival. Raises `RequestFailed`."""
        content = orjson.dumps(body) if body is not None else b""
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{authorization}"
        if body is not None:
            head += f"Content-Type: application/json\r\nContent-Length: {len(content)}\r\n"
        connection = await self._connection()
        status, answer = await connection.ask(head.encode() + b"\r\n" + content)
        if connection.open:
            self._idle.append(connection)
        if status != 200:
            raise RequestFailed(f"{method} {path[:100]}: {status} {answer[:200]!r}")
        return orjson.loads(answer), connection.answered_at

    async def _connection(self) -> _Connection:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, self.host, self.port)
        return connection

    async def register(self, name: str) -> "User":
        """Make an account."""
        body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        answer, _ = await self.ask("POST", f"{V3}/register", body)
        return User(self, name, answer["user_id"], answer["access_token"])


@dataclass
class User:
    """An account on one device."""

    client: Client
    name: str
    user_id: str
    token: str
    since: str = ""

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer to a request under `/_matrix/client/v3`."""
        return (await self.client.ask(method, V3 + path, body, self.token))[0]

    async def login(self) -> None:
        """Log in on another device."""
        identifier = {"type": "m.id.user", "user": self.name}
        await self.ask("POST", "/login", {"type": "m.login.password", "identifier": identifier, "password": PASSWORD})

    async def creates_room(self) -> str:
        """Create a room that anyone may join; return its ID."""
        return str((await self.ask("POST", "/createRoom", {"preset": "public_chat"}))["room_id"])

    async def joins(self, room: str) -> None:
        """Join a room."""
        await self.ask("POST", f"/join/{quote(room, safe='')}", {})

    async def says(
        self, room: str, number: int, text: str = "The quick brown fox jumps over the lazy dog. " * 2
    ) -> None:
        """Send a message; `number` makes its transaction ID."""
        content = {"msgtype": "m.text", "body": text}
        await self.ask("PUT", f"/rooms/{quote(room, safe='')}/send/m.room.message/t{number}", content)

    async def syncs(self, timeout_ms: int = 0) -> tuple[Any, float]:
        """Sync from where the last one ended; return the answer and the moment of its arrival."""
        since = f"&since={self.since}" if self.since else ""
        answer, at = await self.client.ask("GET", f"{V3}/sync?timeout={timeout_ms}{since}", None, self.token)
        self.since = answer["next_batch"]
        return answer, at
