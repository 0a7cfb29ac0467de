"""The archives of the account and of rooms (XEP-0313)."""

from typing import Any

import pytest
from slixmpp.exceptions import IqError

from tests.support.talker import Talker, direct_room, hears, talker
from tests.support.world import User, World, ok, q

LOUNGE = "lounge@rooms.hs1"
MAM = "urn:xmpp:mam:2"
RESULT = f"{{{MAM}}}result"
MESSAGE = "{urn:xmpp:forward:0}forwarded/{jabber:client}message"
RSM = "{http://jabber.org/protocol/rsm}set/{http://jabber.org/protocol/rsm}"


async def page(person: Talker, to: str | None, rsm: str = "", **fields: str) -> tuple[list[tuple[str, Any]], Any]:
    """Return IDs and messages of a page, and the answer's `fin`."""
    form = "".join(
        f"<field var='{name.replace('_', '-')}'><value>{text}</value></field>" for name, text in fields.items()
    )
    hidden = f"<field var='FORM_TYPE' type='hidden'><value>{MAM}</value></field>"
    x = f"<x xmlns='jabber:x:data' type='submit'>{hidden}{form}</x>" if form else ""
    answer = await person.asks(
        to,
        f"<query xmlns='{MAM}' queryid='q'>{x}<set xmlns='http://jabber.org/protocol/rsm'>{rsm}</set></query>",
        "set",
    )
    fin = answer.find(f"{{{MAM}}}fin")
    results = [one for one in person.received if one.xml.find(RESULT) is not None]
    for one in results:
        person.received.remove(one)
    return [(one.xml.find(RESULT).get("id"), one.xml.find(f"{RESULT}/{MESSAGE}")) for one in results], fin


def bodies(found: list[tuple[str, Any]]) -> list[str]:
    """Return the bodies of the messages of a page."""
    return [message.findtext("{jabber:client}body") for _, message in found]


async def test_a_room_s_archive_is_its_history_page_by_page(world: World, bob: User) -> None:
    room_id = await bob.creates_room(preset="public_chat", room_alias_name="lounge")
    sent = [await bob.says(room_id, f"message {number}") for number in range(5)]
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        first, fin = await page(alice, LOUNGE, "<max>2</max>")
        assert [name for name, _ in first] == sent[:2]
        assert fin.get("complete") is None
        assert first[0][1].get("from") == f"{LOUNGE}/bob"
        second, _ = await page(alice, LOUNGE, f"<max>2</max><after>{fin.findtext(f'{RSM}last')}</after>")
        assert bodies(second) == ["message 2", "message 3"]
        last, fin = await page(alice, LOUNGE, "<max>2</max><before/>")
        assert bodies(last) == ["message 3", "message 4"]
        before, fin = await page(alice, LOUNGE, f"<max>5</max><before>{fin.findtext(f'{RSM}first')}</before>")
        assert bodies(before) == ["message 0", "message 1", "message 2"]
        assert fin.get("complete") == "true"
        one, _ = await page(alice, LOUNGE, ids=sent[2])
        assert bodies(one) == ["message 2"]


async def test_the_account_s_archive_is_what_two_people_said(world: World, bob: User) -> None:
    await world.user("alice")
    await bob.creates_room(preset="public_chat", room_alias_name="lounge")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        alice.says(LOUNGE, "not in the account's archive", type_="groupchat")
        await bob.syncs()
        sent = alice.says("bob@hs1", "hello")
        room_id = await direct_room(bob)
        await hears(bob, room_id)
    answer = await bob.says(room_id, "while you were away")
    async with talker(world, "alice") as alice:
        found, fin = await page(alice, None)
        assert bodies(found) == ["hello", "while you were away"]
        assert found[1][0] == answer
        assert (found[0][1].get("from"), found[0][1].get("to")) == ("alice@hs1", "bob@hs1")
        assert found[0][1].get("id") == sent
        assert fin.get("complete") == "true"
        theirs, _ = await page(alice, None, **{"with": "carol@hs1"})
        assert theirs == []
        since, _ = await page(alice, None, start="2999-01-01T00:00:00Z")
        assert since == []


async def test_who_is_not_in_a_room_does_not_read_it(world: World, bob: User) -> None:
    await bob.creates_room(room_alias_name="lounge")
    await world.user("alice")
    async with talker(world, "alice") as alice:
        with pytest.raises(IqError) as refused:
            await page(alice, LOUNGE)
        assert refused.value.condition == "forbidden"
        with pytest.raises(IqError) as refused:
            await page(alice, "nothing@rooms.hs1")
        assert refused.value.condition == "item-not-found"


async def test_a_message_that_was_taken_away_leaves_a_tombstone(world: World, bob: User) -> None:
    room_id = await bob.creates_room(preset="public_chat", room_alias_name="lounge")
    await bob.redacts(room_id, await bob.says(room_id, "oops"))
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        found, _ = await page(alice, LOUNGE)
        assert found[0][1].find("{urn:xmpp:message-retract:1}retracted") is not None
        assert bodies(found)[0] is None


async def test_a_page_after_nothing_known_is_refused(world: World) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        with pytest.raises(IqError) as refused:
            await page(alice, None, "<after>$nothing</after>")
        assert refused.value.condition == "item-not-found"


async def test_the_archive_tells_its_first_and_last(world: World, bob: User) -> None:
    room_id = await bob.creates_room(preset="public_chat", room_alias_name="lounge")
    first, last = await bob.says(room_id, "first"), await bob.says(room_id, "last")
    alice_in_matrix = await world.user("alice")
    ok(await alice_in_matrix.post(f"/join/{q(room_id)}"))
    async with talker(world, "alice") as alice:
        answer = await alice.asks(LOUNGE, f"<metadata xmlns='{MAM}'/>")
        ends = [answer.find(f"{{{MAM}}}metadata/{{{MAM}}}{name}").get("id") for name in ("start", "end")]
        assert ends == [first, last]


async def test_the_archive_tells_that_a_reaction_was_taken_back(world: World, bob: User) -> None:
    room_id = await bob.creates_room(preset="public_chat", room_alias_name="lounge")
    event_id = await bob.says(room_id, "tea?")
    relation = {"rel_type": "m.annotation", "event_id": event_id, "key": "👍"}
    await bob.redacts(room_id, await bob.sends(room_id, "m.reaction", {"m.relates_to": relation}))
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        found, _ = await page(alice, LOUNGE)
        [told] = [each for _, message in found for each in message.iterfind("{urn:xmpp:reactions:0}reactions")]
        assert (told.get("id"), len(told)) == (event_id, 0)
