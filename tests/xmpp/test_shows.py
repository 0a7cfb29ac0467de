"""How available the occupants of a room are, by Matrix and by XMPP."""

from typing import Any

import pytest
from slixmpp.xmlstream import StanzaBase

from homeserver.xmpp import occupants
from tests.support.talker import talker
from tests.support.world import World, ok, q

pytestmark = pytest.mark.asyncio(loop_scope="module")


def shown(stanza: StanzaBase) -> tuple[str | None, str | None]:
    """Return what presence says of how available somebody is."""
    return stanza.xml.findtext("{jabber:client}show"), stanza.xml.findtext("{jabber:client}status")


def of(who: str, *wanted: str | None) -> Any:
    """Return what finds presence of an occupant with a show, and maybe a status."""
    return lambda one: one.name == "presence" and str(one["from"]) == who and shown(one)[: len(wanted)] == wanted


async def test_presence_in_matrix_is_shown_in_rooms(shared_world: World) -> None:
    anna = await shared_world.user("anna")
    await shared_world.user("ben")
    await anna.creates_room(preset="public_chat", room_alias_name="hall")
    room = "hall@rooms.hs1"
    path = f"/presence/{q(anna.user_id)}/status"
    async with talker(shared_world, "ben") as ben:
        await ben.enters(room, "ben")
        await ben.gets(of(f"{room}/anna", "xa", None))
        await anna.syncs()
        await ben.gets(of(f"{room}/anna", None))
        ok(await anna.put(path, {"presence": "unavailable", "status_msg": "Tea"}))
        await ben.gets(of(f"{room}/anna", "away", "Tea"))
        ok(await anna.put(path, {"presence": "offline"}))
        await ben.gets(of(f"{room}/anna", "xa", None))


async def test_what_xmpp_clients_say_is_shown_in_rooms(shared_world: World) -> None:
    await shared_world.user("cleo")
    dora = await shared_world.user("dora")
    room_id = await dora.creates_room(preset="public_chat", room_alias_name="nook")
    room = "nook@rooms.hs1"
    async with talker(shared_world, "cleo") as cleo, talker(shared_world, "dora") as other:
        await cleo.enters(room, "cleo")
        await cleo.gets(of(f"{room}/dora", None))
        other.client.send_presence(pshow="dnd", pstatus="No")
        await cleo.gets(of(f"{room}/dora", "dnd", "No"))
        async with talker(shared_world, "dora", resource="phone"):
            # Of two clients, what the one says counts that is more available.
            await cleo.gets(of(f"{room}/dora", None, None))
            cleo.client.send_presence(pshow="away")
            await cleo.gets(of(f"{room}/cleo", "away"))
        await dora.says(room_id, "hello")
        await cleo.hears("hello", type_="groupchat")


async def test_in_large_rooms_nobody_hears_of_it(shared_world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(occupants, "MOST_WATCHED", 1)
    emil = await shared_world.user("emil")
    await shared_world.user("fay")
    room_id = await emil.creates_room(preset="public_chat", room_alias_name="arena")
    room = "arena@rooms.hs1"
    async with talker(shared_world, "fay") as fay:
        await fay.enters(room, "fay")
        assert shown(await fay.sees(f"{room}/emil")) == (None, None)
        await emil.syncs()
        await emil.says(room_id, "hello")
        await fay.hears("hello", type_="groupchat")
        assert not [one for one in fay.received if one.name == "presence" and str(one["from"]) == f"{room}/emil"]
