"""Registration tokens: what an operator gives to people who may register."""

from collections.abc import Sequence

import sqlalchemy as sa
from sqlalchemy import ColumnElement, Connection

from homeserver.model.tokens import RegistrationToken
from homeserver.storage.database import Write, upsert
from homeserver.storage.schema.accounts import registration_tokens

_TOKENS = sa.select(
    registration_tokens.c.token,
    registration_tokens.c.uses_allowed,
    registration_tokens.c.completed,
    registration_tokens.c.expires_at,
)


def _can_be(token: str) -> bool:
    # PostgreSQL cannot even look for a text with NUL in it.
    return "\0" not in token


def _usable(now: int) -> ColumnElement[bool]:
    return sa.and_(
        sa.or_(
            registration_tokens.c.uses_allowed.is_(None),
            registration_tokens.c.completed < registration_tokens.c.uses_allowed,
        ),
        sa.or_(registration_tokens.c.expires_at.is_(None), registration_tokens.c.expires_at > now),
    )


def is_usable(conn: Connection, token: str, now: int) -> bool:
    """Return whether one more account may be made with a token."""
    if not _can_be(token):
        return False
    query = sa.select(registration_tokens.c.token).where(registration_tokens.c.token == token, _usable(now))
    return conn.execute(query).first() is not None


def use(tx: Write, token: str, now: int) -> bool:
    """Count one use of a token; return False if it has none left."""
    query = (
        registration_tokens.update()
        .where(registration_tokens.c.token == token, _usable(now))
        .values(completed=registration_tokens.c.completed + 1)
    )
    return tx.conn.execute(query).rowcount > 0


def every(conn: Connection, *, valid: bool | None, now: int) -> Sequence[RegistrationToken]:
    """Return all tokens, or only those that are usable or not."""
    query = _TOKENS.order_by(registration_tokens.c.token)
    if valid is not None:
        query = query.where(_usable(now) if valid else ~_usable(now))
    return [RegistrationToken(*row) for row in conn.execute(query)]


def find(conn: Connection, token: str) -> RegistrationToken | None:
    """Return a token, or None if there is none of that name."""
    if not _can_be(token):
        return None
    row = conn.execute(_TOKENS.where(registration_tokens.c.token == token)).one_or_none()
    return None if row is None else RegistrationToken(*row)


def add(tx: Write, token: RegistrationToken, now: int) -> bool:
    """Store a new token; return False if there is one of that name."""
    insert = upsert(tx.conn, registration_tokens).values(
        token=token.token,
        uses_allowed=token.uses_allowed,
        completed=token.completed,
        created_at=now,
        expires_at=token.expires_at,
    )
    return tx.conn.execute(insert.on_conflict_do_nothing()).rowcount > 0


def change(tx: Write, token: RegistrationToken) -> None:
    """Store how often and until when a token may be used."""
    tx.conn.execute(
        registration_tokens.update()
        .where(registration_tokens.c.token == token.token)
        .values(uses_allowed=token.uses_allowed, expires_at=token.expires_at)
    )


def remove(tx: Write, token: str) -> bool:
    """Remove a token; return whether it was there."""
    if not _can_be(token):
        return False
    query = registration_tokens.delete().where(registration_tokens.c.token == token)
    return tx.conn.execute(query).rowcount > 0
