"""Locking and suspending accounts, by administrators.

Sources: https://spec.matrix.org/v1.19/client-server-api/#account-locking,
https://spec.matrix.org/v1.19/client-server-api/#account-suspension
"""

from dataclasses import dataclass

from sqlalchemy import Connection

from federation.core.ids import ServerName, UserID, server_of
from homeserver.errors import Forbidden, InvalidParam, NotFound
from homeserver.model.accounts import Account, Requester
from homeserver.services.sessions import Sessions
from homeserver.storage import accounts
from homeserver.storage.database import Database, Write


@dataclass(frozen=True, slots=True)
class AccountModeration:
    """Shows and changes whether an account is locked or suspended."""

    server_name: ServerName
    db: Database
    sessions: Sessions

    async def account(self, who: Requester, user_id: UserID) -> Account:
        """Return an account to an administrator. Raises `Forbidden`, `InvalidParam` or `NotFound`."""
        return await self.db.read(lambda conn: self._account(conn, who, user_id))

    async def lock(self, who: Requester, user_id: UserID, locked: bool) -> None:
        """Lock an account, or unlock it. Raises `Forbidden`, `InvalidParam` or `NotFound`."""

        def lock(tx: Write) -> None:
            account = self._account(tx.conn, who, user_id)
            accounts.set_locked(tx, account.user, locked)
            tx.after_commit(self.sessions.forget, account.user)

        await self.db.write(lock)

    async def suspend(self, who: Requester, user_id: UserID, suspended: bool) -> None:
        """Suspend an account, or end that. Raises `Forbidden`, `InvalidParam` or `NotFound`."""

        def suspend(tx: Write) -> None:
            account = self._account(tx.conn, who, user_id)
            accounts.set_suspended(tx, account.user, suspended)
            tx.after_commit(self.sessions.forget, account.user)

        await self.db.write(suspend)

    def _account(self, conn: Connection, who: Requester, user_id: UserID) -> Account:
        # "servers MUST ensure that authorisation is checked prior to trying to do account lookups"
        if not who.admin:
            raise Forbidden("You are not an administrator of this server")
        if server_of(user_id) != self.server_name:
            raise InvalidParam("user_id: expected a user of this server")
        account = accounts.find(conn, user_id)
        if account is None or account.deactivated_at is not None:
            raise NotFound("No such user")
        # The requester's own account is an administrator's, too.
        if account.admin:
            raise Forbidden("user_id: is an administrator of this server")
        return account
