"""No table grows for ever, and none says that it does not without someone who sees to it."""

import importlib
import re
from pathlib import Path

import pytest
import sqlalchemy as sa

import homeserver
from homeserver.storage.deletion import belonging
from homeserver.storage.schema import metadata

TABLES = metadata.sorted_tables
OF_TIME = re.compile(r"\b(after|expired|acknowledged|with the last)\b")
BOUNDED = re.compile(r"^(kept: .+|one row\b.*|by .+|with .+|.*\bwith the (room|event)\b.*)")


@pytest.mark.parametrize("table", TABLES, ids=lambda table: table.name)
def test_a_table_says_what_keeps_it_small(table: sa.Table) -> None:
    pruned = table.info.get("pruned", "")
    assert OF_TIME.search(pruned) or "pruner" in table.info or BOUNDED.match(pruned), pruned
    if OF_TIME.search(pruned):
        assert "pruner" in table.info


@pytest.mark.parametrize("table", [table for table in TABLES if "pruner" in table.info], ids=lambda table: table.name)
def test_a_pruner_exists_deletes_from_its_table_and_is_called(table: sa.Table) -> None:
    module_name, _, function = table.info["pruner"].partition(".")
    module = importlib.import_module(f"homeserver.storage.{module_name}")
    assert callable(getattr(module, function))
    text = Path(str(module.__file__)).read_text(encoding="utf-8")
    (body,) = re.findall(rf"^def {function}\(.*?(?=^def |^_?[A-Z]|\Z)", text, re.MULTILINE | re.DOTALL)
    assert re.search(rf"\b{table.name}\b", body)
    sources = "\n".join(
        path.read_text(encoding="utf-8")
        for path in Path(str(homeserver.__file__)).parent.joinpath("services").rglob("*.py")
    )
    assert re.search(rf"\b{module_name}\.{function}\b", sources)


def test_what_goes_with_the_room_is_what_the_schema_says_belongs_to_it() -> None:
    said = {table.name for table in TABLES if re.search(r"\bwith the (room|event)\b", table.info["pruned"])}
    # Transactions are pruned before, and the room itself is what is deleted.
    assert {table.name for table in belonging()} - said == {"rooms", "client_transactions"}
    assert said <= {table.name for table in belonging()}
