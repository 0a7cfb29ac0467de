"""Rosters, as XMPP clients keep them."""

from collections.abc import Iterable, Sequence

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import UserNid
from homeserver.model.rosters import RosterItem
from homeserver.storage.database import Write, one_of, upsert
from homeserver.storage.schema.xmpp import roster_items

_ITEMS = sa.select(
    roster_items.c.jid, roster_items.c.name, roster_items.c.subscription, roster_items.c.ask, roster_items.c.groups
)


def of_user(conn: Connection, user: UserNid) -> Sequence[RosterItem]:
    """Return a user's contacts, by address."""
    rows = conn.execute(_ITEMS.where(roster_items.c.user == user).order_by(roster_items.c.jid))
    return [
        RosterItem(jid, name, subscription, ask, tuple(orjson.loads(groups)))
        for jid, name, subscription, ask, groups in rows
    ]


def find(conn: Connection, user: UserNid, jid: str) -> RosterItem | None:
    """Return one contact of a user."""
    row = conn.execute(_ITEMS.where(roster_items.c.user == user, roster_items.c.jid == jid)).one_or_none()
    return None if row is None else RosterItem(row[0], row[1], row[2], row[3], tuple(orjson.loads(row[4])))


def toward(conn: Connection, users: Iterable[UserNid], jid: str) -> dict[UserNid, str]:
    """Return what is kept of one address in the rosters of some users: the subscription of each who has it."""
    query = sa.select(roster_items.c.user, roster_items.c.subscription).where(
        one_of(roster_items.c.user, users), roster_items.c.jid == jid
    )
    return {UserNid(user): subscription for user, subscription in conn.execute(query)}


def store(tx: Write, user: UserNid, item: RosterItem) -> None:
    """Store a contact in the place of what was stored of it."""
    values = {
        "name": item.name,
        "subscription": item.subscription,
        "ask": item.ask,
        "groups": orjson.dumps(item.groups),
    }
    statement = upsert(tx.conn, roster_items).values(user=user, jid=item.jid, **values)
    tx.conn.execute(statement.on_conflict_do_update(index_elements=["user", "jid"], set_=values))


def remove(tx: Write, user: UserNid, jid: str) -> bool:
    """Remove a contact; return whether it was there."""
    where = (roster_items.c.user == user) & (roster_items.c.jid == jid)
    return tx.conn.execute(roster_items.delete().where(where)).rowcount > 0
