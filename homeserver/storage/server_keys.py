"""Public keys of servers: those of others with the documents that name them, and the old ones of this one."""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import sqlalchemy as sa
from sqlalchemy import Connection, Row

from federation.core.ids import ServerName
from federation.core.server_keys import RetiredKey, ServerKey
from homeserver.storage.database import Write, upsert
from homeserver.storage.schema.servers import retired_keys, server_keys

KEPT_MS = 366 * 24 * 60 * 60 * 1000
"""How long a key is kept of which no document speaks any more."""
_AT_ONCE = 500
"""Servers in one query; databases bound the number of parameters."""


@dataclass(frozen=True, slots=True)
class StoredKey:
    """A key of another server, and the newest document that names it."""

    key: ServerKey
    fetched_at: int
    document: bytes


def of_servers(conn: Connection, servers: Collection[ServerName]) -> dict[ServerName, dict[str, ServerKey]]:
    """Return what is known of the keys of these servers, by key identifier."""
    found: dict[ServerName, dict[str, ServerKey]] = {}
    for row in _rows(conn, servers, [column for column in server_keys.c if column.name != "document"]):
        found.setdefault(ServerName(row.server), {})[row.key_id] = _key(row)
    return found


def documents_of(conn: Connection, servers: Collection[ServerName]) -> dict[ServerName, list[StoredKey]]:
    """Return the keys of these servers with their documents, the newest first."""
    found: dict[ServerName, list[StoredKey]] = {}
    for row in _rows(conn, servers, list(server_keys.c)):
        stored = StoredKey(_key(row), row.fetched_at, row.document)
        found.setdefault(ServerName(row.server), []).append(stored)
    for keys in found.values():
        keys.sort(key=lambda stored: -stored.fetched_at)
    return found


def store(
    tx: Write, server: ServerName, keys: Mapping[str, ServerKey], named: Collection[str], document: bytes, now_ms: int
) -> None:
    """Store what is known of a server's keys now; `document`, which has come now, speaks of those `named`."""
    insert = upsert(tx.conn, server_keys)
    columns = ("public_key", "valid_until", "current", "fetched_at", "document")
    statement = insert.on_conflict_do_update(
        index_elements=["server", "key_id"], set_={name: getattr(insert.excluded, name) for name in columns}
    )
    rows = [
        {
            "server": server,
            "key_id": key_id,
            "public_key": keys[key_id].public_key,
            "valid_until": keys[key_id].valid_until_ts,
            "current": keys[key_id].current,
            "fetched_at": now_ms,
            "document": document,
        }
        for key_id in named
    ]
    tx.conn.execute(statement, rows)
    out_of_use = [key_id for key_id, key in keys.items() if not key.current and key_id not in named]
    if out_of_use:
        tx.conn.execute(
            server_keys.update()
            .where(server_keys.c.server == server, server_keys.c.key_id.in_(out_of_use))
            .values(current=False)
        )


def prune(tx: Write, now_ms: int) -> int:
    """Forget the keys of which no document has spoken for long; return how many."""
    return tx.conn.execute(server_keys.delete().where(server_keys.c.fetched_at < now_ms - KEPT_MS)).rowcount


def retired(conn: Connection) -> tuple[RetiredKey, ...]:
    """Return the keys that this server used before, the last one first."""
    query = sa.select(retired_keys).order_by(retired_keys.c.expired_at.desc(), retired_keys.c.key_id)
    return tuple(RetiredKey(row.key_id, row.public_key, row.expired_at) for row in conn.execute(query))


def retire(tx: Write, keys: Sequence[RetiredKey]) -> None:
    """Store that this server does not use some keys any more; when one was retired before stays as it is."""
    for key in keys:
        values = {"key_id": key.key_id, "public_key": key.public_key, "expired_at": key.expired_ts}
        tx.conn.execute(upsert(tx.conn, retired_keys).values(values).on_conflict_do_nothing())


def reinstate(tx: Write, key_id: str) -> None:
    """Store that this server uses a key, which may have been retired, again."""
    tx.conn.execute(retired_keys.delete().where(retired_keys.c.key_id == key_id))


def _rows(conn: Connection, servers: Collection[ServerName], columns: Sequence[Any]) -> Iterator[Row[Any]]:
    names = list(servers)
    for start in range(0, len(names), _AT_ONCE):
        yield from conn.execute(sa.select(*columns).where(server_keys.c.server.in_(names[start : start + _AT_ONCE])))


def _key(row: Row[Any]) -> ServerKey:
    return ServerKey(row.key_id, row.public_key, row.valid_until, current=row.current)
