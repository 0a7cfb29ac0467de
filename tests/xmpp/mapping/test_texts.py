"""What people say, and what they do to what was said: by XMPP on one side, by Matrix on the other, both ways."""

from typing import Any

import pytest

from tests.support.doors import (
    CORRECT,
    MODERATED,
    REACTIONS,
    REPLY,
    RETRACT,
    RETRACTED,
    STANZA_ID,
    Meeting,
    People,
)
from tests.support.world import ok, q
from tests.xmpp.test_archive import page

HTML = {"format": "org.matrix.custom.html"}


def replacing(event_id: str, body: str) -> dict[str, Any]:
    """Return the content of an edit."""
    new = {"msgtype": "m.text", "body": body}
    return {**new, "body": f"* {body}", "m.new_content": new,
            "m.relates_to": {"rel_type": "m.replace", "event_id": event_id}}  # fmt: skip


def correcting(stanza_id: str) -> str:
    """Return what makes a message a correction."""
    return f"<replace xmlns='urn:xmpp:message-correct:0' id='{stanza_id}'/>"


def quoting(end: int) -> str:
    """Return what says that so much of a body is what is answered."""
    return f"<fallback xmlns='urn:xmpp:fallback:0' for='urn:xmpp:reply:0'><body start='0' end='{end}'/></fallback>"


def keys(stanza: Any) -> list[str]:
    """Return the reactions in a stanza."""
    return [each.text for each in stanza.xml.find(REACTIONS)]


def retracts(stanza: Any) -> str | None:
    """Return what a stanza takes back."""
    found = stanza.xml.find(RETRACT)
    return None if found is None else str(found.get("id"))


def reacting(target: str, *reactions: str) -> str:
    """Return what says a set of reactions."""
    inner = "".join(f"<reaction>{each}</reaction>" for each in reactions)
    return f"<reactions xmlns='urn:xmpp:reactions:0' id='{target}'>{inner}</reactions>"


@pytest.mark.asyncio(loop_scope="package")
class TestTexts:
    """In chats of two and in rooms alike."""

    @pytest.mark.parametrize(
        ("body", "content"),
        [
            ("Grüße, 世界! 🎉", {"msgtype": "m.text", "body": "Grüße, 世界! 🎉"}),
            ("/me waves", {"msgtype": "m.emote", "body": "waves"}),
            (
                "a *bold* _move_, ~not~ `code`",
                {
                    "msgtype": "m.text",
                    "body": "a *bold* _move_, ~not~ `code`",
                    **HTML,
                    "formatted_body": "a <strong>bold</strong> <em>move</em>, <del>not</del> <code>code</code>",
                },
            ),
            (
                "geo:59.33,18.06",
                {"msgtype": "m.location", "body": "geo:59.33,18.06", "geo_uri": "geo:59.33,18.06"},
            ),
        ],
    )
    async def test_what_alice_says_bob_reads_as_it_was_meant(
        self, meeting: Meeting, body: str, content: dict[str, Any]
    ) -> None:
        meeting.alice_says(body)
        event = await meeting.people.bob.message(meeting.room_id, lambda one: one["body"] == content["body"])
        assert event["content"] == content

    @pytest.mark.parametrize(
        ("content", "body"),
        [
            ({"msgtype": "m.text", "body": "hello <you> & me"}, "hello <you> & me"),
            ({"msgtype": "m.notice", "body": "the build is green"}, "the build is green"),
            ({"msgtype": "m.emote", "body": "waves"}, "/me waves"),
            (
                {"msgtype": "m.text", "body": "x", **HTML, "formatted_body": "<b>bold</b> <i>move</i><br>two"},
                "*bold* _move_\ntwo",
            ),
            ({"msgtype": "m.location", "body": "here", "geo_uri": "geo:1,2"}, "geo:1,2"),
        ],
    )
    async def test_what_bob_says_alice_reads_as_it_was_meant(
        self, meeting: Meeting, content: dict[str, Any], body: str
    ) -> None:
        event_id = await meeting.people.bob.user.sends(meeting.room_id, "m.room.message", content)
        heard = await meeting.alice_hears(body)
        assert heard["id"] == event_id
        stanza_id = heard.xml.find(STANZA_ID)
        assert stanza_id is not None
        assert stanza_id.get("id") == event_id

    async def test_a_poll_and_a_call_are_told_in_words(self, meeting: Meeting) -> None:
        bob = meeting.people.bob.user
        answers = [{"m.id": "1", "m.text": [{"body": "Green"}]}, {"m.id": "2", "m.text": [{"body": "Black"}]}]
        poll = {"m.poll": {"question": {"m.text": [{"body": "Which tea?"}]}, "answers": answers}}
        await bob.sends(meeting.room_id, "m.poll.start", poll)
        await meeting.alice_hears("Which tea?\n1. Green\n2. Black")
        await bob.sends(meeting.room_id, "m.call.invite", {"call_id": "1", "version": "1"})
        await meeting.alice_gets(lambda one: "calls" in one["body"])
        meeting.alice_says("Black")
        await meeting.bob_hears("Black")

    async def test_the_id_that_a_client_gives_a_message_stays_with_it(self, meeting: Meeting) -> None:
        stanza_id, event_id = await meeting.both_have("named")
        found, _ = await page(meeting.people.alice, meeting.jid if meeting.is_room else None, ids=event_id)
        assert [(name, message.get("id")) for name, message in found] == [(event_id, stanza_id)]

    # Edits

    async def test_edits_are_of_the_first_version_however_many_there_are(self, meeting: Meeting) -> None:
        stanza_id, event_id = await meeting.both_have("helo")
        second = meeting.alice_says("hallo", correcting(stanza_id))
        edit = await meeting.bob_hears("* hallo")
        assert edit["content"]["m.relates_to"] == {"rel_type": "m.replace", "event_id": event_id}
        # Some clients name the version that they show.
        meeting.alice_says("hello", correcting(second))
        edit = await meeting.bob_hears("* hello")
        assert edit["content"]["m.relates_to"] == {"rel_type": "m.replace", "event_id": event_id}
        assert edit["content"]["m.new_content"] == {"msgtype": "m.text", "body": "hello"}

        bob = meeting.people.bob.user
        theirs = await bob.says(meeting.room_id, "tipo")
        await meeting.alice_hears("tipo")
        for body in ("typ0", "typo"):
            edit_id = await bob.sends(meeting.room_id, "m.room.message", replacing(theirs, body))
            told = (await meeting.alice_hears(body)).xml.find(CORRECT)
            assert told is not None
            assert told.get("id") == theirs
        # An edit of an edit counts for nothing in Matrix: nobody is shown one.
        await bob.sends(meeting.room_id, "m.room.message", replacing(edit_id, "nothing"))
        await bob.says(meeting.room_id, "after the edits")
        await meeting.alice_hears("after the edits")
        assert not [one for one in meeting.people.alice.received if one["body"] == "nothing"]

    async def test_nobody_edits_what_another_has_said(self, meeting: Meeting) -> None:
        bob = meeting.people.bob.user
        stanza_id, event_id = await meeting.both_have("mine")
        await bob.sends(meeting.room_id, "m.room.message", replacing(event_id, "forged"))
        theirs = await bob.says(meeting.room_id, "theirs")
        await meeting.alice_hears("theirs")
        assert not [one for one in meeting.people.alice.received if "forged" in one["body"]]
        meeting.alice_says("forged too", correcting(theirs))
        # It is no edit, but said it was.
        assert "m.relates_to" not in (await meeting.bob_hears("forged too"))["content"]
        assert stanza_id != event_id

    async def test_two_may_use_the_same_id_and_each_edits_their_own(self, meeting: Meeting) -> None:
        """Some clients count their stanzas from one."""
        alice_by_matrix = meeting.people.alice_by_matrix
        _, event_id = meeting.alice_says("one", id_="1"), (await meeting.bob_hears("one"))["event_id"]
        await alice_by_matrix.says(meeting.room_id, "by another client")
        meeting.alice_says("won", correcting("1"))
        edit = await meeting.bob_hears("* won")
        assert edit["content"]["m.relates_to"]["event_id"] == event_id

    # Answers

    async def test_an_answer_is_one_and_quotes_for_nobody_who_knows_what_it_is(self, meeting: Meeting) -> None:
        stanza_id, event_id = await meeting.both_have("what?\nreally?")
        content = {
            "msgtype": "m.text", "body": "> <@alice:hs1> what?\n> really?\n\nyes",
            "m.relates_to": {"m.in_reply_to": {"event_id": event_id}},
        }  # fmt: skip
        theirs = await meeting.people.bob.user.sends(meeting.room_id, "m.room.message", content)
        heard = await meeting.alice_hears("> what?\n> really?\nyes")
        reply, fallback = heard.xml.find(REPLY), heard.xml.find("{urn:xmpp:fallback:0}fallback")
        assert reply is not None
        assert fallback is not None
        assert reply.get("id") == meeting.named(stanza_id, event_id)
        assert reply.get("to") == (f"{meeting.jid}/alice" if meeting.is_room else "alice@hs1")
        quoted = fallback.find("{urn:xmpp:fallback:0}body")
        assert quoted is not None
        assert heard["body"][int(quoted.get("end") or 0) :] == "yes"

        quote = "> yes\n"
        meeting.alice_says(
            f"{quote}well 🎉 then",
            f"<reply xmlns='urn:xmpp:reply:0' to='{meeting.jid}/bob' id='{theirs}'/>",
            quoting(len(quote)),
        )
        event = await meeting.bob_hears("well 🎉 then")
        assert event["content"] == {
            "msgtype": "m.text", "body": "well 🎉 then", "m.mentions": {"user_ids": ["@bob:hs1"]},
            "m.relates_to": {"m.in_reply_to": {"event_id": theirs}},
        }  # fmt: skip

    async def test_an_answer_to_what_nobody_knows_keeps_its_quote(self, meeting: Meeting) -> None:
        meeting.alice_says(
            "> long ago\nindeed",
            "<reply xmlns='urn:xmpp:reply:0' to='bob@hs1' id='unknown'/>",
            quoting(11),
        )
        event = await meeting.bob_hears("> long ago\nindeed")
        assert event["content"]["formatted_body"] == "<blockquote>long ago</blockquote>indeed"

    async def test_threads_are_answers_to_clients_that_know_none(self, meeting: Meeting) -> None:
        stanza_id, root = await meeting.both_have("a thread begins")
        relation = {"rel_type": "m.thread", "event_id": root}
        theirs = await meeting.people.bob.user.says(meeting.room_id, "in it", **{"m.relates_to": relation})
        heard = await meeting.alice_gets(lambda one: one["body"].endswith("in it"))
        reply = heard.xml.find(REPLY)
        assert reply is not None
        assert heard.xml.findtext("{jabber:client}thread") == root
        assert reply.get("id") == meeting.named(stanza_id, root)

        meeting.alice_says("by a client that knows threads", f"<thread xmlns='jabber:client'>{root}</thread>")
        event = await meeting.bob_hears("by a client that knows threads")
        assert event["content"]["m.relates_to"] == {
            "rel_type": "m.thread", "event_id": root, "m.in_reply_to": {"event_id": root}, "is_falling_back": True,
        }  # fmt: skip
        meeting.alice_says("by one that knows answers", f"<reply xmlns='urn:xmpp:reply:0' id='{theirs}'/>")
        event = await meeting.bob_hears("by one that knows answers")
        assert event["content"]["m.relates_to"] == {
            "rel_type": "m.thread", "event_id": root, "m.in_reply_to": {"event_id": theirs}, "is_falling_back": False,
        }  # fmt: skip
        meeting.alice_says(
            "a thread of XMPP's own", "<thread xmlns='jabber:client'>e0ffe42b28561960c6b12b944a092794b9683a38</thread>"
        )
        assert "m.relates_to" not in (await meeting.bob_hears("a thread of XMPP's own"))["content"]

    # Reactions

    async def test_reactions_are_a_set_that_grows_and_shrinks(self, meeting: Meeting) -> None:
        bob, room_id = meeting.people.bob, meeting.room_id
        theirs = await bob.user.says(room_id, "tea?")
        await meeting.alice_hears("tea?")
        meeting.alice_says("", reacting(theirs, "👍", "🎉"))
        found = [await bob.event(room_id, lambda one: one["type"] == "m.reaction") for _ in range(2)]
        told = {one["content"]["m.relates_to"]["key"]: one["event_id"] for one in found}
        assert told.keys() == {"👍", "🎉"}
        assert {one["content"]["m.relates_to"]["event_id"] for one in found} == {theirs}
        sent = meeting.alice_says("", reacting(theirs, "🎉", "🫖"))
        third = await bob.event(room_id, lambda one: one["type"] == "m.reaction")
        assert third["content"]["m.relates_to"]["key"] == "🫖"
        if meeting.is_room:
            # By its own ID a client sees that all was done.
            assert keys(await meeting.alice_gets(lambda one: one["id"] == sent)) == ["🎉", "🫖"]
        gone = await bob.event(room_id, lambda one: one["type"] == "m.room.redaction")
        assert gone["content"].get("redacts", gone.get("redacts")) == told["👍"]

        stanza_id, event_id = await meeting.both_have("milk?")
        meeting.people.alice.received.clear()
        theirs_now = []
        for expected in (["👍"], ["👍", "🎉"]):
            relation = {"rel_type": "m.annotation", "event_id": event_id, "key": expected[-1]}
            theirs_now.append(await bob.user.sends(room_id, "m.reaction", {"m.relates_to": relation}))
            shown = await meeting.alice_gets(lambda one: one.xml.find(REACTIONS) is not None)
            assert keys(shown) == expected
            assert shown.xml.find(REACTIONS).get("id") == meeting.named(stanza_id, event_id)  # type: ignore[union-attr]
        await bob.user.redacts(room_id, theirs_now[0])
        assert keys(await meeting.alice_gets(lambda one: one.xml.find(REACTIONS) is not None)) == ["🎉"]

    async def test_a_reaction_to_an_edit_is_one_to_the_message(self, meeting: Meeting) -> None:
        bob, room_id = meeting.people.bob, meeting.room_id
        stanza_id, event_id = await meeting.both_have("teh")
        edit_stanza = meeting.alice_says("the", correcting(stanza_id))
        edit = (await meeting.bob_hears("* the"))["event_id"]
        meeting.people.alice.received.clear()
        relation = {"rel_type": "m.annotation", "event_id": edit, "key": "👍"}
        await bob.user.sends(room_id, "m.reaction", {"m.relates_to": relation})
        shown = await meeting.alice_gets(lambda one: one.xml.find(REACTIONS) is not None)
        assert shown.xml.find(REACTIONS).get("id") == meeting.named(stanza_id, event_id)  # type: ignore[union-attr]
        meeting.alice_says("", reacting(meeting.named(edit_stanza, edit), "🎉"))
        reaction = await bob.event(room_id, lambda one: one["type"] == "m.reaction" and one["sender"] == "@alice:hs1")
        assert reaction["content"]["m.relates_to"]["event_id"] == event_id

    async def test_a_picture_as_a_reaction_is_not_shown(self, meeting: Meeting) -> None:
        bob, room_id = meeting.people.bob.user, meeting.room_id
        _, event_id = await meeting.both_have("look")
        for key in ("mxc://hs1/picture", "x" * 200, "👍"):
            relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
            await bob.sends(room_id, "m.reaction", {"m.relates_to": relation})
        await meeting.alice_gets(lambda one: one.xml.find(REACTIONS) is not None and keys(one) == ["👍"])

    # Taking back

    async def test_what_is_taken_back_is_a_tombstone_with_all_its_versions(self, meeting: Meeting) -> None:
        people, bob = meeting.people, meeting.people.bob
        archive = meeting.jid if meeting.is_room else None
        stanza_id, event_id = await meeting.both_have("rash")
        version = meeting.alice_says("rasher", correcting(stanza_id))
        edit = (await meeting.bob_hears("* rasher"))["event_id"]
        people.alice.received.clear()
        target = meeting.named(version, edit)
        retraction = meeting.alice_says("", f"<retract xmlns='urn:xmpp:message-retract:1' id='{target}'/>")
        redaction = await bob.event(meeting.room_id, lambda one: one["type"] == "m.room.redaction")
        assert redaction["content"].get("redacts", redaction.get("redacts")) == event_id
        found, _ = await page(people.alice, archive, f"<max>10</max><after>{event_id}</after>")
        assert not [name for name, _ in found if name == edit]
        found, _ = await page(people.alice, archive, ids=event_id)
        tombstone = found[0][1].find(RETRACTED)
        assert tombstone.get("id") == retraction
        assert tombstone.get("stamp")
        assert found[0][1].find("{jabber:client}body") is None

        theirs = await bob.user.says(meeting.room_id, "rash, too")
        await meeting.alice_hears("rash, too")
        await bob.user.redacts(meeting.room_id, theirs)
        told = await meeting.alice_gets(lambda one: retracts(one) == theirs)
        assert told.xml.find(f"{RETRACT}/{MODERATED}") is None
        found, _ = await page(people.alice, archive, ids=theirs)
        assert found[0][1].find(RETRACTED) is not None

    async def test_an_edit_that_is_taken_back_leaves_what_was_said_before(self, meeting: Meeting) -> None:
        people, bob, room_id = meeting.people, meeting.people.bob.user, meeting.room_id
        theirs = await bob.says(room_id, "first")
        await meeting.alice_hears("first")
        edits = []
        for body in ("second", "third"):
            edits.append(await bob.sends(room_id, "m.room.message", replacing(theirs, body)))
            await meeting.alice_hears(body)
        for edit, left in zip(reversed(edits), ("second", "first"), strict=True):
            await bob.redacts(room_id, edit)
            told = await meeting.alice_hears(left)
            replace = told.xml.find(CORRECT)
            assert replace is not None
            assert replace.get("id") == theirs
        assert not [one for one in people.alice.received if retracts(one)]

    async def test_nobody_takes_back_what_another_has_said(self, meeting: Meeting) -> None:
        theirs = await meeting.people.bob.user.says(meeting.room_id, "stays")
        await meeting.alice_hears("stays")
        meeting.alice_says("", f"<retract xmlns='urn:xmpp:message-retract:1' id='{theirs}'/>")
        refused = await meeting.alice_gets(lambda one: one["type"] == "error")
        assert refused["error"]["condition"] == "forbidden"
        found, _ = await page(meeting.people.alice, meeting.jid if meeting.is_room else None, ids=theirs)
        assert found[0][1].findtext("{jabber:client}body") == "stays"


@pytest.mark.asyncio(loop_scope="package")
class TestInRooms:
    """What only rooms have."""

    async def test_who_is_named_is_mentioned_and_nobody_twice(self, people: People) -> None:
        room = await people.room()
        moe = await people.world.user("moe")
        ok(await moe.put("/profile/@moe:hs1/displayname", {"displayname": "Moe M."}))
        for user in (moe, people.carol.user):
            await user.joins(room.room_id)
        carol = await people.alice.sees(f"{room.jid}/carol")
        await people.alice.sees(f"{room.jid}/Moe M.")
        occupant = carol.xml.find("{urn:xmpp:occupant-id:0}occupant-id")
        assert occupant is not None
        reference = "<reference xmlns='urn:xmpp:reference:0' type='mention' begin='0' end='3' uri='{}'/>"
        mention = "<mention xmlns='urn:xmpp:mentions:0' {}/>"
        for number, (body, extra, mentions) in enumerate(
            [
                ("Moe M.: look", [], {"user_ids": ["@moe:hs1"]}),
                ("Moe M., carol: look", [], {"user_ids": ["@moe:hs1", "@carol:hs1"]}),
                ("look, Moe", [reference.format("xmpp:moe@hs1")], {"user_ids": ["@moe:hs1"]}),
                ("look, Caz", [reference.format(f"xmpp:{room.jid}/carol")], {"user_ids": ["@carol:hs1"]}),
                (
                    "Look, Caz",
                    [mention.format(f"occupantid='{occupant.get('id')}'"), reference.format("xmpp:carol@hs1")],
                    {"user_ids": ["@carol:hs1"]},
                ),
                ("all of you", [mention.format("mentions='urn:xmpp:mentions:0#channel'")], {"room": True}),
                ("alice: I talk to myself", [reference.format("xmpp:nobody@hs1")], None),
            ]
        ):
            room.alice_says(f"{body} {number}", *extra)
            event = await room.bob_hears(f"{body} {number}")
            assert event["content"].get("m.mentions") == mentions, body

    async def test_an_edit_tells_only_those_whom_it_names_first(self, people: People) -> None:
        room = await people.room()
        await people.carol.user.joins(room.room_id)
        await people.alice.sees(f"{room.jid}/carol")
        stanza_id = room.alice_says("bob: come")
        await room.bob_hears("bob: come")
        room.alice_says("bob, carol: come", correcting(stanza_id))
        content = (await room.bob_hears("* bob, carol: come"))["content"]
        assert content["m.mentions"] == {"user_ids": ["@carol:hs1"]}
        assert content["m.new_content"]["m.mentions"] == {"user_ids": ["@bob:hs1", "@carol:hs1"]}

    async def test_moderators_take_messages_away_and_say_why(self, people: People) -> None:
        room = await people.room(power_level_content_override={"users": {"@alice:hs1": 50}})
        archive = room.jid
        _, event_id = await room.both_have("rude")
        room.alice_says("", reacting(event_id, "😈", "👍"))
        found = [await people.bob.event(room.room_id, lambda one: one["type"] == "m.reaction") for _ in range(2)]
        [rude] = [one["event_id"] for one in found if one["content"]["m.relates_to"]["key"] == "😈"]
        await room.alice_gets(lambda one: one.xml.find(REACTIONS) is not None and keys(one) == ["😈", "👍"])
        await people.bob.user.redacts(room.room_id, rude)
        told = await room.alice_gets(lambda one: one.xml.find(REACTIONS) is not None and keys(one) == ["👍"])
        assert str(told["from"]) == f"{room.jid}/alice"
        await people.bob.user.redacts(room.room_id, event_id, "be nice")
        told = await people.alice.gets(lambda one: one.xml.find(f"{RETRACT}/{MODERATED}") is not None)
        assert str(told["from"]) == room.jid
        found, _ = await page(people.alice, archive, ids=event_id)
        tombstone = found[0][1].find(RETRACTED)
        assert tombstone.find(MODERATED).get("by") == f"{room.jid}/bob"
        assert tombstone.findtext("{urn:xmpp:message-retract:1}reason") == "be nice"

        theirs = await people.bob.user.says(room.room_id, "rude back")
        await room.alice_hears("rude back")
        edit = await people.bob.user.sends(room.room_id, "m.room.message", replacing(theirs, "ruder"))
        await room.alice_hears("ruder")
        # By whichever version it is named, all are gone.
        moderate = (
            f"<moderate xmlns='urn:xmpp:message-moderate:1' id='{edit}'>"
            "<retract xmlns='urn:xmpp:message-retract:1'/><reason>you, too</reason></moderate>"
        )
        await people.alice.asks(room.jid, moderate, "set")
        redaction = await people.bob.event(
            room.room_id, lambda one: one["type"] == "m.room.redaction" and one["sender"] == "@alice:hs1"
        )
        assert redaction["content"]["reason"] == "you, too"
        assert ok(await people.bob.user.get(f"/rooms/{q(room.room_id)}/event/{q(theirs)}"))["content"] == {}
        found, _ = await page(people.alice, archive, ids=theirs)
        assert found[0][1].find(f"{RETRACTED}/{MODERATED}").get("by") == f"{room.jid}/alice"
