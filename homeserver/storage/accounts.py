"""Accounts and what is kept of their passwords."""

from collections.abc import Iterable
from dataclasses import asdict

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import UserID
from homeserver.model.accounts import Account, ScramKeys
from homeserver.model.nids import UserNid
from homeserver.storage.database import Write
from homeserver.storage.schema.accounts import (
    account_data,
    accounts,
    filters,
    presence,
    profiles,
    push_rules,
    room_account_data,
    scram_keys,
    users,
)

_ACCOUNTS = sa.select(
    accounts.c.user,
    users.c.user_id,
    accounts.c.password_hash,
    accounts.c.admin,
    accounts.c.created_at,
    accounts.c.deactivated_at,
    accounts.c.locked,
    accounts.c.suspended,
).join(users, users.c.nid == accounts.c.user)
_BY_ID = _ACCOUNTS.where(users.c.user_id == sa.bindparam("user_id"))


def find(conn: Connection, user_id: UserID) -> Account | None:
    """Return the account of a user, a deactivated one too, or None if there is none here."""
    row = conn.execute(_BY_ID, {"user_id": user_id}).one_or_none()
    return None if row is None else Account(*row)


def living(conn: Connection, wanted: Iterable[UserNid]) -> set[UserNid]:
    """Return those of the users who have an account that is not deactivated, in one query."""
    query = sa.select(accounts.c.user).where(accounts.c.user.in_(list(wanted)), accounts.c.deactivated_at.is_(None))
    return {UserNid(user) for user in conn.execute(query).scalars()}


def create(tx: Write, user: UserNid, *, admin: bool, now: int) -> None:
    """Store a new account without a password. The caller has made sure that the name is free."""
    tx.conn.execute(accounts.insert().values(user=user, admin=admin, created_at=now))


def set_password(tx: Write, user: UserNid, password_hash: str, keys: Iterable[ScramKeys]) -> None:
    """Store what is kept of a new password in the place of what was kept of the old one."""
    tx.conn.execute(accounts.update().where(accounts.c.user == user).values(password_hash=password_hash))
    tx.conn.execute(scram_keys.delete().where(scram_keys.c.user == user))
    rows = [{"user": user, **asdict(key)} for key in keys]
    if rows:
        tx.conn.execute(scram_keys.insert(), rows)


def has_scram_keys(conn: Connection, user: UserNid) -> bool:
    """Return whether keys are kept of an account's password."""
    query = sa.select(scram_keys.c.mechanism).where(scram_keys.c.user == user).limit(1)
    return conn.execute(query).first() is not None


def scram_keys_of(conn: Connection, user: UserNid) -> list[ScramKeys]:
    """Return the keys kept of an account's password, by the name of the mechanism."""
    query = (
        sa.select(
            scram_keys.c.mechanism,
            scram_keys.c.salt,
            scram_keys.c.iterations,
            scram_keys.c.stored_key,
            scram_keys.c.server_key,
        )
        .where(scram_keys.c.user == user)
        .order_by(scram_keys.c.mechanism)
    )
    return [ScramKeys(*row) for row in conn.execute(query)]


def set_locked(tx: Write, user: UserNid, locked: bool) -> None:
    """Lock or unlock an account."""
    tx.conn.execute(accounts.update().where(accounts.c.user == user).values(locked=locked))


def set_suspended(tx: Write, user: UserNid, suspended: bool) -> None:
    """Suspend an account, or end that."""
    tx.conn.execute(accounts.update().where(accounts.c.user == user).values(suspended=suspended))


def deactivate(tx: Write, user: UserNid, now: int) -> None:
    """Take password, keys, profile and presence away, and mark the account; its name stays taken."""
    tx.conn.execute(scram_keys.delete().where(scram_keys.c.user == user))
    for table in (profiles, presence):
        tx.conn.execute(table.delete().where(table.c.user == user))
    tx.conn.execute(accounts.update().where(accounts.c.user == user).values(password_hash=None, deactivated_at=now))


def erase(tx: Write, user: UserNid) -> None:
    """Remove what the user kept for themselves."""
    for table in (account_data, room_account_data, push_rules, filters):
        tx.conn.execute(table.delete().where(table.c.user == user))
