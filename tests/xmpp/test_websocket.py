"""XMPP over WebSocket, and how browsers find it."""

from collections.abc import AsyncIterator
from xml.etree import ElementTree

import aiohttp
import pytest
from aiohttp import ClientWebSocketResponse, WSMsgType, WSServerHandshakeError

from federation.core.xmpp import sasl
from tests.support.waiting import until
from tests.support.world import PASSWORD, User, World

OPEN = "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='hs1' version='1.0'/>"
BIND = (
    "<iq xmlns='jabber:client' type='set' id='1'>"
    "<bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'><resource>web</resource></bind></iq>"
)


def auth(name: str) -> str:
    """Return what logs somebody in."""
    secret = sasl.encode(f"\0{name}\0{PASSWORD}".encode())
    return f"<auth xmlns='urn:ietf:params:xml:ns:xmpp-sasl' mechanism='PLAIN'>{secret}</auth>"


AUTH = auth("alice")


@pytest.fixture
async def socket(world: World, alice: User) -> AsyncIterator[ClientWebSocketResponse]:
    """A WebSocket on which Alice has bound a resource."""
    async with world.http.ws_connect(f"{world.base}/xmpp-websocket", protocols=["xmpp"]) as ws:
        assert ws.protocol == "xmpp"
        await ws.send_str(OPEN)
        assert (await ws.receive_str()).startswith("<open xmlns='urn:ietf:params:xml:ns:xmpp-framing'")
        features = await ws.receive_str()
        # TLS ends at a proxy: nothing can be bound to it.
        assert "PLUS" not in features
        assert "sasl-cb" not in features
        await ws.send_str(AUTH)
        assert (await ws.receive_str()).startswith("<success")
        await ws.send_str(OPEN)
        await ws.receive_str()
        assert "xmpp-bind" in await ws.receive_str()
        await ws.send_str(BIND)
        assert "<jid>alice@hs1/web</jid>" in await ws.receive_str()
        yield ws


async def test_each_frame_is_a_stanza(socket: ClientWebSocketResponse) -> None:
    await socket.send_str("<iq xmlns='jabber:client' type='get' id='2' to='hs1'><ping xmlns='urn:xmpp:ping'/></iq>")
    answer = ElementTree.fromstring(await socket.receive_str())
    assert (answer.tag, answer.get("type"), answer.get("id")) == ("{jabber:client}iq", "result", "2")


async def test_closing_is_answered_by_closing(world: World, socket: ClientWebSocketResponse) -> None:
    await socket.send_str("<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
    assert await socket.receive_str() == "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"
    assert (await socket.receive()).type in (WSMsgType.CLOSE, WSMsgType.CLOSED)
    assert world.app.xmpp is not None
    await until(lambda: world.app.xmpp is not None and not world.app.xmpp.accounts.all())


@pytest.mark.parametrize(
    ("frame", "condition"),
    [
        ("hello", "bad-format"),
        ("<message xmlns='jabber:client'>", "not-well-formed"),
        ("<message xmlns='jabber:client'/><message xmlns='jabber:client'/>", "not-well-formed"),
        ("<message/>", "unsupported-stanza-type"),
        ("<stream:stream xmlns:stream='http://etherx.jabber.org/streams'/>", "unsupported-stanza-type"),
        (OPEN, "policy-violation"),
    ],
)
async def test_a_frame_that_is_wrong_ends_the_stream(
    socket: ClientWebSocketResponse, frame: str, condition: str
) -> None:
    await socket.send_str(frame)
    said = await socket.receive_str()
    assert said.startswith("<stream:error xmlns:stream='http://etherx.jabber.org/streams'>")
    assert f"<{condition} " in said
    assert (await socket.receive_str()).startswith("<close ")


async def test_binary_frames_and_huge_ones_are_not_taken(socket: ClientWebSocketResponse) -> None:
    await socket.send_bytes(b"<presence xmlns='jabber:client'/>")
    async for message in socket:
        assert message.type is WSMsgType.TEXT


async def test_without_the_subprotocol_there_is_no_stream(world: World) -> None:
    with pytest.raises(WSServerHandshakeError) as raised:
        await world.http.ws_connect(f"{world.base}/xmpp-websocket")
    assert raised.value.status == 400
    assert (await world.request("GET", "/xmpp-websocket"))[0] == 400


async def test_clients_find_the_websocket(world: World) -> None:
    async with world.http.get(f"{world.base}/.well-known/host-meta") as response:
        assert response.headers["Content-Type"] == "application/xrd+xml"
        assert response.headers["Access-Control-Allow-Origin"] == "*"
        page = ElementTree.fromstring(await response.text())
    (link,) = page.iter("{http://docs.oasis-open.org/ns/xri/xrd-1.0}Link")
    expected = {"rel": "urn:xmpp:alt-connections:websocket", "href": "wss://hs1/xmpp-websocket"}
    assert link.attrib == expected
    assert (await world.request("GET", "/.well-known/host-meta.json"))[1] == {"links": [expected]}


async def test_a_server_that_stops_closes_its_sockets(world: World, socket: ClientWebSocketResponse) -> None:
    assert world.app.xmpp is not None
    await world.app.xmpp.stop()
    assert "<system-shutdown " in await socket.receive_str()


async def test_a_socket_that_breaks_ends_the_session(world: World, alice: User) -> None:
    async with aiohttp.ClientSession() as http:
        ws = await http.ws_connect(f"{world.base}/xmpp-websocket", protocols=["xmpp"])
        for frame in (OPEN, AUTH, OPEN, BIND):
            await ws.send_str(frame)
            answer = await ws.receive_str()
            if answer.startswith("<open"):
                await ws.receive_str()
        assert world.app.xmpp is not None
        assert len(world.app.xmpp.accounts.all()) == 1
    await until(lambda: world.app.xmpp is not None and not world.app.xmpp.accounts.all())
