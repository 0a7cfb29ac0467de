"""Pictures of people and of rooms: published by XMPP and seen in Matrix, and the other way round.

XEP-0084, XEP-0153, XEP-0398, XEP-0486 and the pictures of XEP-0054.
"""

import base64
import hashlib
from typing import Any

import pytest
from slixmpp.exceptions import IqError
from slixmpp.xmlstream import ET, StanzaBase

from tests.support.media import encoded, picture, png_that_claims, uploads
from tests.support.talker import Talker, codes, talker
from tests.support.waiting import asking
from tests.support.world import User, World, ok, q

pytestmark = pytest.mark.asyncio(loop_scope="module")

PUBSUB = "{http://jabber.org/protocol/pubsub}"
EVENT = "{http://jabber.org/protocol/pubsub#event}"
DATA, METADATA = "urn:xmpp:avatar:data", "urn:xmpp:avatar:metadata"
UPDATE = "{vcard-temp:x:update}"
CARD = "{vcard-temp}"
SMALL = encoded(picture(64, 64))
OTHER = encoded(picture(48, 48))
LARGE = encoded(picture(2000, 1500), "JPEG", quality=95) + bytes(70_000)


def sha1(data: bytes) -> str:
    """Return what XMPP clients know a picture by."""
    return hashlib.sha1(data, usedforsecurity=False).hexdigest()


async def pair(world: World, one: str, other: str) -> tuple[User, User]:
    """Register two users who have a direct chat."""
    first, second = await world.user(one), await world.user(other)
    room_id = await first.creates_room(second, is_direct=True, preset="trusted_private_chat")
    await second.joins(room_id)
    for here, there in ((first, second), (second, first)):
        ok(await here.put(f"/user/{here.user_id}/account_data/m.direct", {there.user_id: [room_id]}))
    return first, second


async def avatar_of(user: User) -> Any:
    """Return the content URI that Matrix clients see."""
    return ok(await user.get(f"/profile/{q(user.user_id)}")).get("avatar_url")


async def download(user: User, uri: str) -> bytes:
    """Return the file at a content URI, as Matrix clients get it."""
    path = f"/_matrix/client/v1/media/download/{uri.removeprefix('mxc://')}"
    async with user.world.http.get(user.world.base + path, headers={"Authorization": f"Bearer {user.token}"}) as got:
        assert got.status == 200
        return bytes(await got.read())


async def shows(user: User, data: bytes) -> str:
    """Let a Matrix user have a picture; return its content URI."""
    uri = f"mxc://hs1/{await uploads(user, data)}"
    ok(await user.put(f"/profile/{q(user.user_id)}/avatar_url", {"avatar_url": uri}))
    return uri


async def puts(person: Talker, node: str, item: str, payload: str) -> None:
    """Publish an item."""
    publish = f"<publish node='{node}'><item id='{item}'>{payload}</item></publish>"
    await person.asks(None, f"<pubsub xmlns='http://jabber.org/protocol/pubsub'>{publish}</pubsub>", "set")


async def publishes(person: Talker, data: bytes, kind: str = "image/png") -> None:
    """Publish a picture as XEP-0084 says."""
    name = sha1(data)
    await puts(person, DATA, name, f"<data xmlns='{DATA}'>{base64.b64encode(data).decode()}</data>")
    info = f"<info id='{name}' bytes='{len(data)}' type='{kind}' width='1' height='1'/>"
    await puts(person, METADATA, name, f"<metadata xmlns='{METADATA}'>{info}</metadata>")


async def gets(person: Talker, owner: str | None, node: str) -> Any:
    """Return the only item of a node, None if there is none."""
    payload = f"<pubsub xmlns='http://jabber.org/protocol/pubsub'><items node='{node}'/></pubsub>"
    return (await person.asks(owner, payload)).find(f".//{PUBSUB}item")


def told_of(stanza: StanzaBase) -> Any:
    """Return the item of an event about metadata."""
    items = stanza.xml.find(f"{EVENT}event/{EVENT}items")
    return items.find(f"{EVENT}item") if items is not None and items.get("node") == METADATA else None


def photo(stanza: StanzaBase) -> str | None:
    """Return the hash in presence: None if it says nothing of pictures, nothing if there is none."""
    found = stanza.xml.find(f"{UPDATE}x/{UPDATE}photo")
    return None if found is None else found.text or ""


async def test_a_picture_that_is_published_is_that_of_the_profile(shared_world: World) -> None:
    anna, ben = await pair(shared_world, "anna", "ben")
    room_id = await anna.creates_room()
    async with (
        talker(shared_world, "anna") as phone,
        talker(shared_world, "anna", resource="laptop", wants=(METADATA,)) as laptop,
        talker(shared_world, "ben", wants=(METADATA,)) as other,
    ):
        await publishes(phone, SMALL)
        uri = await avatar_of(anna)
        assert await download(ben, uri) == SMALL
        member = ok(await anna.get(f"/rooms/{q(room_id)}/state/m.room.member/{q(anna.user_id)}"))
        assert member["avatar_url"] == uri
        for person in (laptop, other):
            item = told_of(await person.gets(lambda one: told_of(one) is not None))
            assert item.get("id") == sha1(SMALL)
            info = item.find(f"{{{METADATA}}}metadata/{{{METADATA}}}info")
            assert dict(info.attrib) == {
                "id": sha1(SMALL), "bytes": str(len(SMALL)), "type": "image/png", "width": "64", "height": "64",
            }  # fmt: skip
            assert base64.b64decode((await gets(person, "anna@hs1", DATA)).findtext(f"{{{DATA}}}data")) == SMALL
        await other.gets(lambda one: one.name == "presence" and photo(one) == sha1(SMALL))
        card = (await other.asks("anna@hs1", "<vCard xmlns='vcard-temp'/>"))[0]
        assert base64.b64decode(card.findtext(f"{CARD}PHOTO/{CARD}BINVAL")) == SMALL

        await puts(phone, METADATA, "none", f"<metadata xmlns='{METADATA}'/>")
        assert await avatar_of(anna) is None
        item = told_of(await other.gets(lambda one: told_of(one) is not None))
        assert item.find(f"{{{METADATA}}}metadata/{{{METADATA}}}info") is None
        await other.gets(lambda one: one.name == "presence" and photo(one) == "")
        assert await gets(other, "anna@hs1", METADATA) is None


async def test_a_picture_of_the_profile_is_told_to_xmpp_clients(shared_world: World) -> None:
    cleo, _ = await pair(shared_world, "cleo", "dora")
    async with talker(shared_world, "cleo") as own, talker(shared_world, "dora", wants=(METADATA,)) as other:
        await other.gets(lambda one: one.name == "presence" and photo(one) == "" and one["from"].bare == "cleo@hs1")
        await shows(cleo, SMALL)
        assert told_of(await other.gets(lambda one: told_of(one) is not None)).get("id") == sha1(SMALL)
        for person in (own, other):
            seen = await person.gets(lambda one: one.name == "presence" and photo(one) == sha1(SMALL))
            assert seen["from"].bare == "cleo@hs1"
        assert (await gets(own, None, METADATA)).get("id") == sha1(SMALL)
        owner = "http://jabber.org/protocol/pubsub#owner"
        await own.asks(None, f"<pubsub xmlns='{owner}'><delete node='{METADATA}'/></pubsub>", "set")
        assert await avatar_of(cleo) is None
        await other.gets(lambda one: one.name == "presence" and photo(one) == "")
        await shows(cleo, SMALL)
    async with talker(shared_world, "dora", wants=(METADATA,)) as other:
        assert told_of(await other.gets(lambda one: told_of(one) is not None)).get("id") == sha1(SMALL)


async def test_who_is_there_by_matrix_is_shown_with_their_picture(shared_world: World) -> None:
    emil, _ = await pair(shared_world, "emil", "fay")
    await shows(emil, SMALL)
    async with talker(shared_world, "fay") as fay:
        await emil.syncs()
        await fay.gets(lambda one: one.name == "presence" and one["from"].full == "emil@hs1/matrix" and photo(one))
        await shows(emil, OTHER)
        await fay.gets(lambda one: one.name == "presence" and photo(one) == sha1(OTHER))


async def test_of_a_large_picture_a_small_one_is_shown(shared_world: World) -> None:
    gina = await shared_world.user("gina")
    uri = await shows(gina, LARGE)
    async with talker(shared_world, "gina") as own:
        item = await gets(own, None, METADATA)
        info = item.find(f"{{{METADATA}}}metadata/{{{METADATA}}}info").attrib
        assert int(info["bytes"]) <= 64 * 1024
        assert (info["type"], info["width"], info["height"]) == ("image/jpeg", "320", "320")
        card = (await own.asks(None, "<vCard xmlns='vcard-temp'/>"))[0]
        small = base64.b64decode(card.findtext(f"{CARD}PHOTO/{CARD}BINVAL"))
        assert sha1(small) == info["id"] == item.get("id")
        # Whoever gives back what they were given changes nothing.
        again = f"<PHOTO><BINVAL>{base64.encodebytes(small).decode()}</BINVAL></PHOTO>"
        await own.asks(None, f"<vCard xmlns='vcard-temp'>{again}</vCard>", "set")
        await puts(own, METADATA, sha1(small), f"<metadata xmlns='{METADATA}'><info id='{sha1(small)}'/></metadata>")
        assert await avatar_of(gina) == uri


@pytest.mark.parametrize(
    ("name", "data", "condition"),
    [
        (sha1(b"<svg/>"), b"<svg/>", "not-acceptable"),
        ("0" * 40, SMALL, "bad-request"),
        (sha1(SMALL[:-40]), SMALL[:-40], "not-acceptable"),
        (sha1(png_that_claims(60_000, 60_000)), png_that_claims(60_000, 60_000), "not-acceptable"),
        (sha1(b""), b"", "not-acceptable"),
    ],
    ids=["no picture", "another hash", "cut off", "a bomb", "empty"],
)
async def test_what_is_no_picture_is_refused(shared_world: World, name: str, data: bytes, condition: str) -> None:
    user = await shared_world.user(f"h{name}")
    async with talker(shared_world, f"h{name}") as own:
        text = base64.b64encode(data).decode()
        with pytest.raises(IqError) as raised:
            await puts(own, DATA, name, f"<data xmlns='{DATA}'>{text}</data>")
        assert raised.value.condition == condition
        with pytest.raises(IqError) as raised:
            await puts(own, METADATA, name, f"<metadata xmlns='{METADATA}'><info id='{name}'/></metadata>")
        assert raised.value.condition == "item-not-found"
        assert await avatar_of(user) is None


async def test_wrong_requests_are_refused(shared_world: World) -> None:
    await shared_world.user("ines")
    async with talker(shared_world, "ines") as own:
        for node, payload in (
            (DATA, f"<data xmlns='{DATA}'>not base64!</data>"),
            (DATA, "<x xmlns='urn:example'/>"),
            (METADATA, "<x xmlns='urn:example'/>"),
        ):
            with pytest.raises(IqError) as raised:
                await puts(own, node, "current", payload)
            assert raised.value.condition == "bad-request"
        with pytest.raises(IqError) as raised:
            await gets(own, "nobody@hs1", METADATA)
        assert raised.value.condition == "item-not-found"
        with pytest.raises(IqError) as raised:
            await own.asks(None, "<vCard xmlns='vcard-temp'><PHOTO><EXTVAL>http://x</EXTVAL></PHOTO></vCard>", "set")
        assert raised.value.condition == "not-acceptable"


async def test_a_client_that_says_that_it_shows_no_picture_is_left_alone(shared_world: World) -> None:
    jane, _ = await pair(shared_world, "jane", "kim")
    await shows(jane, SMALL)
    async with talker(shared_world, "kim") as kim, talker(shared_world, "jane") as own:
        await kim.gets(lambda one: one.name == "presence" and photo(one) == sha1(SMALL))
        presence = own.client.make_presence()
        presence.append(_xml("<x xmlns='vcard-temp:x:update'><photo/></x>"))
        presence.send()
        await kim.gets(lambda one: one.name == "presence" and photo(one) == "")
        for said in ("", "<photo>0000</photo>"):
            presence = own.client.make_presence(pto="kim@hs1" if said else None)
            presence.append(_xml(f"<x xmlns='vcard-temp:x:update'>{said}</x>"))
            presence.send()
            await kim.gets(lambda one: one.name == "presence" and photo(one) == sha1(SMALL))


async def test_occupants_of_a_room_have_their_pictures(shared_world: World) -> None:
    leo = await shared_world.user("leo")
    await shared_world.user("mia")
    await shows(leo, SMALL)
    await leo.creates_room(preset="public_chat", room_alias_name="gallery")
    room = "gallery@rooms.hs1"
    async with talker(shared_world, "mia") as mia:
        await mia.enters(room, "mia")
        await mia.gets(lambda one: one.name == "presence" and str(one["from"]) == f"{room}/leo" and photo(one))
        card = (await mia.asks(f"{room}/leo", "<vCard xmlns='vcard-temp'/>"))[0]
        assert base64.b64decode(card.findtext(f"{CARD}PHOTO/{CARD}BINVAL")) == SMALL
        await shows(leo, OTHER)
        await mia.gets(lambda one: one.name == "presence" and photo(one) == sha1(OTHER))
        await publishes(mia, SMALL)
        own = await mia.gets(lambda one: one["from"].full == f"{room}/mia" and photo(one) == sha1(SMALL))
        assert 110 in codes(own)
        ok(await leo.put(f"/profile/{q(leo.user_id)}/avatar_url", {"avatar_url": ""}))
        await mia.gets(lambda one: one["from"].full == f"{room}/leo" and photo(one) == "")
        with pytest.raises(IqError) as raised:
            await mia.asks(f"{room}/nobody", "<vCard xmlns='vcard-temp'/>")
        assert raised.value.condition == "item-not-found"


async def test_a_room_has_a_picture_both_ways(shared_world: World) -> None:
    nora, olaf = await shared_world.user("nora"), await shared_world.user("olaf")
    room = "parlour@rooms.hs1"

    async def advertised(person: Talker) -> str | None:
        answer = await person.asks(room, "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        found = answer.find(".//{jabber:x:data}field[@var='muc#roominfo_avatarhash']/{jabber:x:data}value")
        return None if found is None else str(found.text)

    async def sets(person: Talker, data: bytes | None) -> None:
        binval = f"<PHOTO><BINVAL>{base64.b64encode(data).decode()}</BINVAL></PHOTO>" if data is not None else ""
        await person.asks(room, f"<vCard xmlns='vcard-temp'>{binval}</vCard>", "set")

    room_id = await olaf.creates_room(preset="public_chat", room_alias_name="parlour", name="The parlour")
    async with talker(shared_world, "nora") as guest, talker(shared_world, "olaf") as owner:
        await guest.enters(room, "nora")
        await owner.enters(room, "olaf")
        assert await advertised(guest) is None
        await sets(owner, SMALL)
        content = ok(await nora.get(f"/rooms/{q(room_id)}/state/m.room.avatar/"))
        assert await download(nora, content["url"]) == SMALL
        assert content["info"] == {"mimetype": "image/png", "size": len(SMALL), "w": 64, "h": 64}
        await guest.gets(lambda one: one.name == "message" and 104 in codes(one))
        seen = await guest.gets(lambda one: one.name == "presence" and str(one["from"]) == room)
        assert photo(seen) == sha1(SMALL) == await advertised(guest)
        with pytest.raises(IqError) as raised:
            await sets(guest, OTHER)
        assert raised.value.condition == "forbidden"

        uri = f"mxc://hs1/{await uploads(olaf, OTHER)}"
        await olaf.sets(room_id, "m.room.avatar", {"url": uri})
        await guest.gets(lambda one: one.name == "presence" and str(one["from"]) == room and photo(one) == sha1(OTHER))
        card = (await guest.asks(room, "<vCard xmlns='vcard-temp'/>"))[0]
        assert base64.b64decode(card.findtext(f"{CARD}PHOTO/{CARD}BINVAL")) == OTHER
        assert (card.findtext(f"{CARD}FN"), card.find(f"{CARD}NICKNAME")) == ("The parlour", None)
        guest.leaves(room, "nora")
        await guest.enters(room, "nora")
        await guest.gets(lambda one: one.name == "presence" and str(one["from"]) == room and photo(one) == sha1(OTHER))

        await sets(owner, None)
        assert ok(await nora.get(f"/rooms/{q(room_id)}/state/m.room.avatar/")) == {}
        await guest.gets(lambda one: one.name == "presence" and str(one["from"]) == room and photo(one) == "")
        assert await asking(lambda: advertised(guest), lambda found: found is None) is None


def _xml(text: str) -> Any:
    """Return an element to send."""
    return ET.fromstring(text)
