"""The user directory: https://spec.matrix.org/v1.19/client-server-api/#user-directory."""

import msgspec

from homeserver.http.routing import Call, Json, Routes

routes = Routes()


class SearchBody(msgspec.Struct):
    """Who is looked for, and how many results are wanted."""

    search_term: str
    limit: int = 10


@routes.post("/_matrix/client/v3/user_directory/search")
async def search(call: Call, body: SearchBody) -> Json:
    """Find users."""
    results, limited = await call.services.user_directory.search(call.who, body.search_term, body.limit)
    return {"results": results, "limited": limited}
