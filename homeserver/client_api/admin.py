"""Server administration: https://spec.matrix.org/v1.19/client-server-api/#server-administration."""

import msgspec

from federation.core.ids import UserID
from homeserver.http.routing import Call, Json, Routes

routes = Routes()


class LockBody(msgspec.Struct):
    """Body of `PUT /admin/lock/{userId}`."""

    locked: bool


class SuspendBody(msgspec.Struct):
    """Body of `PUT /admin/suspend/{userId}`."""

    suspended: bool


@routes.get("/_matrix/client/v1/admin/lock/{user_id}")
async def is_locked(call: Call, user_id: UserID) -> Json:
    """Say whether an account is locked."""
    return {"locked": (await call.services.account_moderation.account(call.who, user_id)).locked}


@routes.put("/_matrix/client/v1/admin/lock/{user_id}")
async def lock(call: Call, user_id: UserID, body: LockBody) -> Json:
    """Lock or unlock an account."""
    await call.services.account_moderation.lock(call.who, user_id, body.locked)
    return {"locked": body.locked}


@routes.get("/_matrix/client/v1/admin/suspend/{user_id}")
async def is_suspended(call: Call, user_id: UserID) -> Json:
    """Say whether an account is suspended."""
    return {"suspended": (await call.services.account_moderation.account(call.who, user_id)).suspended}


@routes.put("/_matrix/client/v1/admin/suspend/{user_id}")
async def suspend(call: Call, user_id: UserID, body: SuspendBody) -> Json:
    """Suspend an account, or end that."""
    await call.services.account_moderation.suspend(call.who, user_id, body.suspended)
    return {"suspended": body.suspended}
