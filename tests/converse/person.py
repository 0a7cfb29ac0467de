"""A person who chats with Converse.js."""

import json
from pathlib import Path

from tests.converse.browser import Page

MENU_OF_ROOMS = "converse-rooms-list .dropdown-toggle"
MENU_OF_CONTACTS = ".dropdown--contacts .dropdown-toggle"
FIELD = ".chat-textarea"
TEXT = ".chat-msg__text"
OCCUPANT = ".occupant-nick"
NOTICE = ".chat-content__notifications"
REACTION = ".chat-msg__reaction"
CONFIRMATION = ".modal form.confirm"
PICTURE = ".chat-msg img.chat-image"

# What is not put away yet is forgotten when the page goes, and nothing that is to be seen tells of it.
_KEEPS = """(store, text) => new Promise(resolve => {
    const opening = indexedDB.open('converse-persistent');
    opening.onsuccess = () => {
        const reading = opening.result.transaction(store).objectStore(store).getAll();
        reading.onsuccess = () => { opening.result.close(); resolve(JSON.stringify(reading.result).includes(text)); };
    };
})"""


class ConversePerson:
    """Somebody before the page; what they do is clicks and keys, and what they know is what is to be seen."""

    def __init__(self, page: Page) -> None:
        """Take a page that shows the form to log in by."""
        self.page = page
        self.jid = ""

    async def tries_to_log_in(self, jid: str, password: str) -> None:
        """Fill the form, and send it."""
        await self.page.fills("#converse-login input[name=jid]", jid)
        await self.page.fills("#converse-login input[name=password]", password)
        await self.page.clicks("#converse-login button[type=submit]")

    async def logs_in(self, jid: str, password: str) -> None:
        """Log in; return when there is something to chat with."""
        self.jid = jid
        await self.tries_to_log_in(jid, password)
        await self.page.sees(MENU_OF_ROOMS)

    async def loads_the_page_again(self, last: str) -> None:
        """Press F5, when the page has put away the last message; return when there is something to chat with again."""
        await self.page.until(f"({_KEEPS})({json.dumps(self.jid)}, {json.dumps(last)})")
        await self.page.loads_again()
        await self.page.sees(MENU_OF_ROOMS)

    async def asks_for_rooms(self, service: str) -> list[str]:
        """Open the list of the rooms of a service; return their names."""
        await self.page.clicks(MENU_OF_ROOMS)
        await self.page.clicks(".show-list-muc-modal")
        await self.page.fills("converse-muc-list-modal input[name=server]", service)
        await self.page.clicks("converse-muc-list-modal input[type=submit]")
        await self.page.sees("a.open-room")
        return await self.page.reads("a.open-room")

    async def enters(self, room: str, service: str) -> None:
        """Choose a room of the list by its name; return when it takes messages."""
        await self.asks_for_rooms(service)
        await self.page.clicks("a.open-room", room)
        await self.page.sees(".chatbox-title__text", room)
        await self.page.sees(FIELD)

    async def makes_room(self, name: str, nick: str) -> None:
        """Make a room; return when it takes messages."""
        await self.page.clicks(MENU_OF_ROOMS)
        await self.page.clicks(".show-add-muc-modal")
        await self.page.fills("converse-add-muc-modal input[name=chatroom]", name)
        await self.page.fills("converse-add-muc-modal input[name=nickname]", nick)
        await self.page.clicks("converse-add-muc-modal input[type=submit]")
        await self.page.sees(".chatbox-title__text", name)
        await self.page.sees(FIELD)

    async def invites(self, jid: str) -> None:
        """Invite somebody to the room that is open."""
        await self.page.clicks(".occupants-header .dropdown-toggle")
        await self.page.clicks(".open-invite-modal")
        await self.page.fills("converse-muc-invite-modal input[name=invitee_jids]", jid)
        await self.page.clicks("converse-muc-invite-modal input[type=submit]")

    async def confirms(self, question: str) -> None:
        """Say yes to what the page asks."""
        await self.page.sees(CONFIRMATION, question)
        await self.page.clicks(f"{CONFIRMATION} button[type=submit]")
        await self.page.sees_no(CONFIRMATION)

    async def opens_chat(self, jid: str) -> None:
        """Open a chat with somebody by their address."""
        await self.page.clicks(MENU_OF_CONTACTS)
        await self.page.clicks(".dropdown-item.new-chat")
        await self.page.fills("converse-new-chat-modal input[name=jid]", jid)
        await self.page.clicks("converse-new-chat-modal button[type=submit]")
        await self.page.sees_no("converse-new-chat-modal input[name=jid]")
        await self.page.sees(FIELD)

    async def says(self, text: str) -> None:
        """Write a message, and send it."""
        await self.page.fills(FIELD, text)
        await self.page.presses("Enter")

    async def begins_to_write(self, letter: str) -> None:
        """Press a single key in the field for messages."""
        await self.page.clicks(FIELD)
        await self.page.presses(letter)

    async def hears(self, text: str) -> None:
        """Wait until a message is to be seen."""
        await self.page.sees(TEXT, text)

    async def chooses(self, text: str, action: str) -> None:
        """Choose from the menu of a message."""
        await self.hears(text)
        name = await self.page.evaluates(f"seen('.chat-msg', {json.dumps(text)}).at(-1).dataset.msgid")
        message = f'.chat-msg[data-msgid="{name}"]'
        await self.page.points_at(f"{message} {TEXT}")
        await self.page.clicks(f"{message} .chat-msg__actions .dropdown-toggle")
        await self.page.clicks(f"{message} .chat-msg__action-{action}")

    async def edits(self, text: str, new: str) -> None:
        """Put a message right."""
        await self.chooses(text, "edit")
        await self.page.until(f"document.querySelector('{FIELD}').value === {json.dumps(text)}")
        await self.says(new)

    async def reacts(self, text: str) -> str:
        """React with the first of what is offered; return it."""
        await self.chooses(text, "reaction")
        await self.page.sees(".reaction-item")
        first = (await self.page.reads(".reaction-item"))[0]
        await self.page.clicks(".reaction-item", first)
        return first

    async def retracts(self, text: str) -> None:
        """Take a message back."""
        await self.chooses(text, "retract")
        await self.confirms("retract this message")

    async def shows(self, file: Path) -> None:
        """Send a file."""
        await self.page.chooses_file("input.fileupload", file)

    async def sees_picture(self, name: str) -> None:
        """Wait until a picture has come, and is one."""
        await self.page.until(
            f"seen({json.dumps(PICTURE)}, null)"
            f".some(one => one.src.includes({json.dumps(name)}) && one.naturalWidth > 0)"
        )
