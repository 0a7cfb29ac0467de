"""The table of compliance in docs/xmpp.md names tests that exist."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parents[1]
PAGE = (TESTS.parent / "docs/xmpp.md").read_text(encoding="utf-8")
ROWS = re.findall(r"^\| [^|]+ \| (?:core|advanced) \| ([^|]+) \| ([^|]+) \|([^|]*)\|$", PAGE, re.MULTILINE)


def test_every_requirement_of_the_suites_is_named() -> None:
    named = set(re.findall(r"XEP-[0-9]{4}|RFC [0-9]{4}", " ".join(name for name, _, _ in ROWS)))
    assert named == {
        "RFC 6120", "RFC 7590", "XEP-0030", "XEP-0114", "XEP-0368", "XEP-0115", "XEP-0163", "RFC 7395", "XEP-0206",
        "RFC 6121", "XEP-0054", "XEP-0280", "XEP-0045", "XEP-0249", "XEP-0363", "XEP-0398", "XEP-0153", "XEP-0191",
        "XEP-0048", "XEP-0402", "XEP-0313", "XEP-0410", "XEP-0223", "XEP-0049", "XEP-0198", "XEP-0352", "XEP-0357",
        "XEP-0215",
    }  # fmt: skip


@pytest.mark.parametrize(("name", "answer", "tests"), ROWS, ids=[name for name, _, _ in ROWS])
def test_what_is_there_has_a_test(name: str, answer: str, tests: str) -> None:
    named = re.findall(r"`([^`]+)`", tests)
    assert bool(named) is (answer.strip() != "no")
    for one in named:
        path, _, function = one.partition("::")
        assert f"def {function}(" in (TESTS / path).read_text(encoding="utf-8") or not function
