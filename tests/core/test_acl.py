"""Server ACLs: https://spec.matrix.org/v1.19/client-server-api/#mroomserver_acl."""

import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from federation.core.acl import server_is_allowed
from federation.core.ids import ServerName

ALL = {"allow": ["*"]}


def allowed(name: str, acl: dict[str, Any] | None) -> bool:
    return server_is_allowed(ServerName(name), acl)


def test_a_room_without_acl_refuses_no_one() -> None:
    assert allowed("evil.com", None)


@pytest.mark.parametrize("acl", [{}, {"allow": []}, {"allow": "*"}, {"deny": []}, {"allow": [None, 1, {}]}])
def test_an_acl_that_allows_no_one_refuses_everyone(acl: dict[str, Any]) -> None:
    assert not allowed("example.org", acl)


def test_deny_comes_before_allow() -> None:
    acl = {"allow": ["*"], "deny": ["evil.com", "*.evil.com"]}
    assert not allowed("evil.com", acl)
    assert not allowed("sub.evil.com", acl)
    assert allowed("notevil.com", acl)


def test_deny_entries_that_are_not_text_match_nothing() -> None:
    assert allowed("example.org", {"allow": ["*"], "deny": [1, None, ["*"]]})
    assert allowed("example.org", {"allow": ["*"], "deny": "*"})


@pytest.mark.parametrize("name", ["evil.com", "evil.com:8448", "evil.com:1234", "EVIL.com", "Evil.Com:1"])
@pytest.mark.parametrize("pattern", ["evil.com", "EVIL.COM", "e*.com", "?vil.com", "*"])
def test_ports_and_case_do_not_matter(name: str, pattern: str) -> None:
    assert not allowed(name, {"allow": ["*"], "deny": [pattern]})


@pytest.mark.parametrize("name", ["1.2.3.4", "1.2.3.4:8448", "[::1]", "[1234:5678::abcd]:5678"])
@pytest.mark.parametrize(
    ("setting", "expected"),
    [
        ({}, True),
        ({"allow_ip_literals": True}, True),
        ({"allow_ip_literals": False}, False),
        # "Defaults to true if missing or otherwise not a boolean."
        ({"allow_ip_literals": None}, True),
        ({"allow_ip_literals": 0}, True),
        ({"allow_ip_literals": "false"}, True),
    ],
)
def test_ip_literals_can_be_refused(name: str, setting: dict[str, Any], expected: bool) -> None:
    assert allowed(name, ALL | setting) is expected
    assert allowed("example.org", ALL | setting)


def test_addresses_are_matched_without_their_port() -> None:
    assert not allowed("[::1]:8448", ALL | {"deny": ["[::1]"]})
    assert not allowed("1.2.3.4:8448", ALL | {"deny": ["1.2.3.*"]})


@pytest.mark.parametrize(
    ("glob", "name", "matches"),
    [
        ("*.example.org", "a.b.example.org", True),
        ("*.example.org", "example.org", False),
        ("a*b*c", "abc", True),
        ("a*b*c", "axxbxbxc", True),
        ("a*b*c", "axxbxx", False),
        ("*a*", "bab", True),
        ("**", "x", True),
        ("a?c", "abc", True),
        ("a?c", "ac", False),
        ("a.c", "abc", False),
        ("[ab].c", "a.c", False),
        ("a*bc*bc", "abc", False),
        ("", "a", False),
        ("example", "example.org", False),
    ],
)
def test_globs_know_two_wildcards_and_match_the_whole_name(glob: str, name: str, matches: bool) -> None:
    assert allowed(name, {"allow": [glob]}) is matches


@given(st.text("ab*?", max_size=8), st.text("ab", min_size=1, max_size=10))
def test_globs_match_what_plain_backtracking_would(glob: str, name: str) -> None:
    expression = re.escape(glob).replace(r"\*", ".*").replace(r"\?", ".")
    assert allowed(name, {"allow": [glob]}) is (re.fullmatch(expression, name) is not None)


def test_a_hostile_glob_costs_no_time() -> None:
    # Plain backtracking would try about 250 to the 30th ways; the time limit of the test run is the assertion.
    assert not allowed("a" * 250, {"allow": ["*a" * 30 + "b"]})
