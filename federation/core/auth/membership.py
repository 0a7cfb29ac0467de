"""Authorisation rule 5: `m.room.member`.

https://spec.matrix.org/v1.19/rooms/v12/#authorisation-rules
The numbers in the comments are those of version 12.
"""

from typing import Any

from federation.core import unpadded_base64
from federation.core.auth.state import AuthState
from federation.core.errors import BadJson, BadSignature, Rejected
from federation.core.events.content import JoinRule, Membership, membership_of
from federation.core.events.pdu import Pdu
from federation.core.signing import key_ids_of, verify_json

MAX_SIGNATURES_TRIED = 1000
"""Pairs of a signature and a key that are tried for one third-party invite (one is usual); a bound on hostile
work."""


def check_member(event: Pdu, room: AuthState) -> None:
    """Allow the sender to set the membership of the event's state key, or raise `Rejected`."""
    # 5.1
    if event.state_key is None:
        raise Rejected("a membership event without a state_key")
    membership = membership_of(event)
    # 5.2, that the server which lets someone in has signed, is checked on receipt: auth/receipt.py.
    if membership is Membership.JOIN:
        check_join(event, event.state_key, room)
    elif membership is Membership.INVITE:
        check_invite(event, event.state_key, room)
    elif membership is Membership.LEAVE:
        check_leave(event.sender, event.state_key, room)
    elif membership is Membership.BAN:
        check_ban(event.sender, event.state_key, room)
    elif room.version.knocking:
        check_knock(event.sender, event.state_key, room)
    else:
        # 5.8: before v7 no one has heard of knocking.
        raise Rejected("the membership is unknown")


def check_join(event: Pdu, target: str, room: AuthState) -> None:
    """Rule 5.3: allow `target` to join."""
    # 5.3.1: the first member. Until v10 the creator is who the create event's content says.
    create = room.create
    creator = create.content.get("creator") if room.version.creator_in_content else create.sender
    if event.prev_events == (create.event_id,) and target == creator:
        return
    # 5.3.2
    if event.sender != target:
        raise Rejected("nobody can make others join")
    membership = room.membership(target)
    # 5.3.3
    if membership is Membership.BAN:
        raise Rejected("the user is banned")
    rule = room.join_rule()
    member_or_invited = membership in (Membership.JOIN, Membership.INVITE)
    # 5.3.4: `knock` since v7.
    if rule is JoinRule.INVITE or (rule is JoinRule.KNOCK and room.version.knocking):
        if not member_or_invited:
            raise Rejected("the user is not invited")
    # 5.3.5: since v8, `knock_restricted` since v10.
    elif _is_restricted(rule, room):
        if not member_or_invited:
            _check_voucher(event, room)
    # 5.3.6 and 5.3.7
    elif rule is not JoinRule.PUBLIC:
        raise Rejected("the join rule lets nobody in")


def _is_restricted(rule: JoinRule, room: AuthState) -> bool:
    if rule is JoinRule.KNOCK_RESTRICTED:
        return room.version.knock_restricted
    return rule is JoinRule.RESTRICTED and room.version.restricted_joins


def _check_voucher(event: Pdu, room: AuthState) -> None:
    """Rule 5.3.5.2: somebody who could invite has to let the user in."""
    voucher = event.content.get("join_authorised_via_users_server")
    if not isinstance(voucher, str):
        raise Rejected("nobody in the room has let the user in")
    if room.membership(voucher) is not Membership.JOIN:
        raise Rejected("who let the user in is not in the room")
    if room.levels.user_level(voucher) < room.levels.invite:
        raise Rejected("who let the user in may not invite")


def check_invite(event: Pdu, target: str, room: AuthState) -> None:
    """Rule 5.4: allow the sender to invite `target`."""
    # 5.4.1
    if "third_party_invite" in event.content:
        _check_third_party_invite(event, target, room)
        return
    # 5.4.2
    if room.membership(event.sender) is not Membership.JOIN:
        raise Rejected("the sender is not in the room")
    # 5.4.3
    if room.membership(target) in (Membership.JOIN, Membership.BAN):
        raise Rejected("the user is in the room already, or banned")
    # 5.4.4 and 5.4.5
    if room.levels.user_level(event.sender) < room.levels.invite:
        raise Rejected("the sender may not invite")


def _check_third_party_invite(event: Pdu, target: str, room: AuthState) -> None:
    # 5.4.1.1
    if room.membership(target) is Membership.BAN:
        raise Rejected("the user is banned")
    # 5.4.1.2
    invite = event.content["third_party_invite"]
    signed = invite.get("signed") if isinstance(invite, dict) else None
    if not isinstance(signed, dict):
        raise Rejected("the third-party invite is not signed")
    # 5.4.1.3
    mxid, token = signed.get("mxid"), signed.get("token")
    if not isinstance(mxid, str) or not isinstance(token, str):
        raise Rejected("the third-party invite has no mxid or no token")
    # 5.4.1.4
    if mxid != target:
        raise Rejected("the third-party invite is for somebody else")
    # 5.4.1.5
    origin = room.third_party_invite(token)
    if origin is None:
        raise Rejected("the room has no third-party invite with the token")
    # 5.4.1.6
    if event.sender != origin.sender:
        raise Rejected("the third-party invite is from somebody else")
    # 5.4.1.7 and 5.4.1.8
    if not _is_signed_by_any(signed, _public_keys(origin)):
        raise Rejected("no key of the third-party invite has signed")


def _public_keys(invite: Pdu) -> list[bytes]:
    """Return the keys that an `m.room.third_party_invite` lists, without those that are unreadable."""
    listed = [invite.content.get("public_key")]
    more = invite.content.get("public_keys")
    if isinstance(more, list):
        listed += [entry.get("public_key") for entry in more if isinstance(entry, dict)]
    keys = []
    for text in listed:
        try:
            keys.append(unpadded_base64.decode(text if isinstance(text, str) else ""))
        except BadJson:
            continue
    return keys


def _is_signed_by_any(signed: dict[str, Any], public_keys: list[bytes]) -> bool:
    signatures = signed.get("signatures")
    claims = [
        (server, key_id)
        for server in (signatures if isinstance(signatures, dict) else ())
        for key_id in key_ids_of(signed, server)
    ]
    pairs = ((server, key_id, public_key) for public_key in public_keys for server, key_id in claims)
    for (server, key_id, public_key), _ in zip(pairs, range(MAX_SIGNATURES_TRIED), strict=False):
        try:
            verify_json(signed, server, key_id, public_key)
        except BadSignature:
            continue
        return True
    return False


def check_leave(sender: str, target: str, room: AuthState) -> None:
    """Rule 5.5: allow the sender to leave, to remove `target`, or to lift a ban."""
    # 5.5.1: leaving, turning down an invite, taking back a knock (since v7).
    if sender == target:
        membership = room.membership(sender)
        may_leave = membership in (Membership.INVITE, Membership.JOIN)
        if not may_leave and not (membership is Membership.KNOCK and room.version.knocking):
            raise Rejected("the sender is not in the room")
        return
    # 5.5.2
    if room.membership(sender) is not Membership.JOIN:
        raise Rejected("the sender is not in the room")
    levels = room.levels
    own_level = levels.user_level(sender)
    # 5.5.3
    if room.membership(target) is Membership.BAN and own_level < levels.ban:
        raise Rejected("the sender may not lift bans")
    # 5.5.4 and 5.5.5
    if own_level < levels.kick:
        raise Rejected("the sender may not remove others")
    if levels.user_level(target) >= own_level:
        raise Rejected("the user's power level is not below the sender's")


def check_ban(sender: str, target: str, room: AuthState) -> None:
    """Rule 5.6: allow the sender to ban `target`."""
    # 5.6.1
    if room.membership(sender) is not Membership.JOIN:
        raise Rejected("the sender is not in the room")
    # 5.6.2 and 5.6.3
    levels = room.levels
    own_level = levels.user_level(sender)
    if own_level < levels.ban:
        raise Rejected("the sender may not ban")
    if levels.user_level(target) >= own_level:
        raise Rejected("the user's power level is not below the sender's")


def check_knock(sender: str, target: str, room: AuthState) -> None:
    """Rule 5.7, since v7: allow the sender to ask to be invited."""
    # 5.7.1: `knock_restricted` since v10.
    rule = room.join_rule()
    if rule is not JoinRule.KNOCK and not (rule is JoinRule.KNOCK_RESTRICTED and room.version.knock_restricted):
        raise Rejected("the join rule does not let anyone knock")
    # 5.7.2
    if sender != target:
        raise Rejected("nobody can knock for others")
    # 5.7.3 and 5.7.4
    if room.membership(sender) in (Membership.BAN, Membership.INVITE, Membership.JOIN):
        raise Rejected("the sender is banned, invited or in the room already")
