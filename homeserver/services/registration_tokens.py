"""What operators do with registration tokens.

Source: https://spec.matrix.org/v1.19/client-server-api/#token-authenticated-registration
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

from homeserver.clock import Clock, Ids
from homeserver.errors import InvalidParam, NotFound
from homeserver.model.tokens import RegistrationToken
from homeserver.storage import registration_tokens
from homeserver.storage.database import Database, Write

DEFAULT_LENGTH = 16
LONGEST = 64
"""https://spec.matrix.org/v1.19/appendices/#opaque-identifiers, of at most so many characters."""

_OPAQUE = re.compile(rf"[A-Za-z0-9._~-]{{1,{LONGEST}}}")


@dataclass(frozen=True, slots=True)
class RegistrationTokens:
    """Makes, shows, changes and removes registration tokens."""

    db: Database
    clock: Clock
    ids: Ids

    async def all(self, *, valid: bool | None) -> Sequence[RegistrationToken]:
        """Return all tokens, or only those that can be used or not."""
        now = self.clock.now_ms()
        return await self.db.read(lambda conn: registration_tokens.every(conn, valid=valid, now=now))

    async def one(self, name: str) -> RegistrationToken:
        """Return a token. Raises `NotFound`."""
        return _found(await self.db.read(lambda conn: registration_tokens.find(conn, name)))

    async def add(
        self, name: str | None, length: int | None, uses_allowed: int | None, expires_at: int | None
    ) -> RegistrationToken:
        """Make a token, of random letters if no name is given. Raises `InvalidParam`."""
        if name is None:
            length = DEFAULT_LENGTH if length is None else length
            if not 1 <= length <= LONGEST:
                raise InvalidParam(f"length: expected 1 to {LONGEST}")
            name = self.ids.letters(length)
        if _OPAQUE.fullmatch(name) is None:
            raise InvalidParam(f"token: expected 1 to {LONGEST} of A-Z, a-z, 0-9 and . _ ~ -")
        now = self.clock.now_ms()
        token = RegistrationToken(name, uses_allowed, 0, expires_at)
        _check(token, now)
        if not await self.db.write(lambda tx: registration_tokens.add(tx, token, now)):
            raise InvalidParam("token: exists already")
        return token

    async def change(self, name: str, limits: "Limits") -> RegistrationToken:
        """Change how often and until when a token may be used. Raises `NotFound` or `InvalidParam`."""
        now = self.clock.now_ms()

        def change(tx: Write) -> RegistrationToken:
            token = _found(registration_tokens.find(tx.conn, name))
            if limits.sets_uses:
                token = replace(token, uses_allowed=limits.uses_allowed)
            if limits.sets_expiry:
                token = replace(token, expires_at=limits.expires_at)
            _check(token, now if limits.sets_expiry else None)
            registration_tokens.change(tx, token)
            return token

        return await self.db.write(change)

    async def remove(self, name: str) -> None:
        """Remove a token. Raises `NotFound`."""

        def remove(tx: Write) -> None:
            if not registration_tokens.remove(tx, name):
                raise NotFound("No such registration token")

        await self.db.write(remove)


@dataclass(frozen=True, slots=True)
class Limits:
    """What is to change of a token: None takes a limit away, and what is not set stays."""

    sets_uses: bool = False
    uses_allowed: int | None = None
    sets_expiry: bool = False
    expires_at: int | None = None


def _check(token: RegistrationToken, now: int | None) -> None:
    if token.uses_allowed is not None and not 0 <= token.uses_allowed < 2**31:
        raise InvalidParam("uses_allowed: expected a number that is not negative")
    if token.expires_at is not None and now is not None and not now < token.expires_at < 2**53:
        raise InvalidParam("expiry_time: expected a time in the future, in milliseconds")


def _found(token: RegistrationToken | None) -> RegistrationToken:
    if token is None:
        raise NotFound("No such registration token")
    return token
