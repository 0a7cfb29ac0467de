"""Does what a message stanza asks for, in the room that it is for: the same in chats of two and in rooms."""

import hmac
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote, urlsplit

from sqlalchemy import Connection

from federation.core.ids import EventID, RoomID, ServerName, UserID
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from homeserver.model.events import Event
from homeserver.model.media import MediaID
from homeserver.model.nids import EventNid, RoomNid, UserNid
from homeserver.model.receipts import ReceiptKind
from homeserver.services.receipts import Mark
from homeserver.storage import chat_archive, media
from homeserver.xmpp.chats import FILES, Chats
from homeserver.xmpp.reading import (
    Act,
    Displayed,
    React,
    Received,
    Retract,
    Say,
    Types,
    answering,
    edited,
    text_content,
    threaded,
)
from homeserver.xmpp.session import Session
from homeserver.xmpp.surroundings import SAID, replaced

LONGEST_NUMBER = 18
"""Digits of the number of an event."""
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
    mentions_all: bool = False


async def perform(chats: Chats, session: Session, act: Act, scene: Scene, stanza_id: str | None) -> None:
    """Do one thing that a stanza asks for. Raises `StanzaError` and what services raise."""
    match act:
        case Say():
            await _say(chats, session, act, scene, stanza_id)
        case React():
            await _react(chats, session, act, scene, stanza_id)
        case Retract():
            await _retract(chats, session, act, scene, stanza_id)
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
        if said.replaces is not None:
            first = first_version(conn, chats, scene.rooms, said.replaces, session.who.user)
            # In another's name nothing is corrected: then it is a message of its own.
            if first is not None and first.sender == session.who.user_id and first.redacted_by is None:
                return _edit(_naming(content, scene, session, None), first), first.room_id
        answered = first_version(conn, chats, [scene.room], said.reply_to) if said.reply_to is not None else None
        if answered is None and said.quoting is not None and content is said.content:
            # What it answers nobody knows here, so what it quotes is all there is of it.
            content = text_content(said.quoting)
        content = _naming(content, scene, session, answered)
        root = _root(conn, chats, scene, said, answered)
        if root is not None:
            return threaded(content, root, answered.event_id if answered is not None else None), scene.room_id
        return content if answered is None else answering(content, answered.event_id), scene.room_id

    content, room_id = await chats.services.db.read(read)
    await chats.say(session, room_id, content, stanza_id)


def _naming(content: dict[str, Any], scene: Scene, session: Session, answered: Event | None) -> dict[str, Any]:
    """Return a content that says whom it mentions.

    Source: https://spec.matrix.org/v1.19/client-server-api/#user-and-room-mentions
    """
    users = dict.fromkeys(scene.mentions)
    if answered is not None:
        users[answered.sender] = None
    users.pop(session.who.user_id, None)
    mentions: dict[str, Any] = {"user_ids": list(users)} if users else {}
    if scene.mentions_all:
        mentions["room"] = True
    return {**content, "m.mentions": mentions} if mentions else content


def _edit(content: dict[str, Any], first: Event) -> dict[str, Any]:
    mentions = first.content.get("m.mentions")
    users = mentions.get("user_ids") if isinstance(mentions, dict) else None
    return edited(content, first.event_id, [each for each in users if isinstance(each, str)] if users else ())


def _root(conn: Connection, chats: Chats, scene: Scene, said: Say, answered: Event | None) -> str | None:
    """Return the thread that a message is in: the one that it names, or that of what it answers.

    Threads that only XMPP clients know, which many begin with each chat, are none in Matrix.
    """
    if said.thread is not None and said.thread.startswith("$"):
        root = chats.find(conn, [scene.room], said.thread)
        if root is not None and root.type in SAID and "m.relates_to" not in root.content:
            return root.event_id
    return answered.thread_root if answered is not None else None


def first_version(
    conn: Connection, chats: Chats, rooms: Sequence[RoomNid], target: str, sender: UserNid | None = None
) -> Event | None:
    """Return the message that a client means: of one that was edited the first version, by whatever it is named."""
    event = chats.find(conn, rooms, target, sender=sender)
    if event is None or event.type not in SAID:
        return None
    first = replaced(event)
    found = chats.services.history.events.by_id(conn, first) if first is not None else None
    return found if found is not None and found.room == event.room else event


async def _react(chats: Chats, session: Session, act: React, scene: Scene, stanza_id: str | None) -> None:
    """Have said these and nothing else: what is new is sent, what is gone is taken back.

    The last event bears the stanza's ID, by which its client sees that all is done.
    """
    events = chats.services.history.events

    def read(conn: Connection) -> tuple[Event, dict[str, EventID]]:
        event = first_version(conn, chats, scene.rooms, act.target)
        if event is None:
            raise _unknown()
        said = chat_archive.reactions(conn, [event.room], [event.event_id]).get((event.event_id, session.who.user), ())
        by: dict[EventNid, Event] = events.by_nids(conn, [nid for _, nid in said])
        return event, {key: by[nid].event_id for key, nid in said}

    event, standing = await chats.services.db.read(read)
    new = [key for key in act.keys if key not in standing]
    gone = [reaction for key, reaction in standing.items() if key not in act.keys]
    for number, key in enumerate(new, 1):
        relation = {"rel_type": "m.annotation", "event_id": event.event_id, "key": key}
        known_as = stanza_id if number == len(new) and not gone else None
        await chats.say(session, event.room_id, {"m.relates_to": relation}, known_as, "m.reaction")
    for number, reaction in enumerate(gone, 1):
        await chats.take_away(session, event.room_id, reaction, {}, stanza_id if number == len(gone) else None)


async def _retract(chats: Chats, session: Session, act: Retract, scene: Scene, stanza_id: str | None) -> None:
    """Take one's own message back; for others' there is moderation: https://xmpp.org/extensions/xep-0424.html#rules."""
    event = await chats.services.db.read(
        lambda conn: first_version(conn, chats, scene.rooms, act.target, session.who.user)
    )
    if event is None:
        raise _unknown()
    if event.sender != session.who.user_id:
        raise StanzaError(StanzaCondition.FORBIDDEN, "Only who wrote a message takes it back")
    if event.redacted_by is None:
        await chats.take_away(session, event.room_id, event.event_id, {}, stanza_id)


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
    if len(parts) != 5 or not parts[2].isdecimal() or len(parts[2]) > LONGEST_NUMBER:
        return None
    origin, media_id, holder, code, name = map(unquote, parts)
    if not hmac.compare_digest(code.encode(), chats.code(origin, media_id, int(holder)).encode()):
        return None
    if not chats.may_fetch(conn, origin, media_id, int(holder)):
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
