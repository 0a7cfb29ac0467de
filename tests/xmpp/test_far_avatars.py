"""Pictures of users of other Matrix servers: fetched from there, and shown as those of anybody."""

import base64
from pathlib import Path

import pytest

from tests.federation.across import joins
from tests.support.certificates import Authority
from tests.support.media import encoded, picture
from tests.support.pair import federating
from tests.support.talker import talker
from tests.support.waiting import asking
from tests.support.world import User, ok, q
from tests.xmpp.test_avatars import CARD, DATA, METADATA, gets, photo, sha1, told_of

SMALL, OTHER = encoded(picture(64, 64)), encoded(picture(48, 48))


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Whom both servers trust."""
    return Authority.make(tmp_path_factory.mktemp("authority"))


async def shows(user: User, data: bytes) -> None:
    """Let a Matrix user have a picture on their own server."""
    headers = {"Content-Type": "image/png"}
    answer = await user.world.request("POST", "/_matrix/media/v3/upload", raw=data, token=user.token, headers=headers)
    uri = ok(answer)["content_uri"]
    ok(await user.put(f"/profile/{q(user.user_id)}/avatar_url", {"avatar_url": uri}))


async def test_a_picture_of_another_server_is_shown_everywhere(authority: Authority, tmp_path: Path) -> None:
    async with (
        federating(authority, tmp_path / "home") as home,
        federating(authority, tmp_path / "away") as away,
    ):
        alice, bob = await home.user("alice"), await away.user("bob")
        await shows(bob, SMALL)
        ok(await bob.put(f"/profile/{q(bob.user_id)}/displayname", {"displayname": "Bob"}))
        chat = await alice.creates_room(bob, is_direct=True, preset="trusted_private_chat")
        await joins(bob, chat, home.name)
        ok(await alice.put(f"/user/{alice.user_id}/account_data/m.direct", {bob.user_id: [chat]}))
        room_id = await alice.creates_room(preset="public_chat", room_alias_name="tea")
        await joins(bob, room_id, home.name)
        await asking(
            lambda: alice.get(f"/rooms/{q(chat)}/state/m.room.member/{q(bob.user_id)}"),
            lambda answer: answer[0] == 200 and answer[1].get("avatar_url"),
        )
        assert home.app.xmpp is not None
        jid = str(home.app.xmpp.addresses.of_user(bob.user_id))  # type: ignore[arg-type]
        async with talker(home, "alice", wants=(METADATA,)) as own:
            told = await own.gets(lambda one: told_of(one) is not None)
            assert (str(told["from"]), told_of(told).get("id")) == (jid, sha1(SMALL))
            assert base64.b64decode((await gets(own, jid, DATA)).findtext(f"{{{DATA}}}data")) == SMALL
            card = (await own.asks(jid, "<vCard xmlns='vcard-temp'/>"))[0]
            assert base64.b64decode(card.findtext(f"{CARD}PHOTO/{CARD}BINVAL")) == SMALL
            roster = await own.asks(None, "<query xmlns='jabber:iq:roster'/>")
            [item] = list(roster.iter("{jabber:iq:roster}item"))
            assert (item.get("jid"), item.get("name")) == (jid, "Bob")
            await bob.syncs()
            await own.gets(lambda one: str(one["from"]) == f"{jid}/matrix" and photo(one) == sha1(SMALL))
            await own.enters("tea@rooms.localhost", "alice")
            await own.gets(lambda one: str(one["from"]) == "tea@rooms.localhost/Bob" and photo(one) == sha1(SMALL))
            await shows(bob, OTHER)
            told = await own.gets(lambda one: told_of(one) is not None)
            assert told_of(told).get("id") == sha1(OTHER)
            await own.gets(lambda one: str(one["from"]) == "tea@rooms.localhost/Bob" and photo(one) == sha1(OTHER))
            assert (await gets(own, jid, METADATA)).get("id") == sha1(OTHER)
