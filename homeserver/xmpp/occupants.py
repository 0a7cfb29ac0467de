"""Who is in a MUC room, and how they are shown to the sessions there.

Who is offline is an occupant all the same, for a membership is not a session; so when a session goes, nobody is told,
and when a user leaves, everybody is.

Source: https://xmpp.org/extensions/xep-0045.html
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.events.content import Membership
from federation.core.ids import UserID
from federation.core.xmpp.element import Element
from federation.core.xmpp.jid import Jid
from homeserver.model.events import Event
from homeserver.model.nids import RoomNid, UserNid
from homeserver.xmpp import photos
from homeserver.xmpp.affiliations import Affiliation, Role, Standing, standing_of
from homeserver.xmpp.chats import Chats
from homeserver.xmpp.nicks import Nicks, distinct_nick, occupant_id, usual_nick
from homeserver.xmpp.pictures import Picture, Pictures
from homeserver.xmpp.room_facts import RoomFacts
from homeserver.xmpp.session import Session
from homeserver.xmpp.shows import UNKNOWN, Availability, availability

MUC_USER = "http://jabber.org/protocol/muc#user"
OCCUPANT_ID = "urn:xmpp:occupant-id:0"
MOST_SHOWN = 1000
"""Members of a room of whom presence is sent; of a larger one, those who spoke lately and those who have a say."""
MOST_WATCHED = 200
"""Members of a room in which is told who has come and gone, so to speak: of whom presence has another `<show/>`."""
LATELY = 200
"""Messages whose senders are shown in a large room."""


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


class Occupants:
    """Those in a room at one of its addresses, and the sessions that see them."""

    def __init__(self, chats: Chats, jid: Jid, facts: RoomFacts) -> None:
        """Take the room without its members."""
        self.jid = jid
        self.room: RoomNid = facts.nid
        self.room_id = facts.room_id
        self.facts = facts
        self.nicks = Nicks()
        self.occupants: dict[UserID, Occupant] = {}
        self.shown: set[UserID] = set()
        self.sessions: dict[Session, str] = {}
        """The sessions in the room, and the nick that each asked for."""
        self.ephemeral = chats.services.live.ephemeral
        """The serial up to which was looked who is how available."""
        self.pictured = False
        """Whether the room was shown with a picture."""
        self.on_left: Callable[[Session], object] = lambda session: self.sessions.pop(session, None)
        """Called with each session that is in the room no longer."""
        self._chats = chats
        self._services = chats.services
        self._pictures = chats.accounts.kept(Pictures)
        self._awaited: set[tuple[UserID | None, str | None]] = set()
        """Whose pictures are being looked for, and where; None is the room."""

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

    def own_sessions(self, user_id: UserID) -> list[Session]:
        """Return a user's sessions in the room."""
        return [session for session in self.sessions if session.who.user_id == user_id]

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

    # What changes

    def show(self, user_id: UserID) -> None:
        """Show somebody who was in a large room unseen, before they say something."""
        occupant = self.occupants.get(user_id)
        if occupant is not None and user_id not in self.shown:
            self.shown.add(user_id)
            self.broadcast(self.presence(user_id, occupant.standing), user_id)

    def present(self, occupant: Occupant, *codes: int) -> None:
        self.broadcast(self.presence(occupant.user_id, occupant.standing, *codes), None, but=occupant.user_id)
        for session in self.own_sessions(occupant.user_id):
            session.send(self.presence(occupant.user_id, occupant.standing, *codes, 110))

    def rename(self, occupant: Occupant, display_name: str | None) -> bool:
        """Tell of another nick, if it is one: https://xmpp.org/extensions/xep-0045.html#changenick."""
        user_id, old = occupant.user_id, self.address(occupant.user_id)
        occupant.display_name = display_name
        nick = self.nicks.give(user_id, display_name)
        if nick == old.resource:
            return False
        change = self.presence(user_id, occupant.standing, 303, gone=True, nick=nick, address=old)
        self.broadcast(change, None, but=user_id)
        for session in self.own_sessions(user_id):
            session.send(self.presence(user_id, occupant.standing, 303, 110, gone=True, nick=nick, address=old))
        self.present(occupant)
        return True

    def gone(self, event: Event, occupant: Occupant, *, banned: bool) -> None:
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
        self.broadcast(gone, None, but=user_id)
        for session in self.own_sessions(user_id):
            session.send(self.presence(user_id, standing, *codes, 110, gone=True, children=children, address=address))
            self.on_left(session)

    def levels_changed(self) -> None:
        for user_id, occupant in self.occupants.items():
            standing = standing_of(self.facts.levels, user_id, Membership.JOIN)
            if standing == occupant.standing:
                continue
            occupant.standing = standing
            # Of a large room, only those who have a say are shown anew: it may be the standing of all.
            if user_id in self.shown or standing.affiliation in (Affiliation.OWNER, Affiliation.ADMIN):
                self.shown.add(user_id)
                self.present(occupant)

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
            self.present(occupant)

    @property
    def _watches(self) -> bool:
        return len(self.occupants) <= MOST_WATCHED

    # Pictures

    def show_room(self, sessions: Iterable[Session]) -> None:
        """Tell of the room's own picture, as clients expect it that do not ask for `muc#roominfo_avatarhash`.

        https://xmpp.org/extensions/xep-0486.html#presence
        """
        picture = self._picture(None, self.facts.avatar_url, lambda: self.show_room(list(self.sessions)))
        if picture is None and not (self.pictured and self.facts.avatar_url is None):
            return
        self.pictured = picture is not None
        stanza = Element("presence", "jabber:client", {"from": str(self.jid)}, photos.update(picture))
        for session in sessions:
            session.send(stanza.with_attributes(to=str(session.jid)))

    def _photo(self, occupant: Occupant) -> list[Element]:
        """Return what tells of somebody's picture; one that is not known yet is told of once it is."""
        picture = self._picture(occupant.user_id, occupant.avatar_url, lambda: self.show_again(occupant.user_id))
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

    def show_again(self, user_id: UserID) -> None:
        occupant = self.occupants.get(user_id)
        if occupant is not None and user_id in self.shown:
            self.present(occupant)

    # To all

    def broadcast(self, stanza: Element, sender: UserID | None, *, but: UserID | None = None) -> None:
        """Send something to all, but for the sessions of one user, and of those who ignore its sender."""
        stanza.written()
        ignored = self._services.account_data.known_ignored
        for session in list(self.sessions):
            if but is not None and session.who.user_id == but:
                continue
            if sender is not None and sender in (ignored(session.who.user) or ()):
                continue
            session.send(stanza.addressed(session.full))
