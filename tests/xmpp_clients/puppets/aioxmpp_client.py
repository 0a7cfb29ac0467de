"""A person with aioxmpp, in an environment of its own: it wants an lxml of before 2024."""

import asyncio
import mimetypes
import ssl
import urllib.request
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import aioxmpp
import aioxmpp.connector
import aioxmpp.dispatcher
import aioxmpp.httpupload
import aioxmpp.im.p2p
import aioxmpp.misc
import aioxmpp.muc
import aioxmpp.muc.xso
from aioxmpp.security_layer import default_ssl_context
from puppet import Client, Shown

MOST_HISTORY = 100


class AioxmppClient(Client):
    """A client as somebody writes it with aioxmpp and its services."""

    def __init__(self) -> None:
        super().__init__()
        self.stack = AsyncExitStack()
        self.xmpp: Any = None
        self.nick = ""
        self.ca = ""
        self.rooms: dict[str, Any] = {}

    async def logs_in(self, jid: str, password: str, port: int, ca: str) -> None:
        self.nick, self.ca = jid.partition("@")[0], ca

        def trusting() -> Any:
            context = default_ssl_context()
            context.load_verify_locations(ca)
            return context

        self.xmpp = aioxmpp.PresenceManagedClient(
            aioxmpp.JID.fromstr(jid),
            aioxmpp.make_security_layer(password, ssl_context_factory=trusting),
            override_peer=[("127.0.0.1", port, aioxmpp.connector.STARTTLSConnector())],
        )
        for service in (aioxmpp.DiscoClient, aioxmpp.EntityCapsService, aioxmpp.MUCClient, aioxmpp.RosterClient):
            self.xmpp.summon(service)
        self.xmpp.summon(aioxmpp.PresenceClient).on_available.connect(lambda *_: self.tell_news())
        heard = self.xmpp.summon(aioxmpp.dispatcher.SimpleMessageDispatcher)
        heard.register_callback(aioxmpp.MessageType.CHAT, None, self._hear_chat)
        await self.stack.enter_async_context(self.xmpp.connected(presence=aioxmpp.PresenceState(True)))

    async def leaves(self) -> None:
        await self.stack.aclose()

    def _hear_chat(self, message: Any) -> None:
        if message.body:
            peer = message.from_.bare()
            self._show(message, str(peer), peer.localpart)

    def _show(self, message: Any, where: str, nick: str) -> None:
        replace, oob = message.xep0308_replace, message.xep0066_oob
        shown = Shown(where, nick, message.id_, message.body.any(), link=oob.url if oob is not None else None)
        self.show(shown, replace.id_ if replace is not None else None)

    async def lists(self, service: str) -> list[tuple[str, str]]:
        answer = await self.xmpp.summon(aioxmpp.DiscoClient).query_items(aioxmpp.JID.fromstr(service))
        return [(str(item.jid), item.name) for item in answer.items]

    async def joins(self, room: str) -> None:
        history = aioxmpp.muc.xso.History(maxstanzas=MOST_HISTORY)
        muc = self.xmpp.summon(aioxmpp.MUCClient)
        conversation, done = muc.join(aioxmpp.JID.fromstr(room), self.nick, history=history)
        self.rooms[room] = conversation
        conversation.on_message.connect(lambda message, member, source, **_: self._hear_room(room, message, member))
        conversation.on_join.connect(lambda *_, **__: self.tell_news())
        await done

    def _hear_room(self, room: str, message: Any, member: Any) -> None:
        if message.body:
            self._show(message, room, member.nick)

    async def occupants(self, room: str) -> list[str]:
        return [member.nick for member in self.rooms[room].members]

    def _message(self, to: str, text: str) -> Any:
        kind = aioxmpp.MessageType.GROUPCHAT if to in self.rooms else aioxmpp.MessageType.CHAT
        message = aioxmpp.Message(type_=kind, to=aioxmpp.JID.fromstr(to))
        message.body[None] = text
        return message

    async def _send(self, to: str, message: Any) -> None:
        if to in self.rooms:
            await self.rooms[to].send_message(message)
        else:
            await self.xmpp.send(message)

    async def says(self, to: str, text: str) -> None:
        message = self._message(to, text)
        await self._send(to, message)
        if to not in self.rooms:
            self.show(Shown(to, self.nick, message.id_, text))

    async def corrects(self, to: str, text: str) -> None:
        message = self._message(to, text)
        message.xep0308_replace = aioxmpp.misc.Replace()
        message.xep0308_replace.id_ = self.last(to, self.nick).id
        await self._send(to, message)

    async def uploads(self, to: str, file: str) -> None:
        content, kind = await asyncio.to_thread(Path(file).read_bytes), mimetypes.guess_type(file)[0]
        service = aioxmpp.JID.fromstr(f"upload.{self.xmpp.local_jid.domain}")
        wanted = aioxmpp.httpupload.Request(Path(file).name, len(content), kind)
        slot = await self.xmpp.send(aioxmpp.IQ(type_=aioxmpp.IQType.GET, to=service, payload=wanted))
        # aioxmpp asks for the slot; what goes over HTTP is its user's.
        put = urllib.request.Request(slot.put.url, content, {**slot.put.headers, "Content-Type": kind}, method="PUT")
        trusting = ssl.create_default_context(cafile=self.ca)
        await asyncio.to_thread(lambda: urllib.request.urlopen(put, context=trusting).close())
        message = self._message(to, slot.get.url)
        message.xep0066_oob = aioxmpp.misc.OOBExtension()
        message.xep0066_oob.url = slot.get.url
        await self._send(to, message)

    async def is_online(self, jid: str) -> bool:
        return bool(self.xmpp.summon(aioxmpp.PresenceClient).get_peer_resources(aioxmpp.JID.fromstr(jid)))

    async def scrolls_back(self, where: str) -> bool:
        """Say that the past of a room came when it was joined, and no more will: aioxmpp knows no archives."""
        return False


async def main() -> None:
    client = AioxmppClient()
    try:
        await client.run()
    finally:
        await client.leaves()


asyncio.run(main())
