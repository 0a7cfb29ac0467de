"""Streams over real connections: what clients may not send, what they cost, and how they end."""

import asyncio
import re
from pathlib import Path

import pytest
from aiohttp import ClientSession

from homeserver.checks import port
from homeserver.config.formats import parse_listen
from homeserver.xmpp import connection as connections
from homeserver.xmpp import server as servers
from tests.support.ports import free_port
from tests.support.process import ServerProcess
from tests.support.raw_xmpp import HEADER, STARTTLS, bound, connected, connected_to
from tests.support.waiting import until
from tests.support.world import Site, User, World

PING = "<ping xmlns='urn:xmpp:ping'/>"


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        ("GET / HTTP/1.1\r\nHost: hs1\r\n\r\n", "not-well-formed"),
        (HEADER.replace("'hs1'", "'other.org'"), "host-unknown"),
        (HEADER + "<message to='a@hs1'/>", "not-authorized"),
        (HEADER + "<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>=</auth>", "not-authorized"),
        (HEADER + "<a>" + "x" * 20000, "policy-violation"),
        ("<!DOCTYPE a [<!ENTITY b 'c'>]>" + HEADER, "restricted-xml"),
    ],
)
async def test_before_tls_there_is_nothing_but_starttls(world: World, sent: str, condition: str) -> None:
    async with connected(world) as client:
        await client.says(sent)
        said = await client.hears_the_end()
        assert f"<{condition} " in said
        assert said.endswith("</stream:stream>")


async def test_what_was_sent_before_tls_is_forgotten(world: World, alice: User) -> None:
    async with connected(world) as client:
        await client.says(HEADER)
        await client.hears("</stream:features>")
        # In one packet: an attacker on the way could have put the rest there.
        await client.says(STARTTLS + "<message to='x@hs1'/>")
        await client.hears("<proceed[^>]*/>")
        assert client.heard == ""


async def test_tls_may_be_there_from_the_first_byte(tmp_path: Path) -> None:
    options = {"XMPP__LISTEN_TLS": "127.0.0.1:0"}
    async with World.start(f"sqlite:///{tmp_path}/isthmus.db", tmp_path, **options) as world:
        await world.user("alice")
        async with connected(world, direct=True) as client:
            assert client.writer.get_extra_info("ssl_object").selected_alpn_protocol() == "xmpp-client"
            assert "SCRAM-SHA-512-PLUS" in await client.opens()
            await client.logs_in("alice")
            assert await client.binds("phone") == "alice@hs1/phone"


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        ("<message from='bob@hs1' to='alice@hs1'><body>I am Bob</body></message>", "invalid-from"),
        ("<presence from='_@/'/>", "invalid-from"),
        ("<message></presence>", "not-well-formed"),
        ("<!-- hello -->", "restricted-xml"),
        ("<x xmlns='urn:nobody:knows'/>", "unsupported-stanza-type"),
        ("<message><body>" + "x" * 300_000, "policy-violation"),
        ("<message>" + "<a>" * 100, "policy-violation"),
    ],
)
async def test_a_bound_stream_ends_by_what_may_not_be_sent(
    world: World, alice: User, sent: str, condition: str
) -> None:
    async with bound(world, "alice") as client:
        await client.says(sent)
        assert f"<{condition} " in await client.hears_the_end()


async def test_an_unbound_session_sends_nothing(world: World, alice: User) -> None:
    async with connected(world) as client:
        await client.secures()
        await client.opens()
        await client.logs_in("alice")
        await client.says("<message to='alice@hs1'/>")
        assert "<not-authorized " in await client.hears_the_end()


@pytest.mark.parametrize("own", ["alice@hs1/raw", "alice@hs1", "ALICE@hs1/raw"])
async def test_a_client_may_say_who_it_is(world: World, alice: User, own: str) -> None:
    async with bound(world, "alice") as client:
        await client.says(f"<iq from='{own}' type='get' id='1' to='hs1'>{PING}</iq>")
        assert "type='result'" in await client.hears("<iq[^>]*/>")


@pytest.mark.parametrize(
    ("sent", "condition"),
    [
        (f"<iq type='get' to='hs1'>{PING}</iq>", "bad-request"),
        (f"<iq type='put' id='1' to='hs1'>{PING}</iq>", "bad-request"),
        ("<iq type='get' id='1' to='hs1'/>", "bad-request"),
        (f"<iq type='get' id='1' to='hs1'>{PING}{PING}</iq>", "bad-request"),
        ("<iq type='get' id='1' to='hs1'><x xmlns='urn:nobody:knows'/></iq>", "service-unavailable"),
        ("<iq type='get' id='1'><x xmlns='urn:nobody:knows'/></iq>", "service-unavailable"),
        (f"<iq type='get' id='1' to='x@other.org'>{PING}</iq>", "remote-server-not-found"),
        (f"<iq type='get' id='1' to='x@y@z'>{PING}</iq>", "jid-malformed"),
        (f"<iq type='get' id='1' to='bob@hs1/phone'>{PING}</iq>", "service-unavailable"),
        (f"<iq type='get' id='1' to='alice@hs1/phone'>{PING}</iq>", "service-unavailable"),
        ("<message to='x@other.org' id='1'><body>hi</body></message>", "remote-server-not-found"),
        ("<presence id='1' type='subscribe'/>", "bad-request"),
        ("<presence id='1'><priority>high</priority></presence>", "bad-request"),
        ("<presence id='1'><priority>128</priority></presence>", "bad-request"),
    ],
)
async def test_a_stanza_that_is_wrong_is_answered_and_the_stream_goes_on(
    world: World, alice: User, bob: User, sent: str, condition: str
) -> None:
    async with bound(world, "alice") as client:
        await client.says(sent)
        said = await client.hears("</error></[a-z]+>")
        assert f"<{condition} xmlns='urn:ietf:params:xml:ns:xmpp-stanzas'/>" in said
        assert "type='error'" in said
        assert "type='result'" in await client.asks(PING)


@pytest.mark.parametrize(
    "sent",
    [
        "<iq type='error' id='1' to='hs1'/>",
        "<iq type='result' id='1' to='bob@hs1/phone'/>",
        "<message type='error' to='x@other.org'/>",
        "<presence to='x@other.org'/>",
    ],
)
async def test_what_must_not_be_answered_is_not(world: World, alice: User, sent: str) -> None:
    async with bound(world, "alice") as client:
        await client.says(sent)
        said = await client.asks(PING)
        assert said.startswith("<iq to='alice@hs1/raw' from='hs1' type='result' id='asked'/>")


async def test_clients_of_one_user_ask_each_other(world: World, alice: User) -> None:
    async with bound(world, "alice", "one") as one, bound(world, "alice", "two") as two:
        await one.says(f"<iq type='get' id='7' to='alice@hs1/two'>{PING}</iq>")
        assert "from='alice@hs1/one'" in await two.hears("</iq>")
        await two.says("<iq type='result' id='7' to='alice@hs1/one'/>")
        assert "from='alice@hs1/two'" in await one.hears("<iq[^>]*/>")


async def test_many_stanzas_at_once_are_all_handled_in_order(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        await client.says("".join(f"<iq type='get' id='n{n}' to='hs1'>{PING}</iq>" for n in range(500)))
        said = await client.hears("id='n499'[^>]*/>")
        assert re.findall("id='n([0-9]+)'", said) == [str(n) for n in range(500)]


async def test_a_client_that_never_reads_is_cut_off(world: World, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "MOST_UNREAD_BYTES", 100_000)
    async with bound(world, "alice") as client:
        assert world.app.xmpp is not None
        (session,) = world.app.xmpp.accounts.all()
        client.writer.transport.pause_reading()  # type: ignore[attr-defined]
        with pytest.raises((ConnectionError, TimeoutError)):  # noqa: PT012 - until the server has enough
            for _ in range(1000):
                await client.says(f"<iq type='get' id='{'x' * 1000}' to='hs1'>{PING}</iq>" * 20)
                if session.ended:
                    raise ConnectionResetError
        await until(lambda: session.ended)


async def test_a_connection_on_which_nobody_logs_in_ends(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LOGIN_SECONDS", 0.05)
    async with connected(world) as client:
        await client.says(HEADER)
        assert "<connection-timeout " in await client.hears_the_end()


async def test_a_client_that_says_goodbye_is_gone(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        await client.says("</stream:stream>")
        assert (await client.hears_the_end()).endswith("</stream:stream>")
        assert world.app.xmpp is not None
        await until(lambda: world.app.xmpp is not None and not world.app.xmpp.accounts.all())


async def test_a_server_that_stops_says_so(tmp_path: Path) -> None:
    async with World.start(f"sqlite:///{tmp_path}/isthmus.db", tmp_path) as world:
        await world.user("alice")
        async with bound(world, "alice") as client:
            stopping = asyncio.create_task(world.app.stop())
            assert "<system-shutdown " in await client.hears_the_end()
            await stopping


def open_files(pid: int) -> tuple[str, str]:
    """Return how many files a process may have open, and how many it could allow itself."""
    limits = Path(f"/proc/{pid}/limits").read_text()
    ((allowed, most),) = re.findall("Max open files +([0-9]+) +([0-9]+)", limits)
    return allowed, most


@pytest.mark.parametrize("direct", [False, True])
async def test_the_server_as_it_is_run_serves_clients_and_ends_them_well(tmp_path: Path, direct: bool) -> None:
    """It has another event loop than these tests."""
    place = f"127.0.0.1:{free_port()}"
    option = "XMPP__LISTEN_TLS" if direct else "XMPP__LISTEN"
    async with ServerProcess.start(tmp_path, **{option: place}) as server, ClientSession() as http:
        site = Site(server.base, http, "hs1")
        await site.user("alice")
        async with connected_to(place, direct=direct) as client:
            if not direct:
                await client.secures()
            await client.opens()
            await client.logs_in("alice")
            await client.binds("phone")
            assert "type='result'" in await client.asks(PING)
            assert server.running is not None
            allowed, most = open_files(server.running.pid)
            assert allowed == most, "each connection is an open file"
            stopping = asyncio.create_task(server.stops())
            assert "<system-shutdown " in await client.hears_the_end()
            assert await stopping == 0
        assert "Traceback" not in server.written()


async def test_a_port_that_is_taken_does_not_keep_matrix_from_running(world: World, tmp_path: Path) -> None:
    assert world.app.xmpp is not None
    (tmp_path / "two").mkdir()
    options = {"XMPP__LISTEN": world.app.xmpp.listening[0]}
    async with World.start(f"sqlite:///{tmp_path}/two/isthmus.db", tmp_path / "two", **options) as other:
        assert other.app.xmpp is not None
        assert other.app.xmpp.listening == []
        await other.user("alice")


async def test_xmpp_may_be_turned_off(tmp_path: Path) -> None:
    async with World.start(f"sqlite:///{tmp_path}/isthmus.db", tmp_path, XMPP__ENABLED="false") as world:
        assert world.app.xmpp is None
        assert (await world.request("GET", "/xmpp-websocket"))[0] == 404


async def test_a_check_knows_the_server_that_runs(tmp_path: Path) -> None:
    options = {"XMPP__LISTEN_TLS": "127.0.0.1:0"}
    async with World.start(f"sqlite:///{tmp_path}/isthmus.db", tmp_path, **options) as world:
        assert world.app.xmpp is not None
        plain, direct = (parse_listen(place) for place in world.app.xmpp.listening)
        assert (await asyncio.to_thread(port, "xmpp.listen", plain)).text.endswith("is answered by a running server")
        assert (await asyncio.to_thread(port, "xmpp.listen_tls", direct)).good
        http = parse_listen(world.base.removeprefix("http://"))
        assert not (await asyncio.to_thread(port, "xmpp.listen", http)).good
        assert not (await asyncio.to_thread(port, "xmpp.listen_tls", plain)).good


async def test_a_client_that_was_quiet_is_answered_as_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(servers, "REST_AFTER_SECONDS", 0.01)
    monkeypatch.setattr(servers, "MANY", 1)
    given_back = asyncio.Event()
    give_back = servers.give_back_what_is_free

    def noted() -> None:
        give_back()
        given_back.set()

    monkeypatch.setattr(servers, "give_back_what_is_free", noted)
    async with World.start(f"sqlite:///{tmp_path}/isthmus.db", tmp_path) as world:
        await world.user("alice")
        async with bound(world, "alice") as client:
            for _ in range(3):
                given_back.clear()
                await given_back.wait()
                assert "type='result'" in await client.asks(PING)
