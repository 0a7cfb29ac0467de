"""Voice over IP: https://spec.matrix.org/v1.19/client-server-api/#voice-over-ip."""

from dataclasses import asdict

from homeserver.http.routing import Call, Json, Routes

routes = Routes()


@routes.get("/_matrix/client/v3/voip/turnServer")
async def turn_server(call: Call) -> Json:
    """Give the user credentials for the TURN servers; nothing where there are none."""
    credentials = call.services.calls.turn_credentials(call.who.user_id)
    return asdict(credentials) if credentials is not None else {}
