"""The checks performed on receipt of a PDU, as decisions over what was gathered before.

https://spec.matrix.org/v1.19/server-server-api/#checks-performed-on-receipt-of-a-pdu

    1 format         `Pdu.from_wire` raises `BadEvent`: the event is dropped
    2 signatures     `verify`: an event that its servers have not signed is dropped
    3 hash           `verify`: an event with another hash goes on in its redacted form
    4 auth events    `judge`: rejected
    5 state before   `judge`: rejected
    6 current state  `judge`: soft-failed

Check 7, the word of a policy server, is asked for afterwards and is no part of this module: see
`federation.core.policy`. Its signature is not looked at here, as it proves nothing about who has sent an event.
"""

from collections.abc import Callable, Container, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum

from federation.core.auth.rules import check, check_auth_events
from federation.core.auth.selection import Slot
from federation.core.errors import BadSignature, InvalidIdentifier, Rejected
from federation.core.events.pdu import Pdu
from federation.core.events.redaction import redact
from federation.core.hashing import essential_bytes, has_valid_content_hash
from federation.core.ids import EventID, ServerName, domain_of, parse_user_id, server_of
from federation.core.policy import KEY_ID as POLICY_KEY_ID
from federation.core.signing import key_ids_of, signature_of, verify_bytes

KeyOf = Callable[[ServerName, str], bytes | None]
"""Gives a server's public key by its identifier, None for one that is unknown or was not valid when the event
was sent.

Since room version 5 (`enforce_key_validity`) a key must be valid at the event's `origin_server_ts`; before,
any that the server has ever published will do.
"""


class VerdictKind(Enum):
    """What becomes of an event that was received."""

    ACCEPTED = "accepted"
    SOFT_FAILED = "soft-failed"
    """Part of the room, but not shown to clients and not built upon."""
    REJECTED = "rejected"
    """Kept to be recognised; not part of the room's state, not shown and not built upon."""
    DROPPED = "dropped"
    """As if it had never come."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What becomes of an event, and why if it is not accepted."""

    kind: VerdictKind
    reason: str = ""


ACCEPTED = Verdict(VerdictKind.ACCEPTED)


@dataclass(frozen=True, slots=True)
class Received:
    """An event whose origin is proven."""

    event: Pdu
    """To be used from here on: the event as it came, or its redacted form."""
    redacted: bool = False
    """Whether the content hash was wrong, so that `event` is the redacted form."""
    fault: str | None = None
    """Why the event is to be rejected for its signatures (authorisation rule 5.2)."""


def keys_wanted(event: Pdu) -> list[tuple[ServerName, str]]:
    """Return the keys, by server and key identifier, that `verify` will ask for."""
    servers = {server_of(event.sender), *_signers(event), *_voucher_servers(event)}
    return [(server, key_id) for server in sorted(servers) for key_id in _key_ids(event, server)]


def verify(event: Pdu, key_of: KeyOf) -> Received | Verdict:
    """Check signatures and hash: return the event in the form to go on with, or a verdict that drops it."""
    essential = essential_bytes(event.fields, event.version)
    redacted = not has_valid_content_hash(event.fields)
    if redacted:
        # Who must have signed is asked of this form: what leave the whole event gave to be signed by others
        # may not be in it.
        event = Pdu.trusted(redact(event.fields, event.version), event.version, event.event_id)
    try:
        for server in _signers(event):
            _check_signed(event, essential, server, key_of)
    except BadSignature as error:
        return Verdict(VerdictKind.DROPPED, str(error))

    fault = None
    if _is_vouched_for(event):
        servers = _voucher_servers(event)
        if not servers or not _key_ids(event, servers[0]):
            fault = "not signed by the server that is said to have let the user in"
        elif not _known_keys(event, servers[0], key_of):
            # The network's fault and not the event's: it may come again.
            return Verdict(VerdictKind.DROPPED, f"no key of {servers[0]} is known that has signed the event")
        else:
            try:
                _check_signed(event, essential, servers[0], key_of)
            except BadSignature as error:
                fault = str(error)
    return Received(event, redacted, fault)


def judge(
    received: Received,
    *,
    auth_events: Sequence[Pdu],
    rejected: Container[EventID] = (),
    create: Pdu | None = None,
    before: Mapping[Slot, Pdu] | None = None,
    current: Mapping[Slot, Pdu] | None = None,
) -> Verdict:
    """Check the authorisation rules against three states of the room.

    `auth_events` are all the events that the event cites as such, and `rejected` knows which events were
    rejected. `create` is the room's create event, needed since room version 12. `before` is the room's state
    before the event, without rejected events, and `current` its state now; of both only what `auth_slots`
    names is looked at. Either may be None where there is none to compare with: an event of an auth chain, or
    of a state that another server sent, has neither.
    """
    event = received.event
    if received.fault is not None:
        return Verdict(VerdictKind.REJECTED, received.fault)
    try:
        # 4
        check_auth_events(event, auth_events, rejected)
        check(event, {cited.slot: cited for cited in auth_events}, create=create)
    except Rejected as refusal:
        return Verdict(VerdictKind.REJECTED, f"by its auth events, {refusal}")
    try:
        # 5
        if before is not None:
            check(event, before, create=create)
    except Rejected as refusal:
        return Verdict(VerdictKind.REJECTED, f"by the state before it, {refusal}")
    try:
        # 6
        if current is not None:
            check(event, current, create=create)
    except Rejected as refusal:
        return Verdict(VerdictKind.SOFT_FAILED, f"by the current state, {refusal}")
    return ACCEPTED


def _signers(event: Pdu) -> list[ServerName]:
    """Return the servers whose signatures an event needs.

    https://spec.matrix.org/v1.19/server-server-api/#validating-hashes-and-signatures-on-received-events
    """
    signers = []
    # An invite by way of a third party may be sent by the invited user's server, in the name of who invited:
    # that is proven by the identity server's signature, which rule 5.4.1 demands of every event with the key.
    if not (_is_invite(event) and "third_party_invite" in event.content):
        signers.append(server_of(event.sender))
    if event.version.event_id_domain_must_sign:
        origin = domain_of(event.event_id)
        if origin is not None and origin not in signers:
            signers.append(origin)
    return signers


def _is_invite(event: Pdu) -> bool:
    return event.type == "m.room.member" and event.content.get("membership") == "invite"


def _is_vouched_for(event: Pdu) -> bool:
    """Rule 5.2 applies, since v8."""
    return (
        event.version.restricted_joins
        and event.type == "m.room.member"
        and "join_authorised_via_users_server" in event.content
    )


def _voucher_servers(event: Pdu) -> list[ServerName]:
    """Return the server of the user who let the sender in; none if no user is named."""
    if not _is_vouched_for(event):
        return []
    voucher = event.content["join_authorised_via_users_server"]
    try:
        return [server_of(parse_user_id(voucher if isinstance(voucher, str) else ""))]
    except InvalidIdentifier:
        return []


def _key_ids(event: Pdu, server: ServerName) -> list[str]:
    """Return the published keys with which `server` claims to have signed."""
    return [key_id for key_id in key_ids_of(event.fields, server) if key_id != POLICY_KEY_ID]


def _known_keys(event: Pdu, server: ServerName, key_of: KeyOf) -> dict[str, bytes]:
    """Return the known keys with which `server` claims to have signed."""
    claimed = ((key_id, key_of(server, key_id)) for key_id in _key_ids(event, server))
    return {key_id: public_key for key_id, public_key in claimed if public_key is not None}


def _check_signed(event: Pdu, essential: bytes, server: ServerName, key_of: KeyOf) -> None:
    """Raise `BadSignature` unless `server` signed with a known key, and its signatures with known keys are
    all good."""
    known = _known_keys(event, server, key_of)
    if not known:
        raise BadSignature(f"no known key of {server} has signed the event")
    for key_id, public_key in known.items():
        verify_bytes(essential, signature_of(event.fields, server, key_id), public_key)
