"""A person with slixmpp. It trusts whom `SSL_CERT_FILE` names."""

import asyncio
from pathlib import Path
from typing import Any

import slixmpp
from puppet import Client, Shown

PLUGINS = (
    "xep_0030", "xep_0045", "xep_0059", "xep_0066", "xep_0115", "xep_0198", "xep_0199", "xep_0280", "xep_0308",
    "xep_0313", "xep_0359", "xep_0363", "xep_0444",
)  # fmt: skip
PAGE = 10
SECONDS = 15


class SlixmppClient(Client):
    """A client as somebody writes it with slixmpp and its plugins."""

    def __init__(self) -> None:
        super().__init__()
        self.xmpp: Any = None
        self.nick = ""
        self.rooms: set[str] = set()

    async def logs_in(self, jid: str, password: str, port: int) -> None:
        self.nick = jid.partition("@")[0]
        self.xmpp = slixmpp.ClientXMPP(jid, password)
        for plugin in PLUGINS:
            self.xmpp.register_plugin(plugin)
        ready = asyncio.get_running_loop().create_future()
        self.xmpp.add_event_handler("session_start", lambda _: ready.set_result(None))
        self.xmpp.add_event_handler("failed_all_auth", lambda _: ready.set_exception(PermissionError("refused")))
        self.xmpp.add_event_handler("message", self._hear)
        self.xmpp.add_event_handler("reactions", self._hear_reactions)
        self.xmpp.add_event_handler("presence", lambda _: self.tell_news())
        self.xmpp.connect("127.0.0.1", port)
        await asyncio.wait_for(ready, SECONDS)
        self.xmpp.send_presence()
        await self.xmpp.get_roster()
        await self.xmpp.plugin["xep_0280"].enable()

    async def leaves(self) -> None:
        if self.xmpp is not None:
            await self.xmpp.disconnect(wait=1)

    def _hear(self, message: Any) -> None:
        if message["type"] in ("chat", "groupchat", "normal"):
            self._show(message)

    def _show(self, message: Any) -> None:
        sender = message["from"]
        nick = sender.resource if message["type"] == "groupchat" else sender.bare.partition("@")[0]
        stanza_id = message["stanza_id"]["id"] if message.get_plugin("stanza_id", check=True) else None
        replaces = message["replace"]["id"] if message.get_plugin("replace", check=True) else None
        link = message["oob"]["url"] if message.get_plugin("oob", check=True) else None
        self.show(Shown(sender.bare, nick, message["id"], message["body"], stanza_id, link), replaces)

    def _hear_reactions(self, message: Any) -> None:
        reactions = message["reactions"]
        self.react(message["from"].bare, message["from"].resource, reactions["id"], sorted(reactions["values"]))

    async def lists(self, service: str) -> list[tuple[str, str]]:
        answer = await self.xmpp.plugin["xep_0030"].get_items(service)
        return [(str(jid), name) for jid, _, name in answer["disco_items"]["items"]]

    async def joins(self, room: str) -> None:
        await self.xmpp.plugin["xep_0045"].join_muc_wait(room, self.nick, maxstanzas=1, timeout=SECONDS)
        self.rooms.add(room)

    async def occupants(self, room: str) -> list[str]:
        return list(self.xmpp.plugin["xep_0045"].get_roster(room))

    async def says(self, to: str, text: str) -> None:
        kind = "groupchat" if to in self.rooms else "chat"
        message = self.xmpp.make_message(mto=to, mbody=text, mtype=kind)
        message.send()
        if kind == "chat":
            self.show(Shown(to, self.nick, message["id"], text))

    async def corrects(self, to: str, text: str) -> None:
        kind = "groupchat" if to in self.rooms else "chat"
        last = self.last(to, self.nick).id
        self.xmpp.plugin["xep_0308"].build_correction(last, to, mtype=kind, mbody=text).send()

    async def reacts(self, where: str, text: str, keys: list[str]) -> None:
        about = next(one for one in self.shown if (one.where, one.text) == (where, text))
        message = self.xmpp.make_message(mto=where, mtype="groupchat" if where in self.rooms else "chat")
        self.xmpp.plugin["xep_0444"].set_reactions(message, about.stanza_id, keys)
        message.send()

    async def uploads(self, to: str, file: str) -> None:
        url = await self.xmpp.plugin["xep_0363"].upload_file(Path(file))
        message = self.xmpp.make_message(mto=to, mbody=url, mtype="groupchat" if to in self.rooms else "chat")
        message["oob"]["url"] = url
        message.send()

    async def is_online(self, jid: str) -> bool:
        return bool(self.xmpp.client_roster.presence(jid))

    async def scrolls_back(self, where: str) -> bool:
        """Put one more page of the past on the screen; say whether there was any."""
        first = next((one.stanza_id for one in self.shown if one.where == where), None)
        rsm = {"max": PAGE, "before": first or ""}
        archive = {"jid" if "@rooms." in where else "with_jid": slixmpp.JID(where)}
        answer = await self.xmpp.plugin["xep_0313"].retrieve(**archive, rsm=rsm)
        page = []
        for result in answer["mam"]["results"]:
            message = result["mam_result"]["forwarded"]["stanza"]
            sender, name = message["from"], result["mam_result"]["id"]
            page.append(Shown(where, sender.resource or sender.local, message["id"], message["body"], name))
        self.shown[:0] = page
        return bool(page)


async def main() -> None:
    client = SlixmppClient()
    try:
        await client.run()
    finally:
        await client.leaves()


asyncio.run(main())
