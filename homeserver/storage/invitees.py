"""What membership events need to know of the users of this server: their names, and whether they can be invited."""

from collections.abc import Iterable
from dataclasses import dataclass, field

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import UserID
from homeserver.storage.schema.accounts import account_data, accounts, profiles, users

INVITE_PERMISSION = "m.invite_permission_config"
NAMES = ("displayname", "avatar_url")


@dataclass(slots=True)
class Invitee:
    """A user with a living account here."""

    names: dict[str, bytes] = field(default_factory=dict)
    """Display name and avatar, as far as there are any, each as JSON."""
    invite_permission: bytes | None = None
    """The content of `m.invite_permission_config`, as JSON."""


def load(conn: Connection, user_ids: Iterable[UserID]) -> dict[UserID, Invitee]:
    """Return those of the users who have an account here that is not deactivated, in two queries."""
    wanted = list(user_ids)
    found: dict[UserID, Invitee] = {}
    living = accounts.c.deactivated_at.is_(None)
    with_permission = (account_data.c.user == accounts.c.user) & (account_data.c.type == INVITE_PERMISSION)
    query = (
        sa.select(users.c.user_id, account_data.c.content)
        .join(accounts, accounts.c.user == users.c.nid)
        .outerjoin(account_data, with_permission)
        .where(users.c.user_id.in_(wanted), living)
    )
    for user_id, content in conn.execute(query):
        found[UserID(user_id)] = Invitee(invite_permission=content)
    query_names = (
        sa.select(users.c.user_id, profiles.c.field, profiles.c.value)
        .join(users, users.c.nid == profiles.c.user)
        .where(users.c.user_id.in_(wanted), profiles.c.field.in_(NAMES))
    )
    for user_id, name, value in conn.execute(query_names):
        if user_id in found:
            found[UserID(user_id)].names[name] = value
    return found
