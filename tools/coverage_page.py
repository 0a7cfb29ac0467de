"""What Isthmus covers of the specification: `docs/spec-coverage.toml`, its page, and the routes.

    python -m tools.coverage_page refresh     writes yes and no as the router has it; notes and `partly` stay

A line of the table is `"METHOD /path" = "yes"`, `"partly: what is missing"` or `"no: why"`, under the section
of the specification. Paths are compared by their shape: how a variable is called makes no difference.
"""

import json
import re
import sys
import tomllib
from collections.abc import Iterable, Mapping
from pathlib import Path

TABLE = Path(__file__).parents[1] / "docs" / "spec-coverage.toml"
BEYOND = "Beyond the specification"
HEADER = """\
# What Isthmus answers of the Matrix specification v1.19, by its sections: "yes", "partly: what is missing",
# "no" or "no: why". A test holds it against the routes; `make coverage` refreshes yes and no from them.
"""

Coverage = dict[str, dict[str, str]]


def load(text: str) -> Coverage:
    """Return the table: status by endpoint by section. Raises ValueError for a status that is none."""
    table: Coverage = tomllib.loads(text)
    for endpoints in table.values():
        for endpoint, status in endpoints.items():
            if re.fullmatch(r"yes|no(: .+)?|partly: .+", status) is None:
                raise ValueError(f'{endpoint}: "{status}" is not "yes", "partly: ..." or "no"')
    return table


def dump(table: Coverage) -> str:
    """Return the text of a table."""
    lines = [HEADER]
    for section, endpoints in table.items():
        if endpoints:
            lines.append(f"[{json.dumps(section)}]")
            lines += [
                f"{json.dumps(endpoint)} = {json.dumps(status, ensure_ascii=False)}"
                for endpoint, status in endpoints.items()
            ]
            lines.append("")
    return "\n".join(lines)


def shape(endpoint: str) -> str:
    """Return `METHOD /path` without the names of the path's variables."""
    return re.sub(r"\{[^}]*\}", "{}", endpoint)


def routed() -> set[str]:
    """Return the endpoints that the router knows, as `METHOD /path`."""
    from homeserver import client_api, federation_api

    return {
        f"{endpoint.method} {endpoint.path}"
        for routes in client_api.ROUTES + federation_api.ROUTES
        for endpoint in routes.endpoints
    }


def refreshed(table: Coverage, routes: Iterable[str]) -> Coverage:
    """Return the table with yes and no as `routes` have it; a route that is new to it comes last."""
    unseen = {shape(route): route for route in routes}
    new: Coverage = {}
    for section, endpoints in table.items():
        new[section] = {}
        for endpoint, status in endpoints.items():
            exists = unseen.pop(shape(endpoint), None) is not None
            if exists:
                new[section][endpoint] = status if status.startswith("partly") else "yes"
            elif section != BEYOND:
                new[section][endpoint] = status if status.startswith("no") else "no"
    beyond = new.pop(BEYOND, {})
    new[BEYOND] = dict(sorted(beyond.items() | dict.fromkeys(unseen.values(), "yes").items()))
    return new


def disagreements(table: Coverage, routes: Iterable[str]) -> list[str]:
    """Return one sentence for each endpoint of which the table says something else than the router."""
    known = set(map(shape, routes))
    told = {shape(endpoint): status for endpoints in table.values() for endpoint, status in endpoints.items()}
    wrong = [f"{route} has a route, the table does not know it" for route in known - told.keys()]
    for endpoint, status in told.items():
        if status.startswith("no") and endpoint in known:
            wrong.append(f"{endpoint} has a route, the table says {status}")
        if not status.startswith("no") and endpoint not in known:
            wrong.append(f"{endpoint} has no route, the table says {status}")
    return sorted(wrong)


def page(table: Mapping[str, Mapping[str, str]]) -> str:
    """Return the page in Markdown."""
    specified = [status for section, rows in table.items() if section != BEYOND for status in rows.values()]
    lines = [
        "<!-- Made by `make docs` from docs/spec-coverage.toml. -->",
        "# What is covered",
        "",
        "Endpoints of the [Matrix specification v1.19](https://spec.matrix.org/v1.19/client-server-api/),",
        f"by its sections: {_count(specified)}. The rest is answered with `M_UNRECOGNIZED`.",
    ]
    for section, rows in table.items():
        lines += [
            "",
            f"## {section}",
            "",
            _count(rows.values()),
            "",
            "| Endpoint | | |",
            "| --- | --- | --- |",
        ]
        for endpoint, status in rows.items():
            word, _, note = status.partition(": ")
            lines.append(f"| `{endpoint}` | {word} | {note} |")
    return "\n".join(lines) + "\n"


def _count(statuses: Iterable[str]) -> str:
    words = [status.partition(":")[0] for status in statuses]
    told = [f"{words.count(word)} {word}" for word in ("yes", "partly", "no") if word in words]
    return ", ".join(told) or "none"


def main() -> None:
    """Refresh the table."""
    if sys.argv[1:] != ["refresh"]:
        sys.exit(__doc__)
    table = refreshed(load(TABLE.read_text(encoding="utf-8")), routed())
    TABLE.write_text(dump(table), encoding="utf-8")


if __name__ == "__main__":
    main()
