"""Making rooms: https://spec.matrix.org/v1.19/client-server-api/#creation."""

from typing import Literal

import msgspec

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomAlias, ServerName, parse_user_id
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from homeserver.client_api.third_party import ThirdPartyInvite, refuse
from homeserver.errors import BadJson, UnsupportedRoomVersion
from homeserver.http.bodies import JsonObject
from homeserver.http.routing import Call, Json, Routes
from homeserver.model.new_rooms import NewRoom, Preset, StateEntry
from homeserver.services.aliases import new_alias

routes = Routes()


class InitialState(msgspec.Struct):
    """One state event that the room begins with."""

    type: str
    content: JsonObject
    state_key: str = ""


class CreateRoom(msgspec.Struct):
    """The body of `/createRoom`; every field may be missing."""

    preset: Preset | None = None
    visibility: Literal["public", "private"] = "private"
    room_version: str | None = None
    room_alias_name: str | None = None
    name: str | None = None
    topic: str | None = None
    invite: list[str] = []
    invite_3pid: list[ThirdPartyInvite] = []
    is_direct: bool = False
    creation_content: JsonObject = {}
    initial_state: list[InitialState] = []
    power_level_content_override: JsonObject = {}

    def wanted(self, server_name: ServerName, default_version: str) -> NewRoom:
        """Return the room that is asked for. Raises `BadJson`, `InvalidParam` or `UnsupportedRoomVersion`."""
        try:
            invited = tuple(dict.fromkeys(parse_user_id(user_id) for user_id in self.invite))
        except InvalidIdentifier as error:
            raise BadJson("invite: must be a list of user IDs") from error
        public = self.visibility == "public"
        alias: RoomAlias | None = None
        if self.room_alias_name is not None:
            alias = new_alias(self.room_alias_name, server_name)
        return NewRoom(
            version=known_version(default_version if self.room_version is None else self.room_version),
            preset=self.preset or (Preset.PUBLIC if public else Preset.PRIVATE),
            published=public,
            alias=alias,
            name=self.name,
            topic=self.topic,
            invited=invited,
            is_direct=self.is_direct,
            creation_content=self.creation_content,
            initial_state=tuple(StateEntry(each.type, each.content, each.state_key) for each in self.initial_state),
            power_levels=self.power_level_content_override,
        )


@routes.post("/_matrix/client/v3/createRoom", limit="joins")
async def create_room(call: Call, body: CreateRoom) -> Json:
    """Make a room."""
    services = call.services
    if body.invite_3pid:
        refuse(body.invite_3pid[0])
    wanted = body.wanted(services.rooms.timeline.server_name, services.config.rooms.default_version)
    return {"room_id": await services.rooms.create(call.who, wanted)}


def known_version(version_id: str) -> RoomVersion:
    """Return a room version by its identifier. Raises `UnsupportedRoomVersion`."""
    version = ROOM_VERSIONS.get(version_id)
    if version is None:
        raise UnsupportedRoomVersion(f"Room version {version_id!r} is not supported here")
    return version
