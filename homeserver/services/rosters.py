"""Rosters of XMPP clients: what they keep themselves, joined with whom the user has direct chats with.

Who has a direct chat with somebody sees their presence and shows them their own, unless one of the two has said
otherwise. That is kept as the subscription that is left by it, and holds between XMPP clients; in Matrix, presence is
seen by all who share a room.

Sources: https://www.rfc-editor.org/rfc/rfc6121#section-2, https://spec.matrix.org/v1.19/client-server-api/#direct-messaging
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import orjson
from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomID, UserID, parse_user_id
from homeserver.errors import NotFound, TooLarge
from homeserver.model.accounts import Requester
from homeserver.model.nids import UserNid
from homeserver.model.rosters import RosterItem
from homeserver.storage import account_data, memberships, profiles, rosters
from homeserver.storage.database import Database, Write
from homeserver.storage.names import Names

DIRECT = "m.direct"
HIDDEN = "remove"
APART = "apart"
"""What is kept where the user neither wants to see somebody nor to be seen."""
_DEAF = frozenset((HIDDEN, APART, "from"))
_MUTE = frozenset((HIDDEN, APART, "to"))
_LEFT = {(True, True): "none", (True, False): "to", (False, True): "from", (False, False): APART}
"""What is kept of whether the user wants to see somebody, and to be seen: nothing special if they want both."""
MOST_ITEMS = 2000

JidOf = Callable[[UserID], str | None]
"""Returns the address of a user, None for one who can have none."""


@dataclass(frozen=True, slots=True)
class _Partner:
    user_id: UserID
    name: str | None
    """Their display name, if it is known here."""
    near: bool
    """Whether both are in a room of two that the user lists. That they list somebody says nothing of the other's wish:
    anybody can do so with whom they share a public room."""
    user: UserNid | None = None


@dataclass(frozen=True, slots=True)
class Rosters:
    """Keeps rosters."""

    db: Database
    names: Names

    async def all(self, who: Requester, jid_of: JidOf) -> Sequence[RosterItem]:
        """Return a user's contacts by address: those that they keep, and whom they have direct chats with.

        The latter see each other's presence once they share a room; until then they are asked.
        """

        def read(conn: Connection) -> list[RosterItem]:
            stored = {item.jid: item for item in rosters.of_user(conn, who.user)}
            kept = {
                jid: item if item.subscription == HIDDEN else replace(item, subscription="none", ask=None)
                for jid, item in stored.items()
            }
            partners = self._partners(conn, who.user)
            own = jid_of(who.user_id)
            users = [partner.user for partner in partners if partner.user is not None]
            theirs = rosters.toward(conn, users, own) if own is not None and users else {}
            for partner in partners:
                jid = jid_of(partner.user_id)
                if jid is None or partner.user_id == who.user_id:
                    continue
                item = stored.get(jid) or RosterItem(jid, None, "none", None, ())
                said = theirs.get(partner.user, "none") if partner.user is not None else "none"
                subscription = _between(item.subscription, said) if partner.near else "none"
                ask = None if partner.near else "subscribe"
                if item.subscription != HIDDEN:
                    kept[jid] = replace(item, subscription=subscription, ask=ask, name=item.name or partner.name)
            return [kept[jid] for jid in sorted(kept) if kept[jid].subscription != HIDDEN]

        return await self.db.read(read)

    async def put(self, who: Requester, jid: str, name: str | None, groups: Iterable[str]) -> None:
        """Keep a contact under a name and in groups. Raises `TooLarge`."""

        def store(tx: Write) -> None:
            known = rosters.find(tx.conn, who.user, jid)
            if known is None and len(rosters.of_user(tx.conn, who.user)) >= MOST_ITEMS:
                raise TooLarge(f"A roster has at most {MOST_ITEMS} contacts")
            subscription = known.subscription if known is not None and known.subscription != HIDDEN else "none"
            ask = known.ask if known is not None else None
            rosters.store(tx, who.user, RosterItem(jid, name, subscription, ask, tuple(sorted(set(groups)))))

        await self.db.write(store)

    async def remove(self, who: Requester, jid: str, partner: UserID | None) -> None:
        """Keep a contact no longer; one with whom there is a direct chat is not shown any more. Raises `NotFound`."""

        def remove(tx: Write) -> None:
            if any(one.user_id == partner for one in self._partners(tx.conn, who.user)):
                rosters.store(tx, who.user, RosterItem(jid, None, HIDDEN, None, ()))
            elif not rosters.remove(tx, who.user, jid):
                raise NotFound("There is no such contact")

        await self.db.write(remove)

    async def choose(
        self, who: Requester, jid: str, partner: UserID, *, hears: bool | None = None, shows: bool | None = None
    ) -> None:
        """Keep whether the user wants to see the presence of somebody whom they talk with, and to be seen by them.

        To want to see somebody who was taken away brings them back as they were at first.
        """

        def choose(tx: Write) -> None:
            known = rosters.find(tx.conn, who.user, jid) or RosterItem(jid, None, "none", None, ())
            now = known.subscription not in _DEAF, known.subscription not in _MUTE
            if known.subscription == HIDDEN:
                left = "none" if hears else HIDDEN
            else:
                left = _LEFT[now[0] if hears is None else hears, now[1] if shows is None else shows]
            if left == known.subscription or all(one.user_id != partner for one in self._partners(tx.conn, who.user)):
                return
            if left == "none" and known.name is None and not known.groups:
                rosters.remove(tx, who.user, jid)
            else:
                rosters.store(tx, who.user, replace(known, subscription=left))

        await self.db.write(choose)

    def _partners(self, conn: Connection, user: UserNid) -> list[_Partner]:
        """Return whom a user has direct chats with, as they list them."""
        listed = _listed(account_data.find(conn, user, DIRECT))
        nids = self.names.user_nids(conn, listed)
        rooms = self.names.room_nids(conn, {room_id for room_ids in listed.values() for room_id in room_ids})
        joined = memberships.pairs(conn, rooms.values()) if rooms else {}
        near = {
            nid
            for user_id, nid in nids.items()
            if any({user, nid} <= joined.get(rooms[room_id], set()) for room_id in listed[user_id] if room_id in rooms)
        }
        names = profiles.names_of(conn, list(nids.values()))
        # Those of other servers are called as they are in a room that both are in.
        unnamed = [nid for nid in near if names[nid].display_name is None]
        if unnamed:
            names |= memberships.names_near(conn, user, unnamed)
        return [
            _Partner(one, names[nids[one]].display_name, nids[one] in near, nids[one])
            if one in nids
            else _Partner(one, None, False)
            for one in listed
        ]


def _listed(content: bytes | None) -> dict[UserID, list[RoomID]]:
    """Return the rooms in which a user says that they talk with somebody, by whom; what is malformed is left out."""
    found: dict[UserID, list[RoomID]] = {}
    parsed = orjson.loads(content) if content is not None else {}
    for name, room_ids in parsed.items() if isinstance(parsed, dict) else ():
        try:
            rooms = found.setdefault(parse_user_id(name), [])
        except InvalidIdentifier:
            continue
        rooms.extend(RoomID(each) for each in (room_ids if isinstance(room_ids, list) else ()) if isinstance(each, str))
    return found


def _between(mine: str, theirs: str) -> str:
    """Return who sees whom, of what two users have kept of each other."""
    sees = mine not in _DEAF and theirs not in _MUTE
    seen = mine not in _MUTE and theirs not in _DEAF
    return {(True, True): "both", (True, False): "to", (False, True): "from", (False, False): "none"}[sees, seen]
