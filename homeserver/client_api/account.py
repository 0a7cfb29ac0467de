"""The user's own account: https://spec.matrix.org/v1.19/client-server-api/#account-management."""

import msgspec

from federation.core.ids import UserID
from homeserver.errors import Forbidden, MissingParam
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Call, Json, Routes
from homeserver.services.interactive_auth import PASSWORD, Demand
from homeserver.services.openid import LIFETIME_SECONDS

routes = Routes()


class PasswordBody(msgspec.Struct):
    """Body of `POST /account/password`."""

    new_password: str | None = None
    logout_devices: bool = True
    auth: JsonObject | None = None


class DeactivateBody(msgspec.Struct):
    """Body of `POST /account/deactivate`."""

    erase: bool = False
    auth: JsonObject | None = None


@routes.get("/_matrix/client/v3/account/whoami")
async def who_am_i(call: Call) -> Json:
    """Say whose token it is."""
    return {"user_id": call.who.user_id, "device_id": call.who.device_id, "is_guest": False}


@routes.post("/_matrix/client/v3/account/password")
async def change_password(call: Call, body: PasswordBody) -> Json:
    """Give the account a new password."""
    accounts = call.services.accounts
    if body.new_password is not None:
        accounts.passwords.check_new(body.new_password)
    demand = Demand("account/password", ((PASSWORD,),), call.who)
    passed = await call.services.interactive_auth.check(demand, body.auth)
    if body.new_password is None:
        raise MissingParam("Missing new_password")
    await accounts.change_password(call.who, body.new_password, passed, log_others_out=body.logout_devices)
    return {}


@routes.post("/_matrix/client/v3/account/deactivate")
async def deactivate(call: Call, body: DeactivateBody) -> Json:
    """End the account."""
    demand = Demand("account/deactivate", ((PASSWORD,),), call.who)
    passed = await call.services.interactive_auth.check(demand, body.auth)
    await call.services.accounts.deactivate(call.who, passed, erase=body.erase)
    # No identifiers can be bound here, so there is none left to unbind.
    return {"id_server_unbind_result": "success"}


@routes.get("/_matrix/client/v3/account/3pid")
async def third_party_identifiers(call: Call) -> Json:
    """Return the user's addresses and numbers; none can be added here."""
    return {"threepids": []}


@routes.post("/_matrix/client/v3/user/{user_id}/openid/request_token")
async def openid_token(call: Call, user_id: UserID, body: JsonObject) -> Json:
    """Make a token by which a third party learns who the user is."""
    if user_id != call.who.user_id:
        raise Forbidden("user_id: expected the user who makes the request")
    return {
        "access_token": await call.services.openid.new_token(call.who),
        "token_type": "Bearer",
        "matrix_server_name": call.services.config.server_name,
        "expires_in": LIFETIME_SECONDS,
    }
