"""Which JID stands for whom: users and rooms of Matrix at the domains that this server has.

    alice@hs                    @alice:hs
    bob%other.org@mx.hs         @bob:other.org
    lounge@rooms.hs             #lounge:hs
    #den%other.org@rooms.hs     #den:other.org
    !opaque%other.org@rooms.hs  !opaque:other.org

How names are escaped is in `federation.core.xmpp.escaping`.
"""

from dataclasses import dataclass
from enum import Enum, auto

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomAlias, RoomID, ServerName, UserID, server_of, split_server_name
from federation.core.xmpp import escaping
from federation.core.xmpp.jid import Jid, prepare_domain


class Place(Enum):
    """What an address is, seen from the session that sends something there."""

    ACCOUNT = auto()
    """The user's own bare JID, or no address at all."""
    SERVER = auto()
    """The server's domain."""
    USER = auto()
    """The bare JID of another user: of this server, or at the gateway of one of another Matrix server."""
    SESSION = auto()
    """A full JID of a user, oneself or another."""
    GATEWAY = auto()
    """The domain of users of other Matrix servers."""
    ROOMS = auto()
    """The domain of rooms."""
    ROOM = auto()
    """A room."""
    OCCUPANT = auto()
    """Someone in a room, by their nick."""
    UPLOADS = auto()
    """The domain of file uploads."""
    ELSEWHERE = auto()
    """Nothing of this server's."""


@dataclass(frozen=True, slots=True)
class Addresses:
    """The domains of this server, and who is where on them."""

    server_name: ServerName
    domain: str
    rooms: str
    """The domain of rooms."""
    gateway: str
    """The domain of users of other Matrix servers."""
    uploads: str

    @staticmethod
    def of(server_name: ServerName) -> "Addresses":
        """Return the addresses of a server. Ports are no part of an XMPP domain."""
        host, _port = split_server_name(server_name)
        domain = prepare_domain(host)
        # Nothing can stand before a literal address of IPv6.
        parent = "localhost" if domain.startswith("[") else domain
        return Addresses(server_name, domain, f"rooms.{parent}", f"mx.{parent}", f"upload.{parent}")

    def of_user(self, user_id: UserID) -> Jid:
        """Return a user's bare JID. Raises `InvalidIdentifier` for the few IDs that are too long for one."""
        if server_of(user_id) == self.server_name:
            return Jid(escaping.local_user(user_id), self.domain)
        return Jid(escaping.remote_user(user_id), self.gateway)

    def user(self, jid: Jid) -> UserID | None:
        """Return the user at a bare or full JID; None if it is no user's. They need not exist."""
        if jid.local is None:
            return None
        try:
            if jid.domain == self.domain:
                return escaping.user_of_local(jid.local, self.server_name)
            if jid.domain == self.gateway:
                user_id = escaping.user_of_remote(jid.local)
                return user_id if server_of(user_id) != self.server_name else None
        except InvalidIdentifier:
            return None
        return None

    def user_named(self, name: str) -> UserID | None:
        """Return the user of this server who logs in with a name: the localpart of their JID, or of their user ID."""
        try:
            return self.user(Jid.parse(f"{name}@{self.domain}"))
        except InvalidIdentifier:
            return None

    def of_room(self, room: RoomID | RoomAlias) -> Jid:
        """Return the bare JID of a room by its ID or an alias. Raises `InvalidIdentifier` if it is too long for one."""
        if room.startswith("#"):
            return Jid(escaping.alias(RoomAlias(room), self.server_name), self.rooms)
        return Jid(escaping.room(RoomID(room)), self.rooms)

    def room(self, jid: Jid) -> RoomID | RoomAlias | None:
        """Return the room ID (`!`) or alias (`#`) that a JID means; None if it is no room's. It need not exist."""
        if jid.local is None or jid.domain != self.rooms:
            return None
        try:
            return escaping.room_of(jid.local, self.server_name)
        except InvalidIdentifier:
            return None

    def place(self, own: Jid, to: Jid | None) -> Place:
        """Return what an address is for the user whose JID is `own`."""
        if to is None or (to.is_bare and (to.local, to.domain) == (own.local, own.domain)):
            return Place.ACCOUNT
        if to.local is None:
            # https://www.rfc-editor.org/rfc/rfc6120#section-10.5.1: a resource of the server's is the server.
            return {
                self.domain: Place.SERVER,
                self.rooms: Place.ROOMS,
                self.gateway: Place.GATEWAY,
                self.uploads: Place.UPLOADS,
            }.get(to.domain, Place.ELSEWHERE)
        if to.domain in (self.domain, self.gateway):
            return Place.USER if to.is_bare else Place.SESSION
        if to.domain == self.rooms:
            return Place.ROOM if to.is_bare else Place.OCCUPANT
        return Place.ELSEWHERE
