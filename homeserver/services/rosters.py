"""Rosters of XMPP clients: what they keep themselves, joined with whom the user has direct chats with.

Sources: https://www.rfc-editor.org/rfc/rfc6121#section-2, https://spec.matrix.org/v1.19/client-server-api/#direct-messaging
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, replace

import orjson
from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.ids import UserID, parse_user_id
from homeserver.errors import NotFound, TooLarge
from homeserver.model.accounts import Requester
from homeserver.model.nids import UserNid
from homeserver.model.rosters import RosterItem
from homeserver.storage import account_data, memberships, profiles, rosters
from homeserver.storage.database import Database, Write
from homeserver.storage.names import Names

DIRECT = "m.direct"
HIDDEN = "remove"
MOST_ITEMS = 2000

JidOf = Callable[[UserID], str | None]
"""Returns the address of a user, None for one who can have none."""


@dataclass(frozen=True, slots=True)
class _Partner:
    user_id: UserID
    name: str | None
    """Their display name, if it is known here."""
    near: bool
    """Whether they are in a room that the user is in. That the user lists them says nothing of their own wish."""


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
            kept = {item.jid: item for item in rosters.of_user(conn, who.user)}
            for partner in self._partners(conn, who.user):
                jid = jid_of(partner.user_id)
                if jid is None or partner.user_id == who.user_id:
                    continue
                item = kept.get(jid) or RosterItem(jid, None, "none", None, ())
                subscription, ask = ("both", None) if partner.near else ("none", "subscribe")
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

    async def show(self, who: Requester, jid: str) -> None:
        """Show a contact again that was taken away."""

        def show(tx: Write) -> None:
            known = rosters.find(tx.conn, who.user, jid)
            if known is not None and known.subscription == HIDDEN:
                rosters.remove(tx, who.user, jid)

        await self.db.write(show)

    def _partners(self, conn: Connection, user: UserNid) -> list[_Partner]:
        """Return whom a user has direct chats with."""
        content = account_data.find(conn, user, DIRECT)
        listed = orjson.loads(content) if content is not None else {}
        found: list[UserID] = []
        for name in listed:
            try:
                found.append(parse_user_id(name))
            except InvalidIdentifier:
                continue
        nids = self.names.user_nids(conn, found)
        names = profiles.names_of(conn, list(nids.values()))
        near = memberships.near(conn, user, nids.values())
        return [
            _Partner(one, names[nids[one]].display_name, nids[one] in near)
            if one in nids
            else _Partner(one, None, False)
            for one in found
        ]
