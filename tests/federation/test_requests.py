"""Requests to other servers: to the right place, over connections that are kept, within bounds.

What others may do to those who ask them is here as well: see `tests.support.lies`.
"""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass, field

import pytest
from aiohttp import web

from federation.core.canonical_json import MAX_NESTING
from federation.core.discovery import Place, Target
from federation.core.ids import ServerName
from federation.core.signing import SigningKey
from federation.matrix import requests
from federation.matrix.errors import BadAnswer, FederationError, RemoteError, Unreachable
from federation.matrix.requests import MOST_HEADERS, Outcome, Requests
from tests.support import lies
from tests.support.certificates import Authority, Certificate
from tests.support.elsewhere import Elsewhere
from tests.support.peer import Peer, serving
from tests.support.waiting import until

KEY = SigningKey.from_seed("a", b"\x01" * 32)
US = ServerName("us.example")
MIB = 1024 * 1024


@dataclass
class Asker:
    """Asks other servers, and knows where they are because it was told."""

    targets: dict[str, Target] = field(default_factory=dict)
    outcomes: list[Outcome] = field(default_factory=list)
    elsewhere: Elsewhere = field(default_factory=Elsewhere)
    requests: Requests = field(init=False)

    async def resolve(self, server_name: ServerName) -> Target:
        """Return what was told; else what the name says."""
        host, _, port = server_name.partition(":")
        return self.targets.get(server_name) or Target((Place(host, int(port)),), server_name, host, "2")

    def knows(self, name: str, *places: tuple[str, int], tls_name: str = "") -> ServerName:
        """Say where a server listens."""
        self.targets[name] = Target(tuple(Place(*place) for place in places), name, tls_name or name, "4")
        return ServerName(name)

    async def asks(self, destination: str, method: str = "GET", seconds: float = 5, **options: object) -> object:
        path = "/_matrix/federation/v1/version"
        return await self.requests.exchange(method, ServerName(destination), path, seconds=seconds, **options)  # type: ignore[arg-type]


@pytest.fixture
async def asker(authority: Authority) -> AsyncIterator[Asker]:
    made = Asker()
    made.requests = Requests(US, KEY, made, made.elsewhere.connector(authority), count=made.outcomes.append)
    yield made
    await made.requests.close()


class Listener:
    """A TLS server on loopback that answers as a test says."""

    def __init__(self, name: str = "a.example") -> None:
        self.name = name
        self.port = 0
        self.asked: list[web.BaseRequest] = []
        self.connections: set[object] = set()
        self.answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]] = self.friendly

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        await request.read()
        self.asked.append(request)
        self.connections.add(request.transport)
        return await self.answer(request)

    async def friendly(self, request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({"host": request.headers["Host"]})

    async def hangs_up(self, request: web.BaseRequest) -> web.StreamResponse:
        assert request.transport is not None
        request.transport.abort()
        raise asyncio.CancelledError


Listen = Callable[..., Awaitable[Listener]]


@pytest.fixture
async def listen(authority: Authority) -> AsyncIterator[Listen]:
    """Starts listeners; each shows a certificate for its name."""
    async with AsyncExitStack() as stack:

        async def start(name: str = "a.example", certificate: Certificate | None = None) -> Listener:
            listener, place = Listener(name), socket.create_server(("127.0.0.1", 0))
            listener.port = place.getsockname()[1]
            await stack.enter_async_context(serving(listener, place, certificate or authority.certificate(name)))
            return listener

        yield start


async def test_the_certificate_and_the_host_are_those_of_the_name_not_of_the_place(
    asker: Asker, listen: Listen
) -> None:
    server = await listen("a.example")
    asker.elsewhere.places["srv.hosting.example"] = ("127.0.0.1", server.port)
    name = asker.knows("a.example", ("srv.hosting.example", server.port))
    assert await asker.asks(name) == {"host": "a.example"}


@pytest.mark.parametrize(
    ("shown", "expired"), [("srv.hosting.example", False), ("*.example", True), ("a.example", True)]
)
async def test_another_certificate_or_one_that_has_expired_is_refused_before_anything_is_sent(
    asker: Asker, listen: Listen, authority: Authority, shown: str, expired: bool
) -> None:
    server = await listen("a.example", authority.certificate(shown, expired=expired))
    asker.elsewhere.places["srv.hosting.example"] = ("127.0.0.1", server.port)
    name = asker.knows("a.example", ("srv.hosting.example", server.port))
    with pytest.raises(Unreachable, match="certificate"):
        await asker.asks(name)
    assert server.asked == []
    assert asker.outcomes == ["unreachable"]


async def test_a_certificate_of_an_unknown_authority_is_refused(
    asker: Asker, listen: Listen, tmp_path_factory: pytest.TempPathFactory
) -> None:
    unknown = Authority.make(tmp_path_factory.mktemp("unknown"))
    server = await listen("a.example", unknown.certificate("a.example"))
    name = asker.knows("a.example", ("127.0.0.1", server.port))
    with pytest.raises(Unreachable, match="certificate"):
        await asker.asks(name)


async def test_an_address_needs_a_certificate_for_the_address(
    asker: Asker, listen: Listen, authority: Authority
) -> None:
    good = await listen(certificate=authority.certificate("127.0.0.1"))
    bad = await listen(certificate=authority.certificate("localhost"))
    assert await asker.asks(f"127.0.0.1:{good.port}") == {"host": f"127.0.0.1:{good.port}"}
    with pytest.raises(Unreachable, match="certificate"):
        await asker.asks(f"127.0.0.1:{bad.port}")


@pytest.mark.parametrize("name", ["y:99999", "", "no server", "a_b\0"])
async def test_what_is_no_server_name_is_unreachable(asker: Asker, name: str) -> None:
    with pytest.raises(Unreachable, match="is no server"):
        await asker.asks(name)


async def test_a_server_that_does_not_speak_tls_is_unreachable(asker: Asker) -> None:
    async def plain(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        with pytest.raises(Unreachable):
            await asker.asks(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def test_an_address_that_may_not_be_connected_to_is_refused(asker: Asker) -> None:
    with pytest.raises(Unreachable, match=r"127\.0\.0\.2 is not an address to connect to"):
        await asker.asks("127.0.0.2:8448")


async def test_a_server_does_not_ask_itself(asker: Asker) -> None:
    with pytest.raises(Unreachable, match="is this server"):
        await asker.asks(US)


async def test_places_are_tried_in_their_order(asker: Asker, listen: Listen) -> None:
    first, second = await listen("a.example"), await listen("a.example")
    asker.elsewhere.places["b.example"] = ("127.0.0.2", 1)  # not allowed
    places = [("127.0.0.1", 1), ("nowhere.example", 1), ("b.example", 1), ("127.0.0.1", first.port)]
    name = asker.knows("a.example", *places, ("127.0.0.1", second.port))
    await asker.asks(name)
    assert (len(first.asked), len(second.asked)) == (1, 0)


async def test_a_server_that_took_the_request_is_the_last_one_tried(asker: Asker, listen: Listen) -> None:
    first, second = await listen("a.example"), await listen("a.example")
    first.answer = first.hangs_up
    name = asker.knows("a.example", ("127.0.0.1", first.port), ("127.0.0.1", second.port))
    with pytest.raises(Unreachable):
        await asker.asks(name)
    assert (len(first.asked), len(second.asked)) == (1, 0)


async def test_a_server_without_a_place_cannot_be_reached(asker: Asker) -> None:
    with pytest.raises(Unreachable, match="says that it cannot be reached"):
        await asker.asks(asker.knows("a.example"))


@pytest.mark.parametrize("host", ["", "a b", "a/b", "a?b", "x" * 300, "..", "[", "é"])
async def test_a_place_that_is_no_host_is_not_tried(asker: Asker, host: str) -> None:
    with pytest.raises(Unreachable):
        await asker.asks(asker.knows("a.example", (host, 1)))


async def test_connections_are_kept_and_shared(asker: Asker, listen: Listen) -> None:
    server = await listen("a.example")
    name = asker.knows("a.example", ("127.0.0.1", server.port))
    for method in ("GET", "PUT", "POST"):
        await asker.asks(name, method, body=None if method == "GET" else {})
    assert (len(server.asked), len(server.connections)) == (3, 1)


async def test_servers_behind_one_address_do_not_share_connections(
    asker: Asker, listen: Listen, authority: Authority
) -> None:
    # A certificate that was good for one name says nothing of another.
    server = await listen("a.example", authority.certificate("a.example", "b.example"))
    for name in ("a.example", "b.example"):
        assert await asker.asks(asker.knows(name, ("127.0.0.1", server.port))) == {"host": name}
    assert len(server.connections) == 2
    with pytest.raises(Unreachable, match="certificate"):
        await asker.asks(asker.knows("c.example", ("127.0.0.1", server.port)))


async def broken_at_second(server: Listener) -> None:
    """Let `server` close each connection when a second request comes over it."""
    seen: set[object] = set()

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        if request.transport in seen:
            return await server.hangs_up(request)
        seen.add(request.transport)
        return await server.friendly(request)

    server.answer = answer


@pytest.mark.parametrize(("method", "idempotent"), [("GET", None), ("PUT", None), ("POST", True)])
async def test_a_request_is_sent_again_if_a_connection_that_was_kept_turns_out_dead(
    asker: Asker, listen: Listen, method: str, idempotent: bool | None
) -> None:
    server = await listen("a.example")
    await broken_at_second(server)
    name = asker.knows("a.example", ("127.0.0.1", server.port))
    for _ in range(2):
        body = None if method == "GET" else {"a": 1}
        assert await asker.asks(name, method, body=body, idempotent=idempotent) == {"host": name}
    assert len(server.asked) == 3
    assert asker.outcomes == ["ok", "ok"]


@pytest.mark.parametrize(("method", "idempotent"), [("POST", None), ("PUT", False)])
async def test_a_request_that_may_have_been_heard_is_not_said_twice(
    asker: Asker, listen: Listen, method: str, idempotent: bool | None
) -> None:
    server = await listen("a.example")
    await broken_at_second(server)
    name = asker.knows("a.example", ("127.0.0.1", server.port))
    await asker.asks(name)
    with pytest.raises(Unreachable):
        await asker.asks(name, method, body={}, idempotent=idempotent)
    assert len(server.asked) == 2


async def test_a_server_that_hangs_up_is_not_asked_again_and_again(asker: Asker, listen: Listen) -> None:
    server = await listen("a.example")
    name = asker.knows("a.example", ("127.0.0.1", server.port))
    server.answer = server.hangs_up
    with pytest.raises(Unreachable, match="cannot be reached"):
        await asker.asks(name)
    assert len(server.asked) == 1

    server.answer = server.friendly
    await asker.asks(name)
    server.answer = server.hangs_up
    with pytest.raises(Unreachable):
        await asker.asks(name)
    assert len(server.asked) == 4


async def test_if_all_connections_that_were_kept_are_dead_it_is_not_tried_for_ever(
    asker: Asker, listen: Listen
) -> None:
    server = await listen("a.example")
    both = asyncio.Barrier(2)

    async def together(request: web.BaseRequest) -> web.StreamResponse:
        await both.wait()
        return await server.friendly(request)

    server.answer = together
    name = asker.knows("a.example", ("127.0.0.1", server.port))
    await asyncio.gather(asker.asks(name), asker.asks(name))
    server.answer = server.hangs_up
    with pytest.raises(Unreachable, match="twice"):
        await asker.asks(name)
    assert (len(server.asked), len(server.connections)) == (4, 2)


# What a hostile or broken server can answer


@pytest.mark.parametrize("lie", ["never ends", "bomb"])
async def test_an_answer_costs_no_more_than_it_may(asker: Asker, peer: Peer, lie: str) -> None:
    peer.instead["version"] = lies.BROKEN[lie]
    started = time.process_time()
    with pytest.raises(BadAnswer, match="more than"):
        await asker.asks(peer.name, most_bytes=4 * MIB)
    # The peer has not sent much more than what was read, and unpacked no more of it.
    assert peer.poured < 8 * MIB
    assert time.process_time() - started < 2
    assert asker.outcomes == ["bad_answer"]


async def test_an_answer_that_says_it_is_too_large_is_not_read(asker: Asker, peer: Peer) -> None:
    peer.instead["version"] = lies.sends(b"x" * 2000)
    with pytest.raises(BadAnswer, match="2000 bytes"):
        await asker.asks(peer.name, most_bytes=1000)


@pytest.mark.parametrize(("lie", "error"), [("silent", Unreachable), ("drips", BadAnswer)])
async def test_an_answer_has_its_time(asker: Asker, peer: Peer, lie: str, error: type[FederationError]) -> None:
    peer.instead["version"] = lies.ENDLESS[lie]
    with pytest.raises(error, match="in time"):
        await asker.asks(peer.name, seconds=0.3)


async def test_a_server_that_never_ends_its_handshake_has_its_time(asker: Asker) -> None:
    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        with pytest.raises(Unreachable, match="in time"):
            await asker.asks(f"127.0.0.1:{server.sockets[0].getsockname()[1]}", seconds=0.3)


@pytest.mark.parametrize("lie", [*lies.NOT_JSON, "breaks off"])
async def test_an_answer_that_is_not_json_is_no_answer(asker: Asker, peer: Peer, lie: str) -> None:
    peer.instead["version"] = lies.BROKEN[lie]
    if lie in ("a list", "null"):  # JSON, but no object: a matter of the client
        await asker.asks(peer.name)
        return
    with pytest.raises(BadAnswer, match=peer.name):
        await asker.asks(peer.name)
    assert asker.outcomes == ["bad_answer"]


@pytest.mark.parametrize("content", [b'{"a":' * 300 + b"1" + b"}" * 300, b"[" * 300 + b"]" * 300])
async def test_an_answer_may_not_nest_deeper_than_we_could_write_it(asker: Asker, peer: Peer, content: bytes) -> None:
    peer.instead["version"] = lies.sends(content)
    with pytest.raises(BadAnswer, match=f"deeper than {MAX_NESTING}"):
        await asker.asks(peer.name)


async def test_an_answer_may_hold_any_number_of_small_things(asker: Asker, peer: Peer) -> None:
    peer.instead["version"] = lies.sends(b'{"a":[' + b"[]," * 1000 + b"{}]}")
    assert await asker.asks(peer.name) == {"a": [[]] * 1000 + [{}]}


async def test_numbers_keep_all_their_digits(asker: Asker, peer: Peer) -> None:
    # Events of the first room versions may hold them, and are signed with them.
    peer.instead["version"] = lies.sends(b'{"a":[123456789012345678901234567890,1.5],"b":9007199254740993}')
    assert await asker.asks(peer.name) == {"a": [123456789012345678901234567890, 1.5], "b": 9007199254740993}


@pytest.mark.parametrize(
    "head",
    [
        b"HTTP/1.1 200 OK\r\nX: " + b"x" * 20_000 + b"\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * (MOST_HEADERS + 1) + b"\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Length: -2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.1 " + b"2" * 100_000,
        b"\x00\x01\x02\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.2p1\r\n",
    ],
    ids=["long", "many", "lengths", "negative", "encoding", "chunks", "status", "noise", "ssh"],
)
async def test_headers_are_bounded_and_must_be_http(asker: Asker, authority: Authority, head: bytes) -> None:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(head)
        writer.close()

    context = authority.certificate("127.0.0.1").server_context()
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        with pytest.raises((BadAnswer, Unreachable)):
            await asker.asks(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")


async def test_headers_that_never_end_are_cut_off(asker: Asker, authority: Authority) -> None:
    sent = 0

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 200 OK\r\nX: ")
        while not writer.is_closing():
            writer.write(b"x" * 65536)
            sent += 65536
            try:
                await writer.drain()
            except OSError:
                break
        writer.close()

    context = authority.certificate("127.0.0.1").server_context()
    async with await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context) as server:
        with pytest.raises((BadAnswer, Unreachable)):
            await asker.asks(f"127.0.0.1:{server.sockets[0].getsockname()[1]}")
    assert sent < 8 * MIB


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
async def test_redirects_are_not_followed(asker: Asker, peer: Peer, status: int) -> None:
    peer.instead["version"] = lies.redirects(f"https://{peer.name}/_matrix/key/v2/server", status)
    with pytest.raises(RemoteError) as caught:
        await asker.asks(peer.name)
    assert caught.value.status == status
    assert len(peer.asked_for("version")) == 1
    assert peer.asked_for("keys") == []


async def test_cookies_are_not_kept(asker: Asker, listen: Listen) -> None:
    server = await listen("a.example")

    async def answer(request: web.BaseRequest) -> web.StreamResponse:
        return web.json_response({}, headers={"Set-Cookie": "a=b"})

    server.answer = answer
    name = asker.knows("a.example", ("127.0.0.1", server.port))
    for _ in range(2):
        await asker.asks(name)
    assert "Cookie" not in server.asked[1].headers


async def test_an_error_says_what_the_other_server_said(asker: Asker, peer: Peer) -> None:
    peer.instead["version"] = lies.fails(429, "M_LIMIT_EXCEEDED", retry_after_ms=1500)
    with pytest.raises(RemoteError, match=f"{peer.name} answered 429 M_LIMIT_EXCEEDED: The peer says") as caught:
        await asker.asks(peer.name)
    assert (caught.value.status, caught.value.errcode, caught.value.retry_after_ms) == (429, "M_LIMIT_EXCEEDED", 1500)
    assert caught.value.body["error"] == caught.value.error == "The peer says M_LIMIT_EXCEEDED"
    assert asker.outcomes == ["error"]


@pytest.mark.parametrize(
    "body",
    [b"", b"<html>", b"[]", b"x" * (requests.MOST_ERROR_BYTES + 1), b'{"errcode":5,"error":[],"retry_after_ms":"x"}'],
)
async def test_an_error_need_not_say_anything(asker: Asker, peer: Peer, body: bytes) -> None:
    peer.instead["version"] = lies.sends(body, 502)
    with pytest.raises(RemoteError) as caught:
        await asker.asks(peer.name)
    error = caught.value
    assert (error.status, error.errcode, error.error, error.retry_after_ms) == (502, "M_UNKNOWN", "", None)


@pytest.mark.parametrize(
    ("status", "body", "unrecognized"),
    [
        (404, b'{"errcode":"M_UNRECOGNIZED"}', True),
        (405, b'{"errcode":"M_UNRECOGNIZED"}', True),
        (400, b'{"errcode":"M_UNRECOGNIZED"}', True),
        (404, b"<html>", True),
        (404, b'{"errcode":"M_NOT_FOUND"}', False),
        (403, b'{"errcode":"M_UNRECOGNIZED"}', False),
        (500, b"<html>", False),
    ],
)
async def test_an_endpoint_that_a_server_does_not_have_is_told_apart(
    asker: Asker, peer: Peer, status: int, body: bytes, unrecognized: bool
) -> None:
    peer.instead["version"] = lies.sends(body, status)
    with pytest.raises(RemoteError) as caught:
        await asker.asks(peer.name)
    assert caught.value.unrecognized is unrecognized


async def test_whoever_gives_up_leaves_nothing_behind(asker: Asker, peer: Peer) -> None:
    peer.instead["version"] = lies.silent
    asking = asyncio.create_task(asker.asks(peer.name))
    await until(lambda: peer.asked_for("version"))
    asking.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asking
    assert asker.outcomes == ["cancelled"]


# Files


async def test_a_file_comes_in_pieces(asker: Asker, peer: Peer) -> None:
    peer.instead["version"] = lies.sends(b"x" * MIB, content_type="image/png")
    path = "/_matrix/federation/v1/version"
    async with asker.requests.download(peer.name, path) as (headers, pieces):
        assert headers["content-type"] == "image/png"
        assert sum([len(piece) async for piece in pieces]) == MIB
    assert asker.outcomes == ["ok"]


async def read_file(asker: Asker, peer: Peer, **options: float) -> int:
    """Download what the peer has instead of its version; return the bytes that came."""
    path = "/_matrix/federation/v1/version"
    async with asker.requests.download(peer.name, path, **options) as (_, pieces):  # type: ignore[arg-type]
        return sum([len(piece) async for piece in pieces])


@pytest.mark.parametrize("lie", ["never ends", "bomb", "breaks off"])
async def test_a_file_is_bounded_as_well(asker: Asker, peer: Peer, lie: str) -> None:
    peer.instead["version"] = lies.BROKEN[lie]
    with pytest.raises(BadAnswer):
        await read_file(asker, peer, most_bytes=MIB)
    assert peer.poured < 8 * MIB
    assert asker.outcomes == ["bad_answer"]


async def test_a_file_that_drips_has_its_time(asker: Asker, peer: Peer) -> None:
    peer.instead["version"] = lies.drips
    with pytest.raises(BadAnswer, match="in time"):
        await read_file(asker, peer, seconds=0.3)


async def test_a_file_that_is_not_there_is_an_error(asker: Asker, peer: Peer) -> None:
    peer.instead["version"] = lies.fails(404, "M_NOT_FOUND")
    with pytest.raises(RemoteError, match="404 M_NOT_FOUND"):
        await read_file(asker, peer)


async def test_what_goes_wrong_with_whoever_reads_a_file_is_theirs(asker: Asker, peer: Peer) -> None:
    async def save() -> None:
        async with asker.requests.download(peer.name, "/_matrix/federation/v1/version"):
            raise OSError("the disk is full")

    with pytest.raises(OSError, match="the disk is full"):
        await save()
    assert asker.outcomes == ["cancelled"]
