"""How streams are carried over TCP and over WebSocket."""

import pytest

from federation.core.xmpp import namespaces
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StreamError
from federation.core.xmpp.framing import TcpFraming, WebSocketFraming
from federation.core.xmpp.xml import AFTER_LOGIN, Closed, Completed, Opened

FEATURES = Element("features", namespaces.STREAM, {}, Element("bind", namespaces.BIND))


def test_over_tcp_a_stream_is_one_document() -> None:
    framing = TcpFraming(AFTER_LOGIN)
    assert framing.header({"to": "a'b", "from": None}) == (
        "<?xml version='1.0'?><stream:stream xmlns='jabber:client' xmlns:stream='http://etherx.jabber.org/streams' "
        "to='a&apos;b'>"
    )
    assert framing.write(FEATURES) == f"<stream:features><bind xmlns='{namespaces.BIND}'/></stream:features>"
    assert framing.write(Element("iq")) == "<iq/>"
    assert framing.footer() == "</stream:stream>"
    (header,) = framing.feed(framing.header({}).encode())
    assert header == Opened(Element("stream", namespaces.STREAM))
    assert framing.feed(b"<iq/>") == [Completed(Element("iq"))]
    framing.restart()
    assert framing.feed(framing.header({}).encode()) == [header]
    with pytest.raises(StreamError):
        framing.feed(b"<iq/><<")
    assert framing.rest() == [Completed(Element("iq"))]


def test_over_websocket_each_element_is_a_frame() -> None:
    framing = WebSocketFraming(AFTER_LOGIN)
    assert framing.header({"to": "a"}) == "<open xmlns='urn:ietf:params:xml:ns:xmpp-framing' to='a'/>"
    assert framing.footer() == "<close xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>"
    assert framing.write(FEATURES) == (
        "<stream:features xmlns:stream='http://etherx.jabber.org/streams'>"
        f"<bind xmlns='{namespaces.BIND}'/></stream:features>"
    )
    assert framing.write(Element("iq")) == "<iq xmlns='jabber:client'/>"
    assert framing.feed(framing.header({"to": "a"}).encode()) == [
        Opened(Element("stream", namespaces.STREAM, {"to": "a"}))
    ]
    assert framing.feed(framing.footer().encode()) == [Closed()]
    framing.restart()
    framing.rest_between_stanzas()
    assert framing.feed(b"<iq xmlns='jabber:client'/>") == [Completed(Element("iq"))]
    with pytest.raises(StreamError):
        framing.feed(b"<wave xmlns='urn:ietf:params:xml:ns:xmpp-framing'/>")
    assert framing.rest() == []
