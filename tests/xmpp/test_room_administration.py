"""Who may do what in rooms, invites, and configuration: by XMPP and by Matrix."""

import pytest
from slixmpp.exceptions import IqError

from tests.support.talker import Talker, codes, hears, item, talker
from tests.support.world import User, World, ok, q

LOUNGE = "lounge@rooms.hs1"
ADMIN = "http://jabber.org/protocol/muc#admin"
OWNER = "http://jabber.org/protocol/muc#owner"
USER = "{http://jabber.org/protocol/muc#user}"


async def lists(person: Talker, **what: str) -> set[str]:
    """Return the addresses of those who have an affiliation or a role."""
    attributes = "".join(f" {name}='{value}'" for name, value in what.items())
    answer = await person.asks(LOUNGE, f"<query xmlns='{ADMIN}'><item{attributes}/></query>")
    return {one.get("jid") for one in answer.iter(f"{{{ADMIN}}}item")}


async def sets(person: Talker, **what: str) -> None:
    """Change an affiliation or a role."""
    attributes = "".join(f" {name}='{value}'" for name, value in what.items())
    await person.asks(LOUNGE, f"<query xmlns='{ADMIN}'><item{attributes}><reason>so</reason></item></query>", "set")


async def test_affiliations_are_power_levels_both_ways(world: World, bob: User) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        assert item(await alice.enters(LOUNGE, "alice"))["affiliation"] == "owner"
        room_id = ok(await bob.get(f"/directory/room/{q('#lounge:hs1')}"))["room_id"]
        await bob.joins(room_id)
        assert item(await alice.sees(f"{LOUNGE}/bob"))["affiliation"] == "member"
        await sets(alice, jid="bob@hs1", affiliation="admin")
        assert item(await alice.sees(f"{LOUNGE}/bob")) == {
            "affiliation": "admin", "role": "moderator", "jid": "bob@hs1",
        }  # fmt: skip
        levels = ok(await bob.get(f"/rooms/{q(room_id)}/state/m.room.power_levels/"))
        assert levels["users"]["@bob:hs1"] == 50
        assert await lists(alice, affiliation="admin") == {"bob@hs1"}
        assert await lists(alice, affiliation="owner") == {"alice@hs1"}
        assert await lists(alice, role="moderator") == {"alice@hs1", "bob@hs1"}
        await sets(alice, nick="bob", role="participant")
        assert item(await alice.sees(f"{LOUNGE}/bob"))["affiliation"] == "member"


async def test_kicks_and_bans_go_both_ways(world: World, bob: User) -> None:
    await world.user("alice")
    carol = await world.user("carol")
    room_id = await bob.creates_room(preset="public_chat", room_alias_name="lounge")
    levels = ok(await bob.get(f"/rooms/{q(room_id)}/state/m.room.power_levels/"))
    await bob.sets(room_id, "m.room.power_levels", {**levels, "users": {**levels["users"], "@alice:hs1": 60}})
    await carol.joins(room_id)
    async with talker(world, "alice") as alice, talker(world, "carol") as carol_by_xmpp:
        await alice.enters(LOUNGE, "alice")
        await carol_by_xmpp.enters(LOUNGE, "carol")
        await sets(alice, nick="carol", role="none")
        kicked = await carol_by_xmpp.sees(f"{LOUNGE}/carol", "unavailable")
        assert codes(kicked) == {307, 110}
        assert kicked.xml.findtext(f"{USER}x/{USER}item/{USER}reason") == "so"
        assert codes(await alice.sees(f"{LOUNGE}/carol", "unavailable")) == {307}
        await sets(alice, jid="carol@hs1", affiliation="outcast")
        assert await lists(alice, affiliation="outcast") == {"carol@hs1"}
        refused = await carol_by_xmpp.enters(LOUNGE, "carol")
        assert refused["error"]["condition"] == "forbidden"
        await sets(alice, jid="carol@hs1", affiliation="none")
        await carol_by_xmpp.enters(LOUNGE, "carol")
        ok(await bob.post(f"/rooms/{q(room_id)}/ban", {"user_id": "@carol:hs1"}))
        banned = await carol_by_xmpp.sees(f"{LOUNGE}/carol", "unavailable")
        assert codes(banned) == {301, 110}
        assert item(banned)["affiliation"] == "outcast"
        with pytest.raises(IqError) as forbidden:
            await sets(alice, jid="bob@hs1", affiliation="none")
        assert forbidden.value.condition == "forbidden"


async def test_invites_go_both_ways(world: World, bob: User) -> None:
    room_id = await bob.creates_room(room_alias_name="lounge", name="Lounge")
    await world.user("alice")
    carol = await world.user("carol")
    async with talker(world, "alice") as alice:
        ok(await bob.post(f"/rooms/{q(room_id)}/invite", {"user_id": "@alice:hs1", "reason": "tea"}))
        invite = await alice.gets(lambda one: one.xml.find(f"{USER}x/{USER}invite") is not None)
        assert str(invite["from"]) == LOUNGE
        asked = invite.xml.find(f"{USER}x/{USER}invite")
        assert asked is not None
        assert asked.get("from") == "bob@hs1"
        assert asked.findtext(f"{USER}reason") == "tea"
        await alice.enters(LOUNGE, "alice")

        alice.says(
            LOUNGE, "", "<x xmlns='http://jabber.org/protocol/muc#user'><invite to='carol@hs1'/></x>", type_="normal"
        )
        while room_id not in (synced := await carol.syncs(timeout=5000)).get("rooms", {}).get("invite", {}):
            pass
        assert synced
        ok(await carol.post(f"/rooms/{q(room_id)}/leave"))
        alice.says("carol@hs1", "", f"<x xmlns='jabber:x:conference' jid='{LOUNGE}'/>", type_="normal")
        while room_id not in (await carol.syncs(timeout=5000)).get("rooms", {}).get("invite", {}):
            pass


async def test_an_invite_that_is_declined_is_gone(world: World, bob: User) -> None:
    room_id = await bob.creates_room(room_alias_name="lounge")
    await world.user("alice")
    ok(await bob.post(f"/rooms/{q(room_id)}/invite", {"user_id": "@alice:hs1"}))
    async with talker(world, "alice") as alice:
        await alice.gets(lambda one: one.xml.find(f"{USER}x/{USER}invite") is not None)
        await bob.syncs()
        decline = "<x xmlns='http://jabber.org/protocol/muc#user'><decline to='bob@hs1'/></x>"
        alice.says(LOUNGE, "", decline, type_="normal")
        while not any(
            event["type"] == "m.room.member" and event["content"]["membership"] == "leave"
            for event in (await bob.syncs(timeout=5000))
            .get("rooms", {})
            .get("join", {})
            .get(room_id, {})
            .get("timeline", {})
            .get("events", [])
        ):
            pass  # fmt: skip


async def test_a_new_room_takes_the_form_that_monal_sends(world: World, bob: User) -> None:
    await world.user("alice")
    values = {
        "FORM_TYPE": "http://jabber.org/protocol/muc#roomconfig", "muc#roomconfig_persistentroom": "1",
        "muc#roomconfig_membersonly": "1", "muc#roomconfig_whois": "anyone", "muc#roomconfig_roomname": "Friends",
        "muc#roomconfig_allowinvites": "1", "muc#roomconfig_changesubject": "1",
    }  # fmt: skip
    fields = "".join(f"<field var='{name}'><value>{value}</value></field>" for name, value in values.items())
    form = f"<query xmlns='{OWNER}'><x xmlns='jabber:x:data' type='submit'>{fields}</x></query>"
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        await alice.asks(LOUNGE, form, "set")
        shown = await alice.asks(LOUNGE, f"<query xmlns='{OWNER}'/>")
        told = {
            field.get("var"): field.findtext("{jabber:x:data}value") for field in shown.iter("{jabber:x:data}field")
        }
        assert values.items() <= told.items()
        info = await alice.client.plugin["xep_0030"].get_info(LOUNGE)
        assert "muc_membersonly" in info["disco_info"]["features"]
        assert (await bob.post(f"/join/{q('#lounge:hs1')}"))[0] == 403
        await sets(alice, jid="bob@hs1", affiliation="member")
        room_id = ok(await bob.post(f"/join/{q('#lounge:hs1')}"))["room_id"]
        state = ok(await bob.get(f"/rooms/{q(room_id)}/state/m.room.name/"))
        assert state == {"name": "Friends"}
        with pytest.raises(IqError) as refused:
            await alice.asks(LOUNGE, form.replace("whois'><value>anyone", "whois'><value>moderators"), "set")
        assert refused.value.condition == "not-acceptable"


async def test_a_moderator_takes_messages_away_by_xmpp(world: World, bob: User) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await alice.enters(LOUNGE, "alice")
        room_id = ok(await bob.post(f"/join/{q('#lounge:hs1')}"))["room_id"]
        event_id = await bob.says(room_id, "rude")
        await alice.hears("rude", type_="groupchat")
        moderation = (
            f"<moderate xmlns='urn:xmpp:message-moderate:1' id='{event_id}'>"
            "<retract xmlns='urn:xmpp:message-retract:1'/><reason>be nice</reason></moderate>"
        )
        await alice.asks(LOUNGE, moderation, "set")
        told = await alice.gets(lambda one: one.xml.find("{urn:xmpp:message-retract:1}retract") is not None)
        assert str(told["from"]) == LOUNGE
        assert ok(await bob.get(f"/rooms/{q(room_id)}/event/{q(event_id)}"))["content"] == {}
        alice.says(LOUNGE, "still here", type_="groupchat")
        await bob.syncs()


async def test_who_may_not_speak_is_told_so(world: World, bob: User) -> None:
    room_id = await bob.creates_room(
        preset="public_chat", room_alias_name="lounge", power_level_content_override={"events_default": 50}
    )
    await world.user("alice")
    async with talker(world, "alice") as alice:
        assert item(await alice.enters(LOUNGE, "alice"))["role"] == "visitor"
        alice.says(LOUNGE, "may I?", type_="groupchat")
        refused = await alice.gets(lambda one: one.name == "message" and one["type"] == "error")
        assert refused["error"]["condition"] == "forbidden"
        levels = ok(await bob.get(f"/rooms/{q(room_id)}/state/m.room.power_levels/"))
        await bob.sets(room_id, "m.room.power_levels", {**levels, "events_default": 0})
        assert item(await alice.sees(f"{LOUNGE}/alice"))["role"] == "participant"
        await bob.syncs()
        alice.says(LOUNGE, "thank you", type_="groupchat")
        assert (await hears(bob, room_id))["content"]["body"] == "thank you"
