"""All of these clients in one room."""

from contextlib import AsyncExitStack

import pytest

from tests.clients.nio_person import NioPerson
from tests.xmpp_clients.conversation import Room, heard
from tests.xmpp_clients.person import Door, XmppPerson
from tests.xmpp_clients.puppet_person import AioxmppPerson, SlixmppPerson
from tests.xmpp_clients.terminal_person import PoezioPerson, ProfanityPerson


@pytest.mark.asyncio(loop_scope="package")
class TestTogether:
    """Somebody with each of them, and somebody with a Matrix client."""

    has = SlixmppPerson

    async def test_everybody_hears_everybody(self, door: Door, alice: XmppPerson, bob: NioPerson, joined: Room) -> None:
        async with AsyncExitStack() as stack:
            people = [alice]
            for client in (AioxmppPerson, ProfanityPerson, PoezioPerson):
                name = f"{client.program.lower()}-person"
                await door.registers(name)
                people.append(await stack.enter_async_context(client.logs_in(door, name)))
                await people[-1].joins(joined.address)
            for speaker in people:
                said = f"{speaker.program} is here"
                await speaker.says(joined.address, said)
                for listener in people:
                    await listener.hears(joined.address, speaker.name, said)
                assert (await heard(bob, joined.id, said)).sender == speaker.user_id
