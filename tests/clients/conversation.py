"""What two people with real clients can do with each other. A class names their clients and inherits this.

Nobody asks for anything here: what one does is shown to the other because their client syncs.
"""

from typing import ClassVar

import pytest

from tests.clients.person import Person
from tests.support.media import encoded, picture
from tests.support.process import ServerProcess


@pytest.mark.asyncio(loop_scope="class")
class Conversation:
    """The promises, the last of which starts the server again."""

    alice_has: ClassVar[type[Person]]
    bob_has: ClassVar[type[Person]]

    async def test_an_invitation_arrives_and_can_be_accepted(self, alice: Person, bob: Person) -> None:
        room_id = await alice.creates_room("Coffee")
        await alice.until(room_id, lambda view: view.membership == "join")
        assert await bob.sees(room_id) is None

        await alice.invites(room_id, bob.user_id)
        await alice.until(room_id, lambda view: view.members.get(bob.user_id) == "invite")
        await bob.until(room_id, lambda view: view.membership == "invite" and view.name == "Coffee")

        await bob.joins(room_id)
        both = {alice.user_id: "join", bob.user_id: "join"}
        for person in (alice, bob):
            await person.until(
                room_id, lambda view: (view.name, view.membership, view.members) == ("Coffee", "join", both)
            )

    async def test_what_is_said_and_done_arrives_in_order(self, alice: Person, bob: Person, room_id: str) -> None:
        sent = [
            (await alice.says(room_id, "Hello, Bob!"), alice, "m.text", "Hello, Bob!"),
            (await bob.says(room_id, "Höre ich Tee? 🫖"), bob, "m.text", "Höre ich Tee? 🫖"),
            (await alice.emotes(room_id, "pours"), alice, "m.emote", "pours"),
        ]
        for person in (alice, bob):
            view = await person.until(room_id, lambda view: view.message(sent[-1][0]))
            shown = [(message.id, message.sender, message.kind, message.body) for message in view.messages]
            assert shown == [(event_id, sender.user_id, kind, body) for event_id, sender, kind, body in sent]

    async def test_an_image_arrives(self, alice: Person, bob: Person, room_id: str) -> None:
        png = encoded(picture(320, 240))
        event_id = await alice.shows(room_id, png, "tea.png")

        message = await bob.until_message(room_id, event_id)
        assert (message.kind, message.body) == ("m.image", "tea.png")
        assert message.url is not None
        assert await bob.downloads(message.url) == png
        assert (await bob.thumbnail(message.url, 96)).startswith((b"\x89PNG", b"\xff\xd8", b"RIFF"))

    async def test_a_reply_arrives(self, alice: Person, bob: Person, room_id: str) -> None:
        question = await alice.says(room_id, "Milk?")
        await bob.until_message(room_id, question)
        answer = await bob.replies(room_id, question, "No, thanks")
        assert (await alice.until_message(room_id, answer)).reply_to == question

    async def test_an_edit_arrives(self, alice: Person, bob: Person, room_id: str) -> None:
        event_id = await alice.says(room_id, "Suger?")
        await bob.until_message(room_id, event_id, lambda message: not message.edited)
        await alice.edits(room_id, event_id, "Sugar?")
        for person in (alice, bob):
            message = await person.until_message(room_id, event_id, lambda message: message.edited)
            assert message.body == "Sugar?"

    async def test_reactions_arrive_and_can_be_withdrawn(self, alice: Person, bob: Person, room_id: str) -> None:
        event_id = await alice.says(room_id, "Scones?")
        reaction = await bob.reacts(room_id, event_id, "👍")
        await alice.reacts(room_id, event_id, "👍")
        both = {"👍": [alice.user_id, bob.user_id]}
        for person in (alice, bob):
            await person.until_message(room_id, event_id, lambda message: message.reactions == both)

        await bob.redacts(room_id, reaction, "too many scones")
        for person in (alice, bob):
            await person.until_message(room_id, event_id, lambda message: message.reactions == {"👍": [alice.user_id]})

    async def test_a_redaction_arrives(self, alice: Person, bob: Person, room_id: str) -> None:
        event_id = await alice.says(room_id, "The secret of the kettle")
        await bob.until_message(room_id, event_id)
        await alice.redacts(room_id, event_id, "a secret")
        for person in (alice, bob):
            message = await person.until_message(room_id, event_id, lambda message: message.redacted)
            assert message.body is None

    async def test_typing_is_shown_while_it_lasts(self, alice: Person, bob: Person, room_id: str) -> None:
        await bob.types(room_id, True)
        await alice.until(room_id, lambda view: view.typing == [bob.user_id])
        await bob.types(room_id, False)
        await alice.until(room_id, lambda view: view.typing == [])

    async def test_receipts_are_shown(self, alice: Person, bob: Person, room_id: str) -> None:
        first, second = await alice.says(room_id, "one"), await alice.says(room_id, "two")
        await bob.until_message(room_id, second)
        await bob.reads(room_id, first)
        await alice.until(room_id, lambda view: view.read.get(bob.user_id) == first)
        await bob.reads(room_id, second)
        await alice.until(room_id, lambda view: view.read.get(bob.user_id) == second)

    async def test_unread_messages_are_counted_until_they_are_read(
        self, alice: Person, bob: Person, room_id: str
    ) -> None:
        await alice.says(room_id, "one")
        await alice.mentions(room_id, bob.user_id, "two, bob")
        last = await alice.says(room_id, "three")
        await bob.until(room_id, lambda view: (view.unread, view.highlights) == (3, 1))
        await bob.until_message(room_id, last)
        await bob.reads(room_id, last)
        await bob.until(room_id, lambda view: (view.unread, view.highlights) == (0, 0))

    async def test_presence_is_shown(self, alice: Person, bob: Person, room_id: str) -> None:
        await bob.becomes("unavailable", "brewing")
        seen = await alice.until_presence(bob.user_id, lambda seen: seen.presence == "unavailable")
        assert seen.status == "brewing"
        await bob.becomes("online", "drinking")
        seen = await alice.until_presence(bob.user_id, lambda seen: seen.presence == "online")
        assert seen.status == "drinking"

    async def test_somebody_who_logged_out_is_not_there_any_more(
        self, server: ServerProcess, alice: Person, bob: Person, room_id: str
    ) -> None:
        async with self.bob_has.logs_in(server.base, "bob") as again:
            assert again.user_id == bob.user_id
            await again.until(room_id, lambda view: view.membership == "join")
            await again.logs_out()
        # The other device goes on.
        event_id = await alice.says(room_id, "Still there?")
        await bob.until_message(room_id, event_id)

    async def test_a_fresh_login_after_a_restart_sees_the_same(
        self, server: ServerProcess, alice: Person, bob: Person, room_id: str
    ) -> None:
        read = await alice.says(room_id, "Good morning")
        await alice.emotes(room_id, "yawns")
        await alice.shows(room_id, encoded(picture(64, 48)), "sun.png")
        await bob.replies(room_id, read, "Morning")
        edited = await alice.says(room_id, "Tea or cofee?")
        await alice.edits(room_id, edited, "Tea or coffee?")
        await bob.reacts(room_id, edited, "🫖")
        redacted = await alice.says(room_id, "oops")
        await alice.redacts(room_id, redacted, "a slip")
        for number in range(30):
            await bob.says(room_id, f"sip {number}")
        await bob.until_message(room_id, read)
        await bob.reads(room_id, read)
        await alice.mentions(room_id, bob.user_id, "More, bob?")
        last = await alice.says(room_id, "The pot is empty")
        for person in (alice, bob):
            await person.until(room_id, lambda view: view.message(last) and view.read.get(bob.user_id))
        await bob.until(room_id, lambda view: view.highlights == 1)
        before = {person.user_id: await person.sees(room_id) for person in (alice, bob)}

        assert await server.stops() == 0
        await server.starts()

        for name, client in (("alice", self.alice_has), ("bob", self.bob_has)):
            async with client.logs_in(server.base, name) as fresh:
                await fresh.until(room_id, lambda view: view.membership == "join")
                await fresh.opens(room_id)
                assert await fresh.sees(room_id) == before[fresh.user_id]

        # Those who were there find the server again by themselves.
        event_id = await alice.says(room_id, "Back again")
        for person in (alice, bob):
            await person.until_message(room_id, event_id)
