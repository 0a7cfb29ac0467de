"""Signing keys of servers: our own, which we publish, and those of others, which we keep and vouch for.

Sources: https://spec.matrix.org/v1.19/server-server-api/#publishing-keys,
https://spec.matrix.org/v1.19/server-server-api/#querying-keys-through-another-server
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import orjson

from federation.core.ids import ServerName
from federation.core.server_keys import KeyDocument, RetiredKey, ServerKey, make
from federation.core.signing import SigningKey, sign_json
from federation.matrix.keyring import Keyring
from federation.matrix.ports import KeysOfServer
from homeserver.clock import Clock
from homeserver.storage import server_keys
from homeserver.storage.database import Database, Write
from homeserver.storage.server_keys import StoredKey

LIFETIME_MS = 24 * 60 * 60 * 1000
"""How long others may believe our document; so long a stolen key can be used after it was replaced."""
RENEWED_MS = 60 * 60 * 1000
"""After so long the document is made anew: it never has less than an hour to live, as is asked of servers."""
MOST_ASKED = 50
"""Servers that are asked on behalf of one request of a notary's; of others is told what is stored."""
_FOR_EVER = 2**53 - 1


@dataclass(slots=True)
class OwnKeys:
    """The keys of this server: with one it signs, the others it used before."""

    server: ServerName
    signing: SigningKey
    old: Sequence[SigningKey]
    """Others in the file of keys: the last ones were in use until now, perhaps."""
    retired: tuple[RetiredKey, ...] = ()
    """All that were ever in use before, once the server has begun."""

    async def begin(self, db: Database, clock: Clock) -> None:
        """Begin to sign; the old keys in the file expire now, if they have not before.

        A key expires when the server starts with another one and not when that was made: until then it goes on
        signing, and events that it signs after its expiry would be refused by others.
        """
        old = {key.key_id: key for key in self.old if key.key_id != self.signing.key_id}

        def retire(tx: Write) -> tuple[RetiredKey, ...]:
            now_ms = clock.now_ms()
            server_keys.reinstate(tx, self.signing.key_id)
            server_keys.retire(tx, [RetiredKey(key.key_id, key.public_key, now_ms) for key in old.values()])
            return server_keys.retired(tx.conn)

        stored = await db.read(server_keys.retired)
        known = {key.key_id for key in stored}
        unchanged = self.signing.key_id not in known and old.keys() <= known
        self.retired = stored if unchanged else await db.write(retire)

    def known(self) -> tuple[ServerName, KeysOfServer]:
        """Return our name and public keys, by which we check what we have signed ourselves."""
        keys = {
            key.key_id: ServerKey(key.key_id, key.public_key, key.expired_ts, current=False) for key in self.retired
        }
        signing = ServerKey(self.signing.key_id, self.signing.public_key, _FOR_EVER, current=True)
        return self.server, {**keys, signing.key_id: signing}


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a notary is asked for of one server."""

    until_ts: int
    """Whatever keys are told, they should be good until then."""
    keys: Mapping[str, int]
    """The keys that are looked for, by key identifier, and until when each should be good; none means all."""


@dataclass(frozen=True, slots=True)
class KeysOfOthers:
    """Where the keyring keeps the keys of other servers: the database."""

    db: Database
    clock: Clock

    async def load(self, servers: Collection[ServerName]) -> Mapping[ServerName, KeysOfServer]:
        """Return what is known of these servers' keys."""
        return await self.db.read(lambda conn: server_keys.of_servers(conn, servers))

    async def save(self, learnt: Sequence[tuple[KeyDocument, KeysOfServer]]) -> None:
        """Keep documents, and with each all that is known of its server's keys now."""
        now_ms = self.clock.now_ms()

        def store(tx: Write) -> None:
            for document, keys in learnt:
                named = [key_id for key_id, key in document.keys.items() if keys.get(key_id) == key]
                if named:
                    content = orjson.dumps(document.fields)
                    server_keys.store(tx, document.server, keys, named, content, now_ms)

        await self.db.write(store)

    async def documents(self, servers: Collection[ServerName]) -> Mapping[ServerName, list[StoredKey]]:
        """Return the keys of these servers with their documents, the newest first."""
        return await self.db.read(lambda conn: server_keys.documents_of(conn, servers))

    async def prune(self) -> None:
        """Forget keys of which nobody has spoken for long."""
        now_ms = self.clock.now_ms()
        await self.db.write(lambda tx: server_keys.prune(tx, now_ms))


@dataclass(slots=True)
class ServerKeys:
    """Tells others of keys: of our own, and, as a notary, of those of other servers."""

    own: OwnKeys
    others: KeysOfOthers
    keyring: Keyring
    clock: Clock
    _document: dict[str, Any] = field(default_factory=dict)
    _made_at: int | None = None

    def own_document(self) -> Mapping[str, Any]:
        """Return our key document."""
        now_ms = self.clock.now_ms()
        if self._made_at is None or not 0 <= now_ms - self._made_at < RENEWED_MS:
            own = self.own
            self._document = make(own.server, [own.signing], own.retired, now_ms + LIFETIME_MS)
            self._made_at = now_ms
        return self._document

    async def notarise(self, wants: Mapping[ServerName, Wanted]) -> list[Mapping[str, Any]]:
        """Return, signed by us, the documents of servers in which the wanted keys are.

        A server that cannot be asked is told of as it was last; one of which nothing is known is left out.
        """
        own = self.own.server
        others = [server for server in wants if server != own]
        stored = await self.others.documents(others)
        now_ms = self.clock.now_ms()
        lacking = [server for server in others if _is_stale(stored.get(server, []), wants[server], now_ms)]
        if lacking:
            asked = lacking[:MOST_ASKED]
            await self.keyring.ask(asked)
            stored = {**stored, **await self.others.documents(asked)}
        told: list[Mapping[str, Any]] = [self.own_document()] if own in wants else []
        for server in others:
            keys = wants[server].keys
            documents = {one.document: None for one in stored.get(server, []) if not keys or one.key.key_id in keys}
            told += [sign_json(orjson.loads(document), own, self.own.signing) for document in documents]
        return told


def _is_stale(stored: Sequence[StoredKey], wanted: Wanted, now_ms: int) -> bool:
    """Return whether a server is to be asked for its keys again.

    https://spec.matrix.org/v1.19/server-server-api/#get_matrixkeyv2server: a document is kept for half of its lifetime.
    """
    by_id = {one.key.key_id: one for one in stored}
    current = [one for one in stored if one.key.current and (not wanted.keys or one.key.key_id in wanted.keys)]
    if not wanted.keys.keys() <= by_id.keys() or not (wanted.keys or current):
        return True
    return any(
        one.key.valid_until_ts < wanted.keys.get(one.key.key_id, wanted.until_ts)
        or now_ms > (one.fetched_at + one.key.valid_until_ts) // 2
        for one in current
    )
