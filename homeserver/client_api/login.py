"""Login, logout and refreshing: https://spec.matrix.org/v1.19/client-server-api/#legacy-login."""

from typing import Any

import msgspec

from federation.core.errors import InvalidIdentifier
from federation.core.ids import DeviceID, parse_device_id
from homeserver.errors import InvalidParam, MissingParam
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Auth, Call, Json, Routes
from homeserver.model.devices import NewDevice
from homeserver.model.tokens import Login, Pair
from homeserver.services.interactive_auth import PASSWORD, Demand
from homeserver.services.login import LOGIN_TOKEN_MS

routes = Routes()

LOGIN_TOKEN = "m.login.token"  # noqa: S105 - the name of a kind of login
LONGEST_NAME = 1000


class DeviceBody(msgspec.Struct, kw_only=True):
    """What a client may say about its device, at login and at registration."""

    device_id: str | None = None
    initial_device_display_name: str | None = None
    refresh_token: bool = False

    def new_device(self) -> NewDevice:
        """Return the device to log in. Raises `InvalidParam`."""
        return NewDevice(_device_id(self.device_id), display_name(self.initial_device_display_name), self.refresh_token)


class LoginBody(DeviceBody, kw_only=True):
    """Body of `POST /login`."""

    type: str
    identifier: JsonObject | None = None
    user: str | None = None
    password: str | None = None
    token: str | None = None


class TokenBody(msgspec.Struct):
    """Body of `POST /login/get_token`."""

    auth: JsonObject | None = None


class RefreshBody(msgspec.Struct):
    """Body of `POST /refresh`."""

    refresh_token: str


@routes.get("/_matrix/client/v3/login", auth=Auth.NONE)
async def flows(call: Call) -> Json:
    """Say how one can log in."""
    return {"flows": [{"type": PASSWORD}, {"type": LOGIN_TOKEN, "get_login_token": True}]}


@routes.post("/_matrix/client/v3/login", auth=Auth.NONE, limit="login")
async def log_in(call: Call, body: LoginBody) -> Json:
    """Log a device in."""
    device = body.new_device()
    if body.type == LOGIN_TOKEN:
        return login_json(await call.services.login.by_token(_given(body.token, "token"), device))
    if body.type != PASSWORD:
        raise InvalidParam(f"type: expected {PASSWORD} or {LOGIN_TOKEN}")
    password = _given(body.password, "password")
    user_id = call.services.credentials.whom({"identifier": body.identifier, "user": body.user})
    return login_json(await call.services.login.by_password(user_id, password, device))


@routes.post("/_matrix/client/v1/login/get_token")
async def get_token(call: Call, body: TokenBody) -> Json:
    """Make a token by which the user can log another device in."""
    demand = Demand("login/get_token", ((PASSWORD,),), call.who)
    passed = await call.services.interactive_auth.check(demand, body.auth)
    token = await call.services.login.new_token(call.who, passed)
    return {"login_token": token, "expires_in_ms": LOGIN_TOKEN_MS}


@routes.post("/_matrix/client/v3/refresh", auth=Auth.NONE, limit="login")
async def refresh(call: Call, body: RefreshBody) -> Json:
    """Give new tokens for a refresh token."""
    return pair_json(await call.services.sessions.refresh(body.refresh_token))


@routes.post("/_matrix/client/v3/logout", auth=Auth.EVEN_LOCKED)
async def log_out(call: Call) -> Json:
    """End the session of the device."""
    await call.services.devices.remove(call.who, [call.who.device_id])
    return {}


@routes.post("/_matrix/client/v3/logout/all", auth=Auth.EVEN_LOCKED)
async def log_out_all(call: Call) -> Json:
    """End all sessions of the user."""
    await call.services.devices.remove_all(call.who)
    return {}


def login_json(login: Login) -> dict[str, Any]:
    """Return the answer to a login or a registration."""
    return {
        "user_id": login.user_id,
        "device_id": login.device_id,
        "home_server": login.user_id.partition(":")[2],
        **pair_json(login.pair),
    }


def pair_json(pair: Pair) -> dict[str, Any]:
    """Return tokens as clients get them."""
    answer: dict[str, Any] = {"access_token": pair.access}
    if pair.refresh is not None:
        answer["refresh_token"] = pair.refresh
    if pair.lifetime_ms is not None:
        answer["expires_in_ms"] = pair.lifetime_ms
    return answer


def display_name(text: str | None) -> str | None:
    """Return a device's display name. Raises `InvalidParam` for one that cannot be kept."""
    if text is not None and (len(text) > LONGEST_NAME or "\0" in text):
        raise InvalidParam(f"display_name: must have at most {LONGEST_NAME} characters, and no NUL")
    return text


def _device_id(text: str | None) -> DeviceID | None:
    if text is None:
        return None
    try:
        return parse_device_id(text)
    except InvalidIdentifier as error:
        raise InvalidParam(f"device_id: {error}") from error


def _given(value: str | None, name: str) -> str:
    if value is None:
        raise MissingParam(f"Missing {name}")
    return value
