"""Versions, discovery and capabilities: https://spec.matrix.org/v1.19/client-server-api/#api-versions."""

from homeserver.http.routing import Auth, Call, Json, Routes

routes = Routes()

VERSIONS = [
    "r0.5.0", "r0.6.0", "r0.6.1",
    "v1.1", "v1.2", "v1.3", "v1.4", "v1.5", "v1.6", "v1.7", "v1.8", "v1.9", "v1.10", "v1.11", "v1.12",
]  # fmt: skip
FEATURES = {
    "org.matrix.msc4222": True,
    "uk.tcpip.msc4133": True,
    "uk.tcpip.msc4133.stable": True,
    "org.matrix.msc3916.stable": True,
}


@routes.get("/_matrix/client/versions", auth=Auth.NONE, limit="none")
async def versions(call: Call) -> Json:
    """Say which versions of the specification the server speaks."""
    return {"versions": VERSIONS, "unstable_features": FEATURES}
