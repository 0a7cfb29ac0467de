"""Registration: https://spec.matrix.org/v1.19/client-server-api/#legacy-account-registration."""

import msgspec

from homeserver.client_api.login import DeviceBody, login_json
from homeserver.errors import GuestAccessForbidden, InvalidParam, MissingParam, ThreepidMediumNotSupported
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Auth, Call, Json, Routes

routes = Routes()


class Kind(msgspec.Struct):
    """Query of `POST /register`."""

    kind: str = "user"


class RegisterBody(DeviceBody, kw_only=True):
    """Body of `POST /register`."""

    username: str | None = None
    password: str | None = None
    inhibit_login: bool = False
    auth: JsonObject | None = None


class Username(msgspec.Struct):
    """Query of `GET /register/available`."""

    username: str


class Token(msgspec.Struct):
    """Query of `GET /register/m.login.registration_token/validity`."""

    token: str


class EmailToken(msgspec.Struct):
    """Body of `POST /register/email/requestToken`."""

    client_secret: str
    email: str
    send_attempt: int


class PhoneToken(msgspec.Struct):
    """Body of `POST /register/msisdn/requestToken`."""

    client_secret: str
    country: str
    phone_number: str
    send_attempt: int


@routes.post("/_matrix/client/v3/register", auth=Auth.NONE, limit="registration")
async def register(call: Call, query: Kind, body: RegisterBody) -> Json:
    """Make an account, and log its first device in."""
    registration = call.services.registration
    if query.kind == "guest":
        raise GuestAccessForbidden("This server has no guests")
    if query.kind != "user":
        raise InvalidParam("kind: expected user or guest")
    demand = registration.demand()
    device = None if body.inhibit_login else body.new_device()
    # Errors about the name and the password come before authentication.
    user_id = await registration.check_free(body.username) if body.username is not None else None
    if body.password is not None:
        registration.passwords.check_new(body.password)
    passed = await call.services.interactive_auth.check(demand, body.auth)
    if body.password is None:
        raise MissingParam("Missing password")
    made, login = await registration.register(user_id, body.password, passed, device)
    return login_json(login) if login is not None else {"user_id": made, "home_server": made.partition(":")[2]}


@routes.get("/_matrix/client/v3/register/available", auth=Auth.NONE, limit="registration")
async def available(call: Call, query: Username) -> Json:
    """Say whether a name is free."""
    call.services.registration.demand()
    await call.services.registration.check_free(query.username)
    return {"available": True}


@routes.get("/_matrix/client/v1/register/m.login.registration_token/validity", auth=Auth.NONE, limit="registration")
async def token_validity(call: Call, query: Token) -> Json:
    """Say whether one more account may be made with a registration token."""
    call.services.registration.demand()
    return {"valid": await call.services.registration.token_is_valid(query.token)}


@routes.post("/_matrix/client/v3/register/email/requestToken", auth=Auth.NONE, limit="registration")
async def request_email_token(call: Call, body: EmailToken) -> Json:
    """Refuse to send e-mail: accounts here have no addresses."""
    raise ThreepidMediumNotSupported("E-mail addresses are not supported")


@routes.post("/_matrix/client/v3/register/msisdn/requestToken", auth=Auth.NONE, limit="registration")
async def request_phone_token(call: Call, body: PhoneToken) -> Json:
    """Refuse to send text messages: accounts here have no phone numbers."""
    raise ThreepidMediumNotSupported("Phone numbers are not supported")
