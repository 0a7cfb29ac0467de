"""The command `isthmus`, as an operator calls it."""

import io
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from unittest.mock import patch

import pytest

from homeserver.cli import main
from homeserver.config import load
from homeserver.config.rendering import example, json_schema


@pytest.fixture(autouse=True)
def in_an_empty_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start each test where nothing is configured."""
    monkeypatch.chdir(tmp_path)
    for variable in ("ISTHMUS_CONFIG", "ISTHMUS_SERVER_NAME"):
        monkeypatch.delenv(variable, raising=False)


@dataclass(frozen=True)
class Result:
    """How a command ended, and what it printed."""

    exit_code: object
    stdout: str
    stderr: str

    @property
    def output(self) -> str:
        """All that it printed."""
        return self.stdout + self.stderr


def isthmus(*words: str, typed: str = "") -> Result:
    """Run the command."""
    out, err = io.StringIO(), io.StringIO()
    code: object = 0
    with redirect_stdout(out), redirect_stderr(err), patch("sys.stdin", io.StringIO(typed)):
        try:
            main(list(words))
        except SystemExit as end:
            code = end.code
    return Result(code, out.getvalue(), err.getvalue())


def test_init_writes_a_configuration(tmp_path: Path) -> None:
    result = isthmus("init", "--server-name", "example.org", "--data", "here", "--port", "1234")

    assert result.exit_code == 0
    assert f"isthmus run --config {tmp_path}/here/homeserver.toml" in result.stdout
    config = load(tmp_path / "here/homeserver.toml", {})
    assert (config.server_name, config.http.listen) == ("example.org", ("127.0.0.1:1234",))


def test_init_writes_into_data_on_port_8008_unless_told_otherwise(tmp_path: Path) -> None:
    assert isthmus("init", "--server-name", "hs1").exit_code == 0
    assert load(tmp_path / "data/homeserver.toml", {}).http.listen == ("127.0.0.1:8008",)


def test_init_refuses_to_overwrite() -> None:
    assert isthmus("init", "--server-name", "hs1").exit_code == 0
    again = isthmus("init", "--server-name", "hs2")
    assert again.exit_code == 1
    assert "exists already" in again.stderr


def test_init_says_what_a_server_name_is() -> None:
    result = isthmus("init", "--server-name", "not a name")
    assert result.exit_code == 1
    assert 'expected a host name such as "example.org"' in result.stderr


def test_config_example_and_schema_are_printed() -> None:
    assert isthmus("config", "example").stdout == example()
    assert isthmus("config", "schema").stdout == json_schema()


def test_mistakes_in_the_configuration_are_told_without_a_traceback(tmp_path: Path) -> None:
    (tmp_path / "x.toml").write_text("server_nam = 'a'\n", encoding="utf-8")
    for command in (["run"], ["check"], ["user", "add", "alice", "--password", "x"]):
        result = isthmus(*command, "--config", "x.toml")
        assert result.exit_code == 1
        assert "unknown option server_nam; the nearest known one is server_name" in result.stderr
        assert "Traceback" not in result.output


def test_a_user_is_added_only_where_there_is_a_server() -> None:
    result = isthmus("user", "add", "alice", "--password", "x")
    assert result.exit_code == 1
    assert "isthmus init --server-name NAME" in result.stderr


def test_the_environment_can_name_the_configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("ISTHMUS_CONFIG", str(tmp_path / "elsewhere.toml"))
    result = isthmus("check")
    assert "elsewhere.toml: cannot be read" in result.stderr


def test_an_account_is_made_with_a_password_from_standard_input() -> None:
    assert isthmus("init", "--server-name", "hs1").exit_code == 0

    result = isthmus("user", "add", "alice", typed="correct horse battery\n")
    assert (result.exit_code, result.stdout) == (0, "Made @alice:hs1.\n")

    again = isthmus("user", "add", "alice", "--password", "correct horse battery")
    assert again.exit_code == 1
    assert "Traceback" not in again.output


def test_an_account_needs_a_password() -> None:
    assert isthmus("init", "--server-name", "hs1").exit_code == 0
    result = isthmus("user", "add", "alice")
    assert result.exit_code == 1
    assert "no password was given" in result.stderr


def test_check_says_that_nothing_is_wrong_with_a_new_server() -> None:
    assert isthmus("init", "--server-name", "hs1").exit_code == 0
    result = isthmus("check")
    assert (result.exit_code, "nothing is wrong" in result.stdout) == (0, True), result.stdout


def test_check_says_what_is_wrong_and_how_to_mend_it(tmp_path: Path) -> None:
    assert isthmus("init", "--server-name", "hs1").exit_code == 0
    (tmp_path / "data/signing.key").unlink()

    result = isthmus("check")
    assert result.exit_code == 1
    assert "BAD  keys.signing_key" in result.stdout
    assert "To mend it: restore it from a backup" in result.stdout


def test_a_rotated_key_comes_before_the_old_one_and_is_as_private(tmp_path: Path) -> None:
    isthmus("init", "--server-name", "hs1")
    file = tmp_path / "data/signing.key"
    old = file.read_text()

    result = isthmus("keys", "rotate")
    assert result.exit_code == 0, result.output
    assert "Start the server again" in result.stdout
    new, *rest = file.read_text().splitlines(keepends=True)
    assert "".join(rest) == old
    assert new.split()[1] not in old
    assert new.split()[2] not in result.output
    assert file.stat().st_mode & 0o077 == 0
    assert [path.name for path in file.parent.iterdir() if "signing" in path.name] == ["signing.key"]

    isthmus("keys", "rotate")
    assert file.read_text().endswith(new + old)


def test_a_file_without_a_key_is_not_rotated(tmp_path: Path) -> None:
    isthmus("init", "--server-name", "hs1")
    file = tmp_path / "data/signing.key"
    for content in ("", "nonsense"):
        file.write_text(content)
        assert isthmus("keys", "rotate").exit_code == 1
        assert file.read_text() == content
    file.unlink()
    assert "cannot be read" in isthmus("keys", "rotate").stderr
