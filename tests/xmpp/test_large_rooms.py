"""What a message in a room costs does not grow with those who hear it, but for the sending."""

from collections.abc import Sequence
from contextlib import AsyncExitStack

from tests.support.raw_xmpp import RawClient, bound
from tests.support.statements import statements
from tests.support.world import User, World, ok

TEA = "tea@rooms.hs1"
ENTER = f"<presence/><presence to='{TEA}/{{}}'><x xmlns='http://jabber.org/protocol/muc'/></presence>"


async def asked_for_one_message(listening: Sequence[RawClient]) -> int:
    """Let the first one say something; return how many statements are run until all have heard it."""
    counted = []
    for number in range(4):
        text = f"{len(listening)}-{number}"
        with statements() as seen:
            await listening[0].says(f"<message type='groupchat' to='{TEA}' id='{text}'><body>{text}</body></message>")
            for client in listening:
                await client.hears(f"<body>{text}</body>.*?</message>")
        counted.append(len(seen))
    # The first one warms up, and now and then something else is written down.
    return min(counted)


async def test_the_database_is_asked_no_more_for_eight_than_for_two(world: World, alice: User) -> None:
    ok(await alice.post("/createRoom", {"room_alias_name": "tea", "preset": "public_chat"}))
    async with AsyncExitStack() as stack:
        listening: list[RawClient] = []

        async def comes(name: str) -> None:
            client = await stack.enter_async_context(bound(world, name))
            await client.asks("<query xmlns='jabber:iq:roster'/>", to=f"{name}@hs1")
            await client.says(ENTER.format(name))
            await client.hears("<subject")
            listening.append(client)

        await comes("alice")
        await world.user("user1")
        await comes("user1")
        few = await asked_for_one_message(listening)
        for number in range(2, 8):
            await world.user(f"user{number}")
            await comes(f"user{number}")
        assert await asked_for_one_message(listening) <= few
