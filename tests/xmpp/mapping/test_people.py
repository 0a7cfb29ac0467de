"""Who is in which room, and who asks whom in: by XMPP and by Matrix, both ways."""

from typing import Any

import pytest
from slixmpp.exceptions import IqError

from tests.support.doors import Meeting, People, Reader
from tests.support.talker import Talker, codes, item, talker
from tests.support.world import ok, q
from tests.xmpp.test_archive import bodies, page

ADMIN = "http://jabber.org/protocol/muc#admin"
USER = "{http://jabber.org/protocol/muc#user}"
FORM = "{jabber:x:data}x"
REGISTER = "jabber:iq:register"


def membership(user_id: str, kind: str) -> Any:
    """Return what a membership event must be."""
    return lambda one: (
        one["type"] == "m.room.member" and one["state_key"] == user_id and one["content"]["membership"] == kind
    )


def fields_of(stanza: Any) -> dict[str, list[str]]:
    """Return the fields of a form."""
    form = next(iter(stanza.iter(FORM)))
    return {
        field.get("var"): [value.text or "" for value in field.iterfind("{jabber:x:data}value")]
        for field in form.iterfind("{jabber:x:data}field")
    }


def submitted(fields: dict[str, list[str]]) -> str:
    """Return a form that is filled in, as XML."""
    inner = "".join(
        f"<field var='{name}'>{''.join(f'<value>{value}</value>' for value in values)}</field>"
        for name, values in fields.items()
    )
    return f"<x xmlns='jabber:x:data' type='submit'>{inner}</x>"


async def listed(person: Talker, room: str, affiliation: str) -> set[str]:
    """Return who has an affiliation to a room."""
    answer = await person.asks(room, f"<query xmlns='{ADMIN}'><item affiliation='{affiliation}'/></query>")
    return {str(one.get("jid")) for one in answer.iter(f"{{{ADMIN}}}item")}


@pytest.mark.asyncio(loop_scope="package")
class TestComingAndGoing:
    """Memberships are not sessions."""

    async def test_to_enter_is_to_join_and_to_leave_is_to_leave(self, people: People) -> None:
        room = await people.room(enter=False)
        await people.alice.enters(room.jid, "alice")
        await people.bob.event(room.room_id, membership("@alice:hs1", "join"))
        await people.carol.user.joins(room.room_id)
        assert item(await people.alice.sees(f"{room.jid}/carol")) == {
            "affiliation": "member", "role": "participant", "jid": "carol@hs1",
        }  # fmt: skip
        ok(await people.carol.user.post(f"/rooms/{q(room.room_id)}/leave", {"reason": "tired"}))
        gone = await people.alice.sees(f"{room.jid}/carol", "unavailable")
        assert (codes(gone), item(gone)["affiliation"]) == (set(), "none")
        assert gone.xml.findtext(f"{USER}x/{USER}item/{USER}reason") == "tired"
        # With a session that goes nobody leaves; who gives up their affiliation does.
        people.alice.leaves(room.jid, "alice")
        await people.alice.sees(f"{room.jid}/alice", "unavailable")
        await people.alice.enters(room.jid, "alice")
        own = "<query xmlns='http://jabber.org/protocol/muc#admin'><item affiliation='none' jid='alice@hs1'/></query>"
        await people.alice.asks(room.jid, own, "set")
        await people.bob.event(room.room_id, membership("@alice:hs1", "leave"))

    async def test_who_leaves_by_matrix_is_out_of_the_room_by_xmpp(self, people: People) -> None:
        room = await people.room()
        ok(await people.alice_by_matrix.post(f"/rooms/{q(room.room_id)}/leave"))
        assert 110 in codes(await people.alice.sees(f"{room.jid}/alice", "unavailable"))
        room.alice_says("am I in?")
        refused = await room.alice_gets(lambda one: one["type"] == "error")
        assert refused["error"]["condition"] == "not-acceptable"

    async def test_who_is_offline_is_a_member_all_the_same(self, people: People) -> None:
        hal = await people.world.user("hal")
        room = await people.room()
        await hal.joins(room.room_id)
        ok(await hal.post("/logout"))
        await people.alice.sees(f"{room.jid}/hal")
        assert await listed(people.alice, room.jid, "member") == {"alice@hs1", "hal@hs1"}
        assert await listed(people.alice, room.jid, "owner") == {"bob@hs1"}
        joined = ok(await people.bob.user.get(f"/rooms/{q(room.room_id)}/joined_members"))["joined"]
        people.alice.client.send_presence(ptype="unavailable")
        assert ok(await people.bob.user.get(f"/rooms/{q(room.room_id)}/joined_members"))["joined"] == joined
        people.alice.client.send_presence()

    async def test_kicks_and_bans_go_both_ways_with_their_reasons(self, people: People) -> None:
        room = await people.room(power_level_content_override={"users": {"@alice:hs1": 100}})
        path, reason = f"/rooms/{q(room.room_id)}", {"user_id": "@carol:hs1", "reason": "so"}
        for action, code, affiliation in (("kick", 307, "none"), ("ban", 301, "outcast")):
            await people.carol.user.joins(room.room_id)
            await people.alice.sees(f"{room.jid}/carol")
            ok(await people.bob.user.post(f"{path}/{action}", reason))
            gone = await people.alice.sees(f"{room.jid}/carol", "unavailable")
            assert codes(gone) == {code}
            assert item(gone)["affiliation"] == affiliation
            told = gone.xml.find(f"{USER}x/{USER}item")
            assert told is not None
            assert told.findtext(f"{USER}reason") == "so"
            assert told.find(f"{USER}actor").get("nick") == "bob"  # type: ignore[union-attr]
        assert await listed(people.alice, room.jid, "outcast") == {"carol@hs1"}
        query = f"<query xmlns='{ADMIN}'><item {{}}><reason>and so</reason></item></query>"
        await people.alice.asks(room.jid, query.format("jid='carol@hs1' affiliation='none'"), "set")
        await people.bob.event(room.room_id, membership("@carol:hs1", "leave"))
        for attributes, kind in (
            ("nick='carol' role='none'", "leave"),
            ("jid='carol@hs1' affiliation='outcast'", "ban"),
        ):
            await people.carol.user.joins(room.room_id)
            await people.alice.sees(f"{room.jid}/carol")
            await people.alice.asks(room.jid, query.format(attributes), "set")
            event = await people.bob.event(room.room_id, membership("@carol:hs1", kind))
            assert (event["sender"], event["content"]["reason"]) == ("@alice:hs1", "and so")

    async def test_power_levels_are_affiliations_both_ways(self, people: People) -> None:
        room = await people.room()
        await people.carol.user.joins(room.room_id)
        await people.alice.sees(f"{room.jid}/carol")
        levels = await people.state(room.room_id, "m.room.power_levels")
        for level, affiliation, role in (
            (100, "owner", "moderator"),
            (50, "admin", "moderator"),
            (-1, "member", "visitor"),
        ):
            users = {**levels["users"], "@carol:hs1": level, "@alice:hs1": 100}
            await people.bob.user.sets(room.room_id, "m.room.power_levels", {**levels, "users": users})
            told = item(await people.alice.sees(f"{room.jid}/carol"))
            assert (told["affiliation"], told["role"]) == (affiliation, role)
        for affiliation, level in (("admin", 50), ("member", None), ("owner", 100)):
            query = f"<query xmlns='{ADMIN}'><item jid='carol@hs1' affiliation='{affiliation}'/></query>"
            await people.alice.asks(room.jid, query, "set")
            assert (await people.state(room.room_id, "m.room.power_levels"))["users"].get("@carol:hs1") == level


@pytest.mark.asyncio(loop_scope="package")
class TestInvites:
    """Asked in, and asking in."""

    async def test_an_invite_by_matrix_is_accepted_and_declined_by_xmpp(self, people: People) -> None:
        for accept in (True, False):
            room = await people.room(enter=False, preset="private_chat", name="Secret")
            invite = {"user_id": "@alice:hs1", "reason": "tea"}
            ok(await people.bob.user.post(f"/rooms/{q(room.room_id)}/invite", invite))
            told = await people.alice.gets(
                lambda one, jid=room.jid: str(one["from"]) == jid and one.xml.find(f"{USER}x/{USER}invite") is not None
            )
            assert told.xml.findtext(f"{USER}x/{USER}invite/{USER}reason") == "tea"
            assert told.xml.find("{jabber:x:conference}x").get("jid") == room.jid  # type: ignore[union-attr]
            if accept:
                await people.alice.enters(room.jid, "alice")
                await people.bob.event(room.room_id, membership("@alice:hs1", "join"))
            else:
                decline = "<decline to='bob@hs1'><reason>no time</reason></decline>"
                x = f"<x xmlns='http://jabber.org/protocol/muc#user'>{decline}</x>"
                people.alice.says(room.jid, "", x, type_="normal")
                event = await people.bob.event(room.room_id, membership("@alice:hs1", "leave"))
                assert event["content"]["reason"] == "no time"

    @pytest.mark.parametrize("mediated", [True, False])
    async def test_an_invite_by_xmpp_is_accepted_and_declined_by_matrix(self, people: People, mediated: bool) -> None:
        room = await people.room(preset="private_chat", power_level_content_override={"invite": 0})
        for accept in (False, True):
            if mediated:
                invite = "<invite to='carol@hs1'><reason>tea</reason></invite>"
                x = f"<x xmlns='http://jabber.org/protocol/muc#user'>{invite}</x>"
                people.alice.says(room.jid, "", x, type_="normal")
            else:
                x = f"<x xmlns='jabber:x:conference' jid='{room.jid}' reason='tea'/>"
                people.alice.says("carol@hs1", "", x, type_="normal")
            event = await people.bob.event(room.room_id, membership("@carol:hs1", "invite"))
            assert (event["sender"], event["content"]["reason"]) == ("@alice:hs1", "tea")
            assert await people.carol.is_invited() == room.room_id
            if accept:
                await people.carol.user.joins(room.room_id)
                await people.alice.sees(f"{room.jid}/carol")
            else:
                ok(await people.carol.user.post(f"/rooms/{q(room.room_id)}/leave", {"reason": "no tea"}))
                told = await people.alice.gets(lambda one: one.xml.find(f"{USER}x/{USER}decline") is not None)
                decline = told.xml.find(f"{USER}x/{USER}decline")
                assert decline is not None
                assert (str(told["from"]), decline.get("from")) == (room.jid, "carol@hs1")
                assert decline.findtext(f"{USER}reason") == "no tea"

    async def test_who_knocks_by_matrix_is_let_in_or_not_by_xmpp(self, people: People) -> None:
        levels = {"users": {"@alice:hs1": 50}, "invite": 50}
        rules = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
        room = await people.room(preset="private_chat", initial_state=[rules], power_level_content_override=levels)
        for allow, kind in (("0", "leave"), ("1", "invite")):
            ok(await people.carol.user.post(f"/knock/{q(room.room_id)}", {"reason": "let me in"}))
            asked = await people.alice.gets(lambda one: one.name == "message" and one.xml.find(FORM) is not None)
            assert str(asked["from"]) == room.jid
            fields = fields_of(asked.xml)
            assert fields["FORM_TYPE"] == ["http://jabber.org/protocol/muc#register"]
            assert fields["muc#register_roomnick"] == ["carol"]
            assert fields["muc#register_faqentry"] == ["let me in"]
            fields["muc#register_allow"] = [allow]
            people.alice.says(room.jid, "", submitted(fields), type_="normal")
            await people.bob.event(room.room_id, membership("@carol:hs1", kind))
        people.alice.says(room.jid, "", submitted(fields), type_="normal")
        refused = await people.alice.gets(lambda one: one.name == "message" and one["type"] == "error")
        assert refused["error"]["condition"] == "item-not-found"

    async def test_who_knocks_by_xmpp_is_let_in_by_matrix(self, people: People) -> None:
        rules = {"type": "m.room.join_rules", "content": {"join_rule": "knock"}}
        room = await people.room(enter=False, preset="private_chat", initial_state=[rules])
        refused = await people.alice.enters(room.jid, "alice")
        assert refused["error"]["condition"] == "registration-required"
        fields = fields_of(await people.alice.asks(room.jid, f"<query xmlns='{REGISTER}'/>"))
        fields["muc#register_faqentry"] = ["please", "let me in"]
        await people.alice.asks(room.jid, f"<query xmlns='{REGISTER}'>{submitted(fields)}</query>", "set")
        event = await people.bob.event(room.room_id, membership("@alice:hs1", "knock"))
        assert event["content"]["reason"] == "please\nlet me in"
        ok(await people.bob.user.post(f"/rooms/{q(room.room_id)}/invite", {"user_id": "@alice:hs1"}))
        await people.alice.gets(lambda one: one.xml.find(f"{USER}x/{USER}invite") is not None)
        assert 110 in codes(await people.alice.enters(room.jid, "alice"))
        answer = await people.alice.asks(room.jid, f"<query xmlns='{REGISTER}'/>")
        assert answer.find(f".//{{{REGISTER}}}registered") is not None

    async def test_where_nobody_is_let_in_who_asks_nobody_asks(self, people: People) -> None:
        room = await people.room(enter=False)
        for kind in ("get", "set"):
            with pytest.raises(IqError) as refused:
                await people.alice.asks(room.jid, f"<query xmlns='{REGISTER}'/>", kind)
            assert refused.value.condition == "not-allowed"


@pytest.mark.asyncio(loop_scope="package")
class TestChatsOfTwo:
    """One address, one current room."""

    async def test_when_somebody_has_left_a_new_chat_begins(self, people: People) -> None:
        lou = Reader(await people.world.user("lou"))
        people.alice.says("lou@hs1", "the first")
        old = await lou.is_invited()
        await lou.user.joins(old)
        await lou.hears(old, "the first")
        ok(await lou.user.post(f"/rooms/{q(old)}/leave"))
        people.alice.says("lou@hs1", "are you there?")
        new = await lou.is_invited()
        assert new != old
        await lou.user.joins(new)
        await lou.hears(new, "are you there?")
        await lou.user.says(new, "again")
        assert str((await people.alice.hears("again"))["from"]) == "lou@hs1"
        found, _ = await page(people.alice, None, **{"with": "lou@hs1"})
        assert bodies(found) == ["the first", "are you there?", "again"]

    async def test_a_new_chat_by_matrix_goes_on_at_the_same_address(self, people: People) -> None:
        dora = await people.world.user("dora")
        for number in range(2):
            room_id = await dora.creates_room(people.alice_by_matrix, is_direct=True, preset="trusted_private_chat")
            await dora.says(room_id, f"in room {number}")
            assert str((await people.alice.hears(f"in room {number}"))["from"]) == "dora@hs1"
        await dora.syncs()
        people.alice.says("dora@hs1", "in the newer one")
        heard = (await dora.syncs(timeout=5000))["rooms"]["join"]
        assert [event["content"]["body"] for event in heard[room_id]["timeline"]["events"]] == ["in the newer one"]

    async def test_a_chat_of_two_is_no_room_until_a_third_one_comes(self, people: People) -> None:
        people.alice.says("carol@hs1", "just us")
        room_id = await people.carol.is_invited()
        await people.carol.user.joins(room_id)
        bookmarks = "<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='urn:xmpp:bookmarks:1'/></pubsub>"

        async def rooms() -> list[str]:
            answer = await people.alice.asks(None, bookmarks)
            return [str(one.get("id")) for one in answer.iter("{http://jabber.org/protocol/pubsub}item")]

        before = await rooms()
        ok(await people.carol.user.post(f"/rooms/{q(room_id)}/invite", {"user_id": "@bob:hs1"}))
        await people.bob.user.joins(room_id)
        [jid] = set(await rooms()) - set(before)
        await people.alice.enters(jid, "alice")
        meeting = Meeting(people, jid, room_id, "groupchat")
        meeting.alice_says("hello, both")
        await people.bob.hears(room_id, "hello, both")
        await people.carol.hears(room_id, "hello, both")
        await people.carol.user.says(room_id, "hello, Alice")
        await meeting.alice_hears("hello, Alice")
        assert not [one for one in people.alice.received if one["type"] == "chat" and one["body"] == "hello, Alice"]

    async def test_the_blocked_are_the_ignored_both_ways(self, people: People) -> None:
        block = "<{} xmlns='urn:xmpp:blocking'><item jid='dora@hs1'/></{}>"
        await people.alice.asks(None, block.format("block", "block"), "set")
        path = "/user/@alice:hs1/account_data/m.ignored_user_list"
        assert ok(await people.alice_by_matrix.get(path)) == {"ignored_users": {"@dora:hs1": {}}}
        ok(await people.alice_by_matrix.put(path, {"ignored_users": {}}))
        answer = await people.alice.asks(None, "<blocklist xmlns='urn:xmpp:blocking'/>")
        assert list(answer.iter("{urn:xmpp:blocking}item")) == []

    async def test_two_by_xmpp_alone_leave_what_they_say_to_matrix(self, people: People) -> None:
        await people.world.user("eve")
        async with talker(people.world, "eve") as eve:
            people.alice.says("eve@hs1", "by XMPP")
            await eve.hears("by XMPP")
            eve.says("alice@hs1", "and back")
            await people.alice.hears("and back")
        joined = (await people.alice_by_matrix.syncs(timeout=0))["rooms"]["join"]
        said = [
            event["content"].get("body")
            for room in joined.values()
            for event in room["timeline"]["events"]
            if event["type"] == "m.room.message"
        ]
        assert {"by XMPP", "and back"} <= set(said)

    async def test_calls_between_xmpp_clients_pass_and_leave_nothing(self, people: People) -> None:
        propose = "<propose xmlns='urn:xmpp:jingle-message:0' id='call'/>"
        ringing = "{urn:xmpp:jingle-message:0}propose"
        await people.world.user("fay")
        await people.world.user("gus")
        async with talker(people.world, "fay") as fay, talker(people.world, "gus") as gus:
            people.alice.says("fay@hs1", "may I call?")
            await fay.hears("may I call?")
            people.alice.says("fay@hs1", "", propose)
            told = await fay.gets(lambda one: one.xml.find(ringing) is not None)
            assert told["from"] == people.alice.client.boundjid
            # By a stranger nobody is rung up.
            people.alice.says("gus@hs1", "", propose)
            people.alice.says("gus@hs1", "hello, stranger")
            await gus.hears("hello, stranger")
            assert not [one for one in gus.received if one.xml.find(ringing) is not None]
        found, _ = await page(people.alice, None, **{"with": "fay@hs1"})
        assert bodies(found) == ["may I call?"]
