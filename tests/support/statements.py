"""Counts the statements that the server runs."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any
from unittest.mock import patch

import sqlalchemy as sa
from sqlalchemy import Connection, Engine

from homeserver.storage.database.hot import Hot


@contextmanager
def statements() -> Iterator[list[str]]:
    """Yield a list that grows by every statement run meanwhile, on any connection and in any thread."""
    seen: list[str] = []
    run = Hot.run

    def note(_conn: Any, _cursor: Any, statement: str, *_rest: object) -> None:
        seen.append(statement)

    def note_hot(hot: Hot, conn: Connection, *rest: Any) -> Any:
        # On SQLite these go past SQLAlchemy, where it would tell of them.
        if conn.dialect.name == "sqlite":
            seen.append("hot")
        return run(hot, conn, *rest)

    sa.event.listen(Engine, "before_cursor_execute", note)
    try:
        with patch.object(Hot, "run", note_hot):
            yield seen
    finally:
        sa.event.remove(Engine, "before_cursor_execute", note)
