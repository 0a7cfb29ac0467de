"""One MUC room that XMPP sessions are in, and what happens there, told to all of them.

It is followed once, however many sessions are in it: the first one whose feed says that something is new reads it for
all.

Source: https://xmpp.org/extensions/xep-0045.html
"""

import asyncio
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass

import structlog
from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.events.content import HistoryVisibility, Membership, history_visibility_of
from federation.core.ids import EventID, UserID, parse_room_id
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from homeserver.model.events import Event, Status
from homeserver.model.nids import EventNid, RoomNid
from homeserver.storage import memberships
from homeserver.storage.database import current_position
from homeserver.xmpp import bookmarks, knocks, past, room_facts
from homeserver.xmpp.affiliations import Affiliation, Role, Standing
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.nicks import occupant_id, usual_nick
from homeserver.xmpp.occupants import MUC_USER, OCCUPANT_ID, Occupants
from homeserver.xmpp.read_up_to import Marker, markers
from homeserver.xmpp.reading import CHAT_STATES
from homeserver.xmpp.room_facts import RoomFacts
from homeserver.xmpp.session import Session
from homeserver.xmpp.successions import TOMBSTONE
from homeserver.xmpp.surroundings import KINDS, Around, gather, ids_of_sender, known_by, show, spoken_by_room
from homeserver.xmpp.translate import MARKERS

log = structlog.get_logger()

MUC = "http://jabber.org/protocol/muc"
MOST_READERS = 50
"""Members of a room in which is told who has read what, and who types."""
MOST_EVENTS = 1000
_CONFIGURATION = frozenset(
    ("m.room.name", "m.room.join_rules", "m.room.avatar", "m.room.history_visibility", "m.room.encryption")
)


@dataclass(frozen=True, slots=True)
class _News:
    """What is new in a room, with what must be known to tell it."""

    events: Sequence[Event]
    around: Mapping[EventNid, Around]
    facts: RoomFacts | None
    before: Mapping[EventNid, Event]
    """How those stood to the room before who have left it."""
    markers: Sequence[Marker]
    until: int
    """The position up to which these are all events."""


class Hub(Occupants):
    """One room at one of its addresses, with what is said there."""

    def __init__(self, chats: Chats, jid: Jid, facts: RoomFacts, position: int) -> None:
        """Take the room as it was at a position, without its members."""
        super().__init__(chats, jid, facts)
        self.position = position
        """Up to where everything was told."""
        self._wanted = position
        """Up to where it is to be told."""
        self.lock = asyncio.Lock()
        self._telling = False
        """Whether somebody is about to tell what is new."""

    @staticmethod
    async def open(chats: Chats, jid: Jid, room: RoomNid) -> "Hub":
        """Return a room with its members as they are now. Raises `StanzaError` if this server is not in it."""
        services = chats.services

        def read(conn: Connection) -> Hub | None:
            facts = room_facts.load(conn, services, room)
            if facts is None:
                return None
            hub = Hub(chats, jid, facts, current_position(conn))
            for member in memberships.members(conn, room, [Membership.JOIN]):
                hub.add(member.user_id, member.user, member.display_name, member.avatar_url)
            hub.choose_shown(conn)
            return hub

        found = await services.db.read(read)
        if found is None:
            raise StanzaError(StanzaCondition.ITEM_NOT_FOUND, "There is no such room here")
        return found

    # Coming in

    async def enter(self, session: Session, asked: str, history: past.Span | None, *, created: bool = False) -> None:
        """Let a session in: presence of the others, its own, what was said, the subject; in this order."""
        await self._chats.ready()
        async with self.lock:
            try:
                await self._enter(session, asked, history, created=created)
            finally:
                await self._tell_wanted()

    async def _enter(self, session: Session, asked: str, history: past.Span | None, *, created: bool) -> None:
        await self._catch_up(self._services.live.position)
        own = self.occupants.get(session.who.user_id)
        if own is None:
            raise StanzaError(StanzaCondition.REGISTRATION_REQUIRED, "You are not in this room")
        told = await self._history(session, history)
        if session.ended:
            # It has gone meanwhile, and nobody would ever take it out of the room.
            return
        self.shown.add(own.user_id)
        for user_id in self.shown:
            occupant = self.occupants.get(user_id)
            if occupant is not None and user_id != own.user_id:
                session.send(self.presence(user_id, occupant.standing))
        codes = [100, 110]
        if self.nicks.of(own.user_id) != asked:
            codes.append(210)
        if created:
            codes.append(201)
        session.send(self.presence(own.user_id, own.standing, *codes))
        for message in told:
            session.send(message)
        session.send(self._subject())
        self.sessions[session] = asked
        self.show_room([session])

    async def _history(self, session: Session, span: past.Span | None) -> list[Element]:
        services = self._services

        def read(conn: Connection) -> tuple[Sequence[Event], dict[EventNid, Around]]:
            # From here on, whom the user ignores is in memory.
            services.account_data.ignored(conn, [session.who.user])
            if span is None:
                return [], {}
            page = past.page(conn, services, session.who, [self.room], span)
            # What has come since is told as it comes.
            found = [event for event in page.events if event.at <= self.position]
            return found, gather(conn, services, found)

        events, around = await services.db.read(read)
        stanzas_ = [self.message(event, around[event.nid]) for event in events]
        return [
            stanza.add(past.delay(event, self.jid))
            for event, stanza in zip(events, stanzas_, strict=True)
            if stanza is not None
        ]

    def _subject(self) -> Element:
        topic = self.facts.topic
        subject = Element("subject", "jabber:client", None, self.facts.view.topic or "")
        sender = self.address(topic.sender) if topic is not None else self.jid
        message = Element("message", "jabber:client", {"from": str(sender), "type": "groupchat"}, subject)
        if topic is not None:
            message.attributes["id"] = topic.event_id
            message.add(past.delay(topic, self.jid))
        return message

    # What happens

    async def catch_up(self, until: int) -> None:
        """Tell everything up to a position that was not told yet, or leave it to whoever is telling already."""
        self._wanted = max(self._wanted, until)
        # Hundreds are woken by each message, and one of them tells it to all: the others do not wait for that.
        if self.position < self._wanted and not self.lock.locked() and not self._telling:
            # In a task of its own, since whoever is woken may go before all are told.
            self._telling = True
            await asyncio.shield(self._chats.accounts.soon(self._tell_all()))

    async def _tell_all(self) -> None:
        try:
            async with self.lock:
                await self._tell_wanted()
        finally:
            self._telling = False

    async def _tell_wanted(self) -> None:
        """Tell what was left to whoever has the lock, before it is given back."""
        while self.position < self._wanted:
            await self._catch_up(self._wanted)

    async def _catch_up(self, until: int) -> None:
        while until > self.position:
            await self._catch_up_some(until)

    async def _catch_up_some(self, until: int) -> None:
        services, since = self._services, self.position
        found = services.receipts.recent.since(self.room, since)
        receipts = services.receipts.recent.receipts_since(self.room, since)
        if receipts and not self._tells_readers:
            # Who reads in a public room only their own clients are told.
            own = {session.who.user for session in self.sessions}
            receipts = [receipt for receipt in receipts if receipt.user in own]
        if found == [] and not receipts:
            self.position = until
            return

        def read(conn: Connection) -> _News:
            loaded = found
            if loaded is None:
                loaded = services.history.events.in_room(conn, self.room, after=since, until=until, limit=MOST_EVENTS)
            # Of more, the others are told next: whoever was banned in one of them must not hear what follows.
            more = found is None and len(loaded) == MOST_EVENTS
            new = [
                event for event in loaded
                if event.status is Status.ACCEPTED and event.place is not None and event.place <= until
            ]  # fmt: skip
            state = any(event.is_state for event in new)
            facts = room_facts.load(conn, services, self.room) if state else self.facts
            left = [event for event in new if event.content.get("membership") == Membership.LEAVE]
            before = services.history.events.by_nids(conn, [each.replaces for each in left if each.replaces])
            reached = loaded[-1].at if more else until
            return _News(new, gather(conn, services, new), facts, before, markers(conn, services, receipts), reached)

        news = await services.db.read(read)
        # Who cannot be told now will not be told later: what follows only sends.
        self.position = news.until
        self.facts = news.facts or self.facts
        for event in news.events:
            try:
                self._tell(event, news.around[event.nid])
                if event.replaces is not None and event.replaces in news.before:
                    self._declined(event, news.before[event.replaces])
                if event.type == TOMBSTONE:
                    self._chats.accounts.soon(self._moved(event)).set_name("xmpp-moved")
            except Exception:
                # Whatever somebody has sent, the others are told of what follows.
                log.exception("xmpp_event_not_told", event_id=event.event_id)
        if news.markers:
            readers = {one.user: one.user_id for one in self.occupants.values()}
            for marker in news.markers:
                if marker.user in readers:
                    self._displayed(readers[marker.user], marker.event_id)

    def _tell(self, event: Event, around: Around) -> None:
        if event.type in KINDS:
            stanza = self.message(event, around)
            if stanza is not None and (event.redacted_by is None or event.type == "m.room.redaction"):
                self.show(event.sender)
                self.broadcast(stanza, event.sender)
        elif event.type == "m.room.member" and event.state_key is not None:
            self._member(event, UserID(event.state_key))
        elif event.type == room_facts.POWER_LEVELS:
            self.levels_changed()
        elif event.type == "m.room.topic":
            subject = Element("subject", "jabber:client", None, self.facts.view.topic or "")
            stanza = self._groupchat(event.sender, event.event_id, [subject])
            stanza.add(known_by(self.jid, event.event_id))
            self.broadcast(stanza, event.sender)
        elif event.type in _CONFIGURATION:
            # https://xmpp.org/extensions/xep-0045.html#roomconfig-notify
            status = Element("status", MUC_USER, {"code": "104"})
            self.broadcast(self._groupchat(None, None, [Element("x", MUC_USER, None, status)]), None)
            if event.type == room_facts.AVATAR:
                self.show_room(list(self.sessions))

    def _member(self, event: Event, user_id: UserID) -> None:
        membership = event.content.get("membership")
        occupant = self.occupants.get(user_id)
        if membership == Membership.JOIN:
            name, url = event.content.get("displayname"), event.content.get("avatar_url")
            display_name, avatar_url = (text if isinstance(text, str) else None for text in (name, url))
            if occupant is None:
                self.add(user_id, event.sender_nid, display_name, avatar_url)
                self.shown.add(user_id)
                self.present(self.occupants[user_id])
                return
            changed, occupant.avatar_url = occupant.avatar_url != avatar_url, avatar_url
            renamed = occupant.display_name != display_name and self.rename(occupant, display_name)
            if changed and not renamed:
                self.show_again(user_id)
        elif occupant is not None:
            self.gone(event, occupant, banned=membership == Membership.BAN)
        elif membership == Membership.KNOCK:
            self._asks(event, user_id)

    async def _moved(self, event: Event) -> None:
        """Tell everybody that the room goes on elsewhere: https://xmpp.org/extensions/xep-0045.html#destroyroom."""
        try:
            successor = parse_room_id(str(event.content.get("replacement_room")))
            known = await self._services.db.read(lambda conn: self._services.history.names.room(conn, successor))
            jid = (
                await self._chats.names.of_room(known)
                if known is not None
                else self._chats.addresses.of_room(successor)
            )
        except InvalidIdentifier:
            return
        body = event.content.get("body")
        destroy = Element("destroy", MUC_USER, {"jid": str(jid)})
        if isinstance(body, str) and body:
            destroy.add(Element("reason", MUC_USER, None, body))
        accounts = {session.account for session in self.sessions}
        for session in list(self.sessions):
            own = self.occupants.get(session.who.user_id)
            if own is None:
                continue
            gone = self.presence(own.user_id, Standing(Affiliation.NONE, Role.NONE), 110, gone=True)
            user = gone.find("x", MUC_USER)
            assert user is not None
            user.add(destroy)
            session.send(gone)
            self.on_left(session)
        for account in accounts:
            await bookmarks.tell(account)

    def _asks(self, event: Event, user_id: UserID) -> None:
        """Tell those who may decide it that somebody asks to be let in."""
        reason, name = event.content.get("reason"), event.content.get("displayname")
        nick = usual_nick(name if isinstance(name, str) else None, user_id)
        jid = self._chats.addresses.of_user(user_id)
        asks = knocks.request(self.jid, jid, nick, reason if isinstance(reason, str) else None)
        for session in list(self.sessions):
            ignores = user_id in (self._services.account_data.known_ignored(session.who.user) or ())
            if not ignores and self.facts.levels.user_level(session.who.user_id) >= self.facts.levels.invite:
                session.send(asks)

    def _declined(self, event: Event, before: Event) -> None:
        """Tell whoever has invited somebody that they do not come: https://xmpp.org/extensions/xep-0045.html#invite."""
        if event.sender != event.state_key or before.content.get("membership") != Membership.INVITE:
            return
        decline = Element("decline", MUC_USER, {"from": str(self._chats.addresses.of_user(event.sender))})
        reason = event.content.get("reason")
        if isinstance(reason, str) and reason:
            decline.add(Element("reason", MUC_USER, None, reason))
        attributes = {"from": str(self.jid), "type": "normal"}
        stanza = Element("message", "jabber:client", attributes, Element("x", MUC_USER, None, decline))
        for session in self.own_sessions(before.sender):
            session.send(stanza)

    # What is said

    def message(self, event: Event, around: Around) -> Element | None:
        """Return an event as a message in the room, None for one that is not shown."""
        parts = show(
            event, around, in_room=True, link=self._chats.link, address=lambda of: str(self.address(of.sender)),
            archived=True, quoting=self._quotes,
        )  # fmt: skip
        if parts is None:
            return None
        by_room = spoken_by_room(event, around)
        stanza = self._groupchat(None if by_room else around.speaker(event).sender, around.stanza_id, parts)
        if not by_room:
            stanza.add(*ids_of_sender(event, around))
        return stanza.add(known_by(self.jid, event.event_id))

    def _groupchat(self, user_id: UserID | None, stanza_id: str | None, parts: Iterable[Element]) -> Element:
        sender = self.jid if user_id is None else self.address(user_id)
        attributes = {"from": str(sender), "type": "groupchat", "id": stanza_id}
        stanza = Element("message", "jabber:client", attributes, *parts)
        if user_id is not None:
            stanza.add(Element("occupant-id", OCCUPANT_ID, {"id": occupant_id(self.room_id, user_id)}))
        return stanza

    @property
    def _quotes(self) -> bool:
        """Whether what was said may be quoted: not where those who have come later do not read it."""
        visibility = history_visibility_of(self.facts.view.content("m.room.history_visibility"))
        return visibility in (HistoryVisibility.SHARED, HistoryVisibility.WORLD_READABLE)

    def tell_typing(self, typing: Collection[UserID], before: Collection[UserID]) -> None:
        """Tell who types, and who no longer does."""
        if not self._tells_readers:
            return
        for user_id in {*typing, *before} & self.occupants.keys():
            if (user_id in typing) == (user_id in before):
                continue
            state = Element("composing" if user_id in typing else "paused", CHAT_STATES)
            self.broadcast(self._groupchat(user_id, None, [state]), user_id, but=user_id)

    def _displayed(self, user_id: UserID, event_id: EventID) -> None:
        stanza = self._groupchat(user_id, None, [Element("displayed", MARKERS, {"id": event_id})])
        if self._tells_readers:
            self.broadcast(stanza, user_id)
            return
        for session in self.own_sessions(user_id):
            session.send(stanza)

    @property
    def _tells_readers(self) -> bool:
        return self.facts.members_only and len(self.occupants) <= MOST_READERS
