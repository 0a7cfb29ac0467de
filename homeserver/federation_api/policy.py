"""Being a policy server: https://spec.matrix.org/v1.19/server-server-api/#policy-servers."""

from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Auth, Call, Json, Routes

routes = Routes()


@routes.post("/_matrix/policy/v1/sign", auth=Auth.SERVER)
async def sign(call: Call, body: JsonObject) -> Json:
    """Sign an event that is recommended."""
    return await call.services.policy_signing.sign(call.origin, body)
