"""Files that are made from others are what would be made now."""

from tools.generate import GENERATED, ROOT, stale


def test_no_generated_file_is_stale() -> None:
    assert stale() == [], "run `make docs`"


def test_every_generated_file_says_how_it_is_made() -> None:
    for name in GENERATED:
        assert "ade by `" in (ROOT / name).read_text(encoding="utf-8").splitlines()[0], name
