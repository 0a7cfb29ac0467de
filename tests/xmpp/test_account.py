"""What XMPP clients ask of the server about itself and the account."""

import base64
import re
from typing import Any

import pytest
from slixmpp.exceptions import IqError
from slixmpp.plugins.xep_0115 import StaticCaps
from slixmpp.xmlstream import ET

from tests.support.media import encoded, picture, uploads
from tests.support.raw_xmpp import RawClient, bound
from tests.support.talker import Talker, direct_room, talker
from tests.support.waiting import until
from tests.support.world import User, World, ok

INFO = "{http://jabber.org/protocol/disco#info}"
ROSTER = "{jabber:iq:roster}"
IGNORED = "m.ignored_user_list"


async def info(person: Talker, to: str | None, node: str = "") -> Any:
    attribute = f" node='{node}'" if node else ""
    answer = await person.asks(to, f"<query xmlns='http://jabber.org/protocol/disco#info'{attribute}/>")
    return answer[0]


def features(query: Any) -> set[str]:
    return {one.get("var") for one in query.iterfind(f"{INFO}feature")}


async def roster(person: Talker) -> dict[str, dict[str, Any]]:
    answer = await person.asks(None, "<query xmlns='jabber:iq:roster'/>")
    return {
        item.get("jid"): {**item.attrib, "groups": [group.text for group in item]}
        for item in answer[0].iterfind(f"{ROSTER}item")
    }


async def befriend(alice: User, bob: User) -> str:
    """Make a direct chat of two, as Matrix clients do."""
    room_id = await alice.creates_room(bob, is_direct=True, preset="trusted_private_chat")
    await bob.joins(room_id)
    for one, other in ((alice, bob), (bob, alice)):
        ok(await one.put(f"/user/{one.user_id}/account_data/m.direct", {other.user_id: [room_id]}))
    return room_id


async def test_every_feature_that_is_told_of_is_answered(world: World, alice: User) -> None:
    async with talker(world, "alice") as person:
        server = features(await info(person, "hs1"))
        assert {"urn:xmpp:ping", "jabber:iq:version", "urn:xmpp:time", "urn:xmpp:carbons:2", "vcard-temp"} <= server
        account = await info(person, None)
        assert account.find(f"{INFO}identity").attrib["category"] == "account"
        assert {"urn:xmpp:blocking", "jabber:iq:private"} <= features(account)
        # Clients look for the archive at either.
        assert "urn:xmpp:mam:2" in server & features(account)
        for payload in (
            "<ping xmlns='urn:xmpp:ping'/>", "<query xmlns='jabber:iq:version'/>", "<time xmlns='urn:xmpp:time'/>",
            "<query xmlns='jabber:iq:last'/>",
        ):  # fmt: skip
            await person.asks("hs1", payload)


async def test_the_server_tells_what_it_offers_by_a_hash(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        heard = "".join(client.everything)
        found = re.findall(
            r"<c xmlns='http://jabber.org/protocol/caps' hash='sha-1' node='([^']*)' ver='([^']*)'/>", heard
        )
    ((node, version),) = found
    async with talker(world, "alice") as person:
        answer = await info(person, "hs1", f"{node}#{version}")
        assert features(answer) == features(await info(person, "hs1"))
        person.client.register_plugin("xep_0115")
        caps = person.client.plugin["xep_0115"]
        assert isinstance(caps.static, StaticCaps)
        described = await person.client.plugin["xep_0030"].get_info("hs1")
        assert caps.generate_verstring(described["disco_info"], "sha-1") == version
        with pytest.raises(IqError) as raised:
            await info(person, "hs1", "something#else")
        assert raised.value.condition == "item-not-found"


async def test_services_of_the_server_are_its_items(world: World, alice: User) -> None:
    async with talker(world, "alice") as person:
        answer = await person.asks("hs1", "<query xmlns='http://jabber.org/protocol/disco#items'/>")
        items = {item.get("jid") for item in answer[0]}
        assert "mx.hs1" in items
        for jid in items:
            assert (await info(person, jid)).find(f"{INFO}identity") is not None


async def test_the_software_and_the_time_are_told(world: World, alice: User) -> None:
    async with talker(world, "alice") as person:
        version = await person.asks("hs1", "<query xmlns='jabber:iq:version'/>")
        assert version.findtext(".//{jabber:iq:version}name") == "Isthmus"
        time = await person.asks("hs1", "<time xmlns='urn:xmpp:time'/>")
        assert re.fullmatch(r"20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ", time.findtext(".//{urn:xmpp:time}utc"))


async def test_when_somebody_was_there_is_told_to_those_who_may_know(world: World, alice: User, bob: User) -> None:
    async with talker(world, "alice") as person:
        last = "<query xmlns='jabber:iq:last'/>"
        assert (await person.asks(None, last))[0].get("seconds") == "0"
        with pytest.raises(IqError) as raised:
            await person.asks("bob@hs1", last)
        assert raised.value.condition == "forbidden"
        await befriend(alice, bob)
        assert (await person.asks("bob@hs1", last))[0].get("seconds").isdigit()


async def test_private_xml_comes_back_as_it_was_kept(world: World, alice: User) -> None:
    async with talker(world, "alice") as person:
        kept = "<notes xmlns='urn:notes'><note a='1'>\u00fc &amp; <b xmlns='urn:b'/></note></notes>"
        empty = await person.asks(None, "<query xmlns='jabber:iq:private'><notes xmlns='urn:notes'/></query>")
        assert len(empty[0][0]) == 0
        await person.asks(None, f"<query xmlns='jabber:iq:private'>{kept}</query>", "set")
        found = await person.asks(None, "<query xmlns='jabber:iq:private'><notes xmlns='urn:notes'/></query>")
        came_back = ET.tostring(found[0][0], encoding="unicode")
        assert ET.canonicalize(came_back, rewrite_prefixes=True) == ET.canonicalize(kept, rewrite_prefixes=True)
        for wrong in ("", "<a/>", "<a xmlns='x'/><b xmlns='x'/>"):
            with pytest.raises(IqError):
                await person.asks(None, f"<query xmlns='jabber:iq:private'>{wrong}</query>", "set")
        large = f"<query xmlns='jabber:iq:private'><a xmlns='x'>{'x' * 140_000}</a></query>"
        with pytest.raises(IqError) as raised:
            await person.asks(None, large, "set")
        assert raised.value.condition == "not-acceptable"


async def test_a_profile_is_a_vcard(world: World, alice: User, bob: User) -> None:
    uri = f"mxc://hs1/{await uploads(alice, encoded(picture(200, 200)))}"
    ok(await alice.put(f"/profile/{alice.user_id}/displayname", {"displayname": "Alice <3"}))
    ok(await alice.put(f"/profile/{alice.user_id}/avatar_url", {"avatar_url": uri}))
    async with talker(world, "bob") as person:
        card = (await person.asks("alice@hs1", "<vCard xmlns='vcard-temp'/>"))[0]
        assert card.findtext("{vcard-temp}FN") == "Alice <3"
        assert card.findtext("{vcard-temp}PHOTO/{vcard-temp}TYPE") in ("image/png", "image/jpeg", "image/webp")
        assert len(base64.b64decode(card.findtext("{vcard-temp}PHOTO/{vcard-temp}BINVAL"))) > 50
        assert len((await person.asks(None, "<vCard xmlns='vcard-temp'/>"))[0]) == 0
        with pytest.raises(IqError) as raised:
            await person.asks("nobody@hs1", "<vCard xmlns='vcard-temp'/>")
        assert raised.value.condition == "item-not-found"


async def test_a_roster_holds_what_clients_keep_and_direct_chats(world: World, alice: User, bob: User) -> None:
    async with talker(world, "alice") as person, talker(world, "alice", resource="other") as other:
        assert await roster(person) == {}
        await roster(other)
        change = (
            "<query xmlns='jabber:iq:roster'><item jid='Carol@hs1/x' name='Carol'><group>Work</group></item></query>"
        )
        await person.asks(None, change, "set")
        expected = {"jid": "carol@hs1", "name": "Carol", "subscription": "none", "groups": ["Work"]}
        assert await roster(other) == {"carol@hs1": expected}
        await befriend(alice, bob)
        assert (await roster(person))["bob@hs1"]["subscription"] == "both"
        remove = "<query xmlns='jabber:iq:roster'><item jid='{}' subscription='remove'/></query>"
        for jid in ("carol@hs1", "bob@hs1"):
            await person.asks(None, remove.format(jid), "set")
        assert await roster(person) == {}
        with pytest.raises(IqError) as raised:
            await person.asks(None, remove.format("carol@hs1"), "set")
        assert raised.value.condition == "item-not-found"


@pytest.mark.parametrize(
    ("item", "condition"),
    [
        ("", "bad-request"),
        ("<item jid='a@hs1'/><item jid='b@hs1'/>", "bad-request"),
        ("<item/>", "bad-request"),
        ("<item jid='a b@hs1'/>", "bad-request"),
        ("<item jid='alice@hs1'/>", "not-allowed"),
        ("<item jid='a@hs1'><group>x</group><group>x</group></item>", "bad-request"),
        ("<item jid='a@hs1'><group/></item>", "not-acceptable"),
        (f"<item jid='a@hs1' name='{'x' * 2000}'/>", "not-acceptable"),
    ],
)
async def test_a_contact_that_is_wrong_is_refused(world: World, alice: User, item: str, condition: str) -> None:
    async with talker(world, "alice") as person:
        with pytest.raises(IqError) as raised:
            await person.asks(None, f"<query xmlns='jabber:iq:roster'>{item}</query>", "set")
        assert raised.value.condition == condition


async def test_changes_of_a_roster_are_pushed_to_those_who_know_it(world: World, alice: User, bob: User) -> None:
    async with bound(world, "alice", "one") as one, bound(world, "alice", "two") as two:
        got = await asks_own(one, "<query xmlns='jabber:iq:roster' ver=''/>")
        version = re.search("ver='([^']+)'", got)
        assert version is not None
        again = await asks_own(one, f"<query xmlns='jabber:iq:roster' ver='{version[1]}'/>")
        assert "<query" not in again
        await asks_own(two, "<query xmlns='jabber:iq:roster'><item jid='carol@hs1'/></query>", "set")
        push = await one.hears("</iq>")
        assert re.search("<iq to='alice@hs1/one' type='set' id='[^']+'><query xmlns='jabber:iq:roster' ver=", push)
        assert "<item jid='carol@hs1' subscription='none'/>" in push
        await befriend(alice, bob)
        assert "<item jid='bob@hs1' subscription='both'/>" in await one.hears("</iq>")
        ok(await alice.put(f"/user/{alice.user_id}/account_data/m.direct", {}))
        assert "<item jid='bob@hs1' subscription='remove'/>" in await one.hears("</iq>")
        assert "urn" not in two.heard


async def asks_own(client: RawClient, payload: str, kind: str = "get") -> str:
    """Ask one's own account."""
    return await client.asks(payload, kind=kind, to="alice@hs1")


async def test_who_is_blocked_is_ignored_in_matrix_and_the_other_way_round(
    world: World, alice: User, bob: User
) -> None:
    async with bound(world, "alice") as client:
        assert "<blocklist xmlns='urn:xmpp:blocking'/>" in await asks_own(
            client, "<blocklist xmlns='urn:xmpp:blocking'/>"
        )
        await asks_own(client, "<block xmlns='urn:xmpp:blocking'><item jid='bob@hs1'/></block>", "set")
        pushed = client.heard if "<block " in client.heard else await client.hears("<block .*</iq>")
        assert "<item jid='bob@hs1'/>" in pushed
        path = f"/user/{alice.user_id}/account_data/{IGNORED}"
        assert ok(await alice.get(path)) == {"ignored_users": {"@bob:hs1": {}}}
        client.heard = ""
        ok(await alice.put(path, {"ignored_users": {"@Eve:other.org": {}}, "kept": 1}))
        said = await client.hears("<unblock .*</iq>|<block .*</iq>.*<unblock .*</iq>")
        assert "<item jid='bob@hs1'/>" in said
        listed = await asks_own(client, "<blocklist xmlns='urn:xmpp:blocking'/>")
        assert "<item jid='^eve%other.org@mx.hs1'/>" in listed
        await asks_own(client, "<unblock xmlns='urn:xmpp:blocking'/>", "set")
        assert ok(await alice.get(path)) == {"ignored_users": {}, "kept": 1}
        for wrong in ("", "<item jid='alice@hs1'/>", "<item jid='hs1'/>", "<item jid='x@y@z'/>"):
            answer = await asks_own(client, f"<block xmlns='urn:xmpp:blocking'>{wrong}</block>", "set")
            assert "type='error'" in answer


async def test_contacts_see_each_other_come_and_go(world: World, alice: User, bob: User) -> None:
    await befriend(alice, bob)
    async with talker(world, "alice", resource="phone") as one:
        async with talker(world, "bob", resource="desk") as other:
            await one.sees("bob@hs1/desk")
            await other.sees("alice@hs1/phone")
            other.client.send_presence(pshow="away", pstatus="brb")
            away = await one.sees("bob@hs1/desk")
            assert (away["show"], away["status"]) == ("away", "brb")
            presence = ok(await alice.get(f"/presence/{bob.user_id}/status"))
            assert (presence["presence"], presence["status_msg"]) == ("unavailable", "brb")
        await one.sees("bob@hs1/desk", "unavailable")


async def test_strangers_see_nothing(world: World, alice: User, bob: User) -> None:
    async with talker(world, "alice") as one, talker(world, "bob") as other:
        other.client.send_presence(pstatus="here")
        await other.asks("hs1", "<ping xmlns='urn:xmpp:ping'/>")
        await one.asks("hs1", "<ping xmlns='urn:xmpp:ping'/>")
        assert [str(one["from"]) for one in one.received if one.name == "presence"] == []


async def test_a_contact_in_matrix_is_shown_as_being_there(world: World, alice: User, bob: User) -> None:
    await befriend(alice, bob)
    async with talker(world, "alice") as person:
        ok(await bob.put(f"/presence/{bob.user_id}/status", {"presence": "unavailable", "status_msg": "tea"}))
        shown = await person.sees("bob@hs1/matrix")
        assert (shown["show"], shown["status"]) == ("away", "tea")
        ok(await bob.put(f"/presence/{bob.user_id}/status", {"presence": "offline"}))
        await person.sees("bob@hs1/matrix", "unavailable")
        assert ok(await bob.get(f"/presence/{alice.user_id}/status"))["presence"] == "online"


async def test_what_can_wait_waits_while_nobody_looks(world: World, alice: User) -> None:
    async with bound(world, "alice", "one") as one, bound(world, "alice", "two") as two:
        await one.says("<presence/>")
        await one.hears("</presence>")
        await one.says("<inactive xmlns='urn:xmpp:csi:0'/><inactive xmlns='urn:xmpp:csi:0'/>")
        await one.asks("<ping xmlns='urn:xmpp:ping'/>")
        for status in "ab":
            await two.says(f"<presence><status>{status}</status></presence>")
            await two.hears(f"from='alice@hs1/two'.*{status}</status>")
        assert "alice@hs1/two" not in one.heard
        said = await one.asks("<ping xmlns='urn:xmpp:ping'/>")
        # The answer brings along what waited, of which only the last counts.
        assert re.findall("<status>(.)</status>", said) == ["b"]
        await two.says("<presence><status>c</status></presence>")
        await two.hears("c</status>")
        await one.says("<active xmlns='urn:xmpp:csi:0'/><active xmlns='urn:xmpp:csi:0'/>")
        await one.hears("<status>c</status>")


async def test_a_session_of_the_old_rfc_is_there(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        assert "type='result'" in await client.asks(
            "<session xmlns='urn:ietf:params:xml:ns:xmpp-session'/>", kind="set"
        )


async def test_a_user_who_logs_in_from_too_many_places_loses_the_oldest(
    world: World, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("homeserver.xmpp.accounts.MOST_SESSIONS", 2)
    async with bound(world, "alice", "a") as first, bound(world, "alice", "b"), bound(world, "alice", "c"):
        assert "<conflict " in await first.hears_the_end()
        assert world.app.xmpp is not None
        xmpp = world.app.xmpp
        await until(lambda: len(xmpp.accounts.all()) == 2)


async def test_to_subscribe_begins_a_direct_chat(world: World, alice: User, bob: User) -> None:
    async with bound(world, "alice") as client:
        await client.says("<presence/>")
        await client.hears("</presence>")
        await asks_own(client, "<query xmlns='jabber:iq:roster'/>")
        await client.says("<presence type='subscribe' to='bob@hs1'/>")
        # Bob has not accepted: he is asked, and not seen.
        assert "<item jid='bob@hs1' subscription='none' ask='subscribe'/>" in await client.hears("</iq>")
        room_id = await direct_room(bob)
        assert "<item jid='bob@hs1' subscription='both'/>" in await client.hears("subscription='both'.*?</iq>")
        await client.hears("<presence [^>]*from='bob@hs1' [^>]*subscribed[^>]*/>")
        await client.says("<presence type='subscribe' to='bob@hs1'/>")
        assert "type='subscribed'" in await client.hears("<presence [^>]*subscribed[^>]*/>")
        assert ok(await alice.get(f"/user/{alice.user_id}/account_data/m.direct")) == {bob.user_id: [room_id]}


async def test_nobody_is_seen_by_whom_they_share_no_room_with(world: World, alice: User, bob: User) -> None:
    async with talker(world, "bob"):
        ok(await alice.put(f"/user/{alice.user_id}/account_data/m.direct", {bob.user_id: ["!nowhere:hs1"]}))
        async with talker(world, "alice") as person:
            assert (await roster(person))["bob@hs1"]["subscription"] == "none"
            await person.asks("hs1", "<ping xmlns='urn:xmpp:ping'/>")
            assert [one for one in person.received if one.name == "presence"] == []


async def test_presence_may_be_sent_to_somebody_alone(world: World, alice: User, bob: User) -> None:
    async with talker(world, "alice", resource="a") as one, talker(world, "bob", resource="b") as other:
        for to in ("bob@hs1", "bob@hs1/b"):
            one.client.send_presence(pto=to, pstatus=to)
            assert (await other.sees("alice@hs1/a"))["status"] == to
        # Nothing was between them, so there is nothing to end, and nobody hears of it.
        for kind in ("subscribed", "unsubscribe", "unsubscribed"):
            one.client.send_presence(pto="bob@hs1", ptype=kind)
        one.client.send_presence(pto="nobody@mx.hs1")
        refused = await one.gets(lambda stanza: stanza.xml.get("type") == "error")
        assert refused["error"]["condition"] == "item-not-found"
        assert [stanza.xml.get("type") for stanza in other.received] == []
        # Whoever was told that somebody is there is told that they go.
        one.client.send_presence(pto="bob@hs1", pstatus="here")
        await other.sees("alice@hs1/a")
        one.client.send_presence(ptype="unavailable")
        await other.sees("alice@hs1/a", "unavailable")


async def test_a_client_asks_whether_it_is_still_in_a_room(world: World, alice: User) -> None:
    ok(await alice.post("/createRoom", {"room_alias_name": "tea", "preset": "public_chat"}))
    async with talker(world, "alice") as person:
        ping = "<ping xmlns='urn:xmpp:ping'/>"
        with pytest.raises(IqError) as raised:
            await person.asks("tea@rooms.hs1/alice", ping)
        assert raised.value.condition == "not-acceptable"
        await person.enters("tea@rooms.hs1", "alice")
        await person.asks("tea@rooms.hs1/alice", ping)
