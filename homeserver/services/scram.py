"""Logging in by SCRAM: which keys are kept of a password, and whether the account may be used.

Nobody can find out by it who has an account: for all others there are keys, too, the same each time.

Source: https://www.rfc-editor.org/rfc/rfc5802
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.ids import UserID
from federation.core.xmpp.sasl import Keys, decoy
from homeserver.errors import Forbidden, UserDeactivated
from homeserver.model.accounts import ScramKeys
from homeserver.services.passwords import SCRAM_ITERATIONS
from homeserver.services.rate_limits import RateLimits
from homeserver.services.secrets import Secrets
from homeserver.services.sessions import locked
from homeserver.storage import accounts
from homeserver.storage.database import Database


@dataclass(frozen=True, slots=True)
class Scram:
    """Knows what is kept of passwords for SCRAM."""

    db: Database
    limits: RateLimits
    secrets: Secrets

    async def keys(self, user_id: UserID | None, name: str, mechanism: str) -> Keys:
        """Return the keys of a user for a mechanism, or some that fit no password. Raises `LimitExceeded`.

        `name` is what somebody who is no user says is theirs.
        """
        if user_id is not None:
            self.limits.take("login", user_id)
        secret = await self.secrets.get("scram")

        def read(conn: Connection) -> list[ScramKeys]:
            account = accounts.find(conn, user_id) if user_id is not None else None
            return accounts.scram_keys_of(conn, account.user) if account is not None else []

        for kept in await self.db.read(read):
            if kept.mechanism == mechanism:
                return Keys(kept.salt, kept.iterations, kept.stored_key, kept.server_key)
        return decoy(mechanism, user_id or name, secret, SCRAM_ITERATIONS[mechanism])

    async def check(self, user_id: UserID) -> None:
        """Look at the account of a user who has proven to know the password.

        Raises `UserDeactivated`, `UserLocked`, or `Forbidden` if the account is gone.
        """
        account = await self.db.read(lambda conn: accounts.find(conn, user_id))
        if account is None:
            raise Forbidden("Wrong user name or password")
        if account.deactivated_at is not None:
            raise UserDeactivated("This account has been deactivated")
        if account.locked:
            raise locked()
