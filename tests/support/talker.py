"""People who use the server by XMPP: slixmpp over TCP with TLS, and what it has received."""

import asyncio
import hashlib
import os
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from typing import Any
from unittest.mock import patch

import slixmpp
from slixmpp.util.sasl import mechanisms
from slixmpp.xmlstream import ET, StanzaBase

from tests.support.world import PASSWORD, User, World

SECONDS = 30.0
MUC = "http://jabber.org/protocol/muc"
PLUGINS = ("xep_0030", "xep_0045", "xep_0059", "xep_0085", "xep_0198", "xep_0199", "xep_0249", "xep_0280", "xep_0313")


def _salted(self: mechanisms.SCRAM, text: bytes, salt: bytes, iterations: int) -> bytes:
    """Do what slixmpp does in Python: https://www.rfc-editor.org/rfc/rfc5802#section-2.2."""
    return hashlib.pbkdf2_hmac(self.hash().name, bytes(text), salt, iterations)


# Thousands of hashes in Python would take most of the time of a login.
mechanisms.SCRAM.Hi = _salted


class Talker:
    """A person with an XMPP client."""

    def __init__(self, client: slixmpp.ClientXMPP) -> None:
        """Take a client that is about to connect."""
        self.client = client
        self.received: list[StanzaBase] = []
        """Messages and presence that nobody has asked for yet, in order."""
        self._arrived = asyncio.Event()
        for kind in ("message", "presence"):
            client.register_handler(
                slixmpp.xmlstream.handler.Callback(
                    f"take {kind}", slixmpp.xmlstream.matcher.MatchXPath(f"{{jabber:client}}{kind}"), self._take
                )
            )

    @property
    def jid(self) -> str:
        """The bare JID."""
        return str(self.client.boundjid.bare)

    def _take(self, stanza: StanzaBase) -> None:
        self.received.append(stanza)
        self._arrived.set()

    async def gets(self, wanted: Callable[[StanzaBase], Any]) -> StanzaBase:
        """Return the first stanza received for which `wanted` is true, waiting for it."""
        async with asyncio.timeout(SECONDS):
            while True:
                for stanza in self.received:
                    if wanted(stanza):
                        self.received.remove(stanza)
                        return stanza
                self._arrived.clear()
                try:
                    await self._arrived.wait()
                except asyncio.CancelledError:
                    raise AssertionError(f"never came; but {[str(one) for one in self.received]}") from None

    async def hears(self, body: str, *, type_: str = "chat") -> StanzaBase:
        """Return the next message with a body."""
        return await self.gets(lambda one: one.name == "message" and one["type"] == type_ and one["body"] == body)

    async def sees(self, who: str, kind: str | None = None) -> StanzaBase:
        """Return the next presence from an address; `kind` is its type, None for "available"."""
        return await self.gets(
            lambda one: one.name == "presence" and str(one["from"]) == who and one.xml.get("type") == kind
        )

    def says(self, to: str, body: str, *extra: str, type_: str = "chat", id_: str | None = None) -> str:
        """Send a message with further elements as XML; return its ID."""
        message = self.client.make_message(mto=to, mbody=body or None, mtype=type_)
        message["id"] = id_ or self.client.new_id()
        for xml in extra:
            message.append(ET.fromstring(xml))
        message.send()
        return str(message["id"])

    async def asks(self, to: str | None, payload: str, kind: str = "get") -> Any:
        """Send an iq with a payload as XML; return the answer's element. Raises `slixmpp.exceptions.IqError`."""
        iq = self.client.make_iq(ito=to, itype=kind)
        iq.append(ET.fromstring(payload))
        return (await iq.send(timeout=SECONDS)).xml

    async def enters(self, room: str, nick: str, *, history: int = 0) -> StanzaBase:
        """Enter a room; return the presence of oneself there."""
        presence = self.client.make_presence(pto=f"{room}/{nick}")
        x = ET.SubElement(presence.xml, f"{{{MUC}}}x")
        ET.SubElement(x, f"{{{MUC}}}history", {"maxstanzas": str(history)})
        presence.send()
        return await self.gets(
            lambda one: (
                one.name == "presence"
                and str(one["from"].bare) == room
                and (one.xml.get("type") == "error" or 110 in codes(one))
            )
        )

    def leaves(self, room: str, nick: str) -> None:
        """Go from a room."""
        self.client.send_presence(pto=f"{room}/{nick}", ptype="unavailable")


def codes(presence: StanzaBase) -> set[int]:
    """Return the status codes of a presence or a message of a room."""
    found = presence.xml.iterfind(f"{{{MUC}#user}}x/{{{MUC}#user}}status")
    return {int(status.get("code")) for status in found}


def item(presence: StanzaBase) -> dict[str, str]:
    """Return what a presence says of an occupant."""
    found = presence.xml.find(f"{{{MUC}#user}}x/{{{MUC}#user}}item")
    assert found is not None
    return dict(found.attrib)


@asynccontextmanager
async def talker(
    world: World, name: str, *, resource: str = "test", password: str = PASSWORD, wants: Sequence[str] = ()
) -> AsyncIterator[Talker]:
    """Log somebody in who has an account; `wants` are the nodes of PEP that their client wants to hear of."""
    xmpp = world.app.xmpp
    assert xmpp is not None
    host, _, port = xmpp.listening[0].rpartition(":")
    jid = f"{name}@{xmpp.addresses.domain}/{resource}"
    async with talker_at(host, int(port), jid, password=password, wants=wants) as person:
        yield person


@asynccontextmanager
async def talker_at(
    host: str, port: int, jid: str, *, password: str = PASSWORD, wants: Sequence[str] = ()
) -> AsyncIterator[Talker]:
    """Log somebody in at an address, as `talker` does."""
    # To read all authorities of the system takes longer than to log in, and nobody asks them here.
    with patch.dict(os.environ, SSL_CERT_FILE=os.devnull):
        client = slixmpp.ClientXMPP(jid, password)
    for plugin in PLUGINS:
        client.register_plugin(plugin)
    if wants:
        client.register_plugin("xep_0115")
        for node in wants:
            client.plugin["xep_0030"].add_feature(f"{node}+notify")
    client.ssl_context.check_hostname = False
    client.ssl_context.verify_mode = ssl.CERT_NONE
    person = Talker(client)
    ready: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def fail(_: object) -> None:
        if not ready.done():
            ready.set_exception(AssertionError("the login was refused"))

    client.add_event_handler("failed_all_auth", fail)
    client.add_event_handler("session_start", lambda _: ready.done() or ready.set_result(None))
    client.connect(host, port)
    try:
        async with asyncio.timeout(SECONDS):
            await ready
        if wants:
            await client.plugin["xep_0115"].update_caps()
        client.send_presence()
        await person.gets(lambda one: one.name == "presence" and one["from"] == client.boundjid)
        yield person
    finally:
        await client.disconnect(wait=0.5)


# What the Matrix clients of the same tests see


async def direct_room(user: User) -> str:
    """Accept the one invite that a Matrix user has; return the room."""
    async with asyncio.timeout(SECONDS):
        while True:
            invites = (await user.syncs(timeout=5000)).get("rooms", {}).get("invite", {})
            if invites:
                room_id = str(next(iter(invites)))
                await user.joins(room_id)
                return room_id


async def event_of(user: User, room_id: str, kind: str) -> dict[str, Any]:
    """Return the next event of a type in a room that somebody else sent."""
    async with asyncio.timeout(SECONDS):
        while True:
            joined = (await user.syncs(timeout=5000)).get("rooms", {}).get("join", {})
            for event in joined.get(room_id, {}).get("timeline", {}).get("events", []):
                if event["type"] == kind and event["sender"] != user.user_id:
                    return dict(event)


async def hears(user: User, room_id: str) -> dict[str, Any]:
    """Return the next message of a room that somebody else sent."""
    return await event_of(user, room_id, "m.room.message")


async def ephemeral(user: User, room_id: str, kind: str) -> dict[str, Any]:
    """Return the content of the next typing notification or receipt of a room."""
    async with asyncio.timeout(SECONDS):
        while True:
            joined = (await user.syncs(timeout=5000)).get("rooms", {}).get("join", {})
            for event in joined.get(room_id, {}).get("ephemeral", {}).get("events", []):
                if event["type"] == kind:
                    return dict(event["content"])
