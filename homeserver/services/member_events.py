"""Membership events as this server sends them, whichever endpoint asks for one.

Everything here runs inside a write, before `Timeline.append`; that has the rules checked.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace
from typing import Any

import orjson
from sqlalchemy import Connection

from federation.core.errors import InvalidIdentifier
from federation.core.events.content import Membership, allowed_rooms, join_rule_of
from federation.core.events.draft import Draft
from federation.core.ids import UserID, parse_user_id, server_of
from homeserver.errors import BadJson, Forbidden, InviteBlocked, NotFound, UnableToAuthoriseJoin
from homeserver.model.events import Event
from homeserver.model.nids import UserNid
from homeserver.model.profiles import AVATAR_URL, DISPLAY_NAME, PublicNames
from homeserver.services.restricted_joins import NONE_MET, is_restricted, who_may_invite
from homeserver.services.timeline import MEMBER, Timeline, Turn
from homeserver.storage import account_data, accounts, memberships, profiles

INVITE_PERMISSION = "m.invite_permission_config"
VOUCHER = "join_authorised_via_users_server"
_WITH_NAMES = (Membership.INVITE, Membership.JOIN, Membership.KNOCK)


def append(
    timeline: Timeline, turn: Turn, sender: UserID, target: UserID, membership: Membership, *,
    reason: str | None = None, is_direct: bool = False, checked: bool = False,
) -> Event:  # fmt: skip
    """Change a user's membership; return the event. Raises what `prepare` and `Timeline.append` raise.

    `checked` says that the user has passed `check_invitees`.
    """
    content: dict[str, Any] = {"membership": str(membership)}
    if reason is not None:
        content["reason"] = reason
    if is_direct:
        content["is_direct"] = True
    draft = Draft(turn.room.room_id, MEMBER, sender, content, target)
    return timeline.append(turn, prepare(timeline, turn, draft, checked=checked))


def prepare(timeline: Timeline, turn: Turn, draft: Draft, *, checked: bool = False) -> Draft:
    """Return a membership event with what the server adds to it: names, and who lets the user in.

    Raises `BadJson` for one that makes no sense, and for an invite what `check_invitees` raises; `Forbidden` or
    `UnableToAuthoriseJoin` for a join that the room's restrictions do not allow.
    """
    content = dict(draft.content)
    # Only the server says who lets someone in.
    content.pop(VOUCHER, None)
    try:
        membership = Membership(content.get("membership", ""))
        target = parse_user_id(draft.state_key or "")
    except InvalidIdentifier as error:
        raise BadJson("The state key of a membership must be a user ID") from error
    except ValueError as error:
        raise BadJson("membership: must be one of invite, join, knock, leave, ban") from error
    conn = turn.tx.conn
    if membership in _WITH_NAMES:
        if membership is Membership.INVITE and not checked:
            check_invitees(conn, timeline, [target])
        user = timeline.names.user(conn, target)
        if user is not None:
            content = {**names_of(conn, user), **content}
    if membership is Membership.JOIN and draft.sender == target:
        voucher = _voucher(timeline, turn, target)
        if voucher is not None:
            content[VOUCHER] = voucher
    return replace(draft, content=content)


def names_of(conn: Connection, user: UserNid) -> dict[str, str]:
    """Return display name and avatar of a user of this server, as membership events carry them."""
    known = profiles.names_of(conn, [user]).get(user, PublicNames())
    both = {DISPLAY_NAME: known.display_name, AVATAR_URL: known.avatar_url}
    return {name: value for name, value in both.items() if value is not None}


def check_invitees(conn: Connection, timeline: Timeline, wanted: Collection[UserID]) -> None:
    """Raise if one of these users cannot be invited: `NotFound`, `Forbidden` or `InviteBlocked`.

    Source: https://spec.matrix.org/v1.19/client-server-api/#invite-permission
    """
    known = timeline.names.user_nids(conn, wanted)
    living = accounts.living(conn, known.values())
    permissions = account_data.of_users(conn, living, INVITE_PERMISSION)
    for user_id in wanted:
        if server_of(user_id) != timeline.server_name:
            # Their own server must sign the invite: see `homeserver.services.remote_invites`.
            raise Forbidden(f"{user_id} cannot be invited here: this server speaks with no others")
        user = known.get(user_id)
        if user is None or user not in living:
            raise NotFound(f"There is no user {user_id}")
        if user in permissions and blocks_invites(permissions[user][1]):
            raise InviteBlocked(f"{user_id} does not take invites")


def blocks_invites(permission: bytes) -> bool:
    """Return whether somebody's `m.invite_permission_config` says that they take no invites."""
    content = orjson.loads(permission)
    return isinstance(content, dict) and content.get("default_action") == "block"


# Restricted rooms: https://spec.matrix.org/v1.19/client-server-api/#restricted-rooms


def meets_condition(conn: Connection, timeline: Timeline, user_id: UserID, join_rules: Mapping[str, Any]) -> bool:
    """Return whether a user is in one of the rooms that a restricted join rule names."""
    user = timeline.names.user(conn, user_id)
    if user is None:
        return False
    rooms = timeline.names.room_nids(conn, allowed_rooms(join_rules)).values()
    return memberships.has_joined_any(conn, user, rooms)


def _voucher(timeline: Timeline, turn: Turn, user_id: UserID) -> UserID | None:
    """Return who lets a user into a restricted room; None if nobody needs to."""
    rules = timeline.entry(turn, "m.room.join_rules")
    if rules is None or not is_restricted(join_rule_of(rules.content), turn.room.version):
        return None
    own = timeline.entry(turn, MEMBER, user_id)
    if own is not None and own.content.get("membership") in ("join", "invite", "ban"):
        return None
    conn = turn.tx.conn
    if not meets_condition(conn, timeline, user_id, rules.content):
        raise Forbidden(NONE_MET)
    voucher = who_may_invite(conn, turn.room, timeline.power_levels(turn), timeline.server_name)
    if voucher is None:
        raise UnableToAuthoriseJoin("Nobody of this server who is in the room may let you in")
    return voucher
