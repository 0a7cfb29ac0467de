"""Chats between two people, one of them or both by XMPP."""

from typing import Any

from tests.support.talker import Talker, direct_room, ephemeral, event_of, hears, talker
from tests.support.world import User, World, ok, q


async def test_a_message_by_xmpp_reaches_a_matrix_user_and_the_answer_comes_back(world: World, bob: User) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await bob.syncs()
        alice.says("bob@hs1", "hello *you*")
        room_id = await direct_room(bob)
        event = await hears(bob, room_id)
        assert event["content"] == {
            "msgtype": "m.text", "body": "hello *you*", "format": "org.matrix.custom.html",
            "formatted_body": "hello <strong>you</strong>",
        }  # fmt: skip
        state = ok(await bob.get(f"/rooms/{q(room_id)}/state"))
        assert "m.room.encryption" not in {each["type"] for each in state}

        answer = await bob.says(room_id, "hi there")
        heard = await alice.hears("hi there")
        assert str(heard["from"]) == "bob@hs1"
        assert heard["id"] == answer
        stanza_id = heard.xml.find("{urn:xmpp:sid:0}stanza-id")
        assert stanza_id is not None
        assert (stanza_id.get("by"), stanza_id.get("id")) == ("alice@hs1", answer)


async def test_two_xmpp_users_talk_without_any_matrix_client(world: World) -> None:
    await world.user("alice")
    await world.user("bob")
    async with talker(world, "alice") as alice, talker(world, "bob") as bob:
        sent = alice.says("bob@hs1", "first")
        heard = await bob.hears("first")
        assert (str(heard["from"].bare), heard["id"]) == ("alice@hs1", sent)
        bob.says("alice@hs1", "second")
        assert str((await alice.hears("second"))["from"].bare) == "bob@hs1"


async def test_other_sessions_of_the_sender_get_a_carbon_and_the_sender_no_echo(world: World, bob: User) -> None:
    await world.user("alice")
    async with talker(world, "alice") as phone, talker(world, "alice", resource="laptop") as laptop:
        await laptop.asks(None, "<enable xmlns='urn:xmpp:carbons:2'/>", "set")
        await bob.syncs()
        phone.says("bob@hs1", "from the phone")
        carbon = await laptop.gets(lambda one: one.xml.find("{urn:xmpp:carbons:2}sent") is not None)
        inner = carbon.xml.find("{urn:xmpp:carbons:2}sent/{urn:xmpp:forward:0}forwarded/{jabber:client}message")
        assert inner is not None
        assert inner.findtext("{jabber:client}body") == "from the phone"
        assert inner.get("to") == "bob@hs1"
        room_id = await direct_room(bob)
        await bob.says(room_id, "to both")
        await phone.hears("to both")
        await laptop.hears("to both")
        assert [one for one in phone.received if one["body"] == "from the phone"] == []


async def test_a_room_made_for_two_by_a_matrix_client_is_a_chat(world: World, bob: User) -> None:
    await world.user("alice")
    alice_in_matrix = User(world, "@alice:hs1", "", "")
    async with talker(world, "alice") as alice:
        room_id = await bob.creates_room(alice_in_matrix, is_direct=True, preset="trusted_private_chat")
        ok(await bob.put(f"/user/{q(bob.user_id)}/account_data/m.direct", {"@alice:hs1": [room_id]}))
        await bob.says(room_id, "to you alone")
        assert str((await alice.hears("to you alone"))["from"]) == "bob@hs1"
        await bob.syncs()
        alice.says("bob@hs1", "and back")
        assert (await hears(bob, room_id))["content"]["body"] == "and back"


async def test_an_encrypted_chat_is_shown_and_not_written_into(world: World, bob: User) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        encryption = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
        room_id = await bob.creates_room(User(world, "@alice:hs1", "", ""), is_direct=True, initial_state=[encryption])
        await bob.sends(room_id, "m.room.encrypted", {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"})
        heard = await alice.gets(lambda one: one.xml.find("{urn:xmpp:eme:0}encryption") is not None)
        assert "encrypted" in heard["body"]
        alice.says("bob@hs1", "in the clear")
        refused = await alice.gets(lambda one: one.name == "message" and one["type"] == "error")
        assert refused["error"]["condition"] == "not-acceptable"
        assert "encrypt" in refused["error"]["text"]


async def test_edits_replies_reactions_and_retractions_go_both_ways(world: World, bob: User) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await bob.syncs()
        first = alice.says("bob@hs1", "helo")
        room_id = await direct_room(bob)
        event = await hears(bob, room_id)

        alice.says("bob@hs1", "hello", f"<replace xmlns='urn:xmpp:message-correct:0' id='{first}'/>")
        edit = await hears(bob, room_id)
        assert edit["content"]["m.relates_to"] == {"rel_type": "m.replace", "event_id": event["event_id"]}
        assert edit["content"]["m.new_content"]["body"] == "hello"

        relation = {"rel_type": "m.annotation", "event_id": event["event_id"], "key": "👍"}
        reaction = await bob.sends(room_id, "m.reaction", {"m.relates_to": relation})
        told = await alice.gets(lambda one: one.xml.find("{urn:xmpp:reactions:0}reactions") is not None)
        shown = told.xml.find("{urn:xmpp:reactions:0}reactions")
        assert shown is not None
        assert (shown.get("id"), [each.text for each in shown]) == (first, ["👍"])
        await bob.redacts(room_id, reaction)
        told = await alice.gets(lambda one: one.xml.find("{urn:xmpp:reactions:0}reactions") is not None)
        shown = told.xml.find("{urn:xmpp:reactions:0}reactions")
        assert shown is not None
        assert (shown.get("id"), len(shown)) == (first, 0)

        theirs = await bob.says(room_id, "typo")
        await alice.hears("typo")
        new = {"msgtype": "m.text", "body": "no typo"}
        await bob.says(
            room_id,
            "* no typo",
            **{"m.new_content": new, "m.relates_to": {"rel_type": "m.replace", "event_id": theirs}},
        )
        told = await alice.hears("no typo")
        replace = told.xml.find("{urn:xmpp:message-correct:0}replace")
        assert replace is not None
        assert replace.get("id") == theirs

        alice.says(
            "bob@hs1", "", f"<reactions xmlns='urn:xmpp:reactions:0' id='{theirs}'><reaction>🎉</reaction></reactions>"
        )
        reacted = await event_of(bob, room_id, "m.reaction")
        assert reacted["content"]["m.relates_to"]["key"] == "🎉"
        alice.says("bob@hs1", "", f"<reactions xmlns='urn:xmpp:reactions:0' id='{theirs}'/>")
        assert (await event_of(bob, room_id, "m.room.redaction"))["content"]["redacts"] == reacted["event_id"]

        alice.says("bob@hs1", "yes", f"<reply xmlns='urn:xmpp:reply:0' id='{theirs}' to='bob@hs1'/>")
        reply = await hears(bob, room_id)
        assert reply["content"]["m.relates_to"] == {"m.in_reply_to": {"event_id": theirs}}

        await bob.redacts(room_id, theirs)
        told = await alice.gets(lambda one: one.xml.find("{urn:xmpp:message-retract:1}retract") is not None)
        retract = told.xml.find("{urn:xmpp:message-retract:1}retract")
        assert retract is not None
        assert retract.get("id") == theirs
        alice.says("bob@hs1", "", f"<retract xmlns='urn:xmpp:message-retract:1' id='{first}'/>")
        assert (await event_of(bob, room_id, "m.room.redaction"))["content"]["redacts"] == event["event_id"]


async def test_typing_and_markers_go_both_ways(world: World, bob: User) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await bob.syncs()
        first = alice.says("bob@hs1", "hello")
        room_id = await direct_room(bob)
        event = await hears(bob, room_id)

        alice.says("bob@hs1", "", "<composing xmlns='http://jabber.org/protocol/chatstates'/>")
        assert (await ephemeral(bob, room_id, "m.typing"))["user_ids"] == ["@alice:hs1"]
        ok(await bob.put(f"/rooms/{q(room_id)}/typing/{q(bob.user_id)}", {"typing": True, "timeout": 30000}))
        await alice.gets(lambda one: one.name == "message" and one["chat_state"] == "composing")
        ok(await bob.put(f"/rooms/{q(room_id)}/typing/{q(bob.user_id)}", {"typing": False}))
        await alice.gets(lambda one: one.name == "message" and one["chat_state"] == "paused")

        ok(await bob.post(f"/rooms/{q(room_id)}/receipt/m.read/{q(event['event_id'])}"))
        told = await alice.gets(lambda one: one.xml.find("{urn:xmpp:chat-markers:0}displayed") is not None)
        marker = told.xml.find("{urn:xmpp:chat-markers:0}displayed")
        assert marker is not None
        assert marker.get("id") == first
        answer = await bob.says(room_id, "hi")
        await alice.hears("hi")
        alice.says("bob@hs1", "", f"<displayed xmlns='urn:xmpp:chat-markers:0' id='{answer}'/>")
        while answer not in (receipts := await ephemeral(bob, room_id, "m.receipt")):
            pass
        assert "@alice:hs1" in receipts[answer]["m.read"]


async def test_a_stanza_that_is_sent_again_makes_no_second_event(world: World, bob: User) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await bob.syncs()
        alice.says("bob@hs1", "once", id_="same")
        room_id = await direct_room(bob)
        await hears(bob, room_id)
    async with talker(world, "alice", resource="other") as alice:
        alice.says("bob@hs1", "once", id_="same")
        alice.says("bob@hs1", "another with this id", id_="same")
        assert (await hears(bob, room_id))["content"]["body"] == "another with this id"


async def test_a_message_to_nobody_is_refused(world: World) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        alice.says("nobody@hs1", "hello?")
        refused = await alice.gets(lambda one: one.name == "message" and one["type"] == "error")
        assert refused["error"]["condition"] == "item-not-found"


async def test_what_xmpp_clients_encrypt_for_each_other_passes_unread(world: World) -> None:
    await world.user("alice")
    await world.user("bob")
    async with talker(world, "alice") as alice, talker(world, "bob") as bob:
        encrypted = (
            "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'><key rid='2'>a2V5</key></header>"
            "<payload>c2VjcmV0</payload></encrypted>"
        )
        alice.says("bob@hs1", "fallback", encrypted)
        told = await bob.gets(lambda one: one.xml.find("{eu.siacs.conversations.axolotl}encrypted") is not None)
        payload = told.xml.findtext("{eu.siacs.conversations.axolotl}encrypted/{eu.siacs.conversations.axolotl}payload")
        assert payload == "c2VjcmV0"
        assert told.xml.find("{urn:xmpp:eme:0}encryption") is not None


async def test_who_is_ignored_is_not_heard(world: World, bob: User) -> None:
    alice_in_matrix, carol = await world.user("alice"), await world.user("carol")
    async with talker(world, "alice") as alice:
        await bob.syncs()
        await carol.syncs()
        alice.says("bob@hs1", "hello")
        alice.says("carol@hs1", "hello")
        with_bob, with_carol = await direct_room(bob), await direct_room(carol)
        ignored: dict[str, Any] = {"ignored_users": {bob.user_id: {}}}
        ok(await alice_in_matrix.put("/user/@alice:hs1/account_data/m.ignored_user_list", ignored))
        await bob.says(with_bob, "unheard")
        await carol.says(with_carol, "heard")
        await alice.hears("heard")
        assert [one for one in alice.received if one.name == "message" and one["body"] == "unheard"] == []


async def test_with_a_third_person_a_chat_becomes_a_room(world: World, bob: User) -> None:
    await world.user("alice")
    carol = await world.user("carol")
    async with talker(world, "alice") as alice:
        await bob.syncs()
        alice.says("bob@hs1", "hello")
        room_id = await direct_room(bob)
        ok(await bob.post(f"/rooms/{q(room_id)}/invite", {"user_id": carol.user_id}))
        await carol.joins(room_id)
        [room] = await rooms_of(alice)
        await alice.enters(room, "alice")
        await bob.says(room_id, "all of you")
        await alice.hears("all of you", type_="groupchat")
        assert [one for one in alice.received if one.name == "message" and one["type"] == "chat" and one["body"]] == []


async def rooms_of(person: Talker) -> list[str]:
    """Return the addresses of the rooms that somebody is in, by their bookmarks."""
    items = "<items node='urn:xmpp:bookmarks:1'/>"
    answer = await person.asks(None, f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>{items}</pubsub>")
    return [str(item.get("id")) for item in answer.iter("{http://jabber.org/protocol/pubsub}item")]
