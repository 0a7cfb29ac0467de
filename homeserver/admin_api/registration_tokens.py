"""Registration tokens, for administrators."""

import msgspec

from homeserver.errors import Forbidden
from homeserver.http.routing import Call, Json, Routes
from homeserver.model.tokens import RegistrationToken
from homeserver.services.registration_tokens import Limits, RegistrationTokens

routes = Routes()


class NewBody(msgspec.Struct):
    """Body of `POST /registration_tokens/new`."""

    token: str | None = None
    length: int | None = None
    uses_allowed: int | None = None
    expiry_time: int | None = None


class ChangeBody(msgspec.Struct):
    """Body of `PUT /registration_tokens/{token}`; null takes a limit away."""

    uses_allowed: int | msgspec.UnsetType | None = msgspec.UNSET
    expiry_time: int | msgspec.UnsetType | None = msgspec.UNSET

    def limits(self) -> Limits:
        """Return what is to change."""
        uses, expiry = self.uses_allowed, self.expiry_time
        return Limits(
            sets_uses=not isinstance(uses, msgspec.UnsetType),
            uses_allowed=None if isinstance(uses, msgspec.UnsetType) else uses,
            sets_expiry=not isinstance(expiry, msgspec.UnsetType),
            expires_at=None if isinstance(expiry, msgspec.UnsetType) else expiry,
        )


class Valid(msgspec.Struct):
    """Query of `GET /registration_tokens`."""

    valid: bool | None = None


@routes.get("/_synapse/admin/v1/registration_tokens")
async def all_tokens(call: Call, query: Valid) -> Json:
    """Return all tokens."""
    tokens = await _service(call).all(valid=query.valid)
    return {"registration_tokens": [_json(token) for token in tokens]}


@routes.post("/_synapse/admin/v1/registration_tokens/new")
async def new(call: Call, body: NewBody) -> Json:
    """Make a token."""
    return _json(await _service(call).add(body.token, body.length, body.uses_allowed, body.expiry_time))


@routes.get("/_synapse/admin/v1/registration_tokens/{token}")
async def one(call: Call, token: str) -> Json:
    """Return a token."""
    return _json(await _service(call).one(token))


@routes.put("/_synapse/admin/v1/registration_tokens/{token}")
async def change(call: Call, token: str, body: ChangeBody) -> Json:
    """Change how often and until when a token may be used."""
    return _json(await _service(call).change(token, body.limits()))


@routes.delete("/_synapse/admin/v1/registration_tokens/{token}")
async def remove(call: Call, token: str) -> Json:
    """Remove a token."""
    await _service(call).remove(token)
    return {}


def _service(call: Call) -> RegistrationTokens:
    if not call.who.admin:
        raise Forbidden("You are not an administrator of this server")
    return call.services.registration_tokens


def _json(token: RegistrationToken) -> dict[str, str | int | None]:
    # A use is counted together with the account that is made by it, so none is ever pending.
    return {
        "token": token.token,
        "uses_allowed": token.uses_allowed,
        "pending": 0,
        "completed": token.completed,
        "expiry_time": token.expires_at,
    }
