"""Invites of addresses: https://spec.matrix.org/v1.19/server-server-api/#third-party-invites."""

from typing import Literal

import msgspec

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomID, UserID, parse_room_id, parse_user_id
from homeserver.errors import InvalidParam
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Auth, Call, Json, Routes
from homeserver.services.third_party_invites import Bound

routes = Routes()

MOST_INVITES = 20
"""Invites that may have waited for one address."""


class ThirdPartyInvite(msgspec.Struct):
    """What the identity server has signed."""

    signed: JsonObject


class Content(msgspec.Struct):
    """The content of the invite that is to be made."""

    membership: Literal["invite"]
    third_party_invite: ThirdPartyInvite


class Wanted(msgspec.Struct):
    """The invite that is to be made."""

    type: Literal["m.room.member"]
    room_id: str
    sender: str
    state_key: str
    content: Content


class Waiting(msgspec.Struct):
    """An invite that has waited for its address to be somebody's."""

    mxid: str
    room_id: str
    sender: str
    signed: JsonObject


class Binding(msgspec.Struct):
    """An address that is somebody's now."""

    medium: str
    address: str
    mxid: str
    invites: list[Waiting]


@routes.put("/_matrix/federation/v1/exchange_third_party_invite/{room_id}", auth=Auth.SERVER)
async def exchange(call: Call, room_id: RoomID, body: Wanted) -> Json:
    """Invite a user of the other server whose address was invited."""
    if body.room_id != room_id:
        raise InvalidParam("room_id: is not that of the path")
    signed = body.content.third_party_invite.signed
    target = _user_id("state_key", body.state_key)
    if signed.get("mxid") != target:
        raise InvalidParam("content.third_party_invite.signed.mxid: is not the user of the state key")
    bound = Bound(room_id, _user_id("sender", body.sender), signed)
    await call.services.third_party_invites.exchange(call.origin, bound, target)
    return {}


@routes.put("/_matrix/federation/v1/3pid/onbind", auth=Auth.NONE, limit="unsigned")
async def on_bind(call: Call, body: Binding) -> Json:
    """Take the invites that waited for an address of a user of ours.

    Identity servers sign no requests; what each invite is worth, its own signature says.
    """
    if len(body.invites) > MOST_INVITES:
        raise InvalidParam(f"invites: more than {MOST_INVITES}")
    target = _user_id("mxid", body.mxid)
    invites = [_bound(f"invites.{index}", waiting) for index, waiting in enumerate(body.invites)]
    await call.services.third_party_invites.bound(target, [each for each in invites if each.signed["mxid"] == target])
    return {}


def _bound(name: str, waiting: Waiting) -> Bound:
    if waiting.signed.get("mxid") != waiting.mxid:
        raise InvalidParam(f"{name}.signed.mxid: is not {waiting.mxid}")
    try:
        room_id = parse_room_id(waiting.room_id)
    except InvalidIdentifier as error:
        raise InvalidParam(f"{name}.room_id: {error}") from error
    return Bound(room_id, _user_id(f"{name}.sender", waiting.sender), waiting.signed)


def _user_id(name: str, text: str) -> UserID:
    try:
        return parse_user_id(text)
    except InvalidIdentifier as error:
        raise InvalidParam(f"{name}: {error}") from error
