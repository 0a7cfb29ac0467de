"""The stages of user-interactive authentication that this server knows.

Source: https://spec.matrix.org/v1.19/client-server-api/#authentication-types
"""

from collections.abc import Mapping
from dataclasses import dataclass

from homeserver.clock import Clock
from homeserver.errors import BadJson, Forbidden, MissingParam
from homeserver.model.accounts import Requester
from homeserver.services.credentials import Credentials
from homeserver.services.interactive_auth import DUMMY, PASSWORD, REGISTRATION_TOKEN, AuthData, Stage
from homeserver.storage import registration_tokens
from homeserver.storage.database import Database


@dataclass(frozen=True, slots=True)
class AuthStages:
    """Performs each stage with what the client sends for it."""

    db: Database
    clock: Clock
    credentials: Credentials

    def all(self) -> Mapping[str, Stage]:
        """Return the stages by their types."""
        return {
            PASSWORD: self._password,
            DUMMY: self._dummy,
            REGISTRATION_TOKEN: self._registration_token,
        }

    async def _password(self, who: Requester | None, auth: AuthData) -> None:
        password = _text(auth, "password")
        user_id = self.credentials.whom(auth)
        if who is None or user_id != who.user_id:
            raise Forbidden("auth.identifier: expected the user who makes the request")
        await self.credentials.check(user_id, password)

    async def _dummy(self, _who: Requester | None, _auth: AuthData) -> None:
        """Pass: the stage asks for nothing."""

    async def _registration_token(self, _who: Requester | None, auth: AuthData) -> str:
        token = _text(auth, "token")
        now = self.clock.now_ms()
        if not await self.db.read(lambda conn: registration_tokens.is_usable(conn, token, now)):
            raise Forbidden("auth.token: not a valid registration token")
        return token


def _text(auth: AuthData, name: str) -> str:
    value = auth.get(name)
    if value is None:
        raise MissingParam(f"Missing auth.{name}")
    if not isinstance(value, str):
        raise BadJson(f"auth.{name}: expected a text")
    return value
