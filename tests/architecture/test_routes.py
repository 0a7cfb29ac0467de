"""The table of what is covered says what the router does."""

import pytest

from tools import coverage_page
from tools.coverage_page import BEYOND, TABLE, disagreements, dump, load, page, refreshed, routed


def test_the_table_agrees_with_the_routes() -> None:
    assert disagreements(load(TABLE.read_text(encoding="utf-8")), routed()) == [], "run `make coverage`"


def test_the_table_is_written_as_the_tool_writes_it() -> None:
    text = TABLE.read_text(encoding="utf-8")
    assert dump(load(text)) == text


def test_no_endpoint_is_in_the_table_twice() -> None:
    table = load(TABLE.read_text(encoding="utf-8"))
    shapes = [coverage_page.shape(endpoint) for rows in table.values() for endpoint in rows]
    assert len(shapes) == len(set(shapes))


TABLE_OF_THREE = {"Rooms": {"GET /a/{roomId}": "no: later", "PUT /b": "yes", "PUT /c": "partly: no d"}}


def test_disagreements_are_named() -> None:
    assert disagreements(TABLE_OF_THREE, {"GET /a/{room_id}", "PUT /c", "GET /new"}) == [
        "GET /a/{} has a route, the table says no: later",
        "GET /new has a route, the table does not know it",
        "PUT /b has no route, the table says yes",
    ]


def test_refreshing_mends_every_disagreement_and_keeps_notes() -> None:
    routes = {"GET /a/{room_id}", "PUT /c", "GET /new"}
    table = refreshed(TABLE_OF_THREE, routes)

    assert disagreements(table, routes) == []
    assert table["Rooms"] == {"GET /a/{roomId}": "yes", "PUT /b": "no", "PUT /c": "partly: no d"}
    assert table[BEYOND] == {"GET /new": "yes"}
    assert refreshed(table, routes) == table
    assert refreshed(table, set())[BEYOND] == {}


@pytest.mark.parametrize("status", ["", "maybe", "partly", "partly:", "yes: all", "no:"])
def test_a_status_has_one_of_three_forms(status: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        load(f'["Rooms"]\n"GET /a" = "{status}"')


def test_the_page_counts_what_is_covered() -> None:
    text = page(TABLE_OF_THREE)
    assert "by its sections: 1 yes, 1 partly, 1 no." in text
    assert "| `PUT /c` | partly | no d |" in text
