"""Filters that clients define and name later: https://spec.matrix.org/v1.19/client-server-api/#filtering."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from typing import Any

import msgspec
import orjson

from federation.core.ids import UserID
from homeserver.errors import NotFound, TooLarge
from homeserver.model.accounts import Requester
from homeserver.model.filters import Filter
from homeserver.model.nids import UserNid
from homeserver.services.account_data import check_own
from homeserver.storage import filters
from homeserver.storage.database import Database

LARGEST = 64 * 1024
MOST_IN_MEMORY = 10_000


@dataclass(frozen=True, slots=True)
class Filters:
    """Keeps filters; the ones in use are in memory, ready to match."""

    db: Database
    _in_use: dict[tuple[UserNid, str], Filter] = field(default_factory=dict)

    async def define(self, who: Requester, user_id: UserID, body: Mapping[str, Any]) -> str:
        """Store a filter, which the caller has validated; return its ID. Raises `Forbidden` or `TooLarge`."""
        check_own(who, user_id)
        encoded = orjson.dumps(body, option=orjson.OPT_SORT_KEYS)
        if len(encoded) > LARGEST:
            raise TooLarge(f"A filter has at most {LARGEST} bytes")
        hashed = sha256(encoded).digest()
        return str(await self.db.write(lambda tx: filters.store(tx, who.user, hashed, encoded)))

    async def get(self, who: Requester, user_id: UserID, filter_id: str) -> bytes:
        """Return a filter as it was defined. Raises `Forbidden` or `NotFound`."""
        check_own(who, user_id)
        return await self._body(who, filter_id)

    async def named(self, who: Requester, filter_id: str) -> Filter:
        """Return a filter of the user, ready to match. Raises `NotFound`."""
        key = (who.user, filter_id)
        known = self._in_use.get(key)
        if known is None:
            known = msgspec.json.decode(await self._body(who, filter_id), type=Filter)
            if len(self._in_use) >= MOST_IN_MEMORY:
                del self._in_use[next(iter(self._in_use))]
            self._in_use[key] = known
        return known

    async def _body(self, who: Requester, filter_id: str) -> bytes:
        # IDs are numbers that we gave out: nothing else can be one.
        number = int(filter_id) if filter_id.isascii() and filter_id.isdecimal() and len(filter_id) < 10 else None
        found = await self.db.read(lambda conn: filters.find(conn, who.user, number)) if number is not None else None
        if found is None:
            raise NotFound("Unknown filter")
        return found
