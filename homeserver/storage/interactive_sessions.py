"""How far users have come in proving who they are, for endpoints that ask for it anew."""

from dataclasses import dataclass
from typing import Any

import orjson
import sqlalchemy as sa
from sqlalchemy import Connection

from homeserver.model.nids import UserNid
from homeserver.storage.database import Write
from homeserver.storage.schema.accounts import interactive_sessions


@dataclass(frozen=True, slots=True)
class InteractiveSession:
    """One conversation of user-interactive authentication."""

    session_id: str
    purpose: str
    """The endpoint, and what it is to do: the session is good for nothing else."""
    user: UserNid | None
    completed: tuple[str, ...]
    results: dict[str, Any]
    """What a completed stage said, by the stage."""
    expires_at: int


def find(conn: Connection, session_id: str, now: int) -> InteractiveSession | None:
    """Return a session that has not expired."""
    query = sa.select(interactive_sessions).where(
        interactive_sessions.c.session_id == session_id, interactive_sessions.c.expires_at > now
    )
    row = conn.execute(query).one_or_none()
    if row is None:
        return None
    results = orjson.loads(row.result) if row.result is not None else {}
    return InteractiveSession(
        row.session_id, row.purpose, row.user, tuple(orjson.loads(row.completed)), results, row.expires_at
    )


def add(tx: Write, session: InteractiveSession) -> None:
    """Store a new session."""
    tx.conn.execute(
        interactive_sessions.insert().values(
            session_id=session.session_id,
            purpose=session.purpose,
            user=session.user,
            completed=orjson.dumps(session.completed),
            result=orjson.dumps(session.results),
            expires_at=session.expires_at,
        )
    )


def set_completed(tx: Write, session: InteractiveSession) -> None:
    """Store which stages of a session are completed."""
    tx.conn.execute(
        interactive_sessions.update()
        .where(interactive_sessions.c.session_id == session.session_id)
        .values(completed=orjson.dumps(session.completed), result=orjson.dumps(session.results))
    )


def remove(tx: Write, session_id: str) -> bool:
    """Remove a session that has been used; return whether it was still there."""
    query = interactive_sessions.delete().where(interactive_sessions.c.session_id == session_id)
    return tx.conn.execute(query).rowcount > 0


def prune(tx: Write, now: int) -> None:
    """Remove expired sessions."""
    tx.conn.execute(interactive_sessions.delete().where(interactive_sessions.c.expires_at <= now))
