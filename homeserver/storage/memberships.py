"""Memberships: the newest of each user in each room, kept beside the state so that both directions are one query."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.events.content import Membership
from federation.core.ids import ServerName, UserID
from homeserver.model.nids import EventNid, RoomNid, UserNid
from homeserver.model.profiles import PublicNames
from homeserver.model.rooms import Member, RoomMembership
from homeserver.storage.database import Hot, Write, among, numbers, one_of, texts, upsert
from homeserver.storage.schema.accounts import users
from homeserver.storage.schema.rooms import memberships


@dataclass(frozen=True, slots=True, kw_only=True)
class NewMembership:
    """How a user comes to stand to a room."""

    user: UserNid
    membership: Membership
    event: EventNid
    sender: UserNid
    display_name: str | None = None
    avatar_url: str | None = None
    stripped_state: bytes | None = None


def store(tx: Write, room: RoomNid, position: int, changes: Iterable[NewMembership]) -> None:
    """Store the new memberships of users, each of whom is named once, as of a position."""
    rows = [
        {
            "room": room, "user": new.user, "membership": str(new.membership), "event": new.event, "began": new.event,
            "position": position, "began_at": position, "sender": new.sender, "display_name": new.display_name,
            "avatar_url": new.avatar_url, "forgotten": False, "stripped_state": new.stripped_state,
        }
        for new in changes
    ]  # fmt: skip
    if not rows:
        return
    statement = upsert(tx.conn, memberships)
    new = statement.excluded
    same = memberships.c.membership == new.membership
    changed: dict[str, sa.ColumnElement[Any]] = {
        column: new[column] for column in rows[0] if column not in ("room", "user")
    }
    changed["began"] = sa.case((same, memberships.c.began), else_=new.began)
    changed["began_at"] = sa.case((same, memberships.c.began_at), else_=new.began_at)
    tx.conn.execute(statement.on_conflict_do_update(index_elements=["room", "user"], set_=changed), rows)


def remove(tx: Write, room: RoomNid, users_gone: Collection[UserNid]) -> None:
    """Let users have nothing to do with a room any more: no branch of it that counts knows of them."""
    for user in users_gone:
        tx.conn.execute(memberships.delete().where(memberships.c.room == room, memberships.c.user == user))


def forget_names(tx: Write, event: EventNid) -> None:
    """Take display name and avatar out of the membership that rests on a redacted event."""
    statement = memberships.update().where(memberships.c.event == event)
    tx.conn.execute(statement.values(display_name=None, avatar_url=None))


def forget(tx: Write, room: RoomNid, user: UserNid) -> None:
    """Let a user who has left forget the room."""
    where = (memberships.c.room == room) & (memberships.c.user == user)
    tx.conn.execute(memberships.update().where(where).values(forgotten=True))


NEVER = 2**62
"""Stands for a position after all others."""


def of_user_in(conn: Connection, room: RoomNid, user: UserNid) -> RoomMembership | None:
    """Return how a user stands to a room, or None if they never had to do with it."""
    rows = _ONE.run(conn, {"room_nid": room, "user_nid": user})
    return _membership(*rows[0]) if rows else None


def _membership(
    room: RoomNid, membership: str, event: EventNid, began: EventNid, position: int, began_at: int,
    sender: UserNid, forgotten: int, display_name: str | None,
) -> RoomMembership:  # fmt: skip
    return RoomMembership(
        room, Membership(membership), event, began, position, began_at, sender, bool(forgotten), display_name
    )


def of_user_in_rooms(conn: Connection, user: UserNid, rooms: Iterable[RoomNid]) -> dict[RoomNid, RoomMembership]:
    """Return how a user stands to those of the rooms that they ever had to do with, in one query."""
    rows = _IN_ROOMS.run(conn, {"user_nid": user, "rooms": numbers(conn, list(rooms))})
    return {row[0]: _membership(*row) for row in rows}


def of_user(
    conn: Connection, user: UserNid, kinds: Collection[Membership] | None = None, *, changed_after: int | None = None
) -> list[RoomMembership]:
    """Return the rooms of a user with one of these memberships, and those whose membership changed after a position."""
    wanted = [str(kind) for kind in (Membership if kinds is None else kinds)]
    after = changed_after if changed_after is not None else NEVER
    values = {"user_nid": user, "kinds": texts(conn, wanted), "after": after}
    return [_membership(*row) for row in _OF_USER.run(conn, values)]


def joined_rooms(conn: Connection, user: UserNid) -> list[RoomNid]:
    """Return the rooms that a user has joined."""
    where = (memberships.c.user == user) & (memberships.c.membership == str(Membership.JOIN))
    return [RoomNid(nid) for nid in conn.execute(sa.select(memberships.c.room).where(where)).scalars()]


def stripped_states(conn: Connection, user: UserNid, rooms: Iterable[RoomNid]) -> dict[RoomNid, bytes]:
    """Return the stripped state that came with a user's invites and knocks, each a JSON list."""
    query = sa.select(memberships.c.room, memberships.c.stripped_state).where(
        memberships.c.user == user,
        one_of(memberships.c.room, rooms),
        memberships.c.stripped_state.is_not(None),
    )
    return {RoomNid(room): stripped for room, stripped in conn.execute(query)}


def members(conn: Connection, room: RoomNid, kinds: Collection[Membership]) -> list[Member]:
    """Return the members of a room with one of these memberships, by user ID."""
    query = (
        sa.select(memberships, users.c.user_id)
        .join(users, users.c.nid == memberships.c.user)
        .where(memberships.c.room == room, memberships.c.membership.in_([str(kind) for kind in kinds]))
        .order_by(users.c.user_id)
    )
    return [
        Member(
            room,
            row.user,
            row.user_id,
            Membership(row.membership),
            row.event,
            row.display_name,
            row.avatar_url,
        )
        for row in conn.execute(query)
    ]


def counts(conn: Connection, rooms: Iterable[RoomNid]) -> dict[RoomNid, dict[Membership, int]]:
    """Return how many users have each membership in each of these rooms, in one query."""
    query = (
        sa.select(memberships.c.room, memberships.c.membership, sa.func.count())
        .where(one_of(memberships.c.room, rooms))
        .group_by(memberships.c.room, memberships.c.membership)
    )
    found: dict[RoomNid, dict[Membership, int]] = {}
    for room, membership, count in conn.execute(query):
        found.setdefault(RoomNid(room), {})[Membership(membership)] = count
    return found


def has_joined_any(conn: Connection, user: UserNid, rooms: Iterable[RoomNid]) -> bool:
    """Return whether a user has joined one of these rooms."""
    query = sa.select(memberships.c.room).where(
        memberships.c.user == user,
        memberships.c.membership == str(Membership.JOIN),
        one_of(memberships.c.room, rooms),
    )
    return conn.execute(query.limit(1)).first() is not None


def joined_of(conn: Connection, room: RoomNid, user_ids: Iterable[UserID]) -> set[UserID]:
    """Return those of these users who are joined to a room."""
    query = _JOINED_IDS.where(memberships.c.room == room, one_of(users.c.user_id, user_ids))
    return {UserID(user_id) for user_id in conn.execute(query).scalars()}


def some_joined_from(conn: Connection, room: RoomNid, server_name: ServerName, *, limit: int) -> list[UserID]:
    """Return some of the users of a server who are joined to a room."""
    query = _JOINED_IDS.where(memberships.c.room == room, users.c.user_id.endswith(f":{server_name}", autoescape=True))
    return [UserID(user_id) for user_id in conn.execute(query.limit(limit)).scalars()]


def of_server(conn: Connection, room: RoomNid, server_name: ServerName) -> list[UserID]:
    """Return the users of a server who ever had to do with a room: first those who are in it, longest ones first."""
    query = (
        sa.select(users.c.user_id)
        .join(memberships, memberships.c.user == users.c.nid)
        .where(memberships.c.room == room, users.c.user_id.endswith(f":{server_name}", autoescape=True))
        .order_by(memberships.c.membership != str(Membership.JOIN), memberships.c.began)
    )
    return [UserID(user_id) for user_id in conn.execute(query).scalars()]


def share_a_room(conn: Connection, user: UserNid, other: UserNid) -> bool:
    """Return whether two users are joined to a common room."""
    theirs = memberships.alias()
    joined = str(Membership.JOIN)
    query = (
        sa.select(memberships.c.room)
        .join(theirs, theirs.c.room == memberships.c.room)
        .where(
            memberships.c.user == user, memberships.c.membership == joined,
            theirs.c.user == other, theirs.c.membership == joined,
        )
        .limit(1)
    )  # fmt: skip
    return conn.execute(query).first() is not None


_JOINED_IDS = (
    sa.select(users.c.user_id)
    .join(memberships, memberships.c.user == users.c.nid)
    .where(memberships.c.membership == str(Membership.JOIN))
)
_ALL: sa.Select[Any] = sa.select(
    memberships.c.room,
    memberships.c.membership,
    memberships.c.event,
    memberships.c.began,
    memberships.c.position,
    memberships.c.began_at,
    memberships.c.sender,
    memberships.c.forgotten,
    memberships.c.display_name,
)
_OF_ONE_USER = _ALL.where(memberships.c.user == sa.bindparam("user_nid"))
_ONE = Hot(_OF_ONE_USER.where(memberships.c.room == sa.bindparam("room_nid")))
_IN_ROOMS = Hot(_OF_ONE_USER.where(among(memberships.c.room, "rooms")))
_OF_USER = Hot(
    _OF_ONE_USER.where(sa.or_(among(memberships.c.membership, "kinds"), memberships.c.position > sa.bindparam("after")))
)


def pairs(conn: Connection, rooms: Iterable[RoomNid]) -> dict[RoomNid, set[UserNid]]:
    """Return who is joined to those of some rooms in which there are at most two people, those invited counted."""
    there = [str(Membership.JOIN), str(Membership.INVITE)]
    small = (
        sa.select(memberships.c.room)
        .where(one_of(memberships.c.room, rooms), memberships.c.membership.in_(there))
        .group_by(memberships.c.room)
        .having(sa.func.count() <= 2)
    )
    query = sa.select(memberships.c.room, memberships.c.user).where(
        memberships.c.room.in_(small), memberships.c.membership == str(Membership.JOIN)
    )
    found: dict[RoomNid, set[UserNid]] = {}
    for room, user in conn.execute(query):
        found.setdefault(RoomNid(room), set()).add(UserNid(user))
    return found


def names_near(conn: Connection, user: UserNid, others: Iterable[UserNid]) -> dict[UserNid, PublicNames]:
    """Return name and picture of some users as they said them last in a room that a user is joined to, too."""
    theirs = memberships.alias()
    joined = str(Membership.JOIN)
    query = (
        sa.select(theirs.c.user, theirs.c.display_name, theirs.c.avatar_url)
        .join(memberships, memberships.c.room == theirs.c.room)
        .where(memberships.c.user == user, memberships.c.membership == joined, theirs.c.membership == joined)
        .where(one_of(theirs.c.user, others))
        .order_by(theirs.c.position)
    )
    return {UserNid(nid): PublicNames(name, avatar) for nid, name, avatar in conn.execute(query)}
