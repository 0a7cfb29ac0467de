"""What chats have in common, between two people and in rooms: one of it a server."""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import quote
from weakref import ReferenceType, ref

from sqlalchemy import Connection

from federation.core.canonical_json import encode_lenient
from federation.core.ids import EventID, RoomID
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from homeserver.model.events import Event
from homeserver.model.nids import EventNid, RoomNid, UserNid
from homeserver.storage import sent_files, stanza_ids
from homeserver.storage.database import Write
from homeserver.xmpp.room_names import RoomNames
from homeserver.xmpp.surroundings import replaced

if TYPE_CHECKING:
    from homeserver.xmpp.accounts import Accounts
    from homeserver.xmpp.session import Session

LONGEST_ID = 255
"""Bytes of a stanza's ID that is remembered."""
MOST_SENT = 10_000
FILES = "/_isthmus/xmpp/files"

MEGOLM_REFUSED = "This room is encrypted, and XMPP clients cannot encrypt for it. Write in a Matrix client."


class Chats:
    """The names of rooms, what was sent by whom, and links to files."""

    def __init__(self, accounts: "Accounts") -> None:
        """Take the server's services; the secret for links is read when it is first needed."""
        self.accounts = accounts
        self.services = accounts.services
        self.addresses = accounts.addresses
        self.names = RoomNames(accounts.services, accounts.addresses)
        self.secret = b""
        # Not the sessions themselves: they keep what waited for them.
        self._sent: OrderedDict[EventNid, ReferenceType[Session]] = OrderedDict()

    async def ready(self) -> None:
        """Read what `link` needs."""
        if not self.secret:
            self.secret = await self.services.secrets.get("xmpp files")

    def sent_by(self, event: EventNid) -> "Session | None":
        """Return the session that has sent an event a while ago, if one has."""
        found = self._sent.get(event)
        return found() if found is not None else None

    def remember_sent(self, event: EventNid, session: "Session") -> None:
        """Remember which session has sent an event."""
        self._sent[event] = ref(session)
        if len(self._sent) > MOST_SENT:
            self._sent.popitem(last=False)

    def link(self, mxc: str, name: str | None, event: Event | None = None) -> str | None:
        """Return the URL at which whoever knows it gets a file; None for what is no content URI.

        Nobody can guess one, since it holds a code that only this server can make. The URL in a message is good as long
        as its event is there; that of an upload, until all messages that were made of it are taken away.
        """
        origin, slash, media_id = mxc.removeprefix("mxc://").partition("/")
        if not mxc.startswith("mxc://") or not slash or not origin or not media_id or "/" in media_id:
            return None
        holder = event.nid if event is not None else EventNid(0)
        shown = quote((name or "file").replace("/", "_")[:100], safe="")
        path = f"{quote(origin, safe='')}/{quote(media_id, safe='')}/{holder}/{self.code(origin, media_id, holder)}"
        return f"{self.services.config.base_url}{FILES}/{path}/{shown}"

    def code(self, origin: str, media_id: str, holder: int) -> str:
        """Return the code that lets somebody have a file by the event that shows it, 0 for none."""
        digest = hmac.new(self.secret, f"{origin}/{media_id}/{holder}".encode(), hashlib.sha256).digest()
        return urlsafe_b64encode(digest[:18]).decode()

    def may_fetch(self, conn: Connection, origin: str, media_id: str, holder: int) -> bool:
        """Return whether a URL that was given once still gets its file."""
        if holder:
            holders = [EventNid(holder)]
        elif origin == self.addresses.server_name:
            holders = sent_files.messages_of(conn, media_id)
        else:
            holders = []
        events = self.services.history.events
        found = events.by_nids(conn, holders).values()
        firsts = events.by_ids(conn, {first for event in found if (first := replaced(event)) is not None})
        gone = {event.event_id for event in (*found, *firsts.values()) if event.redacted_by is not None}
        return not holders or any(not {event.event_id, replaced(event)} & gone for event in found)

    def refuse_encrypted(self) -> StanzaError:
        """Return the refusal to say something in the clear in an encrypted room."""
        return StanzaError(StanzaCondition.NOT_ACCEPTABLE, MEGOLM_REFUSED)

    def find(
        self, conn: Connection, rooms: Sequence[RoomNid], stanza_id: str, *, sender: UserNid | None = None
    ) -> Event | None:
        """Return the event of one of these rooms that a client means: by event ID, or by what it was sent as.

        Clients count on IDs of their own only, so two senders may have used the same one: `sender` says whose is meant.
        """
        events = self.services.history.events
        if stanza_id.startswith("$"):
            event = events.by_id(conn, EventID(stanza_id[:LONGEST_ID]))
            return event if event is not None and event.room in rooms else None
        nid = stanza_ids.in_rooms(conn, rooms, stanza_id[:LONGEST_ID], sender=sender)
        return events.by_nid(conn, nid) if nid is not None else None

    async def say(
        self, session: "Session", room_id: RoomID, content: Mapping[str, Any], stanza_id: str | None,
        kind: str = "m.room.message",
    ) -> EventID:  # fmt: skip
        """Send an event for a session. Raises `LimitExceeded`, and what `Messages.send` raises."""
        self.services.limits.take("messages", session.who.user_id)
        once = StanzaOnce(self, session, room_id, stanza_id, content)
        return await self.services.messages.send(session.who, room_id, kind, content, once)

    async def take_away(
        self, session: "Session", room_id: RoomID, event_id: EventID, content: Mapping[str, Any], stanza_id: str | None
    ) -> EventID:
        """Redact an event for a session. Raises what `Messages.redact` raises."""
        once = RedactedOnce(self, session, room_id, stanza_id, content, event_id)
        return await self.services.messages.redact(session.who, room_id, event_id, content, once)


@dataclass(frozen=True, slots=True)
class StanzaOnce:
    """A stanza that makes an event, known again by its ID and what it says, whichever session of the user sends it."""

    chats: Chats
    session: "Session"
    room_id: RoomID
    stanza_id: str | None
    content: Mapping[str, Any]

    def find(self, conn: Connection) -> EventNid | None:
        """Return the event that was made of it already."""
        room = self.chats.services.history.names.room(conn, self.room_id)
        if not self._is_kept or room is None:
            return None
        assert self.stanza_id is not None
        return stanza_ids.same(conn, room, self.session.who.user, self.stanza_id, encode_lenient(self.content))

    def remember(self, tx: Write, event: Event) -> None:
        """Remember the event that is made of it."""
        if self._is_kept:
            assert self.stanza_id is not None
            stanza_ids.store(tx, event.nid, event.room, event.sender_nid, self.stanza_id)
        origin, _, media_id = str(event.content.get("url", "")).removeprefix("mxc://").partition("/")
        if origin == self.chats.addresses.server_name and media_id:
            sent_files.store(tx, event.nid, media_id)
        tx.after_commit(self.chats.remember_sent, event.nid, self.session)

    @property
    def _is_kept(self) -> bool:
        return bool(self.stanza_id) and len((self.stanza_id or "").encode()) <= LONGEST_ID


@dataclass(frozen=True, slots=True)
class RedactedOnce(StanzaOnce):
    """A stanza that takes an event away."""

    target: EventID

    def find(self, conn: Connection) -> EventNid | None:
        """Return the redaction that was made of it already."""
        history = self.chats.services.history
        room = history.names.room(conn, self.room_id)
        if self.stanza_id is None or room is None:
            return None
        nid = stanza_ids.in_rooms(conn, [room], self.stanza_id, sender=self.session.who.user)
        return nid if nid is not None and history.events.by_nid(conn, nid).redacts == self.target else None
