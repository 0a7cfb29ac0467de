"""What happens in a user's chats with one other person, told to their sessions as it happens.

Rooms tell their occupants themselves (`occupancy`); here they are woken.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection

from federation.core.ids import UserID
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.jid import Jid
from homeserver.model.events import Event, Status
from homeserver.model.nids import EventNid, RoomNid, UserNid
from homeserver.services import Services
from homeserver.xmpp import carbons, direct, invites
from homeserver.xmpp.accounts import Account, Accounts, News
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.occupancy import Occupancies
from homeserver.xmpp.read_up_to import Marker, markers
from homeserver.xmpp.reading import CHAT_STATES, RECEIPTS
from homeserver.xmpp.session import Session
from homeserver.xmpp.surroundings import KINDS, Around, gather, ids_of_sender, known_by, show, takes_message
from homeserver.xmpp.translate import MARKERS

MOST_EVENTS = 1000
"""Events of one room that are told at once; of more, the archive has the others."""


@dataclass(slots=True)
class _State:
    """What is known of one user while they have sessions."""

    rooms: dict[RoomNid, UserID] = field(default_factory=dict)
    loaded: bool = False
    told: dict[RoomNid, int] = field(default_factory=dict)
    """For rooms just joined: up to which position they were told."""
    invited: set[RoomNid] = field(default_factory=set)
    """Rooms to which the user's sessions know that they are invited."""


class Deliveries:
    """Follows the direct chats of all users who have sessions."""

    def __init__(self, accounts: Accounts) -> None:
        """Start with nobody."""
        self._accounts = accounts
        self._services: Services = accounts.services
        self._chats = accounts.kept(Chats)
        self._states: dict[UserNid, _State] = {}

    async def begin(self, session: Session) -> None:
        """Look at the invites that came while the user had no session."""
        state = self._states.setdefault(session.account.user, _State())
        await self._reload(session.account, state)

    def end(self, session: Session) -> None:
        """Forget a user who has no session any more."""
        if not session.account.sessions:
            self._states.pop(session.account.user, None)

    async def tell(self, account: Account, news: News) -> None:
        """Tell the user's sessions what is new."""
        await self._chats.ready()
        state = self._states.setdefault(account.user, _State())
        if news.personal or not state.loaded:
            await self._reload(account, state)
            for session in account.available():
                await invites.tell_all(session, self._chats)
        for room in news.rooms:
            if room in state.rooms:
                await self._tell_room(account, state, room, news.since, news.until)
        occupancies = self._accounts.kept(Occupancies)
        await occupancies.catch_up(account, news)
        if news.ephemeral_until > news.ephemeral_since:
            self._tell_typing(account, state, news.ephemeral_since)

    async def _reload(self, account: Account, state: _State) -> None:
        """Find out with whom the user talks, and accept invites to talk."""
        session = next(iter(account.sessions.values()), None)
        if session is not None:
            for room, began in await invites.accept_direct(session, self._chats):
                state.told[room] = began
        before = set(state.rooms)
        state.rooms = await self._services.db.read(lambda conn: direct.direct_rooms(conn, self._services, account.user))
        state.loaded = True
        for room in set(state.rooms) - before:
            if room in state.told:
                await self._tell_room(account, state, room, state.told[room], self._services.live.position)

    async def _tell_room(self, account: Account, state: _State, room: RoomNid, since: int, until: int) -> None:
        since = max(since, state.told.get(room, 0))
        recent = self._services.receipts.recent
        found = recent.since(room, since)
        receipts = recent.receipts_since(room, since)
        events = self._services.history.events

        def read(conn: Connection) -> tuple[list[Event], bool, dict[EventNid, Around], list[Marker]]:
            loaded = (
                found if found is not None else events.in_room(conn, room, after=since, until=until, limit=MOST_EVENTS)
            )
            ignored = self._services.account_data.ignored(conn, [account.user])[account.user]
            shown = [event for event in loaded if _is_shown(event, until) and event.sender not in ignored]
            around = gather(conn, self._services, shown)
            moved = any(event.type == "m.room.member" for event in loaded)
            return shown, moved, around, markers(conn, self._services, receipts)

        shown, moved, around, marked = await self._services.db.read(read)
        # With a third person it is a chat of two no longer: that is looked at before the next news.
        state.loaded = state.loaded and not moved
        state.told[room] = max(state.told.get(room, 0), until)
        peer = state.rooms.get(room)
        if peer is None:
            # A session that has just begun has found out that it is a chat of two no longer.
            return
        for event in shown:
            stanza = direct_stanza(self._chats, account.jid, account.user_id, peer, event, around[event.nid])
            if stanza is not None:
                self._send(account, stanza, event)
        self._tell_markers(account, peer, marked)

    def _send(self, account: Account, stanza: Element, event: Event) -> None:
        """Give a message to every session, but not to the one that has sent it."""
        if stanza.get("from") != str(account.jid):
            for session in _listening(account.available()):
                session.send(stanza.with_attributes(to=str(session.jid)))
            return
        origin = self._chats.sent_by(event.nid)
        for session in account.available():
            if session is not origin:
                carbons.copy(session, stanza)

    def _tell_markers(self, account: Account, peer: UserID, marked: Sequence[Marker]) -> None:
        peer_jid = self._chats.addresses.of_user(peer)
        for marker in marked:
            displayed = Element("displayed", MARKERS, {"id": marker.stanza_id})
            if marker.user == account.user:
                for session in account.available():
                    carbons.copy(session, stanzas.message(peer_jid, displayed, from_=account.jid))
            else:
                for session in _listening(account.available()):
                    session.send(stanzas.message(session.jid, displayed, from_=peer_jid))

    def _tell_typing(self, account: Account, state: _State, since: int) -> None:
        for room, typing in self._services.typing.since(since, state.rooms).items():
            peer = state.rooms[room]
            if peer == account.user_id:
                continue
            element = Element("composing" if peer in typing else "paused", CHAT_STATES)
            for session in _listening(account.available()):
                session.send(stanzas.message(session.jid, element, from_=self._chats.addresses.of_user(peer)))


def direct_stanza(
    chats: Chats, own: Jid, user_id: UserID, peer: UserID, event: Event, around: Around, *, archived: bool = False
) -> Element | None:
    """Return an event of a chat between two people as a message, as one of them sees it."""

    def address(of: Event) -> str:
        return str(own if of.sender == user_id else chats.addresses.of_user(of.sender))

    parts = show(event, around, in_room=False, link=chats.link, address=address, archived=archived)
    if parts is None:
        return None
    # Between two people nobody moderates: whoever takes a message away, it is as if its sender did.
    taken = around.about if takes_message(event, around) else None
    speaker = taken or around.speaker(event)
    mine = speaker.sender == user_id
    # Somebody else may have been in the room for a while, and is not taken for the other one.
    to, from_ = (chats.addresses.of_user(peer), own) if mine else (own, chats.addresses.of_user(speaker.sender))
    stanza = stanzas.message(to, *parts, from_=from_, id_=around.stanza_id)
    if not mine and any(part.name == "body" for part in parts) and not archived:
        stanza.add(Element("request", RECEIPTS))
    if speaker is event:
        stanza.add(*ids_of_sender(event, around))
    return stanza.add(known_by(own, event.event_id))


def _is_shown(event: Event, until: int) -> bool:
    return event.type in KINDS and event.status is Status.ACCEPTED and event.place is not None and event.place <= until


def _listening(sessions: Iterable[Session]) -> list[Session]:
    # https://www.rfc-editor.org/rfc/rfc6121#section-8.5.2.1.1: those of negative priority want no messages.
    return [session for session in sessions if session.priority >= 0]


async def begun(session: Session) -> None:
    """A session has begun."""
    await session.accounts.kept(Deliveries).begin(session)


async def ended(session: Session) -> None:
    """A session has ended."""
    session.accounts.kept(Deliveries).end(session)
    session.accounts.kept(Occupancies).end(session)


async def availability(session: Session) -> None:
    """A session has become available, and hears of invites; or it is no longer, and is in no room."""
    if session.available:
        await invites.tell_all(session, session.accounts.kept(Chats))
    else:
        session.accounts.kept(Occupancies).end(session)


async def news(account: Account, news: News) -> None:
    """Something has happened for a user."""
    await account.accounts.kept(Deliveries).tell(account, news)
