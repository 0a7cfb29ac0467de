"""Room versions, flag by flag, against https://spec.matrix.org/v1.19/rooms/."""

import pytest

from federation.core.room_versions import (
    DEFAULT_ROOM_VERSION,
    ROOM_VERSIONS,
    EventIdFormat,
    StateResolution,
    is_room_version_id,
)


def versions_with(flag: str) -> list[int]:
    return [int(version.id) for version in ROOM_VERSIONS.values() if getattr(version, flag)]


def test_there_are_twelve_stable_versions_and_the_last_is_the_default() -> None:
    assert list(ROOM_VERSIONS) == [str(number) for number in range(1, 13)]
    assert all(version.stable and version.id == key for key, version in ROOM_VERSIONS.items())
    assert DEFAULT_ROOM_VERSION == "12"


@pytest.mark.parametrize(
    ("flag", "first", "last"),
    [
        ("references_carry_hashes", 1, 2),
        ("event_id_is_hash", 3, 12),
        ("event_id_domain_must_sign", 1, 2),
        ("redactions_need_level", 1, 2),
        ("enforce_key_validity", 5, 12),
        ("strict_canonical_json", 6, 12),
        ("redaction_keeps_aliases", 1, 5),
        ("special_case_aliases", 1, 5),
        ("float_power_levels", 1, 5),
        ("check_notification_levels", 6, 12),
        ("knocking", 7, 12),
        ("restricted_joins", 8, 12),
        ("redaction_keeps_join_rule_allow", 8, 12),
        ("redaction_keeps_join_authoriser", 9, 12),
        ("string_power_levels", 1, 9),
        ("integer_power_levels", 10, 12),
        ("knock_restricted", 10, 12),
        ("creator_in_content", 1, 10),
        ("redaction_keeps_legacy_fields", 1, 10),
        ("redacts_in_content", 11, 12),
        ("redaction_keeps_all_of_create", 11, 12),
        ("redaction_keeps_invite_level", 11, 12),
        ("redaction_keeps_redacts", 11, 12),
        ("redaction_keeps_signed_invite", 11, 12),
        ("create_in_auth_events", 1, 11),
        ("room_id_is_create_hash", 12, 12),
        ("creators_have_all_power", 12, 12),
    ],
)
def test_a_flag_holds_from_one_version_to_another(flag: str, first: int, last: int) -> None:
    assert versions_with(flag) == list(range(first, last + 1))


def test_event_ids_state_resolution_and_depth_changed_with_the_versions() -> None:
    assert [version.event_id_format for version in ROOM_VERSIONS.values()] == (
        [EventIdFormat.DOMAIN] * 2 + [EventIdFormat.BASE64] + [EventIdFormat.URL_SAFE_BASE64] * 9
    )
    assert [version.state_resolution for version in ROOM_VERSIONS.values()] == (
        [StateResolution.V1] + [StateResolution.V2] * 10 + [StateResolution.V2_1]
    )
    assert [version.max_depth for version in ROOM_VERSIONS.values()] == [2**63 - 1] * 5 + [2**53 - 1] * 7


@pytest.mark.parametrize(
    ("text", "valid"),
    [
        ("1", True),
        ("1.2", True),
        ("1.2-beta", True),
        ("com.example.version", True),
        ("a" * 32, True),
        ("a" * 33, False),
        ("", False),
        ("A", False),
        ("1_2", False),
        ("1\n", False),
        ("é", False),
    ],
)
def test_room_versions_have_a_grammar(text: str, valid: bool) -> None:
    assert is_room_version_id(text) is valid
