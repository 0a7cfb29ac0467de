"""`isthmus federation`, as an operator calls it beside a running server."""

import asyncio
from pathlib import Path

import pytest

from federation.core.ids import ServerName
from homeserver.config import load
from homeserver.model.destinations import Destination
from homeserver.storage import destinations, outbox
from homeserver.storage.database import open_database
from homeserver.storage.migrations import runner
from tests.test_cli import isthmus

BAD = ServerName("bad.example")


@pytest.fixture(autouse=True)
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A configured server; return its configuration file."""
    monkeypatch.chdir(tmp_path)
    for variable in ("ISTHMUS_CONFIG", "ISTHMUS_SERVER_NAME"):
        monkeypatch.delenv(variable, raising=False)
    assert isthmus("init", "--server-name", "hs1").exit_code == 0
    return tmp_path / "data/homeserver.toml"


async def _fail(file: Path) -> None:
    db = open_database(load(file, {}).database.url)
    await runner.prepare(db)
    await db.write(lambda tx: outbox.add(tx, outbox.intern_set(tx, [BAD, ServerName("good.example")]), edu=b"{}"))
    row = Destination(server=BAD, cursor=0, failing_since=0, tried_at=60_000, retry_at=120_000, error="it is down")
    await db.write(lambda tx: destinations.save(tx, [row]))
    await db.close()


def test_nothing_was_sent() -> None:
    assert isthmus("federation", "destinations").stdout == "Nothing was ever sent to another server.\n"
    assert isthmus("federation", "destinations", "--failing").stdout == "No server fails or is blocked.\n"
    result = isthmus("federation", "retry", "bad.example")
    assert (result.exit_code, result.stderr) == (1, "isthmus: nothing was ever sent to bad.example\n")


def test_servers_are_listed_with_what_waits_and_why(server: Path) -> None:
    asyncio.run(_fail(server))
    failing = (
        "bad.example: 1 waiting, failing since 1970-01-01 00:00:00 UTC, "
        "next attempt 1970-01-01 00:02:00 UTC (it is down)\n"
    )
    assert isthmus("federation", "destinations").stdout == failing + "good.example: 1 waiting\n"
    assert isthmus("federation", "destinations", "--failing").stdout == failing


def test_a_server_is_blocked_unblocked_and_retried() -> None:
    assert "sends nothing more to bad.example" in isthmus("federation", "block", "bad.example").stdout
    assert isthmus("federation", "destinations").stdout == "bad.example: 0 waiting, blocked\n"
    assert "again within half a minute" in isthmus("federation", "unblock", "bad.example").stdout
    assert isthmus("federation", "destinations").stdout == "bad.example: 0 waiting\n"
    assert "tries bad.example again" in isthmus("federation", "retry", "bad.example").stdout


def test_a_server_name_is_checked() -> None:
    result = isthmus("federation", "block", "not a name")
    assert result.exit_code == 2
    assert "server" in result.stderr
