"""What other servers send: https://spec.matrix.org/v1.19/server-server-api/#transactions."""

from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Answer, Auth, Call, Routes

routes = Routes()


@routes.put("/_matrix/federation/v1/send/{txn_id}", auth=Auth.SERVER)
async def send(call: Call, txn_id: str, body: JsonObject) -> Answer:
    """Take a transaction."""
    return Answer(await call.services.receiving.transaction(call.origin, txn_id, body))
