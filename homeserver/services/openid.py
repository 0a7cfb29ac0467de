"""Tokens by which a third party learns who a user is: https://spec.matrix.org/v1.19/client-server-api/#openid."""

from dataclasses import dataclass

from federation.core.ids import UserID
from homeserver.clock import Clock, Ids
from homeserver.errors import UnknownToken
from homeserver.model.accounts import Requester
from homeserver.storage import tokens
from homeserver.storage.database import Database

LIFETIME_SECONDS = 3600


@dataclass(frozen=True, slots=True)
class OpenId:
    """Gives OpenID tokens out and says whose they are."""

    db: Database
    clock: Clock
    ids: Ids

    async def new_token(self, who: Requester) -> str:
        """Return a token for the user to show to a third party."""
        token = self.ids.token()
        expires_at = self.clock.now_ms() + LIFETIME_SECONDS * 1000
        await self.db.write(lambda tx: tokens.add_openid_token(tx, tokens.hash_of(token), who.user, expires_at))
        return token

    async def whose(self, token: str) -> UserID:
        """Return the user for whom a token was made. Raises `UnknownToken`."""
        token_hash, now = tokens.hash_of(token), self.clock.now_ms()
        user_id = await self.db.read(lambda conn: tokens.find_openid_user(conn, token_hash, now))
        if user_id is None:
            raise UnknownToken("The token is not known or has expired")
        return user_id
