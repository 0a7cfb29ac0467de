"""Rooms, with XMPP on one side and Matrix on the other."""

import io
from pathlib import Path

import pytest
from PIL import Image
from slixmpp.exceptions import IqError

from homeserver.xmpp import occupants
from tests.support.clock import MovableClock
from tests.support.talker import codes, ephemeral, event_of, hears, item, talker
from tests.support.world import User, World, ok, q

LOUNGE = "lounge@rooms.hs1"
MUC = "http://jabber.org/protocol/muc"


async def public_room(bob: User, **body: object) -> str:
    """Let a Matrix user make a room that XMPP clients know as `LOUNGE`."""
    return await bob.creates_room(preset="public_chat", room_alias_name="lounge", name="The lounge", **body)


async def test_a_room_is_entered_and_both_sides_talk(world: World, bob: User) -> None:
    room_id = await public_room(bob, topic="Tea")
    ok(await bob.put(f"/profile/{q(bob.user_id)}/displayname", {"displayname": "Bob B."}))
    await world.user("alice")
    async with talker(world, "alice") as alice:
        own = await alice.enters(LOUNGE, "alice")
        assert codes(own) == {100, 110}
        assert item(own) == {"affiliation": "member", "role": "participant", "jid": "alice@hs1"}
        other = await alice.sees(f"{LOUNGE}/Bob B.")
        assert item(other) == {"affiliation": "owner", "role": "moderator", "jid": "bob@hs1"}
        subject = await alice.gets(lambda one: one.name == "message" and one["subject"] == "Tea")
        assert str(subject["from"]) == f"{LOUNGE}/Bob B."

        await bob.syncs()
        sent = alice.says(LOUNGE, "hello room", type_="groupchat")
        assert (await hears(bob, room_id))["content"] == {"msgtype": "m.text", "body": "hello room"}
        echo = await alice.hears("hello room", type_="groupchat")
        assert (str(echo["from"]), echo["id"]) == (f"{LOUNGE}/alice", sent)
        event_id = await bob.says(room_id, "hello alice")
        heard = await alice.hears("hello alice", type_="groupchat")
        assert str(heard["from"]) == f"{LOUNGE}/Bob B."
        stanza_id, occupant = heard.xml.find("{urn:xmpp:sid:0}stanza-id"), "{urn:xmpp:occupant-id:0}occupant-id"
        assert stanza_id is not None
        assert (stanza_id.get("by"), stanza_id.get("id")) == (LOUNGE, event_id)
        assert heard.xml.find(occupant).get("id") == other.xml.find(occupant).get("id")  # type: ignore[union-attr]


async def test_clients_know_their_own_messages_again_by_the_id_of_their_origin(world: World, bob: User) -> None:
    room_id = await public_room(bob)
    await world.user("alice")
    origin_id = "{urn:xmpp:sid:0}origin-id"
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        sent = alice.says(LOUNGE, "mine", "<origin-id xmlns='urn:xmpp:sid:0' id='one'/>", type_="groupchat", id_="one")
        echo = await alice.hears("mine", type_="groupchat")
        assert [each.get("id") for each in echo.xml.iterfind(origin_id)] == [sent]
        await bob.says(room_id, "theirs")
        assert (await alice.hears("theirs", type_="groupchat")).xml.find(origin_id) is None


async def test_history_comes_with_its_time_and_as_much_as_is_wanted(world: World, bob: User) -> None:
    room_id = await public_room(bob)
    for number in range(5):
        await bob.says(room_id, f"message {number}")
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice", history=2)
        old = await alice.hears("message 3", type_="groupchat")
        assert old.xml.find("{urn:xmpp:delay}delay") is not None
        await alice.hears("message 4", type_="groupchat")
        assert not [one for one in alice.received if one.name == "message" and one["body"].startswith("message")]


async def test_history_goes_back_as_many_seconds_as_are_wanted(database_url: str, tmp_path: Path) -> None:
    clock = MovableClock()
    async with World.start(database_url, tmp_path, clock=clock) as world:
        bob, _ = await world.user("bob"), await world.user("alice")
        room_id = await public_room(bob)
        for text in ("old", "new"):
            clock.advance(60)
            await bob.says(room_id, text)
        async with talker(world, "alice") as alice:
            presence = f"<presence to='{LOUNGE}/alice'><x xmlns='{MUC}'><history seconds='30'/></x></presence>"
            alice.client.send_raw(presence)
            await alice.hears("new", type_="groupchat")
            assert not [one for one in alice.received if one.name == "message" and one["body"] == "old"]


@pytest.mark.parametrize("nothing", ["maxstanzas", "maxchars", "seconds"])
async def test_no_history_comes_to_who_wants_none(world: World, bob: User, nothing: str) -> None:
    room_id = await public_room(bob)
    await bob.says(room_id, "message")
    await world.user("alice")
    async with talker(world, "alice") as alice:
        history = f"<history {nothing}='0'/>"
        alice.client.send_raw(f"<presence to='{LOUNGE}/alice'><x xmlns='{MUC}'>{history}</x></presence>")
        await alice.gets(lambda one: one.name == "message" and one.xml.find("{jabber:client}subject") is not None)
        assert not [one for one in alice.received if one.name == "message" and one["body"] == "message"]


async def test_coming_going_and_names_are_presence(world: World, bob: User) -> None:
    room_id = await public_room(bob)
    await world.user("alice")
    carol = await world.user("carol")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        await carol.joins(room_id)
        await alice.sees(f"{LOUNGE}/carol")
        ok(await carol.put(f"/profile/{q(carol.user_id)}/displayname", {"displayname": "Caz"}))
        change = await alice.sees(f"{LOUNGE}/carol", "unavailable")
        assert 303 in codes(change)
        assert item(change)["nick"] == "Caz"
        await alice.sees(f"{LOUNGE}/Caz")
        ok(await carol.post(f"/rooms/{q(room_id)}/leave"))
        assert item(await alice.sees(f"{LOUNGE}/Caz", "unavailable"))["affiliation"] == "none"


async def test_going_offline_leaves_nothing_and_leaving_is_leaving(world: World, bob: User) -> None:
    room_id = await public_room(bob)
    await world.user("alice")

    async def members() -> set[str]:
        return set(ok(await bob.get(f"/rooms/{q(room_id)}/joined_members"))["joined"])

    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        alice.leaves(LOUNGE, "alice")
        assert codes(await alice.sees(f"{LOUNGE}/alice", "unavailable")) == {110}
        assert "@alice:hs1" in await members()
        with pytest.raises(IqError) as refused:
            await alice.asks(f"{LOUNGE}/alice", "<ping xmlns='urn:xmpp:ping'/>")
        assert refused.value.condition == "not-acceptable"
        await alice.enters(LOUNGE, "alice")
        await alice.asks(f"{LOUNGE}/alice", "<ping xmlns='urn:xmpp:ping'/>")
    assert "@alice:hs1" in await members()
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        await alice.asks(LOUNGE, "<query xmlns='jabber:iq:register'><remove/></query>", "set")
        assert 110 in codes(await alice.sees(f"{LOUNGE}/alice", "unavailable"))
    assert "@alice:hs1" not in await members()


async def test_a_nick_is_the_display_name(world: World, bob: User) -> None:
    await public_room(bob)
    alice_in_matrix = await world.user("alice")
    ok(await alice_in_matrix.put(f"/profile/{q(alice_in_matrix.user_id)}/displayname", {"displayname": "Alice A."}))
    async with talker(world, "alice") as alice:
        own = await alice.enters(LOUNGE, "whatever")
        assert str(own["from"]) == f"{LOUNGE}/Alice A."
        assert 210 in codes(own)
        alice.client.send_presence(pto=f"{LOUNGE}/Ally")
        change = await alice.sees(f"{LOUNGE}/Alice A.", "unavailable")
        assert {303, 110} <= codes(change)
        await alice.sees(f"{LOUNGE}/Ally")


async def test_a_room_that_is_not_there_is_made(world: World, bob: User) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        own = await alice.enters("new@rooms.hs1", "alice")
        assert 201 in codes(own)
        assert item(own)["affiliation"] == "owner"
        room_id = ok(await bob.get(f"/directory/room/{q('#new:hs1')}"))["room_id"]
        await bob.joins(room_id)
        await alice.sees("new@rooms.hs1/bob")


async def test_a_private_room_lets_nobody_in_who_is_not_invited(world: World, bob: User) -> None:
    await bob.creates_room(room_alias_name="lounge")
    await world.user("alice")
    async with talker(world, "alice") as alice:
        refused = await alice.enters(LOUNGE, "alice")
        assert refused["error"]["condition"] == "registration-required"


async def test_the_subject_is_the_topic(world: World, bob: User) -> None:
    room_id = await public_room(bob)
    alice_in_matrix = await world.user("alice")
    await alice_in_matrix.joins(room_id)
    levels = ok(await bob.get(f"/rooms/{q(room_id)}/state/m.room.power_levels/"))
    await bob.sets(room_id, "m.room.power_levels", {**levels, "events": {**levels["events"], "m.room.topic": 0}})
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        await bob.sets(room_id, "m.room.topic", {"topic": "By Matrix"})
        await alice.gets(lambda one: one.name == "message" and one["subject"] == "By Matrix")
        await bob.syncs()
        message = alice.client.make_message(mto=LOUNGE, mtype="groupchat", msubject="By XMPP")
        message.send()
        assert (await event_of(bob, room_id, "m.room.topic"))["content"]["topic"] == "By XMPP"


async def test_messages_in_rooms_are_edited_reacted_to_answered_and_taken_back(world: World, bob: User) -> None:
    room_id = await public_room(bob)
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        await bob.syncs()
        sent = alice.says(LOUNGE, "helo", type_="groupchat")
        event = await hears(bob, room_id)
        await alice.hears("helo", type_="groupchat")
        alice.says(LOUNGE, "hello", f"<replace xmlns='urn:xmpp:message-correct:0' id='{sent}'/>", type_="groupchat")
        assert (await hears(bob, room_id))["content"]["m.new_content"]["body"] == "hello"
        theirs = await bob.says(room_id, "hi")
        await alice.hears("hi", type_="groupchat")
        reaction = f"<reactions xmlns='urn:xmpp:reactions:0' id='{theirs}'><reaction>🎉</reaction></reactions>"
        alice.says(LOUNGE, "", reaction, type_="groupchat")
        assert (await event_of(bob, room_id, "m.reaction"))["content"]["m.relates_to"]["event_id"] == theirs
        await alice.gets(lambda one: one.xml.find("{urn:xmpp:reactions:0}reactions") is not None)
        alice.says(LOUNGE, "yes", f"<reply xmlns='urn:xmpp:reply:0' id='{theirs}'/>", type_="groupchat")
        assert (await hears(bob, room_id))["content"]["m.relates_to"] == {"m.in_reply_to": {"event_id": theirs}}
        answer = {"m.relates_to": {"m.in_reply_to": {"event_id": event["event_id"]}}}
        await bob.says(room_id, "answer", **answer)
        told = await alice.gets(lambda one: one.name == "message" and one["body"].endswith("answer"))
        reply = told.xml.find("{urn:xmpp:reply:0}reply")
        assert reply is not None
        assert (reply.get("id"), reply.get("to")) == (event["event_id"], f"{LOUNGE}/alice")
        alice.says(
            LOUNGE, "", f"<retract xmlns='urn:xmpp:message-retract:1' id='{event['event_id']}'/>", type_="groupchat"
        )
        assert (await event_of(bob, room_id, "m.room.redaction"))["content"]["redacts"] == event["event_id"]
        own = await alice.gets(lambda one: one.xml.find("{urn:xmpp:message-retract:1}retract") is not None)
        assert str(own["from"]) == f"{LOUNGE}/alice"


async def test_a_moderator_takes_a_message_away(world: World, bob: User) -> None:
    room_id = await public_room(bob)
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        await bob.syncs()
        alice.says(LOUNGE, "rude", type_="groupchat")
        event = await hears(bob, room_id)
        await bob.redacts(room_id, event["event_id"], "be nice")
        told = await alice.gets(lambda one: one.xml.find("{urn:xmpp:message-retract:1}retract") is not None)
        assert str(told["from"]) == LOUNGE
        retract = told.xml.find("{urn:xmpp:message-retract:1}retract")
        assert retract is not None
        moderated = retract.find("{urn:xmpp:message-moderate:1}moderated")
        assert moderated is not None
        assert moderated.get("by") == f"{LOUNGE}/bob"
        assert retract.findtext("{urn:xmpp:message-retract:1}reason") == "be nice"


async def test_typing_and_markers_are_told_in_private_rooms(world: World, bob: User) -> None:
    await world.user("alice")
    room_id = await bob.creates_room(User(world, "@alice:hs1", "", ""), room_alias_name="lounge")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        await bob.syncs()
        alice.says(LOUNGE, "", "<composing xmlns='http://jabber.org/protocol/chatstates'/>", type_="groupchat")
        assert (await ephemeral(bob, room_id, "m.typing"))["user_ids"] == ["@alice:hs1"]
        ok(await bob.put(f"/rooms/{q(room_id)}/typing/{q(bob.user_id)}", {"typing": True, "timeout": 30000}))
        await alice.gets(lambda one: one.name == "message" and one["chat_state"] == "composing")
        event_id = await bob.says(room_id, "read me")
        await alice.hears("read me", type_="groupchat")
        marker = f"<displayed xmlns='urn:xmpp:chat-markers:0' id='{event_id}'/>"
        alice.says(LOUNGE, "", marker, type_="groupchat")
        while event_id not in (receipts := await ephemeral(bob, room_id, "m.receipt")):
            pass
        assert "@alice:hs1" in receipts[event_id]["m.read"]


async def test_two_sessions_of_a_user_share_a_nick_and_see_the_same(world: World, bob: User) -> None:
    await public_room(bob)
    await world.user("alice")
    async with talker(world, "alice") as phone, talker(world, "alice", resource="laptop") as laptop:
        await phone.enters(LOUNGE, "alice")
        await laptop.enters(LOUNGE, "alice")
        sent = phone.says(LOUNGE, "both see it", type_="groupchat")
        assert (await laptop.hears("both see it", type_="groupchat"))["id"] == sent
        assert (await phone.hears("both see it", type_="groupchat"))["id"] == sent


async def test_an_encrypted_room_is_shown_and_not_written_into(world: World, bob: User) -> None:
    encryption = {"type": "m.room.encryption", "content": {"algorithm": "m.megolm.v1.aes-sha2"}}
    room_id = await public_room(bob, initial_state=[encryption])
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        await bob.sends(room_id, "m.room.encrypted", {"algorithm": "m.megolm.v1.aes-sha2", "ciphertext": "x"})
        await alice.gets(lambda one: one.xml.find("{urn:xmpp:eme:0}encryption") is not None)
        alice.says(LOUNGE, "in the clear", type_="groupchat")
        refused = await alice.gets(lambda one: one.name == "message" and one["type"] == "error")
        assert refused["error"]["condition"] == "not-acceptable"


async def test_a_room_says_what_it_is(world: World, bob: User) -> None:
    await public_room(bob, visibility="public")
    await world.user("alice")
    async with talker(world, "alice") as alice:
        info = await alice.client.plugin["xep_0030"].get_info(LOUNGE)
        features = info["disco_info"]["features"]
        assert {MUC, "muc_open", "muc_nonanonymous", "muc_public", "muc_persistent", "urn:xmpp:mam:2"} <= features
        assert ("conference", "text", None, "The lounge") in info["disco_info"]["identities"]
        items = await alice.client.plugin["xep_0030"].get_items("rooms.hs1")
        assert (LOUNGE, None, "The lounge") in items["disco_items"]["items"]


async def test_who_is_not_available_is_in_no_room(world: World, bob: User) -> None:
    room_id = await public_room(bob)
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        alice.client.send_presence(ptype="unavailable")
        with pytest.raises(IqError) as refused:
            await alice.asks(f"{LOUNGE}/alice", "<ping xmlns='urn:xmpp:ping'/>")
        assert refused.value.condition == "not-acceptable"
        await bob.says(room_id, "unheard")
        alice.client.send_presence()
        await alice.enters(LOUNGE, "alice")
        await bob.says(room_id, "heard")
        await alice.hears("heard", type_="groupchat")
        assert [one for one in alice.received if one.name == "message" and one["body"] == "unheard"] == []


async def test_a_room_that_is_replaced_says_where_it_goes_on(world: World, bob: User) -> None:
    room_id = await public_room(bob)
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        new = ok(await bob.post(f"/rooms/{q(room_id)}/upgrade", {"new_version": "11"}))["replacement_room"]
        gone = await alice.sees(f"{LOUNGE}/alice", "unavailable")
        destroyed = gone.xml.find(f"{{{MUC}#user}}x/{{{MUC}#user}}destroy")
        assert destroyed is not None
        assert 110 in codes(await alice.enters(destroyed.get("jid") or "", "alice"))
        members = ok(await bob.get(f"/rooms/{q(new)}/joined_members"))["joined"]
        assert "@alice:hs1" in members


async def test_of_a_large_room_those_are_shown_who_speak(
    world: World, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(occupants, "MOST_SHOWN", 2)
    room_id = await public_room(bob)
    quiet, later = await world.user("quiet"), await world.user("later")
    monkeypatch.setattr(occupants, "LATELY", 1)
    await quiet.joins(room_id)
    await later.joins(room_id)
    await bob.says(room_id, "the newest event")
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        seen = {str(one["from"]) for one in alice.received if one.name == "presence"}
        assert f"{LOUNGE}/bob" in seen
        assert not {f"{LOUNGE}/quiet", f"{LOUNGE}/later"} & seen
        await later.says(room_id, "here I am")
        await alice.hears("here I am", type_="groupchat")
        assert f"{LOUNGE}/later" in {str(one["from"]) for one in alice.received if one.name == "presence"}


async def test_a_room_s_picture_is_in_its_vcard(world: World, bob: User) -> None:
    room_id = await public_room(bob)
    uploaded = await world.request(
        "POST", "/_matrix/media/v3/upload", token=bob.token, raw=picture(), headers={"Content-Type": "image/png"}
    )
    await bob.sets(room_id, "m.room.avatar", {"url": ok(uploaded)["content_uri"]})
    await world.user("alice")
    async with talker(world, "alice") as alice:
        card = await alice.asks(LOUNGE, "<vCard xmlns='vcard-temp'/>")
        assert card.findtext(".//{vcard-temp}FN") == "The lounge"
        assert card.findtext(".//{vcard-temp}PHOTO/{vcard-temp}BINVAL")


def picture() -> bytes:
    """Return a small picture."""
    written = io.BytesIO()
    Image.new("RGB", (128, 128), "teal").save(written, "PNG")
    return written.getvalue()


async def test_a_room_is_not_entered_without_a_nick(world: World, bob: User) -> None:
    await public_room(bob)
    await world.user("alice")
    async with talker(world, "alice") as alice:
        presence = alice.client.make_presence(pto=LOUNGE)
        presence.send()
        refused = await alice.sees(LOUNGE, "error")
        assert refused["error"]["condition"] == "jid-malformed"


async def test_writing_to_one_occupant_is_refused_with_a_word(world: World, bob: User) -> None:
    await public_room(bob)
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        alice.says(f"{LOUNGE}/bob", "psst")
        refused = await alice.gets(lambda one: one.name == "message" and one["type"] == "error")
        assert refused["error"]["condition"] == "not-acceptable"
        assert "own address" in refused["error"]["text"]
