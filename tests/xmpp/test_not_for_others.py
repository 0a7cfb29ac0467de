"""What somebody must not see, or not be taken for: strangers, who is ignored, who was banned, who has left."""

from typing import Any

import pytest
from slixmpp.exceptions import IqError

from homeserver.model.events import Event
from homeserver.storage import chat_archive
from homeserver.xmpp import occupants, past, translate
from homeserver.xmpp.hub import Hub
from homeserver.xmpp.occupancy import Occupancies
from homeserver.xmpp.surroundings import Around
from tests.support.talker import talker
from tests.support.world import User, World, ok, q
from tests.xmpp.test_archive import RSM, bodies, page
from tests.xmpp.test_avatars import pair

pytestmark = pytest.mark.asyncio(loop_scope="module")
PUBSUB = "http://jabber.org/protocol/pubsub"
INFO = "http://jabber.org/protocol/disco#info"
MUC = "http://jabber.org/protocol/muc"


def publishes(node: str) -> str:
    """Return what publishes something for contacts, as it is unless one says otherwise."""
    item = "<item id='current'><where xmlns='urn:test'>here</where></item>"
    return f"<pubsub xmlns='{PUBSUB}'><publish node='{node}'>{item}</publish></pubsub>"


def reads(node: str) -> str:
    """Return what asks for it."""
    return f"<pubsub xmlns='{PUBSUB}'><items node='{node}'/></pubsub>"


async def test_whoever_calls_somebody_a_contact_does_not_get_what_is_for_contacts(shared_world: World) -> None:
    await pair(shared_world, "penny", "friend")
    penny, snoop = await shared_world.user("penny2"), await shared_world.user("snoop")
    room_id = await penny.creates_room(preset="public_chat")
    await snoop.joins(room_id)
    ok(await snoop.put(f"/user/{snoop.user_id}/account_data/m.direct", {penny.user_id: [room_id]}))
    node = "urn:test:where"
    async with talker(shared_world, "penny") as one, talker(shared_world, "penny2") as two:
        for publisher in (one, two):
            await publisher.asks(None, publishes(node), "set")
        async with talker(shared_world, "friend") as friend, talker(shared_world, "snoop", wants=(node,)) as stranger:
            found = await friend.asks("penny@hs1", reads(node))
            assert found.find(".//{urn:test}where") is not None
            with pytest.raises(IqError) as refused:
                await stranger.asks("penny2@hs1", reads(node))
            assert refused.value.condition == "not-authorized"
            await stranger.asks(None, "<ping xmlns='urn:xmpp:ping'/>")
            assert not [one for one in stranger.received if one.xml.find(".//{urn:test}where") is not None]


async def test_what_a_private_room_is_now_nobody_is_told_whom_it_has_banned(shared_world: World) -> None:
    owner, banned = await shared_world.user("warden"), await shared_world.user("banned")
    room_id = await owner.creates_room(banned, room_alias_name="cell", name="Before")
    await banned.joins(room_id)
    address = "cell@rooms.hs1"
    async with talker(shared_world, "banned") as person:
        await person.asks(address, f"<query xmlns='{INFO}'/>")
        ok(await owner.post(f"/rooms/{q(room_id)}/ban", {"user_id": banned.user_id}))
        await owner.sets(room_id, "m.room.name", {"name": "After"})
        with pytest.raises(IqError) as refused:
            await person.asks(address, f"<query xmlns='{INFO}'/>")
        assert refused.value.condition == "item-not-found"


async def test_where_a_private_room_goes_on_is_told_to_its_members_only(shared_world: World) -> None:
    owner, _ = await shared_world.user("mover"), await shared_world.user("curious")
    room_id = await owner.creates_room(room_alias_name="moving")
    ok(await owner.post(f"/rooms/{q(room_id)}/upgrade", {"new_version": "11"}))
    address = _address(shared_world, room_id)
    async with talker(shared_world, "mover") as member, talker(shared_world, "curious") as stranger:
        assert (await member.enters(address, "mover"))["error"]["condition"] == "gone"
        assert (await stranger.enters(address, "curious"))["error"]["condition"] == "registration-required"


def _address(world: World, room_id: str) -> str:
    """Return the JID of a room by its ID."""
    assert world.app.xmpp is not None
    return str(world.app.xmpp.addresses.of_room(room_id))  # type: ignore[arg-type]


async def test_a_third_person_in_a_chat_of_two_is_not_taken_for_the_second(shared_world: World) -> None:
    one, other = await pair(shared_world, "first", "second")
    third = await shared_world.user("third")
    (room_id,) = ok(await one.get(f"/user/{one.user_id}/account_data/m.direct"))[other.user_id]
    ok(await one.post(f"/rooms/{q(room_id)}/invite", {"user_id": third.user_id}))
    await third.joins(room_id)
    await third.says(room_id, "I am somebody else")
    ok(await third.post(f"/rooms/{q(room_id)}/leave"))
    async with talker(shared_world, "first") as person:
        ((_, message),) = (await page(person, None))[0]
        assert message.get("from") == "third@hs1"


async def test_who_has_left_is_not_taken_for_who_is_there(shared_world: World) -> None:
    owner, gone, there = [await shared_world.user(name) for name in ("host", "carl", "zoe")]
    room_id = await owner.creates_room(preset="public_chat", room_alias_name="names")
    await gone.joins(room_id)
    await gone.says(room_id, "I was here")
    ok(await gone.post(f"/rooms/{q(room_id)}/leave"))
    ok(await there.put(f"/profile/{q(there.user_id)}/displayname", {"displayname": "carl"}))
    await there.joins(room_id)
    await shared_world.user("reader")
    async with talker(shared_world, "reader") as reader:
        await reader.enters("names@rooms.hs1", "reader", history=5)
        said = await reader.hears("I was here", type_="groupchat")
        assert said["from"].resource == gone.user_id
        found, _ = await page(reader, "names@rooms.hs1")
        assert found[0][1].get("from") == f"names@rooms.hs1/{gone.user_id}"
        for whose, number in (("carl@hs1", 1), ("zoe@hs1", 0), ("nobody@hs1", 0), ("names@rooms.hs1/carl", 0)):
            assert len((await page(reader, "names@rooms.hs1", **{"with": whose}))[0]) == number
        item = found[0][1].find(f"{{{MUC}#user}}x/{{{MUC}#user}}item")
        assert item.get("jid") == "carl@hs1"


async def test_a_new_nick_keeps_the_picture(shared_world: World) -> None:
    vain = await shared_world.user("vain")
    ok(await vain.put(f"/profile/{q(vain.user_id)}/avatar_url", {"avatar_url": "mxc://hs1/face"}))
    room_id = await vain.creates_room(preset="public_chat", room_alias_name="mirror")
    async with talker(shared_world, "vain") as person:
        await person.enters("mirror@rooms.hs1", "vain")
        person.client.send_presence(pto="mirror@rooms.hs1/fair")
        await person.sees("mirror@rooms.hs1/fair")
    member = ok(await vain.get(f"/rooms/{q(room_id)}/state/m.room.member/{q(vain.user_id)}"))
    assert (member["displayname"], member["avatar_url"]) == ("fair", "mxc://hs1/face")


async def test_a_small_page_is_found_at_once_where_much_is_hidden(
    shared_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, late = await shared_world.user("early"), await shared_world.user("late")
    state = [{"type": "m.room.history_visibility", "content": {"history_visibility": "joined"}}]
    room_id = await owner.creates_room(preset="public_chat", room_alias_name="veiled", initial_state=state)
    for number in range(12):
        hidden = await owner.says(room_id, f"hidden {number}")
    await late.joins(room_id)
    # What it answers is not told by way of the answer.
    await owner.says(room_id, "shown", **{"m.relates_to": {"m.in_reply_to": {"event_id": hidden}}})
    monkeypatch.setattr(past, "BATCH", 10)
    looks = []
    look = chat_archive.page

    def counts(*arguments: Any, **named: Any) -> Any:
        looks.append(named["limit"])
        return look(*arguments, **named)

    monkeypatch.setattr(chat_archive, "page", counts)
    async with talker(shared_world, "late") as person:
        found, fin = await page(person, "veiled@rooms.hs1", "<max>1</max>")
        assert bodies(found) == ["shown"]
        assert fin.get("complete") == "true"
        assert looks == [2, 10, 10]
        # Where too much is hidden for one page, it is told from where to look on.
        monkeypatch.setattr(past, "MOST_LOOKED_AT", 5)
        found, fin = await page(person, "veiled@rooms.hs1", "<max>1</max>")
        assert (found, fin.get("complete")) == ([], None)
        found, fin = await page(person, "veiled@rooms.hs1", f"<max>1</max><after>{fin.findtext(f'{RSM}last')}</after>")
        assert bodies(found) == ["shown"]


async def test_an_event_that_cannot_be_told_keeps_no_other_from_being_told(
    shared_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, _ = await shared_world.user("speaker"), await shared_world.user("listener")
    room_id = await owner.creates_room(preset="public_chat", room_alias_name="poisoned")
    show = Hub.message

    def fails(hub: Hub, event: Event, around: Around) -> Any:
        if event.content.get("body") == "poison":
            raise RuntimeError
        return show(hub, event, around)

    monkeypatch.setattr(Hub, "message", fails)
    async with talker(shared_world, "listener") as person:
        await person.enters("poisoned@rooms.hs1", "listener")
        assert shared_world.app.xmpp is not None
        hub = shared_world.app.xmpp.accounts.kept(Occupancies)._hubs["poisoned"]
        # So that both are told at once.
        async with hub.lock:
            for body in ("poison", "antidote"):
                await owner.says(room_id, body)
        await owner.says(room_id, "and on")
        await person.hears("and on", type_="groupchat")
        assert [one["body"] for one in person.received if one["type"] == "groupchat" and one["body"]] == ["antidote"]


async def test_large_events_come_in_small_pages(shared_world: World) -> None:
    owner, _ = await shared_world.user("verbose"), await shared_world.user("brief")
    room_id = await owner.creates_room(preset="public_chat", room_alias_name="verbose")
    for number in range(24):
        await owner.says(room_id, f"{number} " + "<" * 50_000)
    async with talker(shared_world, "brief") as person:
        await person.enters("verbose@rooms.hs1", "brief", history=24)
        await person.gets(lambda one: one["body"].startswith("23 "))
        assert 5 < len([one for one in person.received if "<<" in one["body"]]) < 20
        seen, edge = [], "<before/>"
        while True:
            found, fin = await page(person, "verbose@rooms.hs1", f"<max>100</max>{edge}")
            seen[:0] = [int(body.partition(" ")[0]) for body in bodies(found)]
            if fin.get("complete") == "true":
                break
            edge = f"<before>{fin.findtext(f'{RSM}first')}</before>"
        assert seen == list(range(24))


async def test_a_history_with_an_event_that_cannot_be_shown_is_read_all_the_same(
    shared_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, _ = await shared_world.user("writer"), await shared_world.user("latecomer")
    room_id = await owner.creates_room(preset="public_chat", room_alias_name="poisoned2")
    for body in ("before", "poison", "after"):
        await owner.says(room_id, body)
    payload = translate.payload

    def fails(kind: str, content: Any, shown: Any) -> Any:
        if content.get("body") == "poison":
            raise RuntimeError
        return payload(kind, content, shown)

    monkeypatch.setattr(translate, "payload", fails)
    async with talker(shared_world, "latecomer") as person:
        await person.enters("poisoned2@rooms.hs1", "latecomer", history=5)
        await person.hears("after", type_="groupchat")
        found, _ = await page(person, "poisoned2@rooms.hs1")
        assert bodies(found) == ["before", "after"]


async def test_of_a_large_room_not_everybody_is_shown_whose_standing_changes(
    shared_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(occupants, "MOST_SHOWN", 1)
    monkeypatch.setattr(occupants, "LATELY", 0)
    owner = await shared_world.user("leader")
    quiet: User = await shared_world.user("quiet")
    trusted: User = await shared_world.user("trusted")
    room_id = await owner.creates_room(preset="public_chat", room_alias_name="crowd")
    for member in (quiet, trusted):
        await member.joins(room_id)
    await shared_world.user("watcher")
    async with talker(shared_world, "watcher") as person:
        await person.enters("crowd@rooms.hs1", "watcher")
        levels = ok(await owner.get(f"/rooms/{q(room_id)}/state/m.room.power_levels"))
        users = {**levels.get("users", {}), trusted.user_id: 50}
        await owner.sets(room_id, "m.room.power_levels", {**levels, "users": users, "events_default": 10})
        await person.sees("crowd@rooms.hs1/trusted")
        await owner.says(room_id, "that was it")
        await person.hears("that was it", type_="groupchat")
        assert f"crowd@rooms.hs1/{quiet.user_id[1:].partition(':')[0]}" not in {
            str(one["from"]) for one in person.received
        }
