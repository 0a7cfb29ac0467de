"""Who sees whose presence: whoever has a direct chat with somebody, until one of them says otherwise (RFC 6121)."""

from typing import Any

import pytest
from slixmpp.xmlstream import StanzaBase

from tests.support.talker import Talker, talker
from tests.support.world import User, World, ok, q
from tests.xmpp.test_avatars import METADATA, SMALL, pair, puts, shows, told_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

ROSTER = "{jabber:iq:roster}"


async def contacts(person: Talker) -> dict[str, str]:
    """Return with whom there is which subscription."""
    answer = await person.asks(None, "<query xmlns='jabber:iq:roster'/>")
    return {item.get("jid"): item.get("subscription") for item in answer.iter(f"{ROSTER}item")}


def says(person: Talker, to: str, kind: str) -> None:
    """Send presence about subscriptions."""
    person.client.send_presence(pto=to, ptype=kind)


def of_kind(who: str, kind: str | None) -> Any:
    """Return what finds presence of a type."""

    def found(stanza: StanzaBase) -> bool:
        return stanza.name == "presence" and stanza["from"].bare == who and stanza.xml.get("type") == kind

    return found


async def is_seen(person: Talker, by: Talker, status: str) -> bool:
    """Return whether somebody sees the presence that somebody else sends now."""
    person.client.send_presence(pstatus=status)
    await person.gets(lambda one: one.name == "presence" and one["status"] == status)
    # Whatever came of it came before this answer.
    await by.asks("hs1", "<ping xmlns='urn:xmpp:ping'/>")
    return any(one.name == "presence" and one["status"] == status for one in by.received)


async def is_in_their_chat(user: User, other: User) -> bool:
    """Return whether both are in their direct chat."""
    content = ok(await user.get(f"/user/{user.user_id}/account_data/m.direct"))
    [room_id] = content[other.user_id]
    return {user.user_id, other.user_id} == set(ok(await user.get(f"/rooms/{q(room_id)}/joined_members"))["joined"])


async def test_who_unsubscribes_sees_nothing_and_is_seen(shared_world: World) -> None:
    alma, bodo = await pair(shared_world, "alma", "bodo")
    tune = "urn:example:tune"
    async with talker(shared_world, "alma", wants=(METADATA, tune)) as one, talker(shared_world, "bodo") as other:
        await one.gets(of_kind("bodo@hs1", None))
        assert await contacts(one) == {"bodo@hs1": "both"}
        says(one, "bodo@hs1", "unsubscribe")
        await one.gets(of_kind("bodo@hs1", "unavailable"))
        await other.gets(of_kind("alma@hs1", "unsubscribe"))
        assert (await contacts(one), await contacts(other)) == ({"bodo@hs1": "from"}, {"alma@hs1": "to"})
        assert not await is_seen(other, one, "away now")
        assert await is_seen(one, other, "still there")
        await shows(bodo, SMALL)
        await puts(other, tune, "current", f"<tune xmlns='{tune}'/>")
        await one.asks("hs1", "<ping xmlns='urn:xmpp:ping'/>")
        assert not [stanza for stanza in one.received if stanza.name == "message"]
        says(one, "bodo@hs1", "subscribe")
        await one.gets(of_kind("bodo@hs1", "subscribed"))
        assert told_of(await one.gets(lambda stanza: told_of(stanza) is not None)) is not None
        await one.gets(lambda stanza: stanza.xml.find(f".//{{{tune}}}tune") is not None)
        assert (await contacts(one), await contacts(other)) == ({"bodo@hs1": "both"}, {"alma@hs1": "both"})
        assert await is_seen(other, one, "back")
        assert not [stanza for stanza in other.received if of_kind("alma@hs1", "subscribe")(stanza)]
    assert await is_in_their_chat(alma, bodo)


async def test_who_takes_back_that_they_are_seen_may_be_asked_again(shared_world: World) -> None:
    carla, dave = await pair(shared_world, "carla", "dave")
    async with talker(shared_world, "carla") as one, talker(shared_world, "dave") as other:
        await other.gets(of_kind("carla@hs1", None))
        says(one, "dave@hs1", "unsubscribed")
        await other.gets(of_kind("carla@hs1", "unsubscribed"))
        await other.gets(of_kind("carla@hs1", "unavailable"))
        assert (await contacts(one), await contacts(other)) == ({"dave@hs1": "to"}, {"carla@hs1": "from"})
        assert not await is_seen(one, other, "hidden")
        assert await is_seen(other, one, "seen")
        says(other, "carla@hs1", "subscribe")
        await one.gets(of_kind("dave@hs1", "subscribe"))
        assert await contacts(other) == {"carla@hs1": "from"}
        says(one, "dave@hs1", "subscribed")
        await other.gets(of_kind("carla@hs1", "subscribed"))
        await other.gets(of_kind("carla@hs1", None))
        assert (await contacts(one), await contacts(other)) == ({"dave@hs1": "both"}, {"carla@hs1": "both"})
    assert await is_in_their_chat(carla, dave)


async def test_whoever_is_taken_out_of_the_roster_neither_sees_nor_is_seen(shared_world: World) -> None:
    elsa, falk = await pair(shared_world, "elsa", "falk")
    async with talker(shared_world, "elsa") as one, talker(shared_world, "falk") as other:
        await other.gets(of_kind("elsa@hs1", None))
        remove = "<query xmlns='jabber:iq:roster'><item jid='falk@hs1' subscription='remove'/></query>"
        await one.asks(None, remove, "set")
        await other.gets(of_kind("elsa@hs1", "unsubscribed"))
        await other.gets(of_kind("elsa@hs1", "unavailable"))
        assert (await contacts(one), await contacts(other)) == ({}, {"elsa@hs1": "none"})
        assert not await is_seen(one, other, "gone")
        assert not await is_seen(other, one, "gone, too")
        # The chat is there for both, and so is what is said in it.
        other.says("elsa@hs1", "still here?")
        await one.hears("still here?")
        says(one, "falk@hs1", "subscribe")
        await one.gets(of_kind("falk@hs1", "subscribed"))
        assert (await contacts(one), await contacts(other)) == ({"falk@hs1": "both"}, {"elsa@hs1": "both"})
    assert await is_in_their_chat(elsa, falk)


async def test_whoever_begins_to_talk_sees_and_is_seen(shared_world: World) -> None:
    await shared_world.user("inge")
    await shared_world.user("jens")
    async with talker(shared_world, "inge") as one, talker(shared_world, "jens") as other:
        assert (await contacts(one), await contacts(other)) == ({}, {})
        one.says("jens@hs1", "hello")
        await other.hears("hello")
        await other.gets(of_kind("inge@hs1", None))
        await one.gets(of_kind("jens@hs1", None))
        assert (await contacts(one), await contacts(other)) == ({"jens@hs1": "both"}, {"inge@hs1": "both"})
        assert await is_seen(one, other, "busy")
        assert await is_seen(other, one, "busy, too")


async def test_what_was_chosen_and_how_a_contact_is_called_stand_side_by_side(shared_world: World) -> None:
    await pair(shared_world, "gerd", "hugo")
    async with talker(shared_world, "gerd") as one:
        for kind, left in (("unsubscribe", "from"), ("unsubscribed", "none"), ("subscribe", "to")):
            says(one, "hugo@hs1", kind)
            name = f"<item jid='hugo@hs1' name='{kind}'><group>Work</group></item>"
            await one.asks(None, f"<query xmlns='jabber:iq:roster'>{name}</query>", "set")
            answer = await one.asks(None, "<query xmlns='jabber:iq:roster'/>")
            [item] = list(answer.iter(f"{ROSTER}item"))
            assert (item.get("name"), item.get("subscription")) == (kind, left)
