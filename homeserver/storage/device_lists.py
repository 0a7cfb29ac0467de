"""When users' devices changed, and the devices of users of other servers.

A change is stored once, as the newest position of its user; who is to hear of it follows from the rooms.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.events.content import Membership
from federation.core.ids import DeviceID
from homeserver.model.encryption import PublishedDevice
from homeserver.model.nids import RoomNid, UserNid
from homeserver.storage.database import Write, upsert
from homeserver.storage.schema.encryption import device_lists, remote_devices
from homeserver.storage.schema.rooms import memberships

JOIN = str(Membership.JOIN)
GONE = (str(Membership.LEAVE), str(Membership.BAN))


@dataclass(frozen=True, slots=True)
class RemoteList:
    """How far the list of a remote user's devices is known."""

    stream_id: int | None
    stale: bool


def advance(tx: Write, user: UserNid, position: int) -> int | None:
    """Note that a user's devices have changed; return the position of the change before, if there was one."""
    before = tx.conn.execute(sa.select(device_lists.c.position).where(device_lists.c.user == user)).scalar_one_or_none()
    insert = upsert(tx.conn, device_lists).values(user=user, position=position, stale=False)
    tx.conn.execute(insert.on_conflict_do_update(index_elements=["user"], set_={"position": insert.excluded.position}))
    return before


def position_of(conn: Connection, user: UserNid) -> int:
    """Return the position of the newest change of a user's devices, 0 if there was none."""
    query = sa.select(device_lists.c.position).where(device_lists.c.user == user)
    return int(conn.execute(query).scalar_one_or_none() or 0)


# For /sync


def changed_for(conn: Connection, reader: UserNid, since: int, until: int) -> set[UserNid]:
    """Return who has changed their devices between two positions: the reader, and who shares a room with them."""
    mine, theirs = memberships.alias("mine"), memberships.alias("theirs")
    shared = (
        sa.select(mine.c.room)
        .select_from(mine.join(theirs, theirs.c.room == mine.c.room))
        .where(mine.c.user == reader, mine.c.membership == JOIN)
        .where(theirs.c.user == device_lists.c.user, theirs.c.membership == JOIN)
        .correlate(device_lists)
        .exists()
    )
    query = sa.select(device_lists.c.user).where(
        device_lists.c.position > since,
        device_lists.c.position <= until,
        sa.or_(device_lists.c.user == reader, shared),
    )
    return {UserNid(user) for user in conn.execute(query).scalars()}


def moved(
    conn: Connection, reader: UserNid, since: int, until: int
) -> tuple[dict[RoomNid, set[UserNid]], set[UserNid]]:
    """Return who came, since a position, into rooms that the reader is in, by room, and who went out of them."""
    mine, theirs = memberships.alias("mine"), memberships.alias("theirs")
    query = (
        sa.select(theirs.c.room, theirs.c.user, theirs.c.membership)
        .join(mine, sa.and_(mine.c.room == theirs.c.room, mine.c.user == reader, mine.c.membership == JOIN))
        .where(theirs.c.began > since, theirs.c.began <= until, theirs.c.user != reader)
        .where(theirs.c.membership.in_((JOIN, *GONE)))
    )
    came: dict[RoomNid, set[UserNid]] = {}
    went: set[UserNid] = set()
    for room, user, membership in conn.execute(query):
        if membership == JOIN:
            came.setdefault(room, set()).add(user)
        else:
            went.add(user)
    return came, went


def rooms_moved(conn: Connection, reader: UserNid, since: int, until: int) -> tuple[set[RoomNid], set[RoomNid]]:
    """Return the rooms that the reader has come into since a position, and those that they have left."""
    query = sa.select(memberships.c.room, memberships.c.membership).where(
        memberships.c.user == reader,
        memberships.c.began > since,
        memberships.c.began <= until,
        memberships.c.membership.in_((JOIN, *GONE)),
    )
    came: set[RoomNid] = set()
    went: set[RoomNid] = set()
    for room, membership in conn.execute(query):
        (came if membership == JOIN else went).add(room)
    return came, went


def members(conn: Connection, rooms: Collection[RoomNid]) -> set[UserNid]:
    """Return who is joined to any of the rooms."""
    query = sa.select(memberships.c.user).where(memberships.c.room.in_(rooms), memberships.c.membership == JOIN)
    return {UserNid(user) for user in conn.execute(query.distinct()).scalars()}


def sharing(conn: Connection, reader: UserNid, others: Collection[UserNid]) -> set[UserNid]:
    """Return those of the others who share a room with the reader."""
    mine, theirs = memberships.alias("mine"), memberships.alias("theirs")
    query = (
        sa.select(theirs.c.user)
        .join(mine, sa.and_(mine.c.room == theirs.c.room, mine.c.user == reader, mine.c.membership == JOIN))
        .where(theirs.c.user.in_(others), theirs.c.membership == JOIN)
        .distinct()
    )
    return {UserNid(user) for user in conn.execute(query).scalars()}


def in_rooms(conn: Connection, users: Collection[UserNid]) -> set[UserNid]:
    """Return those of the users who are joined to any room that is known here."""
    query = sa.select(memberships.c.user).where(memberships.c.user.in_(users), memberships.c.membership == JOIN)
    return {UserNid(user) for user in conn.execute(query.distinct()).scalars()}


# Users of other servers


def remote_lists(conn: Connection, users: Collection[UserNid]) -> dict[UserNid, RemoteList]:
    """Return how far the lists of remote users are known; those that were never asked for are left out."""
    query = sa.select(device_lists.c.user, device_lists.c.stream_id, device_lists.c.stale).where(
        device_lists.c.user.in_(users), device_lists.c.stream_id.is_not(None)
    )
    return {user: RemoteList(stream_id, stale) for user, stream_id, stale in conn.execute(query)}


def stale_users(conn: Connection, limit: int) -> list[UserNid]:
    """Return remote users whose lists must be asked for anew."""
    query = sa.select(device_lists.c.user).where(device_lists.c.stale.is_(True)).limit(limit)
    return [UserNid(user) for user in conn.execute(query).scalars()]


def set_remote(tx: Write, user: UserNid, stream_id: int, *, stale: bool) -> None:
    """Note how far the list of a remote user is known."""
    tx.conn.execute(device_lists.update().where(device_lists.c.user == user).values(stream_id=stream_id, stale=stale))


def forget_strangers(tx: Write) -> int:
    """Forget the lists of remote users who share no room with anybody here: nobody tells us their changes."""
    shares = sa.exists().where(memberships.c.user == device_lists.c.user, memberships.c.membership == JOIN)
    strangers = tx.conn.execute(
        device_lists.update()
        .where(device_lists.c.stream_id.is_not(None), ~shares)
        .values(stream_id=None, stale=False)
        .returning(device_lists.c.user)
    )
    gone = list(strangers.scalars())
    tx.conn.execute(remote_devices.delete().where(remote_devices.c.user.in_(gone)))
    return len(gone)


def remote_of_users(conn: Connection, users: Collection[UserNid]) -> dict[UserNid, list[PublishedDevice]]:
    """Return the devices of remote users, as far as they are known, in one query."""
    found: dict[UserNid, list[PublishedDevice]] = {}
    query = (
        sa.select(
            remote_devices.c.user, remote_devices.c.device_id, remote_devices.c["keys"], remote_devices.c.display_name
        )
        .where(remote_devices.c.user.in_(users))
        .order_by(remote_devices.c.device_id)
    )
    for user, device_id, keys, display_name in conn.execute(query):
        found.setdefault(user, []).append(PublishedDevice(DeviceID(device_id), keys, display_name))
    return found


def replace_remote(tx: Write, user: UserNid, devices: Collection[PublishedDevice]) -> None:
    """Store the whole list of a remote user's devices."""
    tx.conn.execute(remote_devices.delete().where(remote_devices.c.user == user))
    put_remote(tx, user, devices)


def put_remote(tx: Write, user: UserNid, devices: Collection[PublishedDevice]) -> None:
    """Store some devices of a remote user in the place of what was known of them."""
    remove_remote(tx, user, [one.device_id for one in devices])
    rows: list[Mapping[str, object]] = [
        {"user": user, "device_id": one.device_id, "keys": one.keys, "display_name": one.display_name}
        for one in devices
    ]
    if rows:
        tx.conn.execute(remote_devices.insert(), rows)


def remove_remote(tx: Write, user: UserNid, device_ids: Collection[DeviceID]) -> None:
    """Remove devices of a remote user."""
    if device_ids:
        tx.conn.execute(
            remote_devices.delete().where(remote_devices.c.user == user, remote_devices.c.device_id.in_(device_ids))
        )
