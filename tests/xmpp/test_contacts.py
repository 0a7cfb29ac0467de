"""What contacts may ask of each other, and what a block keeps apart (RFC 6121, XEP-0030, XEP-0163, XEP-0191)."""

from typing import Any

import pytest
from slixmpp.exceptions import IqError

from tests.support.talker import Talker, talker
from tests.support.world import World, ok, q
from tests.xmpp.test_avatars import METADATA, SMALL, pair, publishes

pytestmark = pytest.mark.asyncio(loop_scope="module")

INFO, ITEMS = "http://jabber.org/protocol/disco#info", "http://jabber.org/protocol/disco#items"
BLOCKING = "urn:xmpp:blocking"
PING = "<ping xmlns='urn:xmpp:ping'/>"


def presence_of(who: str, kind: str | None) -> Any:
    """Return what finds presence of somebody."""
    return lambda one: one.name == "presence" and one["from"].bare == who and one.xml.get("type") == kind


async def condition(person: Talker, to: str | None, payload: str, kind: str = "get") -> str | None:
    """Ask; return why that is refused, None if it is not."""
    try:
        await person.asks(to, payload, kind)
    except IqError as error:
        return str(error.condition)
    return None


async def nodes(person: Talker, owner: str | None) -> set[str]:
    """Return the nodes that somebody has."""
    answer = await person.asks(owner, f"<query xmlns='{ITEMS}'/>")
    return {item.get("node") for item in answer.iter(f"{{{ITEMS}}}item")}


async def blocks(person: Talker, who: str, what: str = "block") -> None:
    """Block or unblock somebody."""
    await person.asks(None, f"<{what} xmlns='{BLOCKING}'><item jid='{who}'/></{what}>", "set")


async def test_contacts_ask_each_other_s_clients_and_strangers_do_not(shared_world: World) -> None:
    await pair(shared_world, "arno", "bibi")
    await shared_world.user("stranger")
    async with (
        talker(shared_world, "arno") as one,
        talker(shared_world, "bibi") as other,
        talker(shared_world, "stranger") as stranger,
    ):
        await one.gets(presence_of("bibi@hs1", None))
        full = str(other.client.boundjid)
        answer = await one.asks(full, f"<query xmlns='{INFO}'/>")
        assert answer.get("from") == full
        assert answer.find(f"{{{INFO}}}query/{{{INFO}}}feature") is not None
        assert await condition(stranger, full, f"<query xmlns='{INFO}'/>") == "service-unavailable"
        assert await condition(one, "bibi@hs1/nowhere", PING) == "service-unavailable"


async def test_nobody_becomes_a_contact_by_being_called_one(shared_world: World) -> None:
    nosy, famous = await shared_world.user("nosy"), await shared_world.user("famous")
    third = await shared_world.user("third")
    room_id = await famous.creates_room(preset="public_chat")
    await nosy.joins(room_id)
    await third.joins(room_id)
    ok(await nosy.put(f"/user/{q(nosy.user_id)}/account_data/m.direct", {famous.user_id: [room_id], "x": [1], "y": {}}))
    async with talker(shared_world, "famous") as other, talker(shared_world, "nosy") as one:
        answer = await one.asks(None, "<query xmlns='jabber:iq:roster'/>")
        [item] = list(answer.iter("{jabber:iq:roster}item"))
        assert item.get("subscription") == "none"
        assert await condition(one, str(other.client.boundjid), PING) == "service-unavailable"
        other.client.send_presence(pstatus="seen by nobody")
        await other.gets(lambda stanza: stanza.name == "presence" and stanza["status"] == "seen by nobody")
        await one.asks("hs1", PING)
        assert not [stanza for stanza in one.received if stanza["from"].bare == "famous@hs1"]


async def test_what_somebody_has_published_is_found(shared_world: World) -> None:
    await pair(shared_world, "cora", "dirk")
    await shared_world.user("outsider")
    async with (
        talker(shared_world, "cora") as owner,
        talker(shared_world, "dirk") as contact,
        talker(shared_world, "outsider") as stranger,
    ):
        for access in ("open", "presence", "whitelist"):
            field = f"<field var='pubsub#access_model'><value>{access}</value></field>"
            form = f"<publish-options><x xmlns='jabber:x:data' type='submit'>{field}</x></publish-options>"
            publish = f"<publish node='urn:{access}'><item id='1'><a xmlns='urn:a'/></item></publish>"
            payload = f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>{publish}{form}</pubsub>"
            await owner.asks(None, payload, "set")
        assert {"urn:open", "urn:presence", "urn:whitelist", METADATA} <= await nodes(owner, None)
        assert {"urn:open", "urn:presence", METADATA} == await nodes(contact, "cora@hs1") & {
            "urn:open", "urn:presence", "urn:whitelist", METADATA, "urn:xmpp:bookmarks:1",
        }  # fmt: skip
        assert not {"urn:presence", "urn:whitelist"} & await nodes(stranger, "cora@hs1")
        answer = await stranger.asks("cora@hs1", f"<query xmlns='{ITEMS}' node='urn:open'/>")
        assert [item.get("name") for item in answer.iter(f"{{{ITEMS}}}item")] == ["1"]
        info = await stranger.asks("cora@hs1", f"<query xmlns='{INFO}'/>")
        found = {(one.get("category"), one.get("type")) for one in info.iter(f"{{{INFO}}}identity")}
        assert found == {("account", "registered"), ("pubsub", "pep")}
        assert await condition(stranger, "nobody@hs1", f"<query xmlns='{INFO}'/>") == "item-not-found"


async def test_whoever_is_blocked_sees_nobody_and_gets_no_answer(shared_world: World) -> None:
    await pair(shared_world, "emma", "fred")
    async with talker(shared_world, "emma") as one, talker(shared_world, "fred", wants=(METADATA,)) as other:
        await one.gets(presence_of("fred@hs1", None))
        await other.gets(presence_of("emma@hs1", None))
        await blocks(one, "fred@hs1")
        await other.gets(presence_of("emma@hs1", "unavailable"))
        await one.gets(presence_of("fred@hs1", "unavailable"))
        one.received.clear()
        other.received.clear()
        for to, payload in (
            ("emma@hs1", "<vCard xmlns='vcard-temp'/>"),
            ("emma@hs1", f"<query xmlns='{INFO}'/>"),
            ("emma@hs1/test", PING),
        ):
            assert await condition(other, to, payload) == "service-unavailable"
        other.client.send_presence(pto="emma@hs1", pstatus="directed")
        other.client.send_presence(pstatus="to all")
        other.says("emma@hs1", "let me in")
        one.client.send_presence(pstatus="unseen")
        await publishes(one, SMALL)
        await other.asks("hs1", PING)
        await one.asks("hs1", PING)
        assert not [stanza for stanza in one.received if stanza["from"].bare == "fred@hs1"]
        assert not [stanza for stanza in other.received if stanza["from"].bare == "emma@hs1"]

        one.says("fred@hs1", "a last word", id_="refused")
        refused = await one.gets(lambda stanza: stanza["id"] == "refused")
        assert refused["error"]["condition"] == "not-acceptable"
        assert refused.xml.find("{jabber:client}error/{urn:xmpp:blocking:errors}blocked") is not None
        assert await condition(one, "fred@hs1", "<vCard xmlns='vcard-temp'/>") == "not-acceptable"

        await blocks(one, "fred@hs1", "unblock")
        seen = await other.gets(presence_of("emma@hs1", None))
        assert seen["status"] == "unseen"
        await one.gets(presence_of("fred@hs1", None))
        one.says("fred@hs1", "welcome back")
        await other.hears("welcome back")


async def test_whom_a_matrix_client_ignores_xmpp_clients_block(shared_world: World) -> None:
    gina, _ = await pair(shared_world, "gina", "hans")
    async with talker(shared_world, "gina") as one, talker(shared_world, "hans") as other:
        await other.gets(presence_of("gina@hs1", None))
        await one.gets(presence_of("hans@hs1", None))
        path = f"/user/{q(gina.user_id)}/account_data/m.ignored_user_list"
        ok(await gina.put(path, {"ignored_users": {"@hans:hs1": {}}}))
        await other.gets(presence_of("gina@hs1", "unavailable"))
        ok(await gina.put(path, {"ignored_users": {}}))
        await other.gets(presence_of("gina@hs1", None))
