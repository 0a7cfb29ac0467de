"""The servers to which this one sends, for administrators: what waits, what fails, trying again, blocking."""

from typing import Literal

import msgspec

from federation.core.ids import ServerName
from homeserver.errors import Forbidden
from homeserver.http.routing import Call, Json, Routes
from homeserver.model.destinations import Destination
from homeserver.services.destinations import Destinations

routes = Routes()

Direction = Literal["f", "b"]


class Listing(msgspec.Struct, rename={"start": "from"}):
    """Query of `GET /federation/destinations`."""

    start: int = 0
    limit: int = 100
    destination: str | None = None
    order_by: str = "destination"
    dir: Direction = "f"


class RoomListing(msgspec.Struct, rename={"start": "from"}):
    """Query of `GET /federation/destinations/{destination}/rooms`."""

    start: int = 0
    limit: int = 100
    dir: Direction = "f"


class BlockBody(msgspec.Struct):
    """Body of `PUT /federation/destinations/{destination}/block`."""

    block: bool


@routes.get("/_synapse/admin/v1/federation/destinations")
async def all_destinations(call: Call, query: Listing) -> Json:
    """Return the servers to which something was ever sent."""
    found, total = await _service(call).listed(
        query.destination, query.order_by, query.dir == "b", query.start, query.limit
    )
    shown = [_json(destination) for destination in found]
    return {"destinations": shown, "total": total, **_next(query.start, len(shown), total)}


@routes.get("/_synapse/admin/v1/federation/destinations/{destination}")
async def one(call: Call, destination: ServerName) -> Json:
    """Return a server, and how much waits for it."""
    found, waiting = await _service(call).one(destination)
    return {**_json(found), "waiting": waiting}


@routes.get("/_synapse/admin/v1/federation/destinations/{destination}/rooms")
async def rooms(call: Call, destination: ServerName, query: RoomListing) -> Json:
    """Return the rooms that are shared with a server."""
    found, total = await _service(call).rooms(destination, query.dir == "b", query.start, query.limit)
    shown = [{"room_id": room_id, "stream_ordering": newest} for room_id, newest in found]
    return {"rooms": shown, "total": total, **_next(query.start, len(shown), total)}


@routes.post("/_synapse/admin/v1/federation/destinations/{destination}/reset_connection")
async def reset_connection(call: Call, destination: ServerName) -> Json:
    """Try a server again now."""
    await _service(call).retry(destination)
    return {}


@routes.get("/_synapse/admin/v1/federation/destinations/{destination}/block")
async def is_blocked(call: Call, destination: ServerName) -> Json:
    """Return whether nothing is sent to a server."""
    return {"block": await _service(call).is_blocked(destination)}


@routes.put("/_synapse/admin/v1/federation/destinations/{destination}/block")
async def block(call: Call, destination: ServerName, body: BlockBody) -> Json:
    """Send nothing more to a server, or all that waits for it."""
    await _service(call).block(destination, body.block)
    return {"block": body.block}


def _service(call: Call) -> Destinations:
    if not call.who.admin:
        raise Forbidden("You are not an administrator of this server")
    return call.services.destinations


def _next(start: int, shown: int, total: int) -> dict[str, str]:
    return {"next_token": str(start + shown)} if shown and start + shown < total else {}


def _json(found: Destination) -> dict[str, object]:
    tried_at, retry_at = found.tried_at or 0, found.retry_at or 0
    return {
        "destination": found.server,
        "retry_last_ts": tried_at,
        "retry_interval": max(0, retry_at - tried_at),
        "failure_ts": found.failing_since,
        "last_successful_stream_ordering": found.cursor or None,
        "error": found.error,
        "blocked": found.blocked,
    }
