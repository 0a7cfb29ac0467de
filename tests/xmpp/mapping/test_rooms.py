"""What a room is, where it goes on, and how it is found: by XMPP and by Matrix, both ways."""

from typing import Any

import pytest
from slixmpp.exceptions import IqError

from tests.support.doors import MODERATED, RETRACT, People, Reader
from tests.support.talker import Talker, codes, talker
from tests.support.world import ok, q
from tests.xmpp.mapping.test_people import fields_of, submitted
from tests.xmpp.test_archive import bodies, page

DISCO = "http://jabber.org/protocol/disco"
OWNER = "http://jabber.org/protocol/muc#owner"
CONFIG = "http://jabber.org/protocol/muc#roomconfig"
RSM = "http://jabber.org/protocol/rsm"
SEARCH = "jabber:iq:search"
MUC_USER = "{http://jabber.org/protocol/muc#user}"
MEGOLM = {"algorithm": "m.megolm.v1.aes-sha2"}
BOOKMARKS = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'/></pubsub>"
ENCRYPTED = (
    "<encrypted xmlns='eu.siacs.conversations.axolotl'><header sid='1'><key rid='2'>a2V5</key></header>"
    "<payload>c2VjcmV0</payload></encrypted>"
)


async def info(person: Talker, jid: str) -> tuple[set[str], dict[str, list[str]]]:
    """Return the features of a room, and what else it tells of itself."""
    answer = await person.asks(jid, f"<query xmlns='{DISCO}#info'/>")
    return {str(one.get("var")) for one in answer.iter(f"{{{DISCO}#info}}feature")}, fields_of(answer)


async def configures(person: Talker, jid: str, **fields: str) -> None:
    """Send a room's configuration form."""
    values = {"FORM_TYPE": [CONFIG], **{f"muc#roomconfig_{name}": [value] for name, value in fields.items()}}
    await person.asks(jid, f"<query xmlns='{OWNER}'>{submitted(values)}</query>", "set")


async def bookmarked(person: Talker) -> list[str]:
    """Return the rooms that somebody's clients enter."""
    answer = await person.asks(None, BOOKMARKS)
    return [str(one.get("id")) for one in answer.iter("{http://jabber.org/protocol/pubsub}item")]


@pytest.mark.asyncio(loop_scope="package")
class TestConfiguration:
    """State events and forms."""

    async def test_names_and_topics_change_both_ways(self, people: People) -> None:
        room = await people.room(power_level_content_override={"users": {"@alice:hs1": 100}})
        await people.bob.user.sets(room.room_id, "m.room.name", {"name": "Tea & more"})
        await room.alice_gets(lambda one: codes(one) == {104})
        assert (await info(people.alice, room.jid))[1]["muc#roomconfig_roomname"] == ["Tea & more"]
        await configures(people.alice, room.jid, roomname="Coffee", roomdesc="Beans")
        event = await people.bob.event(
            room.room_id, lambda one: one["type"] == "m.room.name" and one["sender"] == "@alice:hs1"
        )
        assert event["content"]["name"] == "Coffee"
        assert (await people.state(room.room_id, "m.room.topic"))["topic"] == "Beans"
        await room.alice_gets(lambda one: one["subject"] == "Beans")

        await people.bob.user.sets(room.room_id, "m.room.topic", {"topic": "Leaves"})
        told = await room.alice_gets(lambda one: one["subject"] == "Leaves")
        assert str(told["from"]) == f"{room.jid}/bob"
        people.alice.client.make_message(mto=room.jid, mtype="groupchat", msubject="Water").send()
        await people.bob.event(
            room.room_id, lambda one: one["type"] == "m.room.topic" and one["content"]["topic"] == "Water"
        )
        await room.alice_gets(lambda one: one["subject"] == "Water")
        people.alice.leaves(room.jid, "alice")
        await people.alice.sees(f"{room.jid}/alice", "unavailable")
        await people.alice.enters(room.jid, "alice")
        told = await room.alice_gets(lambda one: one["subject"] == "Water")
        assert str(told["from"]) == f"{room.jid}/alice"
        assert told.xml.find("{urn:xmpp:delay}delay") is not None

    async def test_who_may_come_in_changes_both_ways(self, people: People) -> None:
        room = await people.room(power_level_content_override={"users": {"@alice:hs1": 100}})
        features, _ = await info(people.alice, room.jid)
        assert {"muc_open", "muc_nonanonymous", "muc_hidden", "muc_persistent"} <= features
        for rule in ("invite", "knock", "public"):
            await people.bob.user.sets(room.room_id, "m.room.join_rules", {"join_rule": rule})
            await room.alice_gets(lambda one: codes(one) == {104})
            expected = "muc_open" if rule == "public" else "muc_membersonly"
            assert expected in (await info(people.alice, room.jid))[0]
        for wanted, rule in (("1", "invite"), ("0", "public")):
            await configures(people.alice, room.jid, membersonly=wanted)
            assert await people.state(room.room_id, "m.room.join_rules") == {"join_rule": rule}

        path = f"/directory/list/room/{q(room.room_id)}"
        for wanted, visibility, feature in (("1", "public", "muc_public"), ("0", "private", "muc_hidden")):
            await configures(people.alice, room.jid, publicroom=wanted)
            assert ok(await people.bob.user.get(path)) == {"visibility": visibility}
            ok(await people.bob.user.put(path, {"visibility": "private" if visibility == "public" else "public"}))
            other = "muc_hidden" if feature == "muc_public" else "muc_public"
            assert other in (await info(people.alice, room.jid))[0]

    async def test_what_everybody_may_do_changes_both_ways(self, people: People) -> None:
        room = await people.room(power_level_content_override={"users": {"@alice:hs1": 100}})
        levels = await people.state(room.room_id, "m.room.power_levels")
        open_to_all = {**levels, "invite": 0, "events_default": 10, "events": {**levels["events"], "m.room.topic": 0}}
        await people.bob.user.sets(room.room_id, "m.room.power_levels", open_to_all)
        await people.bob.user.says(room.room_id, "changed")
        await room.alice_hears("changed")
        features, fields = await info(people.alice, room.jid)
        assert "muc_moderated" in features
        assert fields["muc#roomconfig_changesubject"] == fields["muc#roomconfig_allowinvites"] == ["1"]
        await configures(people.alice, room.jid, moderatedroom="0", changesubject="0", allowinvites="0")
        changed = await people.state(room.room_id, "m.room.power_levels")
        assert (changed["events_default"], changed["invite"], changed["events"]["m.room.topic"]) == (0, 50, 50)

    @pytest.mark.parametrize(("visibility", "seen"), [("shared", ["before", "after"]), ("joined", ["after"])])
    async def test_of_the_past_one_reads_what_matrix_clients_may_read(
        self, people: People, visibility: str, seen: list[str]
    ) -> None:
        state = {"type": "m.room.history_visibility", "content": {"history_visibility": visibility}}
        room = await people.room(enter=False, initial_state=[state])
        await people.bob.user.says(room.room_id, "before")
        await people.alice.enters(room.jid, "alice", history=10)
        await people.bob.user.says(room.room_id, "after")
        await room.alice_hears("after")
        told = [one["body"] for one in people.alice.received if one.name == "message" and one["body"] == "before"]
        assert told == ["before"] * (len(seen) - 1)
        assert bodies((await page(people.alice, room.jid))[0]) == seen
        timeline = ok(await people.alice_by_matrix.get(f"/rooms/{q(room.room_id)}/messages", dir="b"))["chunk"]
        said = [event["content"]["body"] for event in timeline if event["type"] == "m.room.message"]
        assert said[::-1] == seen

    async def test_messages_to_one_occupant_are_refused_and_that_is_told(self, people: People) -> None:
        room = await people.room()
        assert (await info(people.alice, room.jid))[1]["muc#roomconfig_allowpm"] == ["none"]
        people.alice.says(f"{room.jid}/bob", "psst")
        refused = await people.alice.gets(lambda one: one.name == "message" and one["type"] == "error")
        assert (str(refused["from"]), refused["error"]["condition"]) == (f"{room.jid}/bob", "not-acceptable")
        await people.bob.syncs()
        assert people.bob.messages(room.room_id, "@alice:hs1") == []


@pytest.mark.asyncio(loop_scope="package")
class TestMoving:
    """A room that is replaced by another."""

    async def test_a_room_that_goes_on_elsewhere_says_where_and_so_does_its_bookmark(self, people: People) -> None:
        old = await people.room(name="Old")
        assert old.jid in await bookmarked(people.alice)
        new_id = ok(await people.bob.user.post(f"/rooms/{q(old.room_id)}/upgrade", {"new_version": "11"}))
        new_id = new_id["replacement_room"]
        gone = await people.alice.sees(f"{old.jid}/alice", "unavailable")
        destroyed = gone.xml.find(f"{MUC_USER}x/{MUC_USER}destroy")
        assert destroyed is not None
        new = str(destroyed.get("jid"))
        assert new != old.jid
        # A client that was away learns it when it comes back. (In the old room, nobody may speak any more.)
        people.alice.received.clear()
        refused = await people.alice.enters(old.jid, "alice")
        assert refused["error"]["condition"] == "gone"
        assert refused["error"]["gone"] == f"xmpp:{new}?join"
        rooms = await bookmarked(people.alice)
        assert new in rooms
        assert old.jid not in rooms
        await people.alice.enters(new, "alice")
        rooms = await bookmarked(people.alice)
        assert rooms.count(new) == 1
        assert old.jid not in rooms
        people.alice.says(new, "here we are", type_="groupchat")
        await people.bob.hears(new_id, "here we are")
        # What was said before is still to be read.
        assert (await page(people.alice, old.jid))[1] is not None

    async def test_bookmarks_move_while_a_client_looks(self, people: People) -> None:
        async with talker(people.world, "alice", resource="looks", wants=["urn:xmpp:bookmarks:1"]) as client:
            old = await people.room(name="Old")
            await bookmarked(client)
            await client.enters(old.jid, "alice")
            ok(await people.bob.user.post(f"/rooms/{q(old.room_id)}/upgrade", {"new_version": "11"}))
            retract = "{http://jabber.org/protocol/pubsub#event}event//{http://jabber.org/protocol/pubsub#event}retract"
            told = await client.gets(lambda one: any(each.get("id") == old.jid for each in one.xml.iterfind(retract)))
            assert told is not None

    async def test_an_address_once_shown_goes_on_meaning_the_room(self, people: People) -> None:
        room = await people.room(alias="first")
        bob = people.bob.user
        ok(await bob.put(f"/directory/room/{q('#second:hs1')}", {"room_id": room.room_id}))
        ok(await bob.delete(f"/directory/room/{q('#first:hs1')}"))
        people.alice.leaves(room.jid, "alice")
        await people.alice.sees(f"{room.jid}/alice", "unavailable")
        assert 110 in codes(await people.alice.enters(room.jid, "alice"))
        await room.both_have("still the same")
        assert 110 in codes(await people.alice.enters("second@rooms.hs1", "alice"))
        rooms = await bookmarked(people.alice)
        assert room.jid in rooms
        assert "second@rooms.hs1" not in rooms
        # Another room that takes the alias is not what was meant.
        other = await bob.creates_room(preset="public_chat", room_alias_name="first")
        people.alice.says(room.jid, "not in the other one", type_="groupchat")
        await people.bob.hears(room.room_id, "not in the other one")
        await people.alice_by_matrix.joins(other)
        [added] = set(await bookmarked(people.alice)) - set(rooms)
        assert 110 in codes(await people.alice.enters(added, "alice"))
        people.alice.says(added, "in the other one", type_="groupchat")
        await people.bob.hears(other, "in the other one")

    @pytest.mark.parametrize(
        "alias",
        ["Großer-Raum", "a/b@c", "100%", "\"quoted\"&'so'", "🎉", "שלום", "x" * 200, "日本語", "\\20^_", "UPPER"],
    )
    async def test_a_room_of_any_name_has_an_address(self, people: People, alias: str) -> None:
        room_id = await people.bob.user.creates_room(preset="public_chat", room_alias_name=alias, name=alias)
        await people.alice_by_matrix.joins(room_id)
        before = set(await bookmarked(people.alice))
        answer = await people.alice.asks(None, BOOKMARKS)
        names = {one.get("id"): one[0].get("name") for one in answer.iter("{http://jabber.org/protocol/pubsub}item")}
        [jid] = [str(jid) for jid, name in names.items() if name == alias]
        assert jid in before
        assert 110 in codes(await people.alice.enters(jid, "alice"))
        people.alice.says(jid, f"into {alias}", type_="groupchat")
        await people.bob.hears(room_id, f"into {alias}")

    @pytest.mark.parametrize("version", ["1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12"])
    async def test_a_room_of_any_version_has_an_address_by_its_id(self, people: People, version: str) -> None:
        room_id = await people.bob.user.creates_room(preset="public_chat", room_version=version)
        xmpp = people.world.app.xmpp
        assert xmpp is not None
        jid = str(xmpp.addresses.of_room(room_id))  # type: ignore[arg-type]
        assert jid.startswith("!")
        assert 110 in codes(await people.alice.enters(jid, "alice"))
        people.alice.says(jid, version, type_="groupchat")
        await people.bob.hears(room_id, version)


@pytest.mark.asyncio(loop_scope="package")
class TestFinding:
    """The public list."""

    async def test_rooms_are_listed_page_by_page_and_found_by_words_both_ways(self, people: People) -> None:
        alice, bob = people.alice, people.bob.user
        made = [await people.room(enter=False, name=f"Oolong {n}", visibility="public") for n in range(3)]
        await bob.sets(made[1].room_id, "m.room.topic", {"topic": "Darjeeling"})
        await alice.enters("coffee@rooms.hs1", "alice")
        await configures(alice, "coffee@rooms.hs1", publicroom="1", roomname="Coffee house")

        # What the tests before have listed is in the list, too.
        everything = len(ok(await bob.get("/publicRooms", limit=500))["chunk"])
        pages: list[list[str]] = []
        rsm = "<max>3</max>"
        while rsm:
            answer = await alice.asks(
                "rooms.hs1", f"<query xmlns='{DISCO}#items'><set xmlns='{RSM}'>{rsm}</set></query>"
            )
            pages.append([str(one.get("jid")) for one in answer.iter(f"{{{DISCO}#items}}item")])
            told = {child.tag.rpartition("}")[2]: child.text for child in answer.iter() if f"{{{RSM}}}" in child.tag}
            assert told["count"] == str(everything)
            rsm = f"<max>3</max><after>{told['last']}</after>" if "last" in told else ""
        assert [len(each) for each in pages[:-2]] == [3] * (len(pages) - 2)
        assert pages[-1] == []
        listed = [jid for each in pages for jid in each]
        assert len(set(listed)) == len(listed) == everything
        assert {*(room.jid for room in made), "coffee@rooms.hs1"} <= set(listed)
        answer = await alice.asks(
            "rooms.hs1", f"<query xmlns='{DISCO}#items'><set xmlns='{RSM}'><max>2</max><before/></set></query>"
        )
        last = [str(one.get("jid")) for one in answer.iter(f"{{{DISCO}#items}}item")]
        assert last == listed[-2:]

        for wrong, condition in (("<after>nothing</after>", "item-not-found"), ("<max>x</max>", "bad-request")):
            with pytest.raises(IqError) as refused:
                await alice.asks("rooms.hs1", f"<query xmlns='{DISCO}#items'><set xmlns='{RSM}'>{wrong}</set></query>")
            assert refused.value.condition == condition

        async def finds(word: str) -> set[str]:
            form = submitted({"FORM_TYPE": [SEARCH], "search": [word]})
            answer = await alice.asks("rooms.hs1", f"<query xmlns='{SEARCH}'>{form}</query>", "set")
            return {
                item.findtext("{jabber:x:data}field[@var='jid']/{jabber:x:data}value")
                for item in answer.iter("{jabber:x:data}item")
            }

        shown = await alice.asks("rooms.hs1", f"<query xmlns='{SEARCH}'/>")
        assert fields_of(shown)["search"] == []
        assert await finds("DARJEELING") == {made[1].jid}
        assert await finds("oolong") == {room.jid for room in made}
        assert await finds("coffee") == {"coffee@rooms.hs1"}
        assert await finds("nothing of the kind") == set()

        asked: dict[str, Any] = {"filter": {"generic_search_term": "coffee"}}
        [found] = ok(await bob.post("/publicRooms", asked))["chunk"]
        assert (found["name"], found["canonical_alias"]) == ("Coffee house", "#coffee:hs1")

    async def test_a_space_is_no_room_to_talk_in(self, people: People) -> None:
        space = await people.room(enter=False, visibility="public", creation_content={"type": "m.space"}, name="Space")
        room = await people.room(enter=False, visibility="public", name="Room in it")
        for room_id in (space.room_id, room.room_id):
            await people.alice_by_matrix.joins(room_id)
        answer = await people.alice.asks("rooms.hs1", f"<query xmlns='{DISCO}#items'/>")
        listed = [str(one.get("jid")) for one in answer.iter(f"{{{DISCO}#items}}item")]
        for shown in (listed, await bookmarked(people.alice)):
            assert room.jid in shown
            assert space.jid not in shown


@pytest.mark.asyncio(loop_scope="package")
class TestEncryption:
    """What no server can read."""

    @pytest.mark.parametrize("kind", ["chat", "room"])
    async def test_what_matrix_clients_encrypt_is_shown_as_that_and_never_answered_in_the_clear(
        self, people: People, kind: str
    ) -> None:
        encryption = {"type": "m.room.encryption", "content": MEGOLM}
        if kind == "room":
            bob = people.bob
            room = await people.room(initial_state=[encryption], preset="private_chat")
            jid, room_id, type_, archive = room.jid, room.room_id, "groupchat", {"to": room.jid}
        else:
            bob = Reader(await people.world.user("kim"))
            room_id = await bob.user.creates_room(people.alice_by_matrix, is_direct=True, initial_state=[encryption])
            jid, type_, archive = "kim@hs1", "chat", {"to": None, "with": "kim@hs1"}
        event_id = await bob.user.sends(room_id, "m.room.encrypted", {**MEGOLM, "ciphertext": "x"})
        told = await people.alice.gets(lambda one: one.xml.find("{urn:xmpp:eme:0}encryption") is not None)
        assert told.xml.find("{urn:xmpp:eme:0}encryption").get("namespace") == MEGOLM["algorithm"]  # type: ignore[union-attr]
        assert "encrypted" in told["body"]
        relation = {"rel_type": "m.replace", "event_id": event_id}
        await bob.user.sends(room_id, "m.room.encrypted", {**MEGOLM, "ciphertext": "y", "m.relates_to": relation})
        found, _ = await page(people.alice, **archive)
        shown = [message for name, message in found if message.find("{urn:xmpp:eme:0}encryption") is not None]
        assert [message.findtext("{jabber:client}body") for message in shown] == [told["body"]]

        put_url = "https://elsewhere.example/a.png"
        for body, extra in (
            ("in the clear", []), (put_url, [f"<x xmlns='jabber:x:oob'><url>{put_url}</url></x>"]), ("", [ENCRYPTED]),
        ):  # fmt: skip
            people.alice.says(jid, body, *extra, type_=type_)
            refused = await people.alice.gets(lambda one: one.name == "message" and one["type"] == "error")
            assert refused["error"]["condition"] == "not-acceptable"
            assert "encrypt" in refused["error"]["text"]
        # Who is there, who reads, and that something was taken away is not encrypted.
        await bob.user.redacts(room_id, event_id)
        await people.alice.gets(lambda one: one.xml.find(RETRACT) is not None and one.xml.find(MODERATED) is None)
        await bob.syncs()
        assert bob.messages(room_id, "@alice:hs1") == []

    async def test_what_xmpp_clients_encrypt_passes_unread_and_matrix_users_are_told(self, people: People) -> None:
        room = await people.room()
        await people.world.user("jon")
        async with talker(people.world, "jon") as jon:
            await jon.enters(room.jid, "jon")
            room.alice_says("a fallback", ENCRYPTED)
            told = await jon.gets(lambda one: one.xml.find("{eu.siacs.conversations.axolotl}encrypted") is not None)
            namespace = "{eu.siacs.conversations.axolotl}"
            assert told.xml.findtext(f"{namespace}encrypted/{namespace}payload") == "c2VjcmV0"
            event = await people.bob.message(room.room_id, lambda content: "OMEMO" in content["body"])
            assert event["content"]["msgtype"] == "m.notice"
            found, _ = await page(jon, room.jid, ids=event["event_id"])
            assert found[0][1].findtext(f"{namespace}encrypted/{namespace}payload") == "c2VjcmV0"
            # What is made to look like that by Matrix is shown only if it is.
            for forged in ("<body>x</body>", "<message xmlns='jabber:client'/>", "<encrypted"):
                content = {"msgtype": "m.notice", "body": "plain", "org.isthmus.xmpp.encrypted": forged}
                await people.bob.user.sends(room.room_id, "m.room.message", content)
                heard = await room.alice_hears("plain")
                assert heard.xml.find("{eu.siacs.conversations.axolotl}encrypted") is None
