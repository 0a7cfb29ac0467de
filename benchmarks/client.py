"""A small HTTP client that costs little itself, and the few requests of the Matrix API that the scenarios need."""

import asyncio
import time
from dataclasses import dataclass, field
from typing import Any, cast
from urllib.parse import quote

import orjson

V3 = "/_matrix/client/v3"
PASSWORD = "correct horse battery"
TEXT = "The quick brown fox jumps over the lazy dog. " * 2
ROOM_VERSION = "12"


class RequestFailed(Exception):
    """The server answered with an error."""


class _Connection(asyncio.Protocol):
    """One connection, one request at a time; the moment of an answer is that of its last byte."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._body_at = 0
        self._end = 0
        self._chunked = False
        self._answer: asyncio.Future[tuple[int, bytes]] | None = None
        self.answered_at = 0.0
        self.open = True

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        if not self._end and not self._read_head():
            return
        if self._chunked and not self._buffer.endswith(b"\r\n0\r\n\r\n"):
            return
        if len(self._buffer) < self._end:
            return
        self.answered_at = time.perf_counter()
        end = len(self._buffer) if self._chunked else self._end
        status, body = int(self._buffer[9:12]), bytes(self._buffer[self._body_at : end])
        del self._buffer[:end]
        self._end = 0
        if self._answer is not None:
            self._answer.set_result((status, _joined(body) if self._chunked else body))
            self._answer = None

    def _read_head(self) -> bool:
        body_at = self._buffer.find(b"\r\n\r\n") + 4
        if body_at < 4:
            return False
        lines = bytes(self._buffer[:body_at]).lower().split(b"\r\n")
        length = next((int(line[15:]) for line in lines if line.startswith(b"content-length:")), 0)
        self.open = b"connection: close" not in lines
        self._chunked = b"transfer-encoding: chunked" in lines
        self._body_at, self._end = body_at, body_at + length
        return True

    def connection_lost(self, exc: Exception | None) -> None:
        self.open = False
        if self._answer is not None:
            self._answer.set_exception(exc or ConnectionError("the server closed the connection"))
            self._answer = None

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        assert self._transport is not None
        self._answer = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        try:
            return await self._answer
        except asyncio.CancelledError:
            # What comes now is for nobody.
            self._answer = None
            self._transport.abort()
            raise

    def close(self) -> None:
        if self._transport is not None:
            self._transport.close()


def _joined(chunks: bytes) -> bytes:
    """Return the body that is in chunks: https://www.rfc-editor.org/rfc/rfc9112#section-7.1."""
    body, at = bytearray(), 0
    while True:
        line_end = chunks.index(b"\r\n", at)
        length = int(chunks[at:line_end], 16)
        if length == 0:
            return bytes(body)
        body += chunks[line_end + 2 : line_end + 2 + length]
        at = line_end + 2 + length + 2


@dataclass
class Client:
    """Sends requests to one server, over as many connections as run at once."""

    host: str
    port: int
    _idle: list[_Connection] = field(default_factory=list)

    async def send(
        self, method: str, path: str, content: bytes | None = None, token: str = "", kind: str = "application/json"
    ) -> tuple[int, bytes, float]:
        """Return the status and the body of an answer, and the moment of its arrival."""
        authorization = f"Authorization: Bearer {token}\r\n" if token else ""
        head = f"{method} {path} HTTP/1.1\r\nHost: {self.host}:{self.port}\r\n{authorization}"
        if content is not None:
            head += f"Content-Type: {kind}\r\nContent-Length: {len(content)}\r\n"
        request = head.encode() + b"\r\n" + (content or b"")
        kept = self._kept()
        connection = kept or await self._connect()
        try:
            status, answer = await connection.ask(request)
        except ConnectionError:
            # A server may close a connection that was idle at the very moment that it is used again: RFC 9112, 9.3.1.
            if kept is None or method == "POST":
                raise
            connection = await self._connect()
            status, answer = await connection.ask(request)
        if connection.open:
            self._idle.append(connection)
        return status, answer, connection.answered_at

    async def ask(self, method: str, path: str, body: Any = None, token: str = "") -> tuple[Any, float]:
        """Return an answer and the moment of its arrival. Raises `RequestFailed`."""
        status, answer, at = await self.send(method, path, orjson.dumps(body) if body is not None else None, token)
        if status != 200:
            raise RequestFailed(f"{method} {path[:100]}: {status} {answer[:200]!r}")
        return orjson.loads(answer), at

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.open:
                return connection
        return None

    async def _connect(self) -> _Connection:
        _, connection = await asyncio.get_running_loop().create_connection(_Connection, self.host, self.port)
        return connection

    def close(self) -> None:
        """Close the connections that are not in use."""
        for connection in self._idle:
            connection.close()
        self._idle.clear()

    async def register(self, name: str) -> "User":
        """Make an account."""
        auth = {"type": "m.login.dummy"}
        body = {"username": name, "password": PASSWORD, "auth": auth}
        status, answer, _ = await self.send("POST", f"{V3}/register", orjson.dumps(body))
        if status == 401:  # a server may insist that its session is named
            auth["session"] = orjson.loads(answer)["session"]
            status, answer, _ = await self.send("POST", f"{V3}/register", orjson.dumps(body))
        if status != 200:
            raise RequestFailed(f"register: {status} {answer[:200]!r}")
        made = orjson.loads(answer)
        return User(self, name, made["user_id"], made["access_token"])


@dataclass
class User:
    """An account on one device."""

    client: Client
    name: str
    user_id: str
    token: str
    since: str = ""
    filter_id: str = ""

    async def ask(self, method: str, path: str, body: Any = None) -> Any:
        """Return the answer to a request under `/_matrix/client/v3`."""
        return (await self.client.ask(method, V3 + path, body, self.token))[0]

    async def on_another_device(self) -> "User":
        """Log in on another device; return the user there."""
        identifier = {"type": "m.id.user", "user": self.name}
        body = {"type": "m.login.password", "identifier": identifier, "password": PASSWORD}
        answer = (await self.client.ask("POST", f"{V3}/login", body))[0]
        return User(self.client, self.name, self.user_id, answer["access_token"])

    async def creates_room(self) -> str:
        """Create a room that anyone may join; return its ID."""
        body = {"preset": "public_chat", "name": "A room", "topic": "Of the benchmark", "room_version": ROOM_VERSION}
        return str((await self.ask("POST", "/createRoom", body))["room_id"])

    async def joins(self, room: str) -> None:
        """Join a room."""
        await self.ask("POST", f"/join/{quote(room, safe='')}", {})

    async def says(self, room: str, number: int, text: str = TEXT) -> None:
        """Send a message; `number` makes its transaction ID."""
        content = {"msgtype": "m.text", "body": text}
        await self.ask("PUT", f"/rooms/{quote(room, safe='')}/send/m.room.message/t{number}", content)

    async def loads_members_lazily(self) -> None:
        """Upload the filter that clients use; syncs have it from now on."""
        wanted = {"room": {"state": {"lazy_load_members": True}, "timeline": {"limit": 100}}}
        answer = await self.ask("POST", f"/user/{quote(self.user_id, safe='')}/filter", wanted)
        self.filter_id = answer["filter_id"]

    async def syncs(self, timeout_ms: int = 0) -> tuple[Any, float]:
        """Sync from where the last one ended; return the answer and the moment of its arrival."""
        since = f"&since={quote(self.since, safe='')}" if self.since else ""
        chosen = f"&filter={quote(self.filter_id, safe='')}" if self.filter_id else ""
        answer, at = await self.client.ask("GET", f"{V3}/sync?timeout={timeout_ms}{since}{chosen}", None, self.token)
        self.since = answer["next_batch"]
        return answer, at
