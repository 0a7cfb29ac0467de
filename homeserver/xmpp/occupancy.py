"""Who is in which MUC room with an XMPP session, and what happens there, told to all of them.

A room is followed once, however many sessions are in it: the first one whose feed says that something is new reads it
for all. Who is offline is an occupant all the same, for a membership is not a session; so when a session goes, nobody
is told, and when a user leaves, everybody is.

Source: https://xmpp.org/extensions/xep-0045.html
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field

import structlog
from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.events.content import HistoryVisibility, Membership, history_visibility_of
from federation.core.ids import EventID, UserID, parse_room_id
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import StanzaCondition, StanzaError
from federation.core.xmpp.jid import Jid
from homeserver.model.events import Event, Status
from homeserver.model.nids import EventNid, RoomNid, UserNid
from homeserver.storage import memberships
from homeserver.storage.database import current_position
from homeserver.xmpp import bookmarks, knocks, past, photos, room_facts
from homeserver.xmpp.accounts import Account, Accounts, News
from homeserver.xmpp.affiliations import Affiliation, Role, Standing, standing_of
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.nicks import Nicks, distinct_nick, occupant_id, usual_nick
from homeserver.xmpp.pictures import Picture, Pictures
from homeserver.xmpp.read_up_to import Marker, markers
from homeserver.xmpp.reading import CHAT_STATES
from homeserver.xmpp.room_facts import RoomFacts
from homeserver.xmpp.session import Session
from homeserver.xmpp.shows import UNKNOWN, Availability, availability
from homeserver.xmpp.successions import TOMBSTONE
from homeserver.xmpp.surroundings import KINDS, Around, gather, ids_of_sender, show, spoken_by_room
from homeserver.xmpp.translate import MARKERS

log = structlog.get_logger()

MUC = "http://jabber.org/protocol/muc"
MUC_USER = "http://jabber.org/protocol/muc#user"
OCCUPANT_ID = "urn:xmpp:occupant-id:0"
STANZA_ID = "urn:xmpp:sid:0"
NICK = "http://jabber.org/protocol/nick"
MOST_SHOWN = 1000
"""Members of a room of whom presence is sent; of a larger one, those who spoke lately and those who have a say."""
MOST_READERS = 50
"""Members of a room in which is told who has read what, and who types."""
MOST_WATCHED = 200
"""Members of a room in which is told who has come and gone, so to speak: of whom presence has another `<show/>`."""
MOST_EVENTS = 1000
LATELY = 200
"""Messages whose senders are shown in a large room."""
_CONFIGURATION = frozenset(
    ("m.room.name", "m.room.join_rules", "m.room.avatar", "m.room.history_visibility", "m.room.encryption")
)


@dataclass(slots=True)
class Occupant:
    """Somebody in a room."""

    user_id: UserID
    user: UserNid
    display_name: str | None
    avatar_url: str | None
    standing: Standing
    availability: Availability = UNKNOWN
    """As it was told last."""
    pictured: bool = False
    """Whether they were shown with a picture; so that it is told when they have none any more."""


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


class Hub:
    """One room at one of its addresses."""

    def __init__(self, chats: Chats, jid: Jid, facts: RoomFacts, position: int) -> None:
        """Take the room as it was at a position, without its members."""
        self.jid = jid
        self.room: RoomNid = facts.nid
        self.room_id = facts.room_id
        self.facts = facts
        self.position = position
        """Up to where everything was told."""
        self._wanted = position
        """Up to where it is to be told."""
        self.nicks = Nicks()
        self.occupants: dict[UserID, Occupant] = {}
        self.shown: set[UserID] = set()
        self.sessions: dict[Session, str] = {}
        """The sessions in the room, and the nick that each asked for."""
        self.lock = asyncio.Lock()
        self.ephemeral = chats.services.live.ephemeral
        """The serial up to which was looked who is how available."""
        self.pictured = False
        """Whether the room was shown with a picture."""
        self._chats = chats
        self._services = chats.services
        self._pictures = chats.accounts.kept(Pictures)
        self._telling = False
        """Whether somebody is about to tell what is new."""
        self._awaited: set[tuple[UserID | None, str | None]] = set()
        """Whose pictures are being looked for, and where; None is the room."""

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

    # Who is there

    def add(self, user_id: UserID, user: UserNid, display_name: str | None, avatar_url: str | None) -> None:
        """Take in a member."""
        standing = standing_of(self.facts.levels, user_id, Membership.JOIN)
        available = availability(self._chats.accounts, user)
        self.occupants[user_id] = Occupant(user_id, user, display_name, avatar_url, standing, available)
        self.nicks.give(user_id, display_name)

    def choose_shown(self, conn: Connection) -> None:
        """Decide of whom presence is sent."""
        if len(self.occupants) <= MOST_SHOWN:
            self.shown = set(self.occupants)
            return
        latest = self._services.history.events.in_room(conn, self.room, limit=LATELY, newest_first=True)
        self.shown = {event.sender for event in latest} & self.occupants.keys()
        self.shown |= {
            user_id
            for user_id, occupant in self.occupants.items()
            if occupant.standing.affiliation in (Affiliation.OWNER, Affiliation.ADMIN)
        }

    def address(self, user_id: UserID) -> Jid:
        """Return the JID of an occupant, or of somebody who was one."""
        nick = self.nicks.of(user_id) or usual_nick(None, user_id)
        if self.nicks.user(nick) not in (user_id, None):
            # Whoever has left is not taken for somebody who is there.
            nick = distinct_nick(None, user_id)
        return Jid(self.jid.local, self.jid.domain, nick)

    def presence(
        self, user_id: UserID, standing: Standing, *codes: int, gone: bool = False, children: Iterable[Element] = (),
        nick: str | None = None, address: Jid | None = None,
    ) -> Element:  # fmt: skip
        """Return the presence of an occupant, with status codes and further children of its item."""
        attributes = {
            "affiliation": standing.affiliation.value,
            "role": Role.NONE.value if gone and nick is None else standing.role.value,
            "jid": str(self._chats.addresses.of_user(user_id)),
            "nick": nick,
        }
        user = Element("x", MUC_USER, None, Element("item", MUC_USER, attributes, *children))
        for code in codes:
            user.add(Element("status", MUC_USER, {"code": str(code)}))
        occupant = Element("occupant-id", OCCUPANT_ID, {"id": occupant_id(self.room_id, user_id)})
        attributes_of_stanza = {
            "from": str(address or self.address(user_id)),
            "type": "unavailable" if gone else None,
        }
        there = self.occupants.get(user_id) if not gone else None
        shown = there.availability.elements() if there is not None and self._watches else ()
        photo = self._photo(there) if there is not None else ()
        return Element("presence", "jabber:client", attributes_of_stanza, *shown, user, occupant, *photo)

    def _photo(self, occupant: Occupant) -> list[Element]:
        """Return what tells of somebody's picture; one that is not known yet is told of once it is."""
        picture = self._picture(occupant.user_id, occupant.avatar_url, lambda: self._show_again(occupant.user_id))
        if picture is None and not (occupant.pictured and occupant.avatar_url is None):
            return []
        occupant.pictured = picture is not None
        return [photos.update(picture)]

    def _picture(self, of: UserID | None, url: str | None, then: Callable[[], None]) -> Picture | None:
        """Return a picture if it is known; if not, look for it, and call `then` once if there is one."""

        def looked(found: Picture | None) -> None:
            self._awaited.discard((of, url))
            if found is not None:
                then()

        if (of, url) in self._awaited:
            return None
        picture, known = self._pictures.known(url, looked)
        if not known:
            self._awaited.add((of, url))
        return picture

    def _show_again(self, user_id: UserID) -> None:
        occupant = self.occupants.get(user_id)
        if occupant is not None and user_id in self.shown:
            self._present(occupant)

    def own_sessions(self, user_id: UserID) -> list[Session]:
        """Return a user's sessions in the room."""
        return [session for session in self.sessions if session.who.user_id == user_id]

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
        self._show_room([session])

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
            self._chats.accounts.kept(Occupancies).left(session, self)
        for account in accounts:
            await bookmarks.tell(account)

    def tell_typing(self, typing: Collection[UserID], before: Collection[UserID]) -> None:
        """Tell who types, and who no longer does."""
        if not self._tells_readers:
            return
        for user_id in {*typing, *before} & self.occupants.keys():
            if (user_id in typing) == (user_id in before):
                continue
            state = Element("composing" if user_id in typing else "paused", CHAT_STATES)
            self._broadcast(self._groupchat(user_id, None, [state]), user_id, but=user_id)

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
        return stanza.add(Element("stanza-id", STANZA_ID, {"by": str(self.jid), "id": event.event_id}))

    @property
    def _quotes(self) -> bool:
        """Whether what was said may be quoted: not where those who have come later do not read it."""
        visibility = history_visibility_of(self.facts.view.content("m.room.history_visibility"))
        return visibility in (HistoryVisibility.SHARED, HistoryVisibility.WORLD_READABLE)

    @property
    def _tells_readers(self) -> bool:
        return self.facts.members_only and len(self.occupants) <= MOST_READERS

    @property
    def _watches(self) -> bool:
        return len(self.occupants) <= MOST_WATCHED

    def look(self, until: int) -> None:
        """Tell whose presence in Matrix has become another one."""
        since, self.ephemeral = self.ephemeral, max(self.ephemeral, until)
        if self.ephemeral > since and self._watches:
            for user_id in self._services.presence.changed(since):
                self.look_at(user_id)

    def look_at(self, user_id: UserID) -> None:
        """Tell how available somebody is if that has changed."""
        occupant = self.occupants.get(user_id)
        if occupant is None or not self._watches:
            return
        before, occupant.availability = occupant.availability, availability(self._chats.accounts, occupant.user)
        if occupant.availability != before and user_id in self.shown:
            self._present(occupant)

    def _show_room(self, sessions: Iterable[Session]) -> None:
        """Tell of the room's own picture, as clients expect it that do not ask for `muc#roominfo_avatarhash`.

        https://xmpp.org/extensions/xep-0486.html#presence
        """
        picture = self._picture(None, self.facts.avatar_url, lambda: self._show_room(list(self.sessions)))
        if picture is None and not (self.pictured and self.facts.avatar_url is None):
            return
        self.pictured = picture is not None
        stanza = Element("presence", "jabber:client", {"from": str(self.jid)}, photos.update(picture))
        for session in sessions:
            session.send(stanza.with_attributes(to=str(session.jid)))

    def _groupchat(self, user_id: UserID | None, stanza_id: str | None, parts: Iterable[Element]) -> Element:
        sender = self.jid if user_id is None else self.address(user_id)
        attributes = {"from": str(sender), "type": "groupchat", "id": stanza_id}
        stanza = Element("message", "jabber:client", attributes, *parts)
        if user_id is not None:
            stanza.add(Element("occupant-id", OCCUPANT_ID, {"id": occupant_id(self.room_id, user_id)}))
        return stanza

    def _tell(self, event: Event, around: Around) -> None:
        if event.type in KINDS:
            stanza = self.message(event, around)
            if stanza is not None and (event.redacted_by is None or event.type == "m.room.redaction"):
                self._show(event.sender)
                self._broadcast(stanza, event.sender)
        elif event.type == "m.room.member" and event.state_key is not None:
            self._member(event, UserID(event.state_key))
        elif event.type == room_facts.POWER_LEVELS:
            self._levels()
        elif event.type == "m.room.topic":
            subject = Element("subject", "jabber:client", None, self.facts.view.topic or "")
            stanza = self._groupchat(event.sender, event.event_id, [subject])
            stanza.add(Element("stanza-id", STANZA_ID, {"by": str(self.jid), "id": event.event_id}))
            self._broadcast(stanza, event.sender)
        elif event.type in _CONFIGURATION:
            # https://xmpp.org/extensions/xep-0045.html#roomconfig-notify
            status = Element("status", MUC_USER, {"code": "104"})
            self._broadcast(self._groupchat(None, None, [Element("x", MUC_USER, None, status)]), None)
            if event.type == room_facts.AVATAR:
                self._show_room(list(self.sessions))

    def _displayed(self, user_id: UserID, event_id: EventID) -> None:
        stanza = self._groupchat(user_id, None, [Element("displayed", MARKERS, {"id": event_id})])
        if self._tells_readers:
            self._broadcast(stanza, user_id)
            return
        for session in self.own_sessions(user_id):
            session.send(stanza)

    def _show(self, user_id: UserID) -> None:
        """Show somebody who was in a large room unseen, before they say something."""
        occupant = self.occupants.get(user_id)
        if occupant is not None and user_id not in self.shown:
            self.shown.add(user_id)
            self._broadcast(self.presence(user_id, occupant.standing), user_id)

    def _member(self, event: Event, user_id: UserID) -> None:
        membership = event.content.get("membership")
        occupant = self.occupants.get(user_id)
        if membership == Membership.JOIN:
            name, url = event.content.get("displayname"), event.content.get("avatar_url")
            display_name, avatar_url = (text if isinstance(text, str) else None for text in (name, url))
            if occupant is None:
                self.add(user_id, event.sender_nid, display_name, avatar_url)
                self.shown.add(user_id)
                self._present(self.occupants[user_id])
                return
            changed, occupant.avatar_url = occupant.avatar_url != avatar_url, avatar_url
            renamed = occupant.display_name != display_name and self._rename(occupant, display_name)
            if changed and not renamed:
                self._show_again(user_id)
        elif occupant is not None:
            self._gone(event, occupant, banned=membership == Membership.BAN)
        elif membership == Membership.KNOCK:
            self._asks(event, user_id)

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

    def _present(self, occupant: Occupant, *codes: int) -> None:
        self._broadcast(self.presence(occupant.user_id, occupant.standing, *codes), None, but=occupant.user_id)
        for session in self.own_sessions(occupant.user_id):
            session.send(self.presence(occupant.user_id, occupant.standing, *codes, 110))

    def _rename(self, occupant: Occupant, display_name: str | None) -> bool:
        """Tell of another nick, if it is one: https://xmpp.org/extensions/xep-0045.html#changenick."""
        user_id, old = occupant.user_id, self.address(occupant.user_id)
        occupant.display_name = display_name
        nick = self.nicks.give(user_id, display_name)
        if nick == old.resource:
            return False
        change = self.presence(user_id, occupant.standing, 303, gone=True, nick=nick, address=old)
        self._broadcast(change, None, but=user_id)
        for session in self.own_sessions(user_id):
            session.send(self.presence(user_id, occupant.standing, 303, 110, gone=True, nick=nick, address=old))
        self._present(occupant)
        return True

    def _gone(self, event: Event, occupant: Occupant, *, banned: bool) -> None:
        """Somebody has left, was removed or banned: https://xmpp.org/extensions/xep-0045.html#kick and #ban."""
        user_id, address = occupant.user_id, self.address(occupant.user_id)
        codes: list[int] = []
        children: list[Element] = []
        if event.sender != user_id:
            codes.append(301 if banned else 307)
            actor = {
                "nick": self.address(event.sender).resource,
                "jid": str(self._chats.addresses.of_user(event.sender)),
            }
            children.append(Element("actor", MUC_USER, actor))
        reason = event.content.get("reason")
        if isinstance(reason, str) and reason:
            children.append(Element("reason", MUC_USER, None, reason))
        standing = Standing(Affiliation.OUTCAST if banned else Affiliation.NONE, Role.NONE)
        del self.occupants[user_id]
        self.nicks.drop(user_id)
        self.shown.discard(user_id)
        gone = self.presence(user_id, standing, *codes, gone=True, children=children, address=address)
        self._broadcast(gone, None, but=user_id)
        for session in self.own_sessions(user_id):
            session.send(self.presence(user_id, standing, *codes, 110, gone=True, children=children, address=address))
            self._chats.accounts.kept(Occupancies).left(session, self)

    def _levels(self) -> None:
        for user_id, occupant in self.occupants.items():
            standing = standing_of(self.facts.levels, user_id, Membership.JOIN)
            if standing == occupant.standing:
                continue
            occupant.standing = standing
            # Of a large room, only those who have a say are shown anew: it may be the standing of all.
            if user_id in self.shown or standing.affiliation in (Affiliation.OWNER, Affiliation.ADMIN):
                self.shown.add(user_id)
                self._present(occupant)

    def _broadcast(self, stanza: Element, sender: UserID | None, *, but: UserID | None = None) -> None:
        """Send something to all, but for the sessions of one user, and of those who ignore its sender."""
        stanza.written()
        ignored = self._services.account_data.known_ignored
        for session in list(self.sessions):
            if but is not None and session.who.user_id == but:
                continue
            if sender is not None and sender in (ignored(session.who.user) or ()):
                continue
            session.send(stanza.addressed(session.full))


@dataclass(slots=True)
class _Place:
    """The rooms that a session is in."""

    hubs: dict[str, Hub] = field(default_factory=dict)


class Occupancies:
    """All rooms in which a session is."""

    def __init__(self, accounts: Accounts) -> None:
        """Start with nobody in a room."""
        self._chats = accounts.kept(Chats)
        self._hubs: dict[str, Hub] = {}
        self._opening: dict[str, asyncio.Lock] = {}
        self._typing: dict[str, set[UserID]] = {}

    def of(self, session: Session, jid: Jid) -> Hub | None:
        """Return the room at a JID if a session is in it."""
        return session.kept(_Place).hubs.get(jid.local or "")

    async def enter(
        self, session: Session, jid: Jid, room: RoomNid, history: past.Span | None, *, created: bool = False
    ) -> None:
        """Let a session into a room, by the nick that is the resource of `jid`. Raises `StanzaError`."""
        name = jid.local or ""
        lock = self._opening.setdefault(name, asyncio.Lock())
        async with lock:
            hub = self._hubs.get(name)
            if hub is None or hub.room != room:
                hub = await Hub.open(self._chats, jid.bare, room)
            await hub.enter(session, jid.resource or "", history, created=created)
            # Only while somebody is in a room is it followed.
            if session in hub.sessions:
                self._hubs[name] = hub
                session.kept(_Place).hubs[name] = hub
        if self._opening.get(name) is lock and not lock.locked():
            del self._opening[name]

    def left(self, session: Session, hub: Hub) -> None:
        """Forget that a session is in a room."""
        name = hub.jid.local or ""
        hub.sessions.pop(session, None)
        session.kept(_Place).hubs.pop(name, None)
        if not hub.sessions and self._hubs.get(name) is hub:
            del self._hubs[name]
            self._typing.pop(name, None)

    def end(self, session: Session) -> None:
        """Forget a session that has ended. Nobody is told: the user is still in the rooms."""
        for hub in list(session.kept(_Place).hubs.values()):
            self.left(session, hub)

    def look_at(self, user_id: UserID) -> None:
        """Tell in all rooms how available somebody is, if that has changed."""
        for hub in self._hubs.values():
            hub.look_at(user_id)

    def count(self, session: Session) -> int:
        """Return in how many rooms a session is."""
        return len(session.kept(_Place).hubs)

    async def catch_up(self, account: Account, news: News) -> None:
        """Let the rooms in which a user is tell what is new."""
        hubs = {hub for session in account.sessions.values() for hub in session.kept(_Place).hubs.values()}
        changed = set(news.rooms)
        for hub in hubs:
            if news.personal or hub.room in changed:
                await hub.catch_up(news.until)
        if hubs and news.ephemeral_until > news.ephemeral_since:
            typing = self._chats.services.typing.since(news.ephemeral_since, {hub.room for hub in hubs})
            for hub in hubs:
                hub.look(news.ephemeral_until)
                if hub.room in typing:
                    name = hub.jid.local or ""
                    now = set(typing[hub.room])
                    hub.tell_typing(now, self._typing.get(name, set()))
                    self._typing[name] = now
