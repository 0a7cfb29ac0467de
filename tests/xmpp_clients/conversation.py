"""What somebody with a real XMPP client and somebody with a Matrix client can do with each other.

A class of tests names a client and inherits what that client can: `docs/xmpp.md` has a table of it.
"""

import ssl
from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

import aiohttp
import pytest

from tests.clients.nio_person import NioPerson
from tests.clients.person import Message
from tests.support.media import encoded, picture
from tests.xmpp_clients.person import Corrects, Door, Reacts, Uploads, XmppPerson

NICK = "Bob"
"""What the Matrix user is called."""
FIRST_WORD = "A word with you"
SAID_BEFORE = 30
"""Messages in a room when the XMPP user joins it."""


@dataclass(frozen=True)
class Room:
    """A public room that the Matrix user has made."""

    id: str
    address: str
    name: str


def crumb(number: int) -> str:
    """Return one of the texts that were said before."""
    return f"crumb {number} of {SAID_BEFORE}"


@pytest.mark.asyncio(loop_scope="package")
class Conversation:
    """What every client can."""

    has: ClassVar[type[XmppPerson]]

    async def test_the_list_of_rooms_is_shown(self, alice: XmppPerson, room: Room) -> None:
        await alice.finds(room.address, room.name)

    async def test_both_are_seen_in_the_room(self, alice: XmppPerson, bob: NioPerson, joined: Room) -> None:
        await bob.until(joined.id, lambda view: view.members.get(alice.user_id) == "join")
        await alice.sees_occupant(joined.address, NICK)
        await bob.until_presence(alice.user_id, lambda seen: seen.presence == "online")

    async def test_what_was_said_before_can_be_read(self, alice: XmppPerson, joined: Room) -> None:
        back = SAID_BEFORE if alice.reaches_back is None else alice.reaches_back
        await alice.scrolls_to(joined.address, crumb(SAID_BEFORE - back))

    async def test_both_hear_what_is_said_in_the_room(self, alice: XmppPerson, bob: NioPerson, joined: Room) -> None:
        await alice.says(joined.address, "Höre ich Tee?")
        assert (await heard(bob, joined.id, "Höre ich Tee?")).sender == alice.user_id
        await bob.says(joined.id, "Gleich, Liebe.")
        await alice.hears(joined.address, NICK, "Gleich, Liebe.")
        # What the room says back was not taken for news.
        assert await alice.counts(joined.address, "Höre ich Tee?") == 1

    async def test_a_picture_is_a_link_to_it(self, alice: XmppPerson, bob: NioPerson, joined: Room, door: Door) -> None:
        png = encoded(picture(48, 64))
        await bob.shows(joined.id, png, "teapot.png")
        link = await alice.sees_link(joined.address, "teapot.png")
        trusting = ssl.create_default_context(cafile=str(door.ca))
        async with aiohttp.ClientSession() as http, http.get(link, ssl=trusting) as answer:
            assert (answer.status, answer.content_type) == (200, "image/png")
            assert await answer.read() == png

    async def test_two_talk_alone(self, alice: XmppPerson, bob: NioPerson, chat: str) -> None:
        assert (await heard(bob, chat, FIRST_WORD)).sender == alice.user_id
        await bob.says(chat, "I am all ears")
        await alice.hears(address_of(bob), NICK, "I am all ears")
        await alice.sees_online(address_of(bob))


@pytest.mark.asyncio(loop_scope="package")
class ChatArchives:
    """What clients can besides that ask the account's archive."""

    async def test_a_chat_is_there_again_after_logging_in_anew(
        self, alice: XmppPerson, bob: NioPerson, chat: str, door: Door
    ) -> None:
        await bob.says(chat, "Do not forget me")
        await alice.hears(address_of(bob), NICK, "Do not forget me")
        async with type(alice).logs_in(door, alice.name) as again:
            await again.scrolls_to(address_of(bob), "Do not forget me")


@pytest.mark.asyncio(loop_scope="package")
class Corrections:
    """What clients with XEP-0308 can besides."""

    async def test_corrections_go_both_ways(self, alice: Corrects, bob: NioPerson, joined: Room) -> None:
        assert isinstance(alice, XmppPerson)
        await alice.says(joined.address, "Suger?")
        said = await heard(bob, joined.id, "Suger?")
        await alice.corrects(joined.address, "Sugar?")
        edited = await bob.until_message(joined.id, said.id, lambda message: message.edited)
        assert (edited.body, edited.sender) == ("Sugar?", alice.user_id)

        theirs = await bob.says(joined.id, "Yes, plaese")
        await alice.hears(joined.address, NICK, "Yes, plaese")
        await bob.edits(joined.id, theirs, "Yes, please")
        await alice.sees_correction(joined.address, NICK, "Yes, plaese", "Yes, please")


@pytest.mark.asyncio(loop_scope="package")
class Reactions:
    """What clients with XEP-0444 can besides."""

    async def test_reactions_go_both_ways_and_can_be_withdrawn(
        self, alice: Reacts, bob: NioPerson, joined: Room
    ) -> None:
        assert isinstance(alice, XmppPerson)
        theirs = await bob.says(joined.id, "Scones?")
        await alice.hears(joined.address, NICK, "Scones?")
        await alice.reacts(joined.address, "Scones?", "👍", "🫖")
        both = {"👍": [alice.user_id], "🫖": [alice.user_id]}
        await bob.until_message(joined.id, theirs, lambda message: message.reactions == both)
        await alice.reacts(joined.address, "Scones?", "🫖")
        await bob.until_message(joined.id, theirs, lambda message: message.reactions == {"🫖": [alice.user_id]})

        await alice.says(joined.address, "With jam?")
        ours = await heard(bob, joined.id, "With jam?")
        reaction = await bob.reacts(joined.id, ours.id, "🎉")
        await alice.sees_reactions(joined.address, "With jam?", "🎉")
        await bob.redacts(joined.id, reaction, "no jam left")
        await alice.sees_reactions(joined.address, "With jam?")


@pytest.mark.asyncio(loop_scope="package")
class Pictures:
    """What clients with XEP-0363 can besides."""

    async def test_a_picture_can_be_sent(self, alice: Uploads, bob: NioPerson, joined: Room, pictures: Path) -> None:
        assert isinstance(alice, XmppPerson)
        png = encoded(picture(64, 48))
        (pictures / "kettle.png").write_bytes(png)
        await alice.uploads(joined.address, pictures / "kettle.png")
        shown = await heard(bob, joined.id, "kettle.png")
        assert (shown.kind, shown.sender) == ("m.image", alice.user_id)
        assert shown.url is not None
        assert await bob.downloads(shown.url) == png


async def heard(person: NioPerson, room_id: str, body: str) -> Message:
    """Return the newest message with a body, when it is shown."""
    view = await person.until(room_id, lambda view: any(message.body == body for message in view.messages))
    return next(message for message in reversed(view.messages) if message.body == body)


def address_of(person: NioPerson) -> str:
    """Return the JID of somebody who has a Matrix client."""
    localpart, _, server_name = person.user_id.removeprefix("@").partition(":")
    return f"{localpart}@{server_name}"
