"""Whether the server can do its work, for load balancers and monitoring."""

import asyncio

from homeserver.errors import Unavailable
from homeserver.http.routing import Auth, Call, Json, Routes

routes = Routes()

LONGEST_SECONDS = 5.0


@routes.get("/health", auth=Auth.NONE, limit="none")
async def health(call: Call) -> Json:
    """Answer 200 if the database answers in time, else 503."""
    try:
        async with asyncio.timeout(LONGEST_SECONDS):
            await call.services.db.read(lambda conn: conn.exec_driver_sql("SELECT 1"))
    except Exception as error:
        raise Unavailable("The database does not answer") from error
    return {"status": "ok"}
