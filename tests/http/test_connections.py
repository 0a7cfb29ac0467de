"""What reaches the server before and beside the JSON: methods, headers, slow and packed bodies, broken requests."""

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from typing import Any

import pytest
import structlog

from homeserver.http import door, listener
from homeserver.http.door import client_address
from tests.support.world import CLIENT, User, World, q

WHO = f"{CLIENT}/account/whoami"
HEADERS_OF_CORS = {
    "access-control-allow-origin": "*",
    "access-control-allow-methods": "GET, POST, PUT, DELETE, OPTIONS",
    "access-control-allow-headers": "X-Requested-With, Content-Type, Authorization",
}


@dataclass
class Answer:
    """An answer as it came over the wire."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def errcode(self) -> str:
        return str(json.loads(self.body)["errcode"])


async def talk(world: World, raw: bytes) -> bytes:
    """Send bytes on a new connection, and return all that comes until the server ends it."""
    host, _, port = world.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw)
    async with asyncio.timeout(20):
        answer = await reader.read()
    writer.close()
    return answer


def request(line: str, *headers: str, body: bytes = b"", user: User | None = None, last: bool = True) -> bytes:
    """Return a request; the connection ends after it if it is the last one."""
    lines = [f"{line} HTTP/1.1", "Host: hs1", *headers]
    if user is not None:
        lines.append(f"Authorization: Bearer {user.token}")
    if last:
        lines.append("Connection: close")
    return "\r\n".join([*lines, "", ""]).encode("latin-1") + body


async def ask(world: World, raw: bytes) -> Answer:
    """Send one request, and return the answer."""
    host, _, port = world.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(raw)
    async with asyncio.timeout(20):
        first, *lines = (await reader.readuntil(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        size = 0 if raw.startswith(b"HEAD ") else int(headers["content-length"])
        body = await reader.readexactly(size)
    writer.close()
    return Answer(int(first.split()[1]), headers, body)


def sending(room: str, txn: str) -> str:
    return f"PUT {CLIENT}/rooms/{q(room)}/send/m.room.message/{txn}"


# Methods and paths


@pytest.mark.parametrize("method", ["HEAD", "TRACE", "PATCH", "PROPFIND", "POST"])
async def test_another_method_is_not_allowed_and_the_right_ones_are_told(
    world: World, alice: User, method: str
) -> None:
    answer = await ask(world, request(f"{method} {WHO}", user=alice))
    assert answer.status == 405
    assert answer.headers["allow"] == "GET, OPTIONS"
    assert answer.body == b"" if method == "HEAD" else answer.errcode == "M_UNRECOGNIZED"


async def test_a_method_that_nobody_has_heard_of_is_not_recognised(world: World) -> None:
    answer = await ask(world, request(f"FROBNICATE {WHO}"))
    assert (answer.status, answer.errcode) == (405, "M_UNRECOGNIZED")


@pytest.mark.parametrize("path", [WHO, f"{CLIENT}/nothing", "*", "/"])
async def test_browsers_may_ask_first(world: World, path: str) -> None:
    answer = await ask(world, request(f"OPTIONS {path}", "Origin: https://client.example"))
    assert answer.status == 200
    assert HEADERS_OF_CORS.items() <= answer.headers.items()


@pytest.mark.parametrize(
    ("raw", "status"),
    [
        (request(f"GET {WHO}"), 401),
        (request(f"GET {CLIENT}/nothing"), 404),
        (request(f"PUT {WHO}"), 405),
        (request(f"POST {CLIENT}/login", "Content-Length: 3", body=b"???"), 400),
        (request(f"POST {CLIENT}/login", "Content-Length: 999999999"), 413),
        (request(f"GET {WHO}\xff"), 400),
        (request(f"GET {CLIENT}/{'x' * 100_000}"), 413),
        (request(f"GET {WHO}", f"X-Long: {'x' * 100_000}"), 413),
        (request(f"GET {WHO}", *(f"X-{n}: x" for n in range(5000))), 400),
        (request(f"GET {WHO}", "No colon"), 400),
        (request(f"POST {WHO}", "Content-Length: -1"), 400),
        (request(f"POST {WHO}", "Content-Length: 5", "Transfer-Encoding: chunked", body=b"0\r\n\r\n"), 400),
        (request(f"POST {CLIENT}/login", "Transfer-Encoding: chunked", body=b"zz\r\n{}\r\n"), 400),
        (b"nonsense\r\n\r\n", 400),
    ],
)
async def test_every_error_is_json_that_browsers_may_read(world: World, raw: bytes, status: int) -> None:
    answer = await ask(world, raw)
    assert answer.status in (status, 405) if raw.startswith(b"nonsense") else answer.status == status
    assert answer.errcode.startswith("M_")
    assert HEADERS_OF_CORS.items() <= answer.headers.items()


async def test_what_is_no_request_leaves_no_secret_in_the_log(
    world: World, alice: User, caplog: pytest.LogCaptureFixture
) -> None:
    with structlog.testing.capture_logs() as logged:
        await talk(world, request(f"GET {WHO}?access_token={alice.token}&x=\xff"))
        await talk(world, request(f"GET {WHO}", f"Authorization: Bearer {alice.token}{'x' * 100_000}"))
    assert [entry for entry in logged if entry["log_level"] in ("warning", "error")] == []
    assert alice.token not in caplog.text


@pytest.mark.parametrize("prefix", ["/_matrix/client/r0", "http://hs1/_matrix/client/v3", "/_matrix/client/v3"])
async def test_old_and_absolute_paths_are_understood(world: World, alice: User, prefix: str) -> None:
    answer = await ask(world, request(f"GET {prefix}/account/whoami", user=alice))
    assert json.loads(answer.body)["user_id"] == alice.user_id


@pytest.mark.parametrize(
    "path", [f"{WHO}/", f"/{WHO}", f"{CLIENT}//account/whoami", f"{CLIENT}/account%2Fwhoami", "", "/"]
)
async def test_paths_are_taken_literally(world: World, alice: User, path: str) -> None:
    answer = await ask(world, request(f"GET {path or '/x'}", user=alice))
    assert (answer.status, answer.errcode) == (404, "M_UNRECOGNIZED")


@pytest.mark.parametrize("key", ["", "a/b", "%2F", "\u00fc \U0001f600", "..", "?", "#", "a&b=c+d", "%25", "a@b:c"])
async def test_state_keys_hold_any_character(world: World, alice: User, key: str) -> None:
    room = await alice.creates_room()
    event_id = await alice.sets(room, "org.example/type", {"key": key}, key)
    assert await alice.get(f"/rooms/{q(room)}/state/org.example%2Ftype/{q(key)}") == (200, {"key": key})
    status, event = await alice.get(f"/rooms/{q(room)}/event/{q(event_id)}")
    assert (status, event["type"], event["state_key"]) == (200, "org.example/type", key)


async def test_a_query_is_decoded_once(world: World, alice: User) -> None:
    status, answer = await world.request("GET", f"{CLIENT}/register/available?username=%2561bc")
    assert (status, answer["errcode"]) == (400, "M_INVALID_USERNAME")
    status, _ = await world.request("GET", f"{CLIENT}/register/available?username=%61+bc")
    assert status == 400
    assert (await world.request("GET", f"{CLIENT}/register/available?username=%61%2Fbc"))[0] == 200


# Who asks


async def test_a_token_may_stand_in_the_query_and_the_header_wins(world: World, alice: User, bob: User) -> None:
    status, answer = await world.request("GET", f"{WHO}?access_token={alice.token}")
    assert (status, answer["user_id"]) == (200, alice.user_id)
    status, answer = await world.request("GET", f"{WHO}?access_token={alice.token}", token=bob.token)
    assert (status, answer["user_id"]) == (200, bob.user_id)


@pytest.mark.parametrize("header", ["Basic YTpi", "Bearer", "Bearer ", "", "token"])
async def test_another_kind_of_authorization_is_no_token(world: World, header: str) -> None:
    answer = await ask(world, request(f"GET {WHO}", f"Authorization: {header}"))
    assert (answer.status, answer.errcode) == (401, "M_MISSING_TOKEN")


async def test_headers_that_are_no_text_do_no_harm(world: World, alice: User) -> None:
    strange = ("User-Agent: \xff\xfe", "X-Forwarded-For: \xff", "Cookie: \xff=;;", "Content-Type: \xff", "Origin: \xff")
    answer = await ask(world, request(f"GET {WHO}", *strange, user=alice))
    assert answer.status == 200
    answer = await ask(world, request(f"GET {WHO}", "Authorization: Bearer \xff\xfe"))
    assert (answer.status, answer.errcode) == (401, "M_UNKNOWN_TOKEN")
    await world.app.services.sessions.write_seen()


TRUSTED = ("127.0.0.1", "::1", "10.0.0.0/8")


@pytest.mark.parametrize(
    ("peer", "forwarded", "address"),
    [
        ("203.0.113.5", "192.0.2.1", "203.0.113.5"),
        ("127.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "192.0.2.66, 192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "192.0.2.66, 192.0.2.1, 10.1.2.3", "192.0.2.1"),
        ("127.0.0.1", "127.0.0.1, 192.0.2.1", "192.0.2.1"),
        ("::ffff:127.0.0.1", "192.0.2.1", "192.0.2.1"),
        ("127.0.0.1", "192.0.2.1:4711", "192.0.2.1"),
        ("127.0.0.1", "[2001:db8::1]:4711", "2001:db8::1"),
        ("127.0.0.1", "2001:db8::1", "2001:db8::1"),
        ("127.0.0.1", "192.0.2.1, nonsense", "127.0.0.1"),
        ("127.0.0.1", "999.0.0.1", "127.0.0.1"),
        ("127.0.0.1", ",", "127.0.0.1"),
        ("127.0.0.1", "10.0.0.1", "10.0.0.1"),
        ("", "192.0.2.1", ""),
    ],
)
def test_only_our_proxies_are_believed_who_asks(peer: str, forwarded: str, address: str) -> None:
    assert client_address(peer, forwarded, TRUSTED) == address


async def test_a_line_that_the_client_adds_itself_is_not_believed(world: World, alice: User) -> None:
    lines = ("X-Forwarded-For: 192.0.2.66", "X-Forwarded-For: 192.0.2.1")
    await ask(world, request(f"GET {WHO}", *lines, user=alice))
    _, answer = await ask_json(world, request(f"GET {CLIENT}/devices", *lines, user=alice))
    assert answer["devices"][0]["last_seen_ip"] == "192.0.2.1"


async def ask_json(world: World, raw: bytes) -> tuple[int, Any]:
    answer = await ask(world, raw)
    return answer.status, json.loads(answer.body)


# Bodies


async def test_a_body_that_never_ends_is_not_waited_for(
    world: World, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(door, "SLOWEST_BODY_SECONDS", 0.2)
    for length in ("Content-Length: 100", "Transfer-Encoding: chunked"):
        host, _, port = world.base.removeprefix("http://").partition(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request(f"POST {CLIENT}/createRoom", length, user=alice))
        async with asyncio.timeout(10):
            assert b" 408 " in await reader.readline()
        writer.close()
    assert world.app.door.pending == 0


async def test_a_connection_on_which_nothing_comes_is_ended(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(listener, "SLOWEST_HEAD_SECONDS", 0.2)
    assert await talk(world, b"") == b""
    assert await talk(world, b"GET / HTTP/1.1\r\nX-Slow: ") == b""


async def test_chunks_without_end_are_refused_where_they_are_too_many(world: World, alice: User) -> None:
    host, _, port = world.base.removeprefix("http://").partition(":")
    reader, writer = await asyncio.open_connection(host, int(port))
    writer.write(request(f"POST {CLIENT}/createRoom", "Transfer-Encoding: chunked", user=alice))
    chunk = b"10000\r\n" + b"x" * 0x10000 + b"\r\n"
    answered = asyncio.create_task(reader.readline())
    async with asyncio.timeout(20):
        while not answered.done():
            writer.write(chunk)
            await writer.drain()
            await asyncio.sleep(0)
    assert b" 413 " in await answered
    writer.close()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_packed_body_is_unpacked(world: World, alice: User, encoding: str) -> None:
    room = await alice.creates_room()
    content = b'{"msgtype":"m.text","body":"packed"}'
    packed = gzip.compress(content) if encoding == "gzip" else zlib.compress(content)
    headers = (f"Content-Encoding: {encoding}", f"Content-Length: {len(packed)}")
    status, _ = await ask_json(world, request(sending(room, "1"), *headers, body=packed, user=alice))
    assert status == 200
    timeline = (await alice.syncs())["rooms"]["join"][room]["timeline"]["events"]
    assert timeline[-1]["content"] == json.loads(content)


async def test_a_bomb_is_not_unpacked(world: World, alice: User) -> None:
    packer = zlib.compressobj(9, zlib.DEFLATED, 31)
    bomb = b"".join(packer.compress(b" " * 2**20) for _ in range(500)) + packer.flush()
    headers = ("Content-Encoding: gzip", f"Content-Length: {len(bomb)}")
    began = time.process_time()
    answer = await talk(world, request(f"POST {CLIENT}/createRoom", *headers, body=bomb, user=alice))
    assert b" 413 " in answer.partition(b"\r\n")[0]
    # To unpack all of it takes seconds.
    assert time.process_time() - began < 1


@pytest.mark.parametrize("encoding", ["gzip", "deflate", "br"])
@pytest.mark.parametrize("part", ["garbage", "half", "more"])
async def test_a_body_that_is_not_packed_as_it_says_is_refused(
    world: World, alice: User, encoding: str, part: str
) -> None:
    packed = gzip.compress(b'{"name":"x"}') if encoding == "gzip" else zlib.compress(b'{"name":"x"}')
    body = {"garbage": b"garbage", "half": packed[:-6], "more": packed + b"more"}[part]
    headers = (f"Content-Encoding: {encoding}", f"Content-Length: {len(body)}")
    with structlog.testing.capture_logs() as logged:
        for path in (f"POST {CLIENT}/createRoom", "POST /_matrix/media/v3/upload"):
            answer = await ask(world, request(path, *headers, body=body, user=alice))
            assert (answer.status, answer.errcode) == (400, "M_NOT_JSON")
    assert [entry for entry in logged if entry["log_level"] == "error"] == []


async def test_whoever_asks_whether_to_send_a_body_is_told(world: World, alice: User) -> None:
    host, _, port = world.base.removeprefix("http://").partition(":")
    for user, first in ((alice, b"HTTP/1.1 100 Continue\r\n"), (None, b"HTTP/1.1 401 Unauthorized\r\n")):
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(request(f"POST {CLIENT}/createRoom", "Expect: 100-continue", "Content-Length: 2", user=user))
        async with asyncio.timeout(10):
            assert await reader.readline() == first
            if user is not None:
                await reader.readline()
                writer.write(b"{}")
                assert b"200 OK" in await reader.readline()
        writer.close()


async def test_requests_in_a_row_are_answered_in_order(world: World, alice: User, bob: User) -> None:
    askers = [alice, bob] * 20
    raw = b"".join(request(f"GET {WHO}", user=user, last=False) for user in askers)
    answers = await talk(world, raw + request(f"GET {CLIENT}/versions"))
    bodies = [part for part in answers.split(b"\r\n\r\n")[1:] if part.startswith(b"{")]
    assert [json.loads(part.partition(b"HTTP/1.1")[0])["user_id"] for part in bodies[:-1]] == [
        user.user_id for user in askers
    ]


@pytest.mark.parametrize("last", [False, True])
async def test_answers_have_all_their_headers_whether_the_connection_stays_or_not(
    world: World, alice: User, last: bool
) -> None:
    answer = await ask(world, request(f"GET {WHO}", user=alice, last=last))
    assert (answer.status, answer.headers["content-type"]) == (200, "application/json")
    assert HEADERS_OF_CORS.items() <= answer.headers.items()
    assert abs(parsedate_to_datetime(answer.headers["date"]).timestamp() - time.time()) < 60  # noqa: TID251
    assert answer.headers.get("connection", "") == ("close" if last else "")


async def test_an_old_client_is_told_that_its_connection_ends(world: World, alice: User) -> None:
    raw = f"GET {WHO} HTTP/1.0\r\nAuthorization: Bearer {alice.token}\r\n\r\n".encode()
    assert json.loads((await talk(world, raw)).partition(b"\r\n\r\n")[2])["user_id"] == alice.user_id


@pytest.mark.parametrize(
    "query", ["limit=1&limit=5", "&&limit=1&", "a&limit=1", "lim%69t=1", "a=b+c&limit=1", "a=b=c&limit=1"]
)
async def test_a_query_means_the_same_with_and_without_escapes(world: World, alice: User, query: str) -> None:
    room = await alice.creates_room()
    path = f"{CLIENT}/rooms/{q(room)}/messages?dir=b&{query}"
    answer = await ask(world, request(f"GET {path}", user=alice))
    assert len(json.loads(answer.body)["chunk"]) == 1


@pytest.mark.parametrize("last", ["b", "%62"])
async def test_a_query_with_too_many_parameters_is_refused(world: World, alice: User, last: str) -> None:
    query = "&".join(f"a{number}=1" for number in range(200))
    answer = await ask(world, request(f"GET {WHO.replace('account/whoami', 'sync')}?{query}&{last}=1", user=alice))
    assert (answer.status, answer.errcode) == (400, "M_INVALID_PARAM")
