"""Files sent by XMPP and by Matrix (XEP-0363, XEP-0066)."""

from typing import Any

import pytest
from slixmpp.exceptions import IqError

from tests.support.talker import Talker, direct_room, hears, talker
from tests.support.world import User, World, ok

UPLOAD = "urn:xmpp:http:upload:0"
PICTURE = b"\x89PNG\r\n\x1a\n and so on"


async def slot(person: Talker, name: str, size: int | str, content_type: str = "image/png") -> tuple[str, str]:
    """Ask for a slot; return the URLs to put and to get."""
    asked = f"<request xmlns='{UPLOAD}' filename='{name}' size='{size}' content-type='{content_type}'/>"
    answer = await person.asks("upload.hs1", asked)
    return tuple(answer.find(f"{{{UPLOAD}}}slot/{{{UPLOAD}}}{kind}").get("url") for kind in ("put", "get"))  # type: ignore[return-value]


async def put(world: World, url: str, content: bytes) -> tuple[int, Any]:
    """Send a file to a slot."""
    return await world.request("PUT", url.removeprefix("https://hs1"), raw=content)


async def test_a_picture_by_xmpp_is_a_picture_in_matrix(world: World, bob: User) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        put_url, get_url = await slot(alice, "my cat.png", len(PICTURE))
        assert (await put(world, put_url, PICTURE))[0] == 201
        await bob.syncs()
        alice.says("bob@hs1", get_url, f"<x xmlns='jabber:x:oob'><url>{get_url}</url></x>")
        room_id = await direct_room(bob)
        content = (await hears(bob, room_id))["content"]
        assert (content["msgtype"], content["body"]) == ("m.image", "my cat.png")
        assert content["info"] == {"mimetype": "image/png", "size": len(PICTURE)}
        path = f"/_matrix/client/v1/media/download/{content['url'].removeprefix('mxc://')}"
        assert ok(await bob.get(path)) == PICTURE


async def test_a_picture_by_matrix_is_a_link_in_xmpp(world: World, bob: User) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        await bob.syncs()
        alice.says("bob@hs1", "hello")
        room_id = await direct_room(bob)
        uploaded = await world.request(
            "POST", "/_matrix/media/v3/upload", token=bob.token, raw=PICTURE, headers={"Content-Type": "image/png"}
        )
        mxc = ok(uploaded)["content_uri"]
        await bob.sends(room_id, "m.room.message", {"msgtype": "m.image", "body": "dog.png", "url": mxc})
        told = await alice.gets(lambda one: one.xml.find("{jabber:x:oob}x") is not None)
        assert told["body"] == told.xml.findtext("{jabber:x:oob}x/{jabber:x:oob}url")
        path = told["body"].removeprefix("https://hs1")
        assert await world.request("GET", path) == (200, PICTURE)
        assert (await world.request("GET", path.replace("/dog.png", "x/dog.png")))[0] == 404


async def test_a_slot_takes_what_it_is_for_and_nothing_else(world: World) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        url, _ = await slot(alice, "a.png", len(PICTURE))
        assert (await put(world, url, PICTURE + b"more"))[0] == 413
        assert (await put(world, url.replace(f"/{len(PICTURE)}/", "/9999/"), PICTURE))[0] == 403
        assert (await put(world, url, PICTURE))[0] == 201
        assert (await put(world, url, PICTURE))[0] == 409
        for size, condition in ((10**12, "not-acceptable"), ("0" * 20 + "1" * 5000, "bad-request"), (0, "bad-request")):
            with pytest.raises(IqError) as refused:
                await slot(alice, "large.bin", size)
            assert refused.value.condition == condition


async def test_the_service_says_how_large_a_file_may_be(world: World) -> None:
    await world.user("alice")
    async with talker(world, "alice") as alice:
        answer = await alice.asks("upload.hs1", "<query xmlns='http://jabber.org/protocol/disco#info'/>")
        fields = {
            field.get("var"): field.findtext("{jabber:x:data}value") for field in answer.iter("{jabber:x:data}field")
        }
        assert fields == {"FORM_TYPE": UPLOAD, "max-file-size": "104857600"}
