"""OpenID: https://spec.matrix.org/v1.19/server-server-api/#openid."""

import msgspec

from homeserver.http.routing import Auth, Call, Json, Routes

routes = Routes()


class TokenQuery(msgspec.Struct):
    """The token that a user has shown to whoever asks."""

    access_token: str


@routes.get("/_matrix/federation/v1/openid/userinfo", auth=Auth.NONE)
async def user_info(call: Call, query: TokenQuery) -> Json:
    """Say which user an OpenID token was made for."""
    return {"sub": await call.services.openid.whose(query.access_token)}
