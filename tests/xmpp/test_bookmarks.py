"""Bookmarks and what else users publish (XEP-0402, XEP-0048, XEP-0049, XEP-0163)."""

from typing import Any

import pytest
from slixmpp.exceptions import IqError

from tests.support.talker import Talker, talker
from tests.support.world import User, World, ok, q

LOUNGE = "lounge@rooms.hs1"
PUBSUB = "http://jabber.org/protocol/pubsub"
EVENT = "{http://jabber.org/protocol/pubsub#event}"
BOOKMARKS = "urn:xmpp:bookmarks:1"
CONFERENCE = f"{{{BOOKMARKS}}}conference"


async def bookmarks(person: Talker) -> dict[str, Any]:
    """Return all bookmarks by address."""
    answer = await person.asks(None, f"<pubsub xmlns='{PUBSUB}'><items node='{BOOKMARKS}'/></pubsub>")
    return {item.get("id"): item.find(CONFERENCE) for item in answer.iter(f"{{{PUBSUB}}}item")}


async def publishes(person: Talker, node: str, item: str, payload: str, **options: str) -> None:
    """Publish an item."""
    fields = "".join(f"<field var='pubsub#{name}'><value>{value}</value></field>" for name, value in options.items())
    form = (
        "<publish-options><x xmlns='jabber:x:data' type='submit'><field var='FORM_TYPE' type='hidden'>"
        f"<value>{PUBSUB}#publish-options</value></field>{fields}</x></publish-options>"
    )
    publish = f"<publish node='{node}'><item id='{item}'>{payload}</item></publish>"
    await person.asks(None, f"<pubsub xmlns='{PUBSUB}'>{publish}{form if options else ''}</pubsub>", "set")


async def test_joined_rooms_are_bookmarks_in_all_three_faces(world: World, bob: User) -> None:
    room_id = await bob.creates_room(preset="public_chat", room_alias_name="lounge", name="The lounge")
    alice_in_matrix = await world.user("alice")
    await alice_in_matrix.joins(room_id)
    async with talker(world, "alice") as alice:
        found = await bookmarks(alice)
        assert list(found) == [LOUNGE]
        assert dict(found[LOUNGE].attrib) == {"name": "The lounge", "autojoin": "true"}
        old = await alice.asks(None, f"<pubsub xmlns='{PUBSUB}'><items node='storage:bookmarks'/></pubsub>")
        assert [each.get("jid") for each in old.iter("{storage:bookmarks}conference")] == [LOUNGE]
        private = "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'/></query>"
        oldest = await alice.asks(None, private)
        assert [each.get("jid") for each in oldest.iter("{storage:bookmarks}conference")] == [LOUNGE]


async def test_a_bookmark_keeps_what_clients_say_and_to_take_it_away_is_to_leave(world: World, bob: User) -> None:
    room_id = await bob.creates_room(preset="public_chat", room_alias_name="lounge")
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        extension = "<extensions><x xmlns='urn:example'/></extensions>"
        conference = f"<conference xmlns='{BOOKMARKS}' autojoin='false'><nick>al</nick>{extension}</conference>"
        await publishes(alice, BOOKMARKS, LOUNGE, conference, access_model="whitelist", persist_items="true")
        kept = (await bookmarks(alice))[LOUNGE]
        assert kept.get("autojoin") == "false"
        assert kept.findtext(f"{{{BOOKMARKS}}}nick") == "al"
        assert kept.find(f"{{{BOOKMARKS}}}extensions/{{urn:example}}x") is not None
        storage = (
            "<query xmlns='jabber:iq:private'><storage xmlns='storage:bookmarks'>"
            f"<conference jid='{LOUNGE}' autojoin='1'/></storage></query>"
        )
        await alice.asks(None, storage, "set")
        kept = (await bookmarks(alice))[LOUNGE]
        assert kept.get("autojoin") == "1"
        assert kept.find(f"{{{BOOKMARKS}}}extensions/{{urn:example}}x") is not None
        await alice.asks(None, storage.replace(f"<conference jid='{LOUNGE}' autojoin='1'/>", ""), "set")
        assert (await bookmarks(alice))[LOUNGE].get("autojoin") == "false"

        retract = f"<retract node='{BOOKMARKS}' notify='1'><item id='{LOUNGE}'/></retract>"
        await alice.asks(None, f"<pubsub xmlns='{PUBSUB}'>{retract}</pubsub>", "set")
        assert await bookmarks(alice) == {}
        joined = ok(await bob.get(f"/rooms/{q(room_id)}/joined_members"))["joined"]
        assert "@alice:hs1" not in joined


async def test_rooms_joined_and_left_in_matrix_are_told(world: World, bob: User) -> None:
    room_id = await bob.creates_room(preset="public_chat", room_alias_name="lounge")
    alice_in_matrix = await world.user("alice")
    async with talker(world, "alice", wants=(BOOKMARKS,)) as alice:
        await bookmarks(alice)
        await alice_in_matrix.joins(room_id)
        told = await alice.gets(lambda one: one.xml.find(f"{EVENT}event") is not None)
        item = told.xml.find(f"{EVENT}event/{EVENT}items/{EVENT}item")
        assert item is not None
        assert item.get("id") == LOUNGE
        ok(await alice_in_matrix.post(f"/rooms/{q(room_id)}/leave"))
        told = await alice.gets(lambda one: one.xml.find(f"{EVENT}event") is not None)
        retract = told.xml.find(f"{EVENT}event/{EVENT}items/{EVENT}retract")
        assert retract is not None
        assert retract.get("id") == LOUNGE


async def test_a_bookmark_of_a_room_that_one_is_not_in_is_kept(world: World) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await publishes(alice, BOOKMARKS, "far@rooms.example.org", f"<conference xmlns='{BOOKMARKS}' name='Far'/>")
        assert (await bookmarks(alice))["far@rooms.example.org"].get("name") == "Far"


async def test_what_is_published_is_kept_and_told_to_those_who_may_hear(world: World) -> None:
    await world.user("alice")
    await world.user("bob")
    node = "eu.siacs.conversations.axolotl.devicelist"
    async with (
        talker(world, "alice", wants=(node,)) as phone,
        talker(world, "alice", resource="laptop") as laptop,
        talker(world, "bob") as bob,
    ):
        payload = "<list xmlns='eu.siacs.conversations.axolotl'><device id='1'/></list>"
        await publishes(laptop, node, "current", payload, access_model="open")
        told = await phone.gets(lambda one: one.xml.find(f"{EVENT}event") is not None)
        assert str(told["from"]) == "alice@hs1"
        read = f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>"
        answer = await bob.asks("alice@hs1", read)
        assert answer.find(f".//{{{PUBSUB}}}item/{{eu.siacs.conversations.axolotl}}list") is not None
        with pytest.raises(IqError) as refused:
            await publishes(laptop, node, "current", payload, access_model="whitelist")
        assert refused.value.condition == "conflict"
        await publishes(laptop, "urn:example:secret", "current", "<x xmlns='urn:example'/>", access_model="whitelist")
        with pytest.raises(IqError) as refused:
            await bob.asks("alice@hs1", f"<pubsub xmlns='{PUBSUB}'><items node='urn:example:secret'/></pubsub>")
        assert refused.value.condition == "not-authorized"
    async with talker(world, "alice", wants=(node,)) as phone:
        await phone.gets(lambda one: one.xml.find(f"{EVENT}event") is not None)


async def test_a_client_may_begin_to_want_to_hear_of_something_while_it_is_there(world: World) -> None:
    await world.user("alice")
    async with talker(world, "alice", wants=("urn:example:early",)) as alice:
        await publishes(alice, "urn:example:late", "1", "<thing xmlns='urn:example:late'/>")
        alice.client.plugin["xep_0030"].add_feature("urn:example:late+notify")
        await alice.client.plugin["xep_0115"].update_caps()
        alice.client.send_presence()
        told = await alice.gets(lambda one: one.xml.find(f"{EVENT}event/{EVENT}items") is not None)
        assert [items.get("node") for items in told.xml.iter(f"{EVENT}items")] == ["urn:example:late"]
