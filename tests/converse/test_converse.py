"""Somebody with Converse.js in a browser, over WebSocket and TLS, and somebody with Matrix, in the same rooms."""

from pathlib import Path

import pytest

from tests.converse.browser import Page
from tests.converse.conftest import Room, members
from tests.converse.person import NOTICE, OCCUPANT, REACTION, TEXT, ConversePerson
from tests.converse.site import MESSAGES, Line
from tests.support.media import encoded, picture
from tests.support.talker import direct_room, ephemeral, event_of, hears
from tests.support.waiting import asking
from tests.support.world import User, ok, q

ROOMS = "rooms.hs1"


@pytest.mark.asyncio(loop_scope="class")
class TestConverse:
    """Alice is at the browser, Bob in Matrix."""

    async def test_a_wrong_password_is_refused(self, page: Page, account: User) -> None:
        await ConversePerson(page).tries_to_log_in("alice@hs1", "wrong")
        await page.sees(".conn-feedback", "password is incorrect")

    async def test_a_login_finds_the_server_by_the_address_alone_and_is_a_device(
        self, alice: ConversePerson, account: User
    ) -> None:
        assert len(await browsers(account)) == 1

    async def test_the_list_of_rooms_leads_into_one_and_everybody_there_is_seen(
        self, alice: ConversePerson, account: User, bob: User, room: Room
    ) -> None:
        await alice.enters(room.name, ROOMS)
        await alice.page.sees(OCCUPANT, "bob")
        await alice.page.sees(OCCUPANT, "alice")
        await asking(lambda: members(bob, room.room_id), lambda seen: seen.get(account.user_id) == "join")
        seen = ok(await bob.get(f"/presence/{q(account.user_id)}/status"))
        assert seen["presence"] == "online"

    async def test_messages_go_both_ways(self, alice: ConversePerson, account: User, bob: User, room: Room) -> None:
        await alice.enters(room.name, ROOMS)
        await alice.says("Is there any tea *left*?")
        event = await hears(bob, room.room_id)
        assert event["sender"] == account.user_id
        assert event["content"]["body"] == "Is there any tea *left*?"
        assert "<strong>left</strong>" in event["content"]["formatted_body"]
        await bob.says(room.room_id, "A whole pot")
        await alice.hears("A whole pot")
        assert (await alice.page.reads(TEXT))[-2:] == ["Is there any tea *left*?", "A whole pot"]
        assert (await alice.page.reads(".chat-msg__author"))[-1] == "bob"

    async def test_what_was_said_before_comes_as_one_scrolls_up(
        self, alice: ConversePerson, bob: User, room: Room
    ) -> None:
        for number in range(3 * MESSAGES):
            await bob.says(room.room_id, f"crumb {number:02}")
        await alice.enters(room.name, ROOMS)
        await alice.hears(f"crumb {3 * MESSAGES - 1}")
        assert f"crumb {MESSAGES - 1}" not in await alice.page.reads(TEXT)
        while "crumb 00" not in await alice.page.reads(TEXT):
            await alice.page.turns(".chat-content__messages", -2000)
        texts = [text for text in await alice.page.reads(TEXT) if text.startswith("crumb")]
        assert texts == [f"crumb {number:02}" for number in range(3 * MESSAGES)]

    async def test_edits_go_both_ways(self, alice: ConversePerson, bob: User, room: Room) -> None:
        await alice.enters(room.name, ROOMS)
        await alice.says("Milk or leomn?")
        first = await hears(bob, room.room_id)
        await alice.edits("Milk or leomn?", "Milk or lemon?")
        edit = (await hears(bob, room.room_id))["content"]
        assert edit["m.new_content"]["body"] == "Milk or lemon?"
        assert edit["m.relates_to"] == {"rel_type": "m.replace", "event_id": first["event_id"]}

        said = await bob.says(room.room_id, "Limon")
        await alice.hears("Limon")
        await bob.says(
            room.room_id, "* Lemon",
            **{
                "m.new_content": {"msgtype": "m.text", "body": "Lemon"},
                "m.relates_to": {"rel_type": "m.replace", "event_id": said},
            },
        )  # fmt: skip
        await alice.hears("Lemon")
        assert (await alice.page.reads(TEXT))[-2:] == ["Milk or lemon?", "Lemon"]

    async def test_reactions_go_both_ways(self, alice: ConversePerson, bob: User, room: Room) -> None:
        said = await bob.says(room.room_id, "Cake!")
        await alice.enters(room.name, ROOMS)
        key = await alice.reacts("Cake!")
        reaction = await event_of(bob, room.room_id, "m.reaction")
        assert reaction["content"]["m.relates_to"] == {"rel_type": "m.annotation", "event_id": said, "key": key}
        await alice.page.sees(REACTION, "1")
        await bob.sends(
            room.room_id, "m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": said, "key": key}}
        )
        await alice.page.sees(REACTION, "2")
        await alice.page.clicks(REACTION)
        taken_back = await event_of(bob, room.room_id, "m.room.redaction")
        assert taken_back["content"]["redacts"] == reaction["event_id"]
        await alice.page.sees(REACTION, "1")

    async def test_pictures_go_both_ways(self, alice: ConversePerson, bob: User, room: Room, tmp_path: Path) -> None:
        cup, pot = encoded(picture(320, 240)), encoded(picture(240, 320))
        (tmp_path / "cup.png").write_bytes(cup)
        await alice.enters(room.name, ROOMS)
        await alice.shows(tmp_path / "cup.png")
        content = (await hears(bob, room.room_id))["content"]
        assert (content["msgtype"], content["body"], content["info"]["mimetype"]) == ("m.image", "cup.png", "image/png")
        path = f"/_matrix/client/v1/media/download/{content['url'].removeprefix('mxc://')}"
        assert ok(await bob.get(path)) == cup
        await alice.sees_picture("cup.png")

        answer = await bob.world.request(
            "POST", "/_matrix/media/v3/upload", token=bob.token, raw=pot, headers={"Content-Type": "image/png"}
        )
        await bob.sends(
            room.room_id, "m.room.message", {"msgtype": "m.image", "body": "pot.png", "url": ok(answer)["content_uri"]}
        )
        await alice.sees_picture("pot.png")

    async def test_what_is_taken_back_is_gone_on_both_sides(self, alice: ConversePerson, bob: User, room: Room) -> None:
        await alice.enters(room.name, ROOMS)
        await alice.says("The cake is a lie")
        said = await hears(bob, room.room_id)
        await alice.retracts("The cake is a lie")
        assert (await event_of(bob, room.room_id, "m.room.redaction"))["content"]["redacts"] == said["event_id"]
        await alice.page.sees_no(TEXT, "The cake is a lie")

        secret = await bob.says(room.room_id, "I ate it")
        await alice.hears("I ate it")
        await bob.redacts(room.room_id, secret)
        await alice.page.sees_no(TEXT, "I ate it")

    async def test_two_chat_directly_and_see_each_other_write(
        self, alice: ConversePerson, account: User, bob: User
    ) -> None:
        await bob.syncs()
        await alice.opens_chat("bob@hs1")
        await alice.says("Are you there?")
        room_id = await direct_room(bob)
        assert (await hears(bob, room_id))["content"]["body"] == "Are you there?"
        await alice.begins_to_write("M")
        assert (await ephemeral(bob, room_id, "m.typing"))["user_ids"] == [account.user_id]
        ok(await bob.put(f"/rooms/{q(room_id)}/typing/{q(bob.user_id)}", {"typing": True, "timeout": 20_000}))
        await alice.page.sees(NOTICE, "is typing")
        await bob.says(room_id, "Always")
        await alice.hears("Always")
        assert (await alice.page.reads(TEXT))[-2:] == ["Are you there?", "Always"]

    async def test_an_invite_asks_whether_to_come(self, alice: ConversePerson, account: User, bob: User) -> None:
        room_id = await bob.creates_room(name="Den", preset="private_chat")
        await bob.says(room_id, "Nobody here yet")
        ok(await bob.post(f"/rooms/{q(room_id)}/invite", {"user_id": account.user_id, "reason": "there is tea"}))
        await alice.confirms("there is tea")
        await alice.page.sees(".chatbox-title__text", "Den")
        await alice.hears("Nobody here yet")
        await asking(lambda: members(bob, room_id), lambda seen: seen.get(account.user_id) == "join")

    async def test_whoever_makes_a_room_says_who_comes_and_what_stays(
        self, alice: ConversePerson, account: User, bob: User
    ) -> None:
        await bob.syncs()
        await alice.makes_room("The garden", "alice")
        await alice.says("/topic Roses and weeds")
        await alice.page.sees(".chat-head__desc", "Roses and weeds")
        await alice.invites("bob@hs1")
        room_id = await direct_room(bob)
        for kind, content in (("name", {"name": "The garden"}), ("topic", {"topic": "Roses and weeds"})):
            assert ok(await bob.get(f"/rooms/{q(room_id)}/state/m.room.{kind}")) == content
        await alice.page.sees(OCCUPANT, "bob")
        said = await bob.says(room_id, "Weeds!")
        await alice.retracts("Weeds!")
        assert (await event_of(bob, room_id, "m.room.redaction"))["content"]["redacts"] == said
        await alice.page.sees_no(TEXT, "Weeds!")
        await alice.says("/kick bob")
        await asking(lambda: members(account, room_id), lambda seen: seen[bob.user_id] == "leave")
        await alice.page.sees_no(OCCUPANT, "bob")

    async def test_after_a_lost_connection_nothing_is_missing_and_nothing_comes_twice(
        self, alice: ConversePerson, line: Line, bob: User, room: Room
    ) -> None:
        await alice.enters(room.name, ROOMS)
        await bob.says(room.room_id, "Before the tunnel")
        await alice.hears("Before the tunnel")
        line.down = True
        line.cut()
        await bob.says(room.room_id, "In the tunnel")
        line.down = False
        await alice.hears("In the tunnel")
        await alice.says("I am back")
        assert (await hears(bob, room.room_id))["content"]["body"] == "I am back"
        assert (await alice.page.reads(TEXT))[-3:] == ["Before the tunnel", "In the tunnel", "I am back"]

    async def test_a_page_that_is_loaded_again_goes_on_with_the_same_session(
        self, alice: ConversePerson, account: User, bob: User, room: Room
    ) -> None:
        await alice.enters(room.name, ROOMS)
        await bob.says(room.room_id, "Do not reload")
        await alice.hears("Do not reload")
        before = await browsers(account)
        await alice.loads_the_page_again("Do not reload")
        await alice.hears("Do not reload")
        await bob.says(room.room_id, "Still there?")
        await alice.hears("Still there?")
        await alice.says("In the middle of a cup")
        assert (await hears(bob, room.room_id))["content"]["body"] == "In the middle of a cup"
        assert await browsers(account) == before


async def browsers(account: User) -> list[str]:
    """Return the names of those devices of somebody that are Converse.js."""
    names = [device.get("display_name", "") for device in ok(await account.get("/devices"))["devices"]]
    return [name for name in names if name.startswith("converse.js")]
