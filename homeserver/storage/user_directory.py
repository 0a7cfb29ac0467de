"""Searches users by name: one statement, one pass over the users.

Found are the living accounts of this server, and users of others that share a room with the one who asks or are in a
room of the public directory.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from federation.core.events.content import Membership
from federation.core.ids import UserID
from homeserver.model.nids import UserNid
from homeserver.model.profiles import DISPLAY_NAME
from homeserver.storage.schema.accounts import accounts, profiles, users
from homeserver.storage.schema.rooms import memberships, rooms

_ESCAPE = "\\"
_JOINED = str(Membership.JOIN)


@dataclass(frozen=True, slots=True)
class Found:
    """A user that was found; names of a user of another server are those of one of their memberships."""

    user: UserNid
    user_id: UserID
    is_local: bool
    display_name: str | None
    avatar_url: str | None


def search(conn: Connection, asking: UserNid, words: Sequence[str], limit: int) -> list[Found]:
    """Return the users whose ID or display name has each of the words (case-folded), the best ones first."""
    named = profiles.alias("named")
    elsewhere = _elsewhere(asking).subquery("elsewhere")
    user_id = sa.func.lower(users.c.user_id)
    folded = sa.func.coalesce(named.c.folded, sa.func.lower(elsewhere.c.display_name), "")
    first = words[0]
    rank = sa.case(
        (user_id.like(f"@{_escaped(first)}:%", escape=_ESCAPE), 0),
        (folded == first, 0),
        (user_id.like(f"@{_escaped(first)}%", escape=_ESCAPE), 1),
        (folded.like(f"{_escaped(first)}%", escape=_ESCAPE), 1),
        else_=2,
    )
    query = (
        sa.select(
            users.c.nid,
            users.c.user_id,
            accounts.c.user.label("account"),
            elsewhere.c.display_name,
            elsewhere.c.avatar_url,
        )
        .outerjoin(accounts, (accounts.c.user == users.c.nid) & accounts.c.deactivated_at.is_(None))
        .outerjoin(named, (named.c.user == users.c.nid) & (named.c.field == DISPLAY_NAME))
        .outerjoin(elsewhere, elsewhere.c.user == users.c.nid)
        .where(
            users.c.nid != asking,
            sa.or_(accounts.c.user.is_not(None), elsewhere.c.user.is_not(None)),
            *(_has(word, user_id, folded) for word in words),
        )
        .order_by(rank, folded == "", users.c.user_id)
        .limit(limit)
    )
    return [
        Found(UserNid(row.nid), row.user_id, row.account is not None, row.display_name, row.avatar_url)
        for row in conn.execute(query)
    ]


def _elsewhere(asking: UserNid) -> sa.Select[Any]:
    """Return the query for users of other servers that the one who asks may know of."""
    mine = sa.select(memberships.c.room).where(memberships.c.user == asking, memberships.c.membership == _JOINED)
    public = sa.select(rooms.c.nid).where(rooms.c.published)
    return (
        sa.select(
            memberships.c.user,
            sa.func.max(memberships.c.display_name).label("display_name"),
            sa.func.max(memberships.c.avatar_url).label("avatar_url"),
        )
        .outerjoin(accounts, accounts.c.user == memberships.c.user)
        .where(
            memberships.c.membership == _JOINED,
            accounts.c.user.is_(None),
            sa.or_(memberships.c.room.in_(mine), memberships.c.room.in_(public)),
        )
        .group_by(memberships.c.user)
    )


def _has(word: str, user_id: ColumnElement[str], folded: ColumnElement[str]) -> ColumnElement[bool]:
    # The server's name finds its users only for who asks for it: else "example" would find everybody.
    within = f"%{_escaped(word)}%" if "@" in word or ":" in word else f"@%{_escaped(word)}%:%"
    return sa.or_(user_id.like(within, escape=_ESCAPE), folded.like(f"%{_escaped(word)}%", escape=_ESCAPE))


def _escaped(word: str) -> str:
    return word.replace(_ESCAPE, _ESCAPE * 2).replace("%", f"{_ESCAPE}%").replace("_", f"{_ESCAPE}_")
