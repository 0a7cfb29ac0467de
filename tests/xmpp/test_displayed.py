"""How far a user has read, told between their own clients of both kinds (XEP-0490)."""

from typing import Any

import pytest
from slixmpp.exceptions import IqError
from slixmpp.xmlstream import StanzaBase

from tests.support.talker import Talker, ephemeral, hears, talker
from tests.support.world import User, World, ok, q
from tests.xmpp.test_avatars import EVENT, pair, puts

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODE = "urn:xmpp:mds:displayed:0"
PUBSUB = "{http://jabber.org/protocol/pubsub}"
SID = "{urn:xmpp:sid:0}"


def of_item(item: Any) -> tuple[str, str, str]:
    """Return the chat, and by whom and what the message is known up to which it was read."""
    stanza_id = item.find(f"{{{NODE}}}displayed/{SID}stanza-id")
    return item.get("id"), stanza_id.get("by"), stanza_id.get("id")


def told(stanza: StanzaBase) -> tuple[str, str, str] | None:
    """Return what an event says was read."""
    item = stanza.xml.find(f"{EVENT}event/{EVENT}items[@node='{NODE}']/{EVENT}item")
    return of_item(item) if item is not None else None


async def displayed(person: Talker) -> set[tuple[str, str, str]]:
    """Return what was read in all chats."""
    payload = f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{NODE}'/></pubsub>"
    answer = await person.asks(None, payload)
    return {of_item(item) for item in answer.iter(f"{PUBSUB}item")}


def element(by: str, event_id: str) -> str:
    """Return what a client publishes."""
    return f"<displayed xmlns='{NODE}'><stanza-id xmlns='urn:xmpp:sid:0' by='{by}' id='{event_id}'/></displayed>"


async def the_direct_room(user: User) -> str:
    """Return the only direct room of a user."""
    content = ok(await user.get(f"/user/{user.user_id}/account_data/m.direct"))
    return str(next(iter(content.values()))[0])


async def marker(user: User, room_id: str) -> str:
    """Return where a user's read marker is."""
    path = f"/user/{user.user_id}/rooms/{q(room_id)}/account_data/m.fully_read"
    return str(ok(await user.get(path))["event_id"])


async def receipts_of(user: User, room_id: str) -> dict[str, Any]:
    """Return the receipts of a room that a user sees, by event."""
    joined = (await user.syncs(since="")).get("rooms", {}).get("join", {})
    events = joined[room_id]["ephemeral"]["events"]
    return {key: value for event in events if event["type"] == "m.receipt" for key, value in event["content"].items()}


async def test_what_is_read_in_matrix_is_told_to_xmpp_clients(shared_world: World) -> None:
    adam, beth = await pair(shared_world, "adam", "beth")
    chat, lounge = await the_direct_room(adam), await beth.creates_room(preset="public_chat", room_alias_name="foyer")
    await adam.joins(lounge)
    said = await beth.says(chat, "read me")
    in_room = await beth.says(lounge, "and me")
    async with talker(shared_world, "adam", wants=(NODE,)) as own:
        assert await displayed(own) == set()
        ok(await adam.post(f"/rooms/{q(chat)}/receipt/m.read/{q(said)}"))
        of_chat = ("beth@hs1", "adam@hs1", said)
        assert told(await own.gets(lambda one: told(one) is not None)) == of_chat
        ok(await adam.post(f"/rooms/{q(lounge)}/receipt/m.read.private/{q(in_room)}"))
        of_room = ("foyer@rooms.hs1", "foyer@rooms.hs1", in_room)
        assert told(await own.gets(lambda one: told(one) is not None)) == of_room
        assert await displayed(own) == {of_chat, of_room}
        # Matrix clients mark whatever came last; XMPP clients know messages only.
        topic = await beth.sets(lounge, "m.room.topic", {"topic": "Tea"})
        newest = await beth.says(chat, "one more")
        ok(await adam.post(f"/rooms/{q(lounge)}/receipt/m.read/{q(topic)}"))
        ok(await adam.post(f"/rooms/{q(chat)}/receipt/m.read/{q(newest)}"))
        assert told(await own.gets(lambda one: told(one) is not None)) == ("beth@hs1", "adam@hs1", newest)
        assert of_room in await displayed(own)


async def test_what_is_read_in_xmpp_is_read_in_matrix_and_nobody_else_is_told(shared_world: World) -> None:
    cora, dirk = await pair(shared_world, "cora", "dirk")
    chat = await the_direct_room(cora)
    said = await dirk.says(chat, "read me")
    async with (
        talker(shared_world, "cora") as phone,
        talker(shared_world, "cora", resource="b", wants=(NODE,)) as other,
    ):
        await puts(phone, NODE, "dirk@hs1", element("cora@hs1", said))
        assert told(await other.gets(lambda one: told(one) is not None)) == ("dirk@hs1", "cora@hs1", said)
        assert list((await receipts_of(cora, chat))[said]) == ["m.read.private"]
        assert await marker(cora, chat) == said
        assert said not in await receipts_of(dirk, chat)


async def test_a_marker_for_others_may_say_it_beside(shared_world: World) -> None:
    ella, finn = await pair(shared_world, "ella", "finn")
    chat = await the_direct_room(ella)
    room_id = await finn.creates_room(ella, room_alias_name="attic")
    await ella.joins(room_id)
    async with talker(shared_world, "ella", wants=(NODE,)) as own, talker(shared_world, "finn") as other:
        features = (await own.client.plugin["xep_0030"].get_info("ella@hs1"))["disco_info"]["features"]
        assert "urn:xmpp:mds:server-assist:0" in features
        sent = other.says("ella@hs1", "read me")
        heard = await own.hears("read me")
        said = heard.xml.find(f"{SID}stanza-id").get("id")  # type: ignore[union-attr]
        await finn.syncs()
        public = f"<displayed xmlns='urn:xmpp:chat-markers:0' id='{sent}'/>"
        own.says("finn@hs1", "", public, element("ella@hs1", str(said)))
        assert told(await own.gets(lambda one: told(one) is not None)) == ("finn@hs1", "ella@hs1", said)
        assert "m.read" in (await ephemeral(finn, chat, "m.receipt"))[said]
        seen = await other.gets(lambda one: one.xml.find("{urn:xmpp:chat-markers:0}displayed") is not None)
        assert seen.xml.find(f"{{{NODE}}}displayed") is None

        await own.enters("attic@rooms.hs1", "ella")
        in_room = await finn.says(room_id, "me, too")
        await own.hears("me, too", type_="groupchat")
        own.says("attic@rooms.hs1", "aye", element("attic@rooms.hs1", in_room), type_="groupchat")
        assert (await hears(finn, room_id))["content"]["body"] == "aye"
        assert told(await own.gets(lambda one: told(one) is not None)) == (
            "attic@rooms.hs1", "attic@rooms.hs1", in_room,
        )  # fmt: skip


async def test_what_cannot_have_been_read_is_refused(shared_world: World) -> None:
    gabi, hank = await pair(shared_world, "gabi", "hank")
    elsewhere = await hank.says(await hank.creates_room(), "not hers")
    said = await hank.says(await the_direct_room(gabi), "hers")
    async with talker(shared_world, "gabi") as own:
        for name, payload, condition in (
            ("hank@hs1", element("gabi@hs1", elsewhere), "item-not-found"),
            ("gabi@hs1", element("gabi@hs1", said), "item-not-found"),
            ("attic@rooms.hs1", element("gabi@hs1", said), "item-not-found"),
            ("hank@example.org", element("gabi@hs1", said), "item-not-found"),
            ("a b@hs1", element("gabi@hs1", said), "bad-request"),
            ("hank@hs1", f"<displayed xmlns='{NODE}'/>", "bad-request"),
            ("hank@hs1", "<x xmlns='urn:example'/>", "bad-request"),
        ):
            with pytest.raises(IqError) as raised:
                await puts(own, NODE, name, payload)
            assert raised.value.condition == condition
        assert await displayed(own) == set()
        retract = f"<retract node='{NODE}'><item id='hank@hs1'/></retract>"
        with pytest.raises(IqError) as raised:
            await own.asks(None, f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>{retract}</pubsub>", "set")
        assert raised.value.condition == "not-allowed"
        payload = f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{NODE}'/></pubsub>"
        with pytest.raises(IqError) as raised:
            await own.asks("hank@hs1", payload)
        assert raised.value.condition == "item-not-found"
