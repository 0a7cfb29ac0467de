"""The documentation speaks of what exists."""

import re
from pathlib import Path

import pytest

from homeserver.cli import main
from homeserver.config import Config
from homeserver.config.options import sections_of
from homeserver.metrics import Metrics

ROOT = Path(__file__).parents[2]
PAGES = sorted([*ROOT.glob("*.md"), *(ROOT / "docs").rglob("*.md")])
NAMES = [page.relative_to(ROOT).as_posix() for page in PAGES]
OTHER_VARIABLES = {
    "ISTHMUS_CONFIG", "ISTHMUS_BIN", "ISTHMUS_TEST_POSTGRES", "ISTHMUS_TEST_SEED", "ISTHMUS_TEST_FUZZ_EXAMPLES",
    "ISTHMUS_", "ISTHMUS_SECTION__OPTION",
}  # fmt: skip


def links(text: str) -> list[str]:
    """Return the targets of a page's links."""
    return re.findall(r"\]\(([^)\s]+)\)", text)


@pytest.mark.parametrize("name", NAMES)
def test_links_within_the_repository_lead_somewhere(name: str) -> None:
    page = ROOT / name
    for target in links(page.read_text(encoding="utf-8")):
        if re.match(r"[a-z]+:", target):
            continue
        path, _, anchor = target.partition("#")
        file = (page.parent / path).resolve() if path else page
        assert file.exists(), target
        if anchor:
            headings = re.findall(r"(?m)^#+ (.*)$", file.read_text(encoding="utf-8"))
            slugs = {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}
            assert anchor in slugs, target


def test_every_page_is_reached_from_the_index() -> None:
    reached = {ROOT / "docs/index.md"}
    open_pages = list(reached)
    while open_pages:
        page = open_pages.pop()
        for target in links(page.read_text(encoding="utf-8")):
            file = (page.parent / target.partition("#")[0]).resolve()
            if file.suffix == ".md" and file.exists() and file not in reached:
                reached.add(file)
                open_pages.append(file)
    assert sorted(set((ROOT / "docs").rglob("*.md")) - reached) == []


@pytest.mark.parametrize("name", NAMES)
def test_options_that_a_page_names_exist(name: str) -> None:
    options = [option for section in sections_of(Config) for option in section.options]
    variables = {option.variable for option in options} | OTHER_VARIABLES
    text = (ROOT / name).read_text(encoding="utf-8")
    assert set(re.findall(r"\bISTHMUS_[A-Z0-9_]*", text)) <= variables

    known = {option.name for option in options}
    sections = "|".join(section.name for section in sections_of(Config) if section.name)
    named = re.findall(rf"`((?:{sections})\.[a-z_0-9]+)`", text)
    packages = {name for name in named if (ROOT / name.replace(".", "/")).is_dir()}
    assert set(named) - packages <= known


@pytest.mark.parametrize("name", NAMES)
def test_make_targets_that_a_page_names_exist(name: str) -> None:
    targets = set(re.findall(r"(?m)^([a-z]+):", (ROOT / "Makefile").read_text(encoding="utf-8")))
    text = (ROOT / name).read_text(encoding="utf-8")
    named = set(re.findall(r"`make ([a-z]+)", text)) | set(re.findall(r"(?m)^ *(?:\$ )?make ([a-z]+)", text))
    assert named <= targets


@pytest.mark.parametrize("name", NAMES)
def test_commands_that_a_page_names_exist(name: str) -> None:
    text = (ROOT / name).read_text(encoding="utf-8")
    named = r"(?:^|[`/ ])isthmus ((?:user|config|keys|federation) [a-z]+|init|run|check)\b"
    commands = set(re.findall(named, text, re.MULTILINE))
    for command in commands:
        with pytest.raises(SystemExit) as end:
            main([*command.split(), "--help"])
        assert end.value.code == 0, command


def test_the_readme_starts_with_the_two_commands() -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert re.findall(r"(?m)^make ([a-z]+)", text)[:2] == ["run", "test"]


def test_every_make_target_explains_itself() -> None:
    text = (ROOT / "Makefile").read_text(encoding="utf-8")
    for target in re.findall(r"(?m)^([a-z]+):.*$", text):
        assert re.search(rf"(?m)^{target}:.*## \S", text), target


def test_decisions_are_numbered_without_a_gap() -> None:
    numbers = sorted(int(path.name[:4]) for path in (ROOT / "docs/decisions").glob("[0-9]*.md"))
    assert numbers == list(range(1, len(numbers) + 1))


def test_every_command_explains_itself(capsys: pytest.CaptureFixture[str]) -> None:
    for group in ((), ("user",), ("keys",), ("federation",), ("config",)):
        with pytest.raises(SystemExit):
            main([*group, "--help"])
        listed = capsys.readouterr().out.partition("COMMAND\n")[2].partition("\n\n")[0]
        # A long name stands in a line of its own, before what it does.
        listed = re.sub(r"(?m)^(    [a-z]+)\n {6,}", r"\1 ", listed)
        assert re.findall(r"(?m)^    [a-z]+$", listed) == []
        assert re.findall(r"(?m)^    [a-z]+ +[A-Z]", listed)


def test_series_that_a_page_or_a_rule_names_exist() -> None:
    there = Metrics().page().decode()
    for path in (ROOT / "docs/operation/monitor.md", ROOT / "config/prometheus-rules.yml"):
        series = set(re.findall(r"\bisthmus_[a-z_]+", path.read_text(encoding="utf-8")))
        assert {name for name in series if name not in there} == set(), path
