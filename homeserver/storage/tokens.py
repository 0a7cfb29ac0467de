"""Access, refresh, login and OpenID tokens, by their SHA-256 hashes."""

import hashlib
from dataclasses import dataclass

import sqlalchemy as sa
from sqlalchemy import Connection

from federation.core.ids import UserID
from homeserver.model.accounts import Requester
from homeserver.model.nids import DeviceNid, UserNid
from homeserver.model.tokens import Pair, Session
from homeserver.storage.database import Write
from homeserver.storage.schema.accounts import (
    access_tokens,
    accounts,
    devices,
    login_tokens,
    openid_tokens,
    refresh_tokens,
    users,
)


def hash_of(token: str) -> bytes:
    """Return what is stored in the place of a token: it is random and long, so one plain hash is enough."""
    return hashlib.sha256(token.encode("utf-8", "surrogatepass")).digest()


# Access tokens

_new = refresh_tokens.alias("new")
_old = refresh_tokens.alias("old")
_WHO = (
    sa.select(
        users.c.user_id,
        users.c.nid,
        devices.c.device_id,
        devices.c.nid.label("device"),
        accounts.c.admin,
        accounts.c.suspended,
        accounts.c.locked,
        access_tokens.c.expires_at,
        sa.exists()
        .where(
            _new.c.device == devices.c.nid,
            _new.c.access_hash == access_tokens.c.hash,
            _old.c.device == devices.c.nid,
            _old.c.successor_hash == _new.c.hash,
        )
        .label("confirms"),
    )
    .select_from(access_tokens)
    .join(devices, devices.c.nid == access_tokens.c.device)
    .join(accounts, accounts.c.user == devices.c.user)
    .join(users, users.c.nid == devices.c.user)
    .where(access_tokens.c.hash == sa.bindparam("hash"))
)


def find_session(conn: Connection, token_hash: bytes) -> Session | None:
    """Return what an access token stands for, expired or not, or None if it is not known."""
    row = conn.execute(_WHO, {"hash": token_hash}).one_or_none()
    if row is None:
        return None
    requester = Requester(row.user_id, row.nid, row.device_id, row.device, row.admin, row.suspended)
    return Session(requester, row.expires_at, row.locked, row.confirms)


def add_pair(tx: Write, device: DeviceNid, pair: Pair, now: int) -> None:
    """Store the tokens of a device."""
    access_hash = hash_of(pair.access)
    tx.conn.execute(
        access_tokens.insert().values(hash=access_hash, device=device, created_at=now, expires_at=pair.expires_at)
    )
    if pair.refresh is not None:
        tx.conn.execute(
            refresh_tokens.insert().values(
                hash=hash_of(pair.refresh),
                device=device,
                access_hash=access_hash,
                created_at=now,
                expires_at=pair.refresh_expires_at,
            )
        )


def remove_of_device(tx: Write, device: DeviceNid) -> None:
    """Remove every token of a device."""
    tx.conn.execute(access_tokens.delete().where(access_tokens.c.device == device))
    tx.conn.execute(refresh_tokens.delete().where(refresh_tokens.c.device == device))


# Refresh tokens


@dataclass(frozen=True, slots=True)
class Refresh:
    """A stored refresh token and whose it is."""

    device: DeviceNid
    user: UserNid
    user_id: UserID
    access_hash: bytes | None
    successor_hash: bytes | None
    expires_at: int | None
    locked: bool


def find_refresh(conn: Connection, token_hash: bytes) -> Refresh | None:
    """Return a refresh token, expired or not, or None if it is not known."""
    query = (
        sa.select(
            refresh_tokens.c.device,
            devices.c.user,
            users.c.user_id,
            refresh_tokens.c.access_hash,
            refresh_tokens.c.successor_hash,
            refresh_tokens.c.expires_at,
            accounts.c.locked,
        )
        .join(devices, devices.c.nid == refresh_tokens.c.device)
        .join(accounts, accounts.c.user == devices.c.user)
        .join(users, users.c.nid == devices.c.user)
        .where(refresh_tokens.c.hash == token_hash)
    )
    row = conn.execute(query).one_or_none()
    return None if row is None else Refresh(*row)


def set_successor(tx: Write, token_hash: bytes, successor_hash: bytes) -> None:
    """Note which refresh token was given out for this one."""
    tx.conn.execute(
        refresh_tokens.update().where(refresh_tokens.c.hash == token_hash).values(successor_hash=successor_hash)
    )


def remove_refresh(tx: Write, token_hash: bytes) -> None:
    """Remove a refresh token and the access token that came with it."""
    access = sa.select(refresh_tokens.c.access_hash).where(refresh_tokens.c.hash == token_hash)
    tx.conn.execute(access_tokens.delete().where(access_tokens.c.hash.in_(access)))
    tx.conn.execute(refresh_tokens.delete().where(refresh_tokens.c.hash == token_hash))


def predecessors(conn: Connection, device: DeviceNid, successor_hash: bytes) -> list[bytes]:
    """Return the refresh tokens of a device for which this one was given out."""
    query = sa.select(refresh_tokens.c.hash).where(
        refresh_tokens.c.device == device, refresh_tokens.c.successor_hash == successor_hash
    )
    return list(conn.execute(query).scalars())


def refresh_of_access(conn: Connection, device: DeviceNid, access_hash: bytes) -> bytes | None:
    """Return the refresh token that came with an access token."""
    query = sa.select(refresh_tokens.c.hash).where(
        refresh_tokens.c.device == device, refresh_tokens.c.access_hash == access_hash
    )
    return conn.execute(query).scalar_one_or_none()


# Login tokens


def add_login_token(tx: Write, token_hash: bytes, user: UserNid, expires_at: int) -> None:
    """Store a token that logs a user in once."""
    tx.conn.execute(login_tokens.insert().values(hash=token_hash, user=user, expires_at=expires_at))


def take_login_token(tx: Write, token_hash: bytes, now: int) -> UserID | None:
    """Use a login token up; return whom it logs in, or None if it is not known or has expired."""
    query = (
        sa.select(users.c.user_id)
        .join(login_tokens, login_tokens.c.user == users.c.nid)
        .where(login_tokens.c.hash == token_hash, login_tokens.c.expires_at > now)
    )
    user_id = tx.conn.execute(query).scalar_one_or_none()
    tx.conn.execute(login_tokens.delete().where(login_tokens.c.hash == token_hash))
    return user_id


# OpenID tokens


def add_openid_token(tx: Write, token_hash: bytes, user: UserNid, expires_at: int) -> None:
    """Store a token by which a third party learns who the user is."""
    tx.conn.execute(openid_tokens.insert().values(hash=token_hash, user=user, expires_at=expires_at))


def find_openid_user(conn: Connection, token_hash: bytes, now: int) -> UserID | None:
    """Return whose OpenID token this is, or None if it is not known or has expired."""
    query = (
        sa.select(users.c.user_id)
        .join(openid_tokens, openid_tokens.c.user == users.c.nid)
        .where(openid_tokens.c.hash == token_hash, openid_tokens.c.expires_at > now)
    )
    return conn.execute(query).scalar_one_or_none()


# All kinds


def remove_of_user(tx: Write, user: UserNid) -> None:
    """Remove the login and OpenID tokens of a user; those of devices go with their devices."""
    tx.conn.execute(login_tokens.delete().where(login_tokens.c.user == user))
    tx.conn.execute(openid_tokens.delete().where(openid_tokens.c.user == user))


def prune(tx: Write, now: int) -> None:
    """Remove what has expired.

    An expired access token that can be refreshed stays, for its client is to be told of a soft logout.
    """
    for table in (refresh_tokens, login_tokens, openid_tokens):
        tx.conn.execute(table.delete().where(table.c.expires_at <= now))
    behind = sa.exists().where(
        refresh_tokens.c.device == access_tokens.c.device,
        refresh_tokens.c.access_hash == access_tokens.c.hash,
    )
    tx.conn.execute(access_tokens.delete().where(access_tokens.c.expires_at <= now, ~behind))
