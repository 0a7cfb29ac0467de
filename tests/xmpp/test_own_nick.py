"""By which nick somebody is known in a room, or is going to be (XEP-0045, 7.12)."""

import pytest
from slixmpp.exceptions import IqError

from tests.support.talker import Talker, talker
from tests.support.world import User, World, ok, q

INFO = "http://jabber.org/protocol/disco#info"
ROOM = "tea@rooms.hs1"


async def own_nick(person: Talker) -> str | None:
    """Ask what one is called."""
    query = (await person.asks(ROOM, f"<query xmlns='{INFO}' node='x-roomuser-item'/>"))[0]
    assert query.get("node") == "x-roomuser-item"
    (identity,) = query
    assert (identity.get("category"), identity.get("type")) == ("conference", "text")
    return str(identity.get("name"))


async def test_a_room_tells_whoever_asks_their_own_nick(world: World, alice: User, bob: User) -> None:
    await bob.creates_room(preset="public_chat", room_alias_name="tea")
    async with talker(world, "alice") as person:
        assert await own_nick(person) == "alice"
        ok(await alice.put(f"/profile/{q(alice.user_id)}/displayname", {"displayname": "Alice <3"}))
        assert await own_nick(person) == "Alice <3"
        await person.enters(ROOM, "whoever")
        assert await own_nick(person) == "Alice <3"
        ok(await bob.put(f"/profile/{q(bob.user_id)}/displayname", {"displayname": "Alice <3"}))
        assert await own_nick(person) == "Alice <3"
        with pytest.raises(IqError) as refused:
            await person.asks(ROOM, f"<query xmlns='{INFO}' node='nothing'/>")
        assert refused.value.condition == "item-not-found"
