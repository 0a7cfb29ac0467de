"""Each row of docs/xmpp-mapping.md names tests, and they exist; each test of the mapping is in a row."""

import re
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
PAGE = (TESTS.parents[1] / "docs/xmpp-mapping.md").read_text(encoding="utf-8")
CELLS = re.findall(r"^\| ([^|]*) \| ([^|]*) \| [^|]*\| [^|]*\| ([^|]*) \|$", PAGE, re.MULTILINE)
ROWS = [row for row in CELLS if row[0] not in ("In Matrix", "---")]


@pytest.mark.parametrize(("matrix", "xmpp", "tests"), ROWS, ids=[f"{row[0]} - {row[1]}" for row in ROWS])
def test_a_row_has_its_tests(matrix: str, xmpp: str, tests: str) -> None:
    named = re.findall(r"`([^`]+)`", tests)
    assert named
    for one in named:
        path, _, function = one.partition("::")
        assert f"def {function}(" in (TESTS / path).read_text(encoding="utf-8") or not function, one


def test_every_test_of_the_mapping_is_in_a_row() -> None:
    for file in (TESTS / "mapping").glob("test_*.py"):
        for name in re.findall(r"async def (test_\w+)\(", file.read_text(encoding="utf-8")):
            assert f"`mapping/{file.name}::{name}`" in PAGE
