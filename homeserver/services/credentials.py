"""Whom a client names, and whether the password it gives is theirs.

Source: https://spec.matrix.org/v1.19/client-server-api/#identifier-types
"""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.core.errors import InvalidIdentifier
from federation.core.ids import ServerName, UserID, new_user_id, parse_user_id, server_of
from homeserver.errors import BadJson, Forbidden, InvalidParam, MissingParam, UserDeactivated
from homeserver.model.accounts import Account
from homeserver.services.passwords import Passwords, Secured
from homeserver.services.rate_limits import RateLimits
from homeserver.services.sessions import locked
from homeserver.storage import accounts
from homeserver.storage.database import Database, Write


@dataclass(frozen=True, slots=True)
class Credentials:
    """Compares passwords with those of accounts."""

    server_name: ServerName
    db: Database
    passwords: Passwords
    limits: RateLimits

    def whom(self, said: Mapping[str, Any]) -> UserID | None:
        """Return whom `identifier` (or `user`, as old clients say it) means; None for nobody who can log in here.

        Raises `MissingParam`, `BadJson` or `InvalidParam`.
        """
        identifier = said.get("identifier")
        if identifier is None:
            if said.get("user") is None:
                raise MissingParam("Missing identifier")
            return self._by_name(said["user"], "user")
        if not isinstance(identifier, Mapping):
            raise BadJson("identifier: expected an object")
        kind = identifier.get("type")
        if kind == "m.id.user":
            if identifier.get("user") is None:
                raise MissingParam("Missing identifier.user")
            return self._by_name(identifier["user"], "identifier.user")
        if kind in ("m.id.thirdparty", "m.id.phone"):
            # Nobody has an address or a number here; they are answered as unknown users are.
            return None
        raise InvalidParam("identifier.type: expected m.id.user")

    def _by_name(self, name: Any, field: str) -> UserID | None:
        if not isinstance(name, str):
            raise BadJson(f"{field}: expected a text")
        try:
            if not name.startswith("@"):
                return new_user_id(name.lower(), self.server_name)
            user_id = parse_user_id(name)
        except InvalidIdentifier:
            return None
        return user_id if server_of(user_id) == self.server_name else None

    async def check(self, user_id: UserID | None, password: str) -> Account:
        """Return the account that the password opens. It takes as long where there is no account.

        Raises `Forbidden` for a wrong password or no such account, `UserDeactivated`, `UserLocked` or `LimitExceeded`.
        """
        account = None
        if user_id is not None:
            self.limits.take("login", user_id)
            account = await self.db.read(lambda conn: accounts.find(conn, user_id))
        password_hash = account.password_hash if account is not None else None
        right = await self.passwords.verify(password, password_hash)
        if account is not None and account.deactivated_at is not None:
            raise UserDeactivated("This account has been deactivated")
        if not right or account is None or password_hash is None:
            raise Forbidden("Wrong user name or password")
        if account.locked:
            raise locked()
        await self._keep_up(account, password_hash, password)
        return account

    async def _keep_up(self, account: Account, old_hash: str, password: str) -> None:
        """Derive anew what is missing or outdated, while the password is at hand."""
        complete = await self.db.read(lambda conn: accounts.has_scram_keys(conn, account.user))
        if complete and not self.passwords.is_outdated(old_hash):
            return
        secured = await self.passwords.secure(password)
        await self.db.write(lambda tx: _replace(tx, account, old_hash, secured))


def _replace(tx: Write, account: Account, old_hash: str, secured: Secured) -> None:
    now = accounts.find(tx.conn, account.user_id)
    # The password may have been changed since.
    if now is not None and now.password_hash == old_hash:
        accounts.set_password(tx, account.user, secured.hash, secured.keys)
