"""Making rooms: https://spec.matrix.org/v1.19/client-server-api/#creation."""

import asyncio
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import structlog

from federation.core.errors import InvalidIdentifier
from federation.core.events.content import Membership
from federation.core.events.draft import Draft
from federation.core.ids import RoomID, UserID, parse_user_id, server_of
from federation.core.room_versions import RoomVersion
from homeserver.errors import BadJson, Forbidden, InvalidRoomState, InviteBlocked, MatrixError, RoomInUse, UserSuspended
from homeserver.model.accounts import Requester
from homeserver.model.new_rooms import NewRoom, Preset, StateEntry
from homeserver.services import member_events
from homeserver.services.aliases import CANONICAL_ALIAS, check_canonical_alias
from homeserver.services.remote_invites import RemoteInvites
from homeserver.services.timeline import MEMBER, Timeline, Turn
from homeserver.storage import aliases, rooms
from homeserver.storage.database import Database, Write

log = structlog.get_logger()

ADMINISTRATOR = 100
ABOVE_ADMINISTRATORS = 150

# https://spec.matrix.org/v1.19/client-server-api/#post_matrixclientv3createroom: what the presets do.
_JOIN_RULES = {Preset.PRIVATE: "invite", Preset.TRUSTED: "invite", Preset.PUBLIC: "public"}
_GUEST_ACCESS = {Preset.PRIVATE: "can_join", Preset.TRUSTED: "can_join", Preset.PUBLIC: "forbidden"}


@dataclass(frozen=True, slots=True)
class Rooms:
    """Makes rooms."""

    db: Database
    timeline: Timeline
    invites: RemoteInvites | None
    """Invites users of other servers; None if this server speaks with none."""

    async def create(self, who: Requester, wanted: NewRoom) -> RoomID:
        """Make a room, wholly or not at all; return its ID.

        Raises `RoomInUse` if the alias is taken, `InvalidRoomState` if the rules do not allow what the room is to begin
        with, `BadJson` or `TooLarge` if something of it is no event, and what `check_invitees` raises. Users of other
        servers are invited once the room is there; if one of these invites fails, the room is there all the same.
        """
        if who.suspended:
            raise UserSuspended("Your account is suspended")
        own = self.timeline.server_name
        distant = [] if self.invites is None else [each for each in wanted.invited if server_of(each) != own]
        local = [each for each in wanted.invited if each not in distant]

        def write(tx: Write) -> RoomID:
            if wanted.alias is not None and aliases.find(tx.conn, wanted.alias) is not None:
                raise RoomInUse(f"The alias {wanted.alias} is taken")
            member_events.check_invitees(tx.conn, self.timeline, local)
            try:
                return self._create(tx, who, wanted, local)
            except InviteBlocked:
                raise
            except Forbidden as error:
                raise InvalidRoomState(error.message) from error

        room_id = await self.db.write(write)
        await asyncio.gather(*(self._invite(who, room_id, target, wanted.is_direct) for target in distant))
        return room_id

    async def _invite(self, who: Requester, room_id: RoomID, target: UserID, is_direct: bool) -> None:
        assert self.invites is not None
        try:
            await self.invites.send(who, room_id, target, {"is_direct": True} if is_direct else {})
        except MatrixError as error:
            log.info("invite_failed", room_id=room_id, target=target, reason=error.message)

    def _create(self, tx: Write, who: Requester, wanted: NewRoom, invited: Sequence[UserID]) -> RoomID:
        version, content = wanted.version, _creation_content(who.user_id, wanted)
        turn = begin(self.timeline, tx, who.user_id, version, content, new_room_id(self.timeline, version))
        room_id = turn.room.room_id
        if wanted.alias is not None:
            aliases.create(tx, wanted.alias, turn.room.nid, who.user)
        for entry in _first_state(who.user_id, wanted):
            draft = Draft(room_id, entry.type, who.user_id, entry.content, entry.state_key)
            if entry.type == MEMBER:
                draft = member_events.prepare(self.timeline, turn, draft)
            elif entry.type == CANONICAL_ALIAS:
                check_canonical_alias(turn, self.timeline, entry.content)
            self.timeline.append(turn, draft)
        for user_id in invited:
            member_events.append(
                self.timeline, turn, who.user_id, user_id, Membership.INVITE, is_direct=wanted.is_direct, checked=True
            )
        if wanted.published:
            rooms.publish(tx, turn.room.nid, True)
        return room_id


def new_room_id(timeline: Timeline, version: RoomVersion) -> RoomID | None:
    """Return an ID for a new room, None where it will be known only from the create event."""
    if version.room_id_is_create_hash:
        return None
    return RoomID(f"!{timeline.ids.letters(18)}:{timeline.server_name}")


def begin(
    timeline: Timeline, tx: Write, creator: UserID, version: RoomVersion, creation_content: Mapping[str, Any],
    room_id: RoomID | None,
) -> Turn:  # fmt: skip
    """Make a room that has its creator in it, and nothing else yet; `room_id` is one by `new_room_id`.

    Raises `Forbidden` for a create event that the rules do not allow.
    """
    content = {name: value for name, value in creation_content.items() if name != "creator"}
    content["room_version"] = version.id
    if version.creator_in_content:
        content["creator"] = creator
    turn = timeline.create(tx, version, creator, content, room_id)
    member_events.append(timeline, turn, creator, creator, Membership.JOIN)
    return turn


def _check_creation_content(content: Mapping[str, Any], version: RoomVersion) -> None:
    """Raise `BadJson` for a create event that means nothing.

    Source: https://spec.matrix.org/v1.19/client-server-api/#mroomcreate
    """
    if not isinstance(content.get("m.federate", True), bool):
        raise BadJson("creation_content.m.federate: must be a boolean")
    if not isinstance(content.get("type", ""), str):
        raise BadJson("creation_content.type: must be a string")
    if not isinstance(content.get("predecessor", {}), dict):
        raise BadJson("creation_content.predecessor: must be an object")
    if version.creators_have_all_power and "additional_creators" in content:
        check_creators(content["additional_creators"], "creation_content.additional_creators")


def check_creators(creators: object, field: str) -> None:
    """Raise `BadJson`, naming the field, for further creators that are no list of user IDs."""
    try:
        for creator in creators if isinstance(creators, list) else [None]:
            parse_user_id(creator if isinstance(creator, str) else "")
    except InvalidIdentifier as error:
        raise BadJson(f"{field}: must be a list of user IDs") from error


def _creation_content(creator: UserID, wanted: NewRoom) -> Mapping[str, Any]:
    _check_creation_content(wanted.creation_content, wanted.version)
    content = dict(wanted.creation_content)
    if wanted.version.creators_have_all_power and wanted.preset is Preset.TRUSTED:
        named = [*content.get("additional_creators", ()), *wanted.invited]
        others = [user_id for user_id in dict.fromkeys(named) if user_id != creator]
        if others:
            content["additional_creators"] = others
    return content


def _first_state(creator: UserID, wanted: NewRoom) -> Iterator[StateEntry]:
    """Yield what the room begins with after its creator's join, in the order that the specification demands."""
    yield StateEntry("m.room.power_levels", {**_power_levels(creator, wanted), **wanted.power_levels})
    if wanted.alias is not None:
        yield StateEntry(CANONICAL_ALIAS, {"alias": wanted.alias})
    # What is overridden further down is not said at all.
    overridden = {(entry.type, entry.state_key) for entry in wanted.initial_state}
    for entry in (
        StateEntry("m.room.join_rules", {"join_rule": _JOIN_RULES[wanted.preset]}),
        StateEntry("m.room.history_visibility", {"history_visibility": "shared"}),
        StateEntry("m.room.guest_access", {"guest_access": _GUEST_ACCESS[wanted.preset]}),
    ):
        if (entry.type, "") not in overridden:
            yield entry
    named = _name_and_topic(wanted)
    for entry in wanted.initial_state:
        if entry.state_key or entry.type not in {own.type for own in named}:
            yield entry
    yield from named


def _name_and_topic(wanted: NewRoom) -> list[StateEntry]:
    entries = []
    if wanted.name is not None:
        entries.append(StateEntry("m.room.name", {"name": wanted.name}))
    if wanted.topic is not None:
        plain = {"body": wanted.topic, "mimetype": "text/plain"}
        entries.append(StateEntry("m.room.topic", {"topic": wanted.topic, "m.topic": {"m.text": [plain]}}))
    return entries


def _power_levels(creator: UserID, wanted: NewRoom) -> dict[str, Any]:
    """Return the power levels of a new room before any override: what moderators and administrators may do.

    Source: https://spec.matrix.org/v1.19/client-server-api/#permissions
    """
    version = wanted.version
    users: dict[str, int] = {}
    if not version.creators_have_all_power:
        users[creator] = ADMINISTRATOR
        if wanted.preset is Preset.TRUSTED:
            users.update(dict.fromkeys(wanted.invited, ADMINISTRATOR))
    return {
        "users": users,
        "users_default": 0,
        "events": {
            "m.room.name": 50,
            "m.room.avatar": 50,
            "m.room.canonical_alias": 50,
            "m.room.power_levels": ADMINISTRATOR,
            "m.room.history_visibility": ADMINISTRATOR,
            "m.room.encryption": ADMINISTRATOR,
            "m.room.server_acl": ADMINISTRATOR,
            # Where creators stand above administrators, an upgrade is theirs alone.
            "m.room.tombstone": ABOVE_ADMINISTRATORS if version.creators_have_all_power else ADMINISTRATOR,
        },
        "events_default": 0,
        "state_default": 50,
        "ban": 50,
        "kick": 50,
        "redact": 50,
        "invite": 50 if wanted.preset is Preset.PUBLIC else 0,
    }
