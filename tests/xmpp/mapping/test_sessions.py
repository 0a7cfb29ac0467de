"""One user with two XMPP clients and a Matrix client: all of them know the same."""

from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from tests.support.doors import DISPLAYED, Meeting, People, Reader
from tests.support.talker import Talker, talker
from tests.support.waiting import asking
from tests.support.world import ok, q
from tests.xmpp.test_archive import bodies, page

CARBON = "{urn:xmpp:carbons:2}sent/{urn:xmpp:forward:0}forwarded/{jabber:client}message"


def message_in(stanza: Any) -> Any:
    """Return the message that a stanza is, or carries as a copy of what another client has sent."""
    carbon = stanza.xml.find(CARBON)
    return stanza.xml if carbon is None else carbon


def said(person: Talker) -> list[str]:
    """Return the bodies of all messages that came, also as copies, in order."""
    found = [message_in(one).findtext("{jabber:client}body") for one in person.received if one.name == "message"]
    return [body for body in found if body and body.startswith("number")]


async def gets(person: Talker, body: str) -> Any:
    """Return the message with a body, without taking it away."""
    found = await person.gets(
        lambda one: one.name == "message" and message_in(one).findtext("{jabber:client}body") == body
    )
    person.received.append(found)
    return message_in(found)


@pytest_asyncio.fixture(loop_scope="package")
async def laptop(people: People) -> AsyncIterator[Talker]:
    """Alice's other XMPP client."""
    async with talker(people.world, "alice", resource="laptop") as client:
        for one in (client, people.alice):
            await one.asks(None, "<enable xmlns='urn:xmpp:carbons:2'/>", "set")
        yield client


@pytest.mark.asyncio(loop_scope="package")
class TestSessions:
    """In a chat of two and in a private room."""

    async def test_all_see_the_same_messages_sent_and_received_and_what_was_read(
        self, meeting: Meeting, laptop: Talker
    ) -> None:
        meeting = await meeting.in_private()
        people, room_id, phone = meeting.people, meeting.room_id, meeting.people.alice
        desktop = Reader(people.alice_by_matrix)
        await desktop.forgets()
        if meeting.is_room:
            await laptop.enters(meeting.jid, "alice")
        for one in (phone, laptop):
            one.received.clear()

        # Each says something in turn, and the others have heard it before the next one speaks.
        speakers: list[Any] = [phone, laptop, desktop, people.bob, laptop, desktop, phone, people.bob]
        expected = [f"number {n}" for n in range(len(speakers))]
        for speaker, body in zip(speakers, expected, strict=True):
            if isinstance(speaker, Talker):
                speaker.says(meeting.jid, body, type_=meeting.type)
            else:
                await speaker.user.says(room_id, body)
            for listener in (phone, laptop):
                # In a chat nobody hears what they have said themselves.
                if listener is not speaker or meeting.is_room:
                    heard = await gets(listener, body)
                    mine = speaker is not people.bob
                    sender = f"{meeting.jid}/{'alice' if mine else 'bob'}" if meeting.is_room else None
                    assert heard.get("from").startswith(sender or ("alice@hs1" if mine else "bob@hs1"))
            if speaker is not people.bob:
                await people.bob.hears(room_id, body)
        for listener in (phone, laptop):
            own = () if meeting.is_room else [n for n, speaker in enumerate(speakers) if speaker is listener]
            assert said(listener) == [body for n, body in enumerate(expected) if n not in own]

        # The archive of both, and the history of the third, are one.
        timeline = ok(await people.alice_by_matrix.get(f"/rooms/{q(room_id)}/messages", dir="b", limit=100))["chunk"]
        history = [
            (event["event_id"], event["content"]["body"])
            for event in reversed(timeline)
            if event["type"] == "m.room.message" and event["content"].get("body") in expected
        ]
        assert [body for _, body in history] == expected
        for person in (phone, laptop):
            found, _ = await page(person, meeting.jid if meeting.is_room else None, "<max>100</max>")
            pairs = zip([name for name, _ in found], bodies(found), strict=True)
            assert [pair for pair in pairs if pair[1] in expected] == history

        # What one of them has read, all have read.
        last = history[-1][0]
        marker = f"<displayed xmlns='urn:xmpp:chat-markers:0' id='{last}'/>"
        phone.says(meeting.jid, "", marker, type_=meeting.type)
        told = await laptop.gets(lambda one: message_in(one).find(DISPLAYED) is not None)
        assert message_in(told).find(DISPLAYED).get("id") == last
        receipts = await desktop.told(room_id, "m.receipt", lambda content: last in content)
        assert "@alice:hs1" in receipts[last]["m.read"]
        await asking(lambda: unread(people, room_id), lambda count: count == 0)
        event_id = await people.bob.user.says(room_id, "one more")
        for person in (phone, laptop):
            await gets(person, "one more")
            person.received.clear()
        await asking(lambda: unread(people, room_id), lambda count: count == 1)
        ok(await people.alice_by_matrix.post(f"/rooms/{q(room_id)}/receipt/m.read/{q(event_id)}"))
        for person in (phone, laptop):
            told = await person.gets(lambda one: message_in(one).find(DISPLAYED) is not None)
            assert message_in(told).find(DISPLAYED).get("id") == event_id


async def unread(people: People, room_id: str) -> int:
    """Return how many messages of a room Alice has not read, as her Matrix client shows it."""
    status, answer = await people.alice_by_matrix.get("/sync")
    assert status == 200
    return int(answer["rooms"]["join"][room_id]["unread_notifications"]["notification_count"])
