"""Who has read what, and who types."""

from typing import Any

import pytest

from homeserver.services import typing
from tests.support.doors import CHAT_STATES, DISPLAYED, Meeting, People
from tests.support.talker import Talker, talker
from tests.support.world import ok, q

COMPOSING = f"<composing xmlns='{CHAT_STATES}'/>"
PAUSED = f"<paused xmlns='{CHAT_STATES}'/>"
CARBON = "{urn:xmpp:carbons:2}sent/{urn:xmpp:forward:0}forwarded/{jabber:client}message"


def displayed(target: str) -> str:
    """Return what says that somebody has read up to a message."""
    return f"<displayed xmlns='urn:xmpp:chat-markers:0' id='{target}'/>"


def theirs_read(stanza: Any) -> bool:
    """Return whether a stanza says up to what Bob has read."""
    return "bob" in str(stanza["from"]) and stanza.xml.find(DISPLAYED) is not None


def markers(person: Talker) -> list[str]:
    """Return up to what Bob has read, as somebody was told."""
    return [str(one.xml.find(DISPLAYED).get("id")) for one in person.received if theirs_read(one)]  # type: ignore[union-attr]


@pytest.mark.asyncio(loop_scope="package")
class TestReading:
    """In chats of two and in private rooms."""

    async def test_markers_are_receipts_both_ways(self, meeting: Meeting) -> None:
        meeting = await meeting.in_private()
        bob, room_id = meeting.people.bob, meeting.room_id
        theirs = await bob.user.says(room_id, "read this")
        await meeting.alice_hears("read this")
        meeting.alice_says("", displayed(theirs))
        receipts = await bob.told(room_id, "m.receipt", lambda content: theirs in content)
        assert "@alice:hs1" in receipts[theirs]["m.read"]

        stanza_id, event_id = await meeting.both_have("and this")
        ok(await bob.user.post(f"/rooms/{q(room_id)}/receipt/m.read/{q(event_id)}"))
        told = await meeting.alice_gets(theirs_read)
        assert told.xml.find(DISPLAYED).get("id") == meeting.named(stanza_id, event_id)  # type: ignore[union-attr]

    async def test_what_is_read_in_private_is_told_to_nobody(self, meeting: Meeting) -> None:
        meeting = await meeting.in_private()
        bob, path = meeting.people.bob, f"/rooms/{q(meeting.room_id)}/receipt"
        first, second = await meeting.both_have("secretly read"), await meeting.both_have("openly read")
        ok(await bob.user.post(f"{path}/m.read.private/{q(first[1])}"))
        ok(await bob.user.post(f"{path}/m.fully_read/{q(first[1])}"))
        ok(await bob.user.post(f"{path}/m.read/{q(second[1])}"))
        told = await meeting.alice_gets(theirs_read)
        assert told.xml.find(DISPLAYED).get("id") == meeting.named(*second)  # type: ignore[union-attr]
        assert markers(meeting.people.alice) == []

    async def test_a_receipt_for_what_is_no_message_is_one_for_the_message_before(self, meeting: Meeting) -> None:
        meeting = await meeting.in_private()
        bob, room_id = meeting.people.bob, meeting.room_id
        stanza_id, event_id = await meeting.both_have("the last message")
        state = await bob.user.sets(room_id, "m.room.topic", {"topic": f"after {event_id}"})
        ok(await bob.user.post(f"/rooms/{q(room_id)}/receipt/m.read/{q(state)}"))
        told = await meeting.alice_gets(theirs_read)
        assert told.xml.find(DISPLAYED).get("id") == meeting.named(stanza_id, event_id)  # type: ignore[union-attr]

    async def test_a_receipt_in_a_thread_says_nothing_of_the_rest(self, meeting: Meeting) -> None:
        meeting = await meeting.in_private()
        bob, room_id = meeting.people.bob, meeting.room_id
        _, root = await meeting.both_have("the root")
        alice = meeting.people.alice_by_matrix
        reply = await alice.says(room_id, "deep", **{"m.relates_to": {"rel_type": "m.thread", "event_id": root}})
        last = await meeting.both_have("the end")
        path = f"/rooms/{q(room_id)}/receipt/m.read"
        ok(await bob.user.post(f"{path}/{q(reply)}", {"thread_id": root}))
        ok(await bob.user.post(f"{path}/{q(last[1])}"))
        told = await meeting.alice_gets(theirs_read)
        assert told.xml.find(DISPLAYED).get("id") == meeting.named(*last)  # type: ignore[union-attr]

    async def test_typing_goes_both_ways_and_ends_by_itself(
        self, meeting: Meeting, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        meeting = await meeting.in_private()
        bob, room_id = meeting.people.bob, meeting.room_id
        assert typing.DEFAULT_MS == 30_000
        meeting.alice_says("", COMPOSING)
        await bob.told(room_id, "m.typing", lambda content: content["user_ids"] == ["@alice:hs1"])
        meeting.alice_says("", PAUSED)
        await bob.told(room_id, "m.typing", lambda content: content["user_ids"] == [])
        monkeypatch.setattr(typing, "DEFAULT_MS", 50)
        monkeypatch.setattr(typing, "SHORTEST_MS", 50)
        meeting.alice_says("", COMPOSING)
        await bob.told(room_id, "m.typing", lambda content: content["user_ids"] == ["@alice:hs1"])
        await bob.told(room_id, "m.typing", lambda content: content["user_ids"] == [])

        path = f"/rooms/{q(room_id)}/typing/@bob:hs1"
        ok(await bob.user.put(path, {"typing": True, "timeout": 30_000}))
        await meeting.alice_gets(lambda one: one["chat_state"] == "composing")
        ok(await bob.user.put(path, {"typing": True, "timeout": 50}))
        await meeting.alice_gets(lambda one: one["chat_state"] == "paused")

    async def test_what_one_reads_is_read_on_all_of_ones_clients(self, meeting: Meeting) -> None:
        """Also in public rooms, where nobody else is told."""
        people, room_id = meeting.people, meeting.room_id
        async with talker(people.world, "alice", resource="laptop") as laptop:
            await laptop.asks(None, "<enable xmlns='urn:xmpp:carbons:2'/>", "set")
            if meeting.is_room:
                await laptop.enters(meeting.jid, "alice")
            first = await people.bob.user.says(room_id, "read by the phone")
            await meeting.alice_hears("read by the phone")
            meeting.alice_says("", displayed(first))
            assert await own_marker(laptop) == first
            second = await people.bob.user.says(room_id, "read by Matrix")
            ok(await people.alice_by_matrix.post(f"/rooms/{q(room_id)}/receipt/m.read/{q(second)}"))
            assert await own_marker(laptop) == second


async def own_marker(person: Talker) -> str | None:
    """Return up to what somebody has read with another client, waiting for it."""

    def marker(one: object) -> object:
        xml = one.xml  # type: ignore[attr-defined]
        inner = xml.find(CARBON)
        return (inner if inner is not None else xml).find(DISPLAYED)

    told = marker(await person.gets(lambda one: one.name == "message" and marker(one) is not None))
    return told.get("id")  # type: ignore[attr-defined, no-any-return]


@pytest.mark.asyncio(loop_scope="package")
class TestInPublic:
    """Rooms that anybody can enter."""

    async def test_others_are_not_told_who_reads_and_types(self, people: People) -> None:
        room = await people.room()
        _, event_id = await room.both_have("public")
        ok(await people.bob.user.post(f"/rooms/{q(room.room_id)}/receipt/m.read/{q(event_id)}"))
        ok(await people.bob.user.put(f"/rooms/{q(room.room_id)}/typing/@bob:hs1", {"typing": True}))
        await people.bob.user.says(room.room_id, "afterwards")
        await room.alice_hears("afterwards")
        assert markers(people.alice) == []
        assert not [one for one in people.alice.received if one.name == "message" and one["chat_state"]]

    async def test_a_receipt_of_delivery_reaches_whoever_asked(self, people: People) -> None:
        """XEP-0184, between XMPP clients; a Matrix client says that something was read, and nothing before that."""
        await people.world.user("ivy")
        async with talker(people.world, "ivy") as ivy:
            sent = people.alice.says("ivy@hs1", "did you get it?", "<request xmlns='urn:xmpp:receipts'/>")
            heard = await ivy.hears("did you get it?")
            assert heard.xml.find("{urn:xmpp:receipts}request") is not None
            ivy.says("alice@hs1", "", f"<received xmlns='urn:xmpp:receipts' id='{sent}'/>")
            told = await people.alice.gets(lambda one: one.xml.find("{urn:xmpp:receipts}received") is not None)
            assert told.xml.find("{urn:xmpp:receipts}received").get("id") == sent  # type: ignore[union-attr]
