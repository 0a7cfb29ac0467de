"""Room versions as data: https://spec.matrix.org/v1.19/rooms/.

Code never asks which version a room has; it asks for the flag that it needs. A new version is one `replace`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import Enum
from types import MappingProxyType

MAX_SAFE_INTEGER = 2**53 - 1
"""The greatest integer of canonical JSON."""


class EventIdFormat(Enum):
    """How an event gets its ID."""

    DOMAIN = "domain"
    """Versions 1 and 2: `$opaque:domain`, chosen by the sender and part of the event."""
    BASE64 = "base64"
    """Version 3: the reference hash in standard Base64."""
    URL_SAFE_BASE64 = "url-safe base64"
    """Since version 4: the reference hash in URL-safe Base64."""


class StateResolution(Enum):
    """How one state is made of several."""

    V1 = "1"
    V2 = "2"
    V2_1 = "2.1"


@dataclass(frozen=True, slots=True, kw_only=True, eq=False)
class RoomVersion:
    """The rules of one room version. Each field names the version that changed it.

    There is one object a version, so versions are equal only if they are the same object.
    """

    id: str
    stable: bool = True

    # Format of events
    event_id_format: EventIdFormat
    """Since v3 the event ID is the reference hash; since v4 in URL-safe Base64."""
    references_carry_hashes: bool
    """Until v2 `auth_events` and `prev_events` list `[event_id, {"sha256": ...}]`; since v3 event IDs."""
    strict_canonical_json: bool
    """Since v6 events with floats, or integers beyond 2^53-1, are refused."""
    max_depth: int
    """2^63-1; since v6 2^53-1."""
    redacts_in_content: bool
    """Since v11 `redacts` of a redaction is in its content, no longer at the top."""
    room_id_is_create_hash: bool
    """Since v12 a room ID is the create event's ID with `!` for `$`; the create event has no `room_id`."""

    # Signatures
    event_id_domain_must_sign: bool
    """Until v2 the domain in the event ID signs too, where it is not the sender's."""
    enforce_key_validity: bool
    """Since v5 a signing key must be valid at the event's `origin_server_ts`."""

    # Redaction: what survives besides the common fields
    redaction_keeps_aliases: bool
    """Until v5 `aliases` of `m.room.aliases`."""
    redaction_keeps_join_rule_allow: bool
    """Since v8 `allow` of `m.room.join_rules`."""
    redaction_keeps_join_authoriser: bool
    """Since v9 `join_authorised_via_users_server` of `m.room.member`."""
    redaction_keeps_legacy_fields: bool
    """Until v10 `origin`, `membership` and `prev_state` at the top of the event."""
    redaction_keeps_all_of_create: bool
    """Since v11 the whole content of `m.room.create`; before, only `creator`."""
    redaction_keeps_invite_level: bool
    """Since v11 `invite` of `m.room.power_levels`."""
    redaction_keeps_redacts: bool
    """Since v11 `redacts` of `m.room.redaction`."""
    redaction_keeps_signed_invite: bool
    """Since v11 `third_party_invite.signed` of `m.room.member`."""

    # Authorisation
    redactions_need_level: bool
    """Until v2 authorisation rule 11: the redact level, or the same domain in both event IDs."""
    special_case_aliases: bool
    """Until v5 rule 4: `m.room.aliases` is judged by its state key alone."""
    check_notification_levels: bool
    """Since v6 changes of `notifications` in power levels are checked as those of `events`."""
    knocking: bool
    """Since v7 the `knock` membership and join rule."""
    restricted_joins: bool
    """Since v8 the `restricted` join rule."""
    knock_restricted: bool
    """Since v10 the `knock_restricted` join rule."""
    string_power_levels: bool
    """Until v9 power levels may be strings; since v10 only integers, and others are rejected."""
    float_power_levels: bool
    """Until v5 power levels may be floats; since v6 canonical JSON has none."""
    creator_in_content: bool
    """Until v10 `content.creator` of the create event names the creator; since v11 its sender does."""
    create_in_auth_events: bool
    """Until v11 every event cites the create event; since v12 none may, the room ID implies it."""
    creators_have_all_power: bool
    """Since v12 sender and `additional_creators` of the create event outrank every power level."""

    state_resolution: StateResolution
    """v1; since v2 version 2; since v12 version 2.1."""

    @property
    def event_id_is_hash(self) -> bool:
        """Whether the event ID follows from the event, and is no field of it (since v3)."""
        return self.event_id_format is not EventIdFormat.DOMAIN

    @property
    def integer_power_levels(self) -> bool:
        """Whether power levels that are not integers are rejected (since v10)."""
        return not self.string_power_levels


V1 = RoomVersion(
    id="1",
    event_id_format=EventIdFormat.DOMAIN,
    references_carry_hashes=True,
    strict_canonical_json=False,
    max_depth=2**63 - 1,
    redacts_in_content=False,
    room_id_is_create_hash=False,
    event_id_domain_must_sign=True,
    enforce_key_validity=False,
    redaction_keeps_aliases=True,
    redaction_keeps_join_rule_allow=False,
    redaction_keeps_join_authoriser=False,
    redaction_keeps_legacy_fields=True,
    redaction_keeps_all_of_create=False,
    redaction_keeps_invite_level=False,
    redaction_keeps_redacts=False,
    redaction_keeps_signed_invite=False,
    redactions_need_level=True,
    special_case_aliases=True,
    check_notification_levels=False,
    knocking=False,
    restricted_joins=False,
    knock_restricted=False,
    string_power_levels=True,
    float_power_levels=True,
    creator_in_content=True,
    create_in_auth_events=True,
    creators_have_all_power=False,
    state_resolution=StateResolution.V1,
)
V2 = replace(V1, id="2", state_resolution=StateResolution.V2)
V3 = replace(
    V2,
    id="3",
    event_id_format=EventIdFormat.BASE64,
    references_carry_hashes=False,
    event_id_domain_must_sign=False,
    redactions_need_level=False,
)
V4 = replace(V3, id="4", event_id_format=EventIdFormat.URL_SAFE_BASE64)
V5 = replace(V4, id="5", enforce_key_validity=True)
V6 = replace(
    V5,
    id="6",
    strict_canonical_json=True,
    max_depth=MAX_SAFE_INTEGER,
    redaction_keeps_aliases=False,
    special_case_aliases=False,
    check_notification_levels=True,
    float_power_levels=False,
)
V7 = replace(V6, id="7", knocking=True)
V8 = replace(V7, id="8", restricted_joins=True, redaction_keeps_join_rule_allow=True)
V9 = replace(V8, id="9", redaction_keeps_join_authoriser=True)
V10 = replace(V9, id="10", knock_restricted=True, string_power_levels=False)
V11 = replace(
    V10,
    id="11",
    redacts_in_content=True,
    redaction_keeps_legacy_fields=False,
    redaction_keeps_all_of_create=True,
    redaction_keeps_invite_level=True,
    redaction_keeps_redacts=True,
    redaction_keeps_signed_invite=True,
    creator_in_content=False,
)
V12 = replace(
    V11,
    id="12",
    room_id_is_create_hash=True,
    create_in_auth_events=False,
    creators_have_all_power=True,
    state_resolution=StateResolution.V2_1,
)

ROOM_VERSIONS: Mapping[str, RoomVersion] = MappingProxyType(
    {version.id: version for version in (V1, V2, V3, V4, V5, V6, V7, V8, V9, V10, V11, V12)}
)
"""Every room version that we speak, by its identifier, oldest first."""

DEFAULT_ROOM_VERSION = "12"
"""What the specification says new rooms should have."""

_grammar = re.compile(r"[a-z0-9.-]{1,32}").fullmatch


def is_room_version_id(text: str) -> bool:
    """Return whether `text` could name a room version, known to us or not.

    https://spec.matrix.org/v1.19/rooms/#room-version-grammar
    """
    return _grammar(text) is not None
