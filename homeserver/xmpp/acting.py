"""Does what a message stanza asks for, in the room that it is for: the same in chats of two and in rooms."""

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection

from federation.core.ids import EventID, RoomID, ServerName, UserID
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from homeserver.model.events import Event
from homeserver.model.media import MediaID
from homeserver.model.nids import EventNid, RoomNid
from homeserver.model.receipts import ReceiptKind
from homeserver.services.receipts import Mark
from homeserver.storage import chat_archive, media
from homeserver.xmpp.chats import FILES, Chats
from homeserver.xmpp.reading import Act, Displayed, React, Received, Retract, Say, Types, answering, edited
from homeserver.xmpp.session import Session

_KINDS = {"image": "m.image", "video": "m.video", "audio": "m.audio"}


@dataclass(frozen=True, slots=True)
class Scene:
    """Where something is to be done."""

    room: RoomNid
    room_id: RoomID
    encrypted: bool
    rooms: Sequence[RoomNid]
    """The rooms in which what it is about may be: for two people there may be several."""
    mentions: Sequence[UserID] = ()


async def perform(chats: Chats, session: Session, act: Act, scene: Scene, stanza_id: str | None) -> None:
    """Do one thing that a stanza asks for. Raises `StanzaError` and what services raise."""
    match act:
        case Say():
            await _say(chats, session, act, scene, stanza_id)
        case React():
            await _react(chats, session, act, scene)
        case Retract():
            event = await _find(chats, scene, act.target)
            await _redact(chats, session, event.room_id, event.event_id, {})
        case Displayed():
            event = await _find(chats, scene, act.target)
            marks = [Mark(ReceiptKind.READ, event.event_id), Mark(ReceiptKind.FULLY_READ, event.event_id)]
            await chats.services.receipts.mark(session.who, event.room_id, marks)
        case Types():
            await chats.services.typing.set(session.who, session.who.user_id, scene.room_id, act.typing)
        case Received():
            return


async def _say(chats: Chats, session: Session, said: Say, scene: Scene, stanza_id: str | None) -> None:
    if scene.encrypted:
        raise chats.refuse_encrypted()

    def read(conn: Connection) -> tuple[dict[str, Any], RoomID]:
        content = said.content
        if said.url is not None:
            content = _file(conn, chats, said.url) or content
        if scene.mentions:
            content = {**content, "m.mentions": {"user_ids": list(scene.mentions)}}
        first = chats.find(conn, scene.rooms, said.replaces) if said.replaces is not None else None
        if first is not None and first.sender == session.who.user_id:
            return edited(content, _first_of(first)), first.room_id
        answered = chats.find(conn, scene.rooms, said.reply_to) if said.reply_to is not None else None
        if answered is not None and answered.room == scene.room:
            content = answering(content, answered.event_id)
        return content, scene.room_id

    content, room_id = await chats.services.db.read(read)
    await chats.say(session, room_id, content, stanza_id)


def _first_of(event: Event) -> EventID:
    """Return the first version of a message: an edit of an edit is one of that."""
    relation = event.content.get("m.relates_to")
    if isinstance(relation, dict) and relation.get("rel_type") == "m.replace":
        first = relation.get("event_id")
        return EventID(first) if isinstance(first, str) else event.event_id
    return event.event_id


async def _react(chats: Chats, session: Session, act: React, scene: Scene) -> None:
    """Have said these and nothing else: what is new is sent, what is gone is taken back."""
    events = chats.services.history.events

    def read(conn: Connection) -> tuple[Event, dict[str, EventID]]:
        event = chats.find(conn, scene.rooms, act.target)
        if event is None:
            raise _unknown()
        said = chat_archive.reactions(conn, [event.room], [event.event_id]).get((event.event_id, session.who.user), ())
        by: dict[EventNid, Event] = events.by_nids(conn, [nid for _, nid in said])
        return event, {key: by[nid].event_id for key, nid in said}

    event, standing = await chats.services.db.read(read)
    for key in act.keys:
        if key not in standing:
            relation = {"rel_type": "m.annotation", "event_id": event.event_id, "key": key}
            await chats.say(session, event.room_id, {"m.relates_to": relation}, None, "m.reaction")
    for key, reaction in standing.items():
        if key not in act.keys:
            await _redact(chats, session, event.room_id, reaction, {})


async def _redact(chats: Chats, session: Session, room_id: RoomID, event_id: EventID, content: dict[str, Any]) -> None:
    # A second one changes nothing, so it needs no ID but the event's.
    txn_id = f"xmpp {hashlib.sha256(event_id.encode()).hexdigest()}"
    await chats.services.messages.redact(session.who, room_id, event_id, content, txn_id)


async def _find(chats: Chats, scene: Scene, target: str) -> Event:
    event = await chats.services.db.read(lambda conn: chats.find(conn, scene.rooms, target))
    if event is None:
        raise _unknown()
    return event


def _unknown() -> StanzaError:
    return StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such message")


def _file(conn: Connection, chats: Chats, url: str) -> dict[str, Any] | None:
    """Return the content that shows a file of this server's, None for a link to something else."""
    base = f"{chats.services.config.base_url}{FILES}/"
    if not url.startswith(base):
        return None
    parts = urlsplit(url[len(base) :]).path.split("/")
    if len(parts) != 4:
        return None
    origin, media_id, code, name = map(unquote, parts)
    if code != chats.code(origin, media_id):
        return None
    found = media.find(conn, ServerName(origin), MediaID(media_id))
    if found is None or found.content is None:
        return None
    kind = found.content.content_type.partition("/")[0]
    return {
        "msgtype": _KINDS.get(kind, "m.file"),
        "body": name,
        "filename": name,
        "url": f"mxc://{origin}/{media_id}",
        "info": {"mimetype": found.content.content_type, "size": found.content.size},
    }
