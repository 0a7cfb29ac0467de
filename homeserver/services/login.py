"""Logging in: by password, and by a token that lives a moment and works once.

Sources: https://spec.matrix.org/v1.19/client-server-api/#legacy-login,
https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv1loginget_token
"""

from dataclasses import dataclass

from federation.core.ids import UserID
from homeserver.clock import Clock, Ids
from homeserver.errors import Forbidden, UserDeactivated
from homeserver.model.accounts import Requester
from homeserver.model.devices import NewDevice
from homeserver.model.tokens import Login
from homeserver.services.credentials import Credentials
from homeserver.services.interactive_auth import InteractiveAuth, Passed
from homeserver.services.sessions import Sessions, locked
from homeserver.storage import accounts, tokens
from homeserver.storage.database import Database, Write

LOGIN_TOKEN_MS = 120_000
"""The specification leaves it open, and advises to keep it short."""


@dataclass(frozen=True, slots=True)
class LogIn:
    """Logs people in."""

    db: Database
    clock: Clock
    ids: Ids
    credentials: Credentials
    interactive_auth: InteractiveAuth
    sessions: Sessions

    async def by_password(self, user_id: UserID | None, password: str, device: NewDevice) -> Login:
        """Log a user in. Raises what `Credentials.check` raises."""
        account = await self.credentials.check(user_id, password)
        opening = self.sessions.prepare(device)

        def log_in(tx: Write) -> Login:
            now = accounts.find(tx.conn, account.user_id)
            if now is None or now.password_hash is None:
                raise UserDeactivated("This account has been deactivated")
            return self.sessions.open(tx, account.user, account.user_id, opening)

        return await self.db.write(log_in)

    async def proven(self, user_id: UserID, device: NewDevice) -> Login:
        """Log a user in who has proven in another way who they are. Raises `UserDeactivated` or `UserLocked`."""
        opening = self.sessions.prepare(device)

        def log_in(tx: Write) -> Login:
            account = accounts.find(tx.conn, user_id)
            if account is None or account.deactivated_at is not None:
                raise UserDeactivated("This account has been deactivated")
            if account.locked:
                raise locked()
            return self.sessions.open(tx, account.user, user_id, opening)

        return await self.db.write(log_in)

    async def by_token(self, token: str, device: NewDevice) -> Login:
        """Log the user in for whom a login token was made. Raises `Forbidden` if the token is not good any more."""
        token_hash = tokens.hash_of(token)
        opening = self.sessions.prepare(device)

        def log_in(tx: Write) -> Login | None:
            now = self.clock.now_ms()
            user_id = tokens.take_login_token(tx, token_hash, now)
            account = accounts.find(tx.conn, user_id) if user_id is not None else None
            if account is None or account.deactivated_at is not None:
                return None
            if account.locked:
                raise locked()
            return self.sessions.open(tx, account.user, account.user_id, opening)

        login = await self.db.write(log_in)
        if login is None:
            raise Forbidden("The login token is not valid")
        return login

    async def new_token(self, who: Requester, passed: Passed) -> str:
        """Return a token by which the user can log another device in."""
        token = self.ids.token()
        expires_at = self.clock.now_ms() + LOGIN_TOKEN_MS

        def store(tx: Write) -> None:
            self.interactive_auth.use_up(tx, passed)
            tokens.add_login_token(tx, tokens.hash_of(token), who.user, expires_at)

        await self.db.write(store)
        return token
