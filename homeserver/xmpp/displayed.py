"""How far the user has read each chat, told between their own clients: https://xmpp.org/extensions/xep-0490.html.

It is where their receipts in Matrix are, public or private. A client that publishes it here says it to nobody else, so
that it becomes a private receipt and the read marker; what others may know it says as a marker of XEP-0333, and with
that in one message what stands here (server assist).
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace

from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.ids import EventID, UserID
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from homeserver.errors import MatrixError
from homeserver.model.nids import RoomNid
from homeserver.model.receipts import MAIN_THREAD, UNTHREADED, Receipt, ReceiptKind
from homeserver.services.receipts import Mark
from homeserver.storage import memberships, receipts
from homeserver.xmpp import direct
from homeserver.xmpp.accounts import Account, News
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.eventing import EVENT, event, send
from homeserver.xmpp.interests import Interests
from homeserver.xmpp.read_up_to import markers
from homeserver.xmpp.session import Session
from homeserver.xmpp.surroundings import SAID, STANZA_ID, known_by

NODE = "urn:xmpp:mds:displayed:0"
FEATURES = ("urn:xmpp:mds:server-assist:0",)
MOST_CHATS = 1000
"""Chats that are told of, those that were read last."""


@dataclass(slots=True)
class _Known:
    """Up to which message a session knows each chat to be read."""

    told: dict[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Read:
    """A chat, and up to which message it was read."""

    room: RoomNid
    peer: UserID | None
    """With whom it is a chat of two."""
    event_id: EventID


async def read(session: Session) -> Sequence[tuple[str, Element]]:
    """Return all chats that the user has read, by their addresses."""
    items = await _items(session, 0)
    session.kept(_Known).told |= {name: _event_in(item) for name, item in items}
    return items


async def publish(session: Session, name: str, payload: Element) -> None:
    """Take note of how far the user has read a chat. Raises `StanzaError` and what services raise."""
    stanza_id = payload.find("stanza-id", STANZA_ID)
    named = stanza_id.get("id") if stanza_id is not None else None
    if (payload.name, payload.namespace) != ("displayed", NODE) or not named:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "expected displayed, with a stanza-id in it")
    chats = session.accounts.kept(Chats)
    try:
        jid = Jid.parse(name)
    except InvalidIdentifier as error:
        raise StanzaError(StanzaCondition.BAD_REQUEST, f"the ID is the address of a chat: {error}") from error
    found = await session.services.db.read(lambda conn: chats.find(conn, _rooms(conn, session, chats, jid), named))
    if found is None:
        raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such message in this chat")
    marks = [Mark(kind, found.event_id) for kind in (ReceiptKind.READ_PRIVATE, ReceiptKind.FULLY_READ)]
    await session.services.receipts.mark(session.who, found.room_id, marks)


async def retract(_session: Session, _name: str) -> None:
    """Refuse: what was read stays read. Raises `StanzaError`."""
    raise StanzaError(StanzaCondition.NOT_ALLOWED, "What was read stays read")


async def assist(session: Session, stanza: Element) -> None:
    """Take note of what a message for somebody else says beside: https://xmpp.org/extensions/xep-0490.html#interaction.

    Nobody else gets that: messages become events of what is understood in them, and this is not.
    """
    told, to = stanza.find("displayed", NODE), stanza.get("to")
    if told is None or to is None:
        return
    try:
        await publish(session, to, told)
    except (StanzaError, MatrixError):
        # The message is worth more than what came with it.
        return


async def news(account: Account, told: News) -> None:
    """Tell what the user has read, wherever they did."""
    listening = [one for one in account.available() if NODE in one.kept(Interests).nodes]
    if not listening or not (told.personal or _has_read(account, told)):
        return
    for name, item in await _items(listening[0], told.since):
        for session in listening:
            known = session.kept(_Known).told
            if known.get(name) != _event_in(item):
                known[name] = _event_in(item)
                send([session], NODE, event(NODE, [Element("item", EVENT, {"id": name}, item)]), account.jid)


def _has_read(account: Account, told: News) -> bool:
    """Return whether a public receipt of the user's may have moved in a room. Private ones are personal news."""
    recent = account.accounts.services.receipts.recent
    return any(
        recent.since(room, told.since) is None
        or any(receipt.user == account.user for receipt in recent.receipts_since(room, told.since))
        for room in told.rooms
    )


async def _items(session: Session, after: int) -> list[tuple[str, Element]]:
    """Return what was read after a position, by the addresses of the chats."""
    chats = session.accounts.kept(Chats)
    found = await session.services.db.read(lambda conn: _find(conn, session, after))
    jids = await chats.names.of_rooms([each.room for each in found if each.peer is None])
    items = []
    for each in found:
        if each.peer is not None:
            of, by = chats.addresses.of_user(each.peer), session.jid.bare
        else:
            of = by = jids[each.room]
        items.append((str(of), Element("displayed", NODE, None, known_by(by, each.event_id))))
    return items


def _find(conn: Connection, session: Session, after: int) -> list[_Read]:
    services, user = session.services, session.who.user
    joined = set(memberships.joined_rooms(conn, user))
    peers = direct.direct_rooms(conn, services, user)
    furthest: dict[RoomNid | UserID, Receipt] = {}
    for room, of_room in receipts.of_user(conn, user, after).items():
        last = _last(of_room)
        # Of several rooms with one person, the one counts in which more was said.
        chat = peers.get(room, room)
        if last is not None and room in joined and (chat not in furthest or furthest[chat].place < last.place):
            furthest[chat] = last
    latest = sorted(furthest.values(), key=lambda receipt: receipt.place)[-MOST_CHATS:]
    events = services.history.events.by_ids(conn, {receipt.event_id for receipt in latest})
    found = []
    for receipt in latest:
        at = events.get(receipt.event_id)
        event_id = at.event_id if at is not None and at.type in SAID else None
        if event_id is None:
            # Matrix clients mark whatever came last; of that, XMPP clients know messages only.
            shown = markers(conn, services, [replace(receipt, kind=ReceiptKind.READ)])
            event_id = shown[0].event_id if shown else None
        if event_id is not None:
            found.append(_Read(receipt.room, peers.get(receipt.room), event_id))
    return found


def _last(of_room: Iterable[Receipt]) -> Receipt | None:
    whole = [receipt for receipt in of_room if receipt.thread in (UNTHREADED, MAIN_THREAD)]
    return max(whole, key=lambda receipt: receipt.place, default=None)


def _rooms(conn: Connection, session: Session, chats: Chats, jid: Jid) -> list[RoomNid]:
    """Return the rooms that a chat at an address is: one, or those in which the user talks with somebody."""
    place = session.addresses.place(session.jid, jid)
    if place is Place.ROOM:
        room = chats.names.known(conn, jid)
        return [room] if room is not None else []
    peer = session.addresses.user(jid) if place in (Place.USER, Place.ACCOUNT) else None
    rooms = direct.direct_rooms(conn, session.services, session.who.user)
    return [room for room, other in rooms.items() if other == peer]


def _event_in(item: Element) -> str:
    stanza_id = item.find("stanza-id", STANZA_ID)
    return (stanza_id.get("id") or "") if stanza_id is not None else ""
