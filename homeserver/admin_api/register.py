"""Making accounts with the shared secret, as `register_new_matrix_user` and its like do."""

import msgspec

from homeserver.http.routing import Auth, Call, Json, Routes
from homeserver.model.devices import NewDevice

routes = Routes()


class RegisterBody(msgspec.Struct):
    """Body of `POST /_synapse/admin/v1/register`."""

    nonce: str
    username: str
    password: str
    mac: str
    admin: bool = False
    user_type: str | None = None
    inhibit_login: bool = False


@routes.get("/_synapse/admin/v1/register", auth=Auth.NONE, limit="registration")
async def nonce(call: Call) -> Json:
    """Give a nonce for one attempt."""
    return {"nonce": call.services.shared_secret.new_nonce()}


@routes.post("/_synapse/admin/v1/register", auth=Auth.NONE, limit="registration")
async def register(call: Call, body: RegisterBody) -> Json:
    """Make an account for a tool that knows the secret."""
    call.services.shared_secret.check(
        body.mac, nonce=body.nonce, username=body.username, password=body.password, admin=body.admin,
        user_type=body.user_type,
    )  # fmt: skip
    user_id = call.services.registration.user_id_for(body.username)
    device = None if body.inhibit_login else NewDevice()
    login = await call.services.registration.make(user_id, body.password, admin=body.admin, device=device)
    made = {"user_id": user_id, "home_server": call.services.config.server_name}
    if login is None:
        return made
    return {**made, "device_id": login.device_id, "access_token": login.pair.access}
