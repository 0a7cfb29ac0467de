"""Connections that break while people talk by XMPP on one side and by Matrix on the other (XEP-0198)."""

import asyncio
import re
from dataclasses import dataclass, field

from tests.support.raw_xmpp import RawClient, bound
from tests.support.world import User, World, ok, q
from tests.xmpp.test_resumption import SM, enabled, returning

ROOM = "lounge@rooms.hs1"
COUNT = 60
_stanza = re.compile(r"<(message|presence|iq)\b[^>]*?(?:/>|>.*?</\1>)", re.DOTALL)
_body = re.compile(r"<body>([^<]*)</body>")


@dataclass
class Counting:
    """A client that counts what it gets, and sends again what the server has not got."""

    name: str
    got: list[str] = field(default_factory=list)
    """The stanzas that came whole, from the moment on that they are counted."""
    sent: list[str] = field(default_factory=list)

    def bodies(self, sender: str) -> list[str]:
        """Return what somebody has said."""
        return [
            found[1] for stanza in self.got
            if f"/{sender}'" in stanza and "<delay" not in stanza and (found := _body.search(stanza)) is not None
        ]  # fmt: skip

    async def reads(self, client: RawClient, most: int) -> None:
        """Take what comes until it is so much, or nothing comes for a moment."""
        while len(self.got) < most:
            while (found := _stanza.search(client.heard)) is not None:
                self.got.append(found[0])
                client.heard = client.heard[found.end() :]
            try:
                async with asyncio.timeout(0.3):
                    client.heard += (await client.reader.read(65536)).decode()
            except TimeoutError:
                return

    async def says(self, client: RawClient, count: int) -> None:
        """Say the next few things."""
        for number in range(len(self.sent), min(len(self.sent) + count, COUNT)):
            self.sent.append(
                f"<message to='{ROOM}' type='groupchat' id='id{number}'><body>alice {number}</body></message>"
            )
            await client.says(self.sent[-1])

    async def comes_back(self, client: RawClient) -> None:
        """Resume the session, and send what the server has not got."""
        await client.says(f"<resume {SM} previd='{self.name}' h='{len(self.got)}'/>")
        said = await client.hears("<resumed[^>]*/>")
        handled = re.search(r"h='(\d+)'", said)
        assert handled is not None
        for stanza in self.sent[int(handled[1]) :]:
            await client.says(stanza)


async def test_nothing_is_lost_or_doubled_while_both_sides_talk_and_the_connection_breaks(
    world: World, alice: User, bob: User
) -> None:
    room_id = await bob.creates_room(preset="public_chat", room_alias_name="lounge")
    expected = [f"alice {number}" for number in range(COUNT)]
    theirs = [f"bob {number}" for number in range(COUNT)]

    async def talk() -> None:
        for body in theirs:
            await bob.says(room_id, body)

    async with bound(world, "alice") as client:
        await client.says("<presence/>")
        muc = "<x xmlns='http://jabber.org/protocol/muc'><history maxchars='0'/></x>"
        await client.says(f"<presence to='{ROOM}/alice'>{muc}</presence>")
        await client.hears("<subject.*?</message>")
        counting = Counting(await enabled(client))
        talking = asyncio.create_task(talk())
        await counting.says(client, 10)
        await counting.reads(client, 12)
        client.breaks()
    breaks = 0
    while len(counting.bodies("bob")) < COUNT or len(counting.bodies("alice")) < COUNT:
        async with returning(world) as client:
            await counting.comes_back(client)
            await counting.says(client, 10)
            await counting.reads(client, len(counting.got) + 25)
            client.breaks()
            breaks += 1
            assert breaks < 100, counting.got
    await talking
    assert counting.bodies("alice") == expected
    assert counting.bodies("bob") == theirs
    chunk = ok(await bob.get(f"/rooms/{q(room_id)}/messages", dir="f", limit=500))["chunk"]
    told = [event for event in chunk if event["type"] == "m.room.message"]
    assert [one["content"]["body"] for one in told if one["sender"] == "@alice:hs1"] == expected
    assert breaks > 3
