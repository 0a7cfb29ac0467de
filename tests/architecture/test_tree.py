"""House rules that a look at the files can tell."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from homeserver.config import Config
from homeserver.config.options import sections_of

ROOT = Path(__file__).parents[2]
SOURCES = sorted(path for package in ("federation", "homeserver", "tools") for path in (ROOT / package).rglob("*.py"))


def sources(*packages: str) -> Iterator[tuple[str, str]]:
    """Yield name and text of every module of these packages."""
    for path in SOURCES:
        name = path.relative_to(ROOT).as_posix()
        if name.split("/")[0] in packages:
            yield name, path.read_text(encoding="utf-8")


@pytest.mark.parametrize("word", ["utils", "util", "helpers", "helper", "common", "manager", "base", "misc"])
def test_a_module_is_named_after_what_is_in_it(word: str) -> None:
    assert [str(path) for path in SOURCES if word in (path.stem, *path.parts[-3:-1])] == []


def test_every_module_says_what_it_is_for() -> None:
    silent = [path for path in SOURCES if not ast.get_docstring(ast.parse(path.read_text(encoding="utf-8")))]
    assert silent == []


def test_nothing_is_left_to_do() -> None:
    pattern = re.compile(r"\b(TODO|FIXME|XXX)\b")
    left = [
        f"{name}: {match[0]}" for name, text in sources("federation", "homeserver") for match in pattern.finditer(text)
    ]
    assert left == []


def test_only_the_room_versions_know_the_names_of_room_versions() -> None:
    # Code asks the flags of a version; `room_version == "6"` and `>= "11"` belong into room_versions.py alone.
    pattern = re.compile(r"""version(?:\.id|_id)?\s*(?:[<>]=?|==|!=|(?:not )?in\s*[({\[])\s*["']""")
    found = [
        f"{name}: {match[0]}"
        for name, text in sources("federation", "homeserver")
        if name != "federation/core/room_versions.py"
        for match in pattern.finditer(text)
    ]
    assert found == []


def test_only_the_database_commits() -> None:
    allowed = ("homeserver/storage/database", "homeserver/storage/migrations/")
    found = [
        name for name, text in sources("homeserver") if re.search(r"\.commit\(", text) and not name.startswith(allowed)
    ]
    assert found == []


def test_every_option_is_read_by_the_server() -> None:
    # These are part of the configuration's contract already; what reads them is still to come.
    to_come = {"application_services", "xmpp"}
    told = ("homeserver/config/", "homeserver/checks.py")
    code = "\n".join(text for name, text in sources("homeserver") if not name.startswith(told))
    unread = [
        option.name
        for section in sections_of(Config)
        if section.name not in to_come
        for option in section.options
        if option.name != "public_url" and not re.search(rf"\.{option.path[-1]}\b", code)
    ]
    assert unread == []


def test_the_top_of_the_repository_holds_what_is_agreed() -> None:
    agreed = {
        "pyproject.toml", "homeserver", "federation", "config", "docs", "tests", "docker-compose.yml",
        "README.md", "CONTRIBUTING.md", "CHANGELOG.md", "LICENSE", "Makefile", "Dockerfile", "benchmarks", "tools",
    }  # fmt: skip
    made = {"data", "build", "dist", "isthmus.egg-info"}
    there = {path.name for path in ROOT.iterdir() if not path.name.startswith(".")}
    assert there - agreed - made == set()
