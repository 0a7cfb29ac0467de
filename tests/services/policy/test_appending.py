"""Nobody appends events to rooms that others may watch but through `PolicedWrites`."""

import re
from pathlib import Path

import pytest

import homeserver

SERVICES = Path(homeserver.__file__).parent / "services"
APPENDS = re.compile(r"\b(timeline\.(append|propose)|member_events\.append|intake\.take)\(")
EXEMPT = {
    "rooms.py": "a new room has nobody in it but its creator",
    "member_events.py": "called within the writes of others",
    "timeline.py": "the place itself",
}
APPENDING = sorted(
    path
    for path in Path(homeserver.__file__).parent.rglob("*.py")
    if path.name not in EXEMPT and APPENDS.search(path.read_text(encoding="utf-8"))
)


@pytest.mark.parametrize("path", APPENDING, ids=lambda path: path.name)
def test_a_module_that_appends_events_asks_policy_servers(path: Path) -> None:
    assert "policed.write(" in path.read_text(encoding="utf-8")


def test_there_are_some() -> None:
    assert SERVICES / "messages.py" in APPENDING
