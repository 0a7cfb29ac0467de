"""A crowd of XMPP clients in a process of its own, so that what they cost is not the server's.

    python -m benchmarks.crowd DOMAIN PORT

It takes one order a line from standard input, as JSON, and answers each with a line: see `Crowd`. The clients know just
enough of XMPP: they write bytes, and look for bytes in what comes.
"""

import asyncio
import base64
import itertools
import ssl
import sys
import time
from collections.abc import Iterable
from typing import Any, cast

import orjson
import uvloop

from benchmarks.client import PASSWORD, TEXT
from benchmarks.measuring import at_once
from homeserver.xmpp.allocation import keep_large_blocks_apart

AT_ONCE = 20
SECONDS = 120.0
MUC = "http://jabber.org/protocol/muc"
KEPT = 200
"""Bytes that are looked at once more when the next ones come: no marker is longer."""


class Member(asyncio.Protocol):
    """One client."""

    def __init__(self, name: str, domain: str) -> None:
        self.name = name
        self.domain = domain
        self.at = 0.0
        """When the marker came."""
        self._transport: asyncio.Transport | None = None
        self._marker = b""
        self._came: asyncio.Future[None] | None = None
        self._kept = b""

    # asyncio tells

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._came is None:
            return
        seen = self._kept + data
        if self._marker in seen:
            self.at = time.perf_counter()
            if not self._came.done():
                self._came.set_result(None)
            self._came, self._kept = None, b""
        else:
            self._kept = seen[-KEPT:]

    def connection_lost(self, exc: Exception | None) -> None:
        if self._came is not None and not self._came.done():
            self._came.set_exception(exc or ConnectionError(f"{self.name}: the server closed the connection"))

    # What a client does

    def says(self, text: str) -> None:
        assert self._transport is not None
        self._transport.write(text.encode())

    def awaits(self, marker: str) -> asyncio.Future[None]:
        """Return what is done when the server has sent a text."""
        self._marker, self._kept = marker.encode(), b""
        self._came = asyncio.get_running_loop().create_future()
        return self._came

    async def asks(self, text: str, marker: str) -> None:
        """Say something, and wait for the answer."""
        came = self.awaits(marker)
        self.says(text)
        await came

    async def logs_in(self, port: int, context: ssl.SSLContext) -> None:
        """Connect with STARTTLS, log in, bind a resource and become available."""
        loop = asyncio.get_running_loop()
        await loop.create_connection(lambda: self, "127.0.0.1", port)
        header = (
            "<?xml version='1.0'?><stream:stream xmlns='jabber:client' "
            f"xmlns:stream='http://etherx.jabber.org/streams' to='{self.domain}' version='1.0'>"
        )
        await self.asks(header, "</stream:features>")
        await self.asks("<starttls xmlns='urn:ietf:params:xml:ns:xmpp-tls'/>", "<proceed")
        assert self._transport is not None
        secured = await loop.start_tls(self._transport, self, context, server_hostname=self.domain)
        assert secured is not None
        self._transport = secured
        await self.asks(header, "</stream:features>")
        secret = base64.b64encode(f"\0{self.name}\0{PASSWORD}".encode()).decode()
        auth = f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>"
        await self.asks(auth, "<success")
        await self.asks(header, "</stream:features>")
        bind = "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>bench</resource></bind>"
        await self.asks(f"<iq type='set' id='b'>{bind}</iq>", "</iq>")
        await self.asks("<presence/>", "<presence")

    async def enters(self, room: str) -> float:
        """Enter a room; return the seconds until its subject came, with which all is told."""
        began = time.perf_counter()
        await self.asks(f"<presence to='{room}/{self.name}'><x xmlns='{MUC}'/></presence>", "<subject")
        return self.at - began

    def leaves(self) -> None:
        if self._transport is not None:
            self.says("</stream:stream>")
            self._transport.close()


class Crowd:
    """All clients. Each method is an order, and returns what is answered."""

    def __init__(self, domain: str, port: int) -> None:
        self._domain = domain
        self._port = port
        self._members: dict[int, Member] = {}
        self._context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        self._context.check_hostname = False
        self._context.verify_mode = ssl.CERT_NONE
        self._numbers = itertools.count()

    async def log_in(self, numbers: list[int]) -> None:
        """Log users in, one session each."""

        async def one(index: int) -> None:
            number = numbers[index]
            member = Member(f"user{number}", self._domain)
            await member.logs_in(self._port, self._context)
            self._members[number] = member

        await at_once(AT_ONCE, one, len(numbers))

    async def log_out(self) -> None:
        """Let everybody go."""
        for member in self._members.values():
            member.leaves()
        self._members.clear()

    async def enter(self, room: str, numbers: list[int]) -> list[float]:
        """Let users enter a room one after another; return the seconds that each needed."""
        return [await self._members[number].enters(room) for number in numbers]

    async def configure(self, room: str, number: int) -> None:
        """Accept the configuration of a new room as it is."""
        form = "<query xmlns='http://jabber.org/protocol/muc#owner'><x xmlns='jabber:x:data' type='submit'/></query>"
        await self._members[number].asks(f"<iq type='set' id='c' to='{room}'>{form}</iq>", "<iq ")

    async def say(self, room: str, numbers: list[int], times: int) -> list[list[float]]:
        """Let users say something in turn, each when all have the message before; return when each of them got each."""
        members = [self._members[number] for number in numbers]
        found = []
        for time_ in range(times):
            name = f"m{next(self._numbers)}-{time_}"
            came = [member.awaits(f"{name};</body>") for member in members]
            body = f"<body>{TEXT}{name};</body>"
            began = time.perf_counter()
            members[time_ % len(members)].says(f"<message type='groupchat' to='{room}' id='{name}'>{body}</message>")
            await asyncio.gather(*came)
            found.append([member.at - began for member in members])
        return found


async def _serve(domain: str, port: int) -> None:
    crowd = Crowd(domain, port)
    loop = asyncio.get_running_loop()
    while line := await loop.run_in_executor(None, sys.stdin.buffer.readline):
        order: dict[str, Any] = orjson.loads(line)
        async with asyncio.timeout(SECONDS * order.pop("patience", 1)):
            answer = await getattr(crowd, order.pop("do"))(**order)
        sys.stdout.buffer.write(orjson.dumps(answer) + b"\n")
        sys.stdout.buffer.flush()


class Order:
    """A crowd as the process sees it that commands it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        """Take a crowd that runs."""
        self._process = process

    @classmethod
    async def start(cls, domain: str, port: int) -> "Order":
        """Start a crowd that knows one server."""
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "benchmarks.crowd", domain, str(port),
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=2**26,
        )  # fmt: skip
        return cls(process)

    async def __call__(self, do: str, **what: Any) -> Any:
        """Give an order, and return its answer."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        self._process.stdin.write(orjson.dumps({"do": do, **what}) + b"\n")
        answer = await self._process.stdout.readline()
        if not answer:
            raise SystemExit(f"the crowd has failed to {do}")
        return orjson.loads(answer)

    async def end(self) -> None:
        """Let all clients go."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()


def numbers(start: int, count: int) -> list[int]:
    """Return so many numbers of users."""
    return list(range(start, start + count))


def flat(found: Iterable[list[float]]) -> list[float]:
    """Return all figures in one list."""
    return [figure for each in found for figure in each]


if __name__ == "__main__":
    keep_large_blocks_apart()
    uvloop.run(_serve(sys.argv[1], int(sys.argv[2])))
