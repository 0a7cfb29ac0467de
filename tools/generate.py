"""Writes every file that is made from another one; `--check` only says which of them are stale.

python -m tools.generate [--check]
"""

import sys
from collections.abc import Callable, Mapping
from pathlib import Path

from homeserver.config import rendering
from tools import coverage_page

ROOT = Path(__file__).parents[1]


def _coverage_page() -> str:
    return coverage_page.page(coverage_page.load(coverage_page.TABLE.read_text(encoding="utf-8")))


GENERATED: Mapping[str, Callable[[], str]] = {
    "config/homeserver.example.toml": rendering.example,
    "docs/operation/configure.md": rendering.manual,
    "docs/spec-coverage.md": _coverage_page,
}


def stale() -> list[str]:
    """Return the names of the files that are not what would be made now."""
    return [
        name
        for name, make in GENERATED.items()
        if not (ROOT / name).exists() or (ROOT / name).read_text(encoding="utf-8") != make()
    ]


def main() -> None:
    """Write the stale files, or complain of them."""
    names = stale()
    if sys.argv[1:] == ["--check"]:
        if names:
            sys.exit(f"stale, run `make docs`: {', '.join(names)}")
        return
    for name in names:
        (ROOT / name).write_text(GENERATED[name](), encoding="utf-8")
        print(f"wrote {name}")


if __name__ == "__main__":
    main()
