"""Who we are, and where: https://spec.matrix.org/v1.19/server-server-api/#server-implementation.

Source of the well-known file: https://spec.matrix.org/v1.19/server-server-api/#getwell-knownmatrixserver
"""

from functools import cache

from homeserver.errors import NotFound
from homeserver.http.routing import Auth, Call, Json, Routes

routes = Routes()


@routes.get("/_matrix/federation/v1/version", auth=Auth.NONE, limit="none")
async def implementation(call: Call) -> Json:
    """Say what runs here."""
    return {"server": {"name": "Isthmus", "version": _version()}}


@routes.get("/.well-known/matrix/server", auth=Auth.NONE, limit="none")
async def where(call: Call) -> Json:
    """Say where other servers reach this one."""
    name = call.services.config.federation.well_known
    if not name:
        raise NotFound("Other servers reach this one under its name")
    return {"m.server": name}


@cache
def _version() -> str:
    # Here and not above: it takes a megabyte, and is asked for by others.
    from importlib.metadata import version

    return version("isthmus")
