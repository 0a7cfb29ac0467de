"""Alice by XMPP on one server, Bob by Matrix on another one."""

from pathlib import Path

import pytest

from tests.support.certificates import Authority
from tests.support.doors import CORRECT, DISPLAYED, Reader
from tests.support.pair import federating
from tests.support.talker import codes, talker
from tests.support.waiting import asking
from tests.support.world import User, ok, q

COMPOSING = "<composing xmlns='http://jabber.org/protocol/chatstates'/>"


async def greeting(user: User, room_id: str) -> str:
    """Return the event by which somebody was greeted: said before they came, or while they did."""
    past = ok(await user.get(f"/rooms/{q(room_id)}/messages", dir="b", limit=20))["chunk"]
    return "".join(event["event_id"] for event in past if event["content"].get("body") == "hello, over there")


async def test_people_on_two_servers_talk_in_a_chat_and_in_a_room(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    authority = Authority.make(tmp_path_factory.mktemp("authority"))
    async with federating(authority, tmp_path / "here") as here, federating(authority, tmp_path / "there") as there:
        alice_by_matrix, bob = await here.user("alice"), Reader(await there.user("bob"))
        server = there.name.replace(":", "\\3a")
        jid = f"bob%{server}@mx.localhost"
        async with talker(here, "alice") as alice:
            alice.says(jid, "hello, over there")
            room_id = await bob.is_invited()
            # He may be faster than the answer of his server, by which the invite is one over here.
            await asking(lambda: bob.user.post(f"/join/{q(room_id)}"), lambda answer: answer[0] == 200)
            first = await asking(lambda: greeting(bob.user, room_id), bool)
            answer = await bob.user.says(room_id, "hello back")
            heard = await alice.hears("hello back")
            assert (str(heard["from"]), heard["id"]) == (jid, answer)
            edit = {"msgtype": "m.text", "body": "hello again"}
            relation = {"rel_type": "m.replace", "event_id": answer}
            await bob.user.says(room_id, "* hello again", **{"m.new_content": edit, "m.relates_to": relation})
            assert (await alice.hears("hello again")).xml.find(CORRECT).get("id") == answer  # type: ignore[union-attr]
            alice.says(
                jid, "", f"<reactions xmlns='urn:xmpp:reactions:0' id='{answer}'><reaction>🎉</reaction></reactions>"
            )
            await bob.event(room_id, lambda one: one["type"] == "m.reaction")
            alice.says(jid, "", COMPOSING)
            await bob.told(room_id, "m.typing", lambda content: alice_by_matrix.user_id in content["user_ids"])
            ok(await bob.user.post(f"/rooms/{q(room_id)}/receipt/m.read/{q(first)}"))
            await alice.gets(lambda one: one.xml.find(DISPLAYED) is not None)

            # A room over there, by its alias.
            den = await bob.user.creates_room(preset="public_chat", room_alias_name="den", name="The den")
            muc = f"#den%{server}@rooms.localhost"
            assert 110 in codes(await alice.enters(muc, "alice"))
            alice.says(muc, "in the den", type_="groupchat")
            await bob.hears(den, "in the den")
            await bob.user.says(den, "welcome")
            assert str((await alice.hears("welcome", type_="groupchat"))["from"]) == f"{muc}/bob"

            # Asked by a stranger's server, one is asked first.
            invite = {"user_id": alice_by_matrix.user_id}
            secret = await bob.user.creates_room(preset="private_chat", name="Secret")
            ok(await bob.user.post(f"/rooms/{q(secret)}/invite", invite))
            asked = await alice.gets(lambda one: one.xml.find("{jabber:x:conference}x") is not None)
            assert 110 in codes(await alice.enters(str(asked["from"]), "alice"))
            await bob.user.says(secret, "just us")
            await alice.hears("just us", type_="groupchat")
