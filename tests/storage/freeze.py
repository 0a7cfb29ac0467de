"""Writes the schema of today as SQL: `python -m tests.storage.freeze`.

Once a version is released, its files stay as they are: a test upgrades them. Until then they are made anew when the
schema changes.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sa

from homeserver.storage.migrations.runner import NEWEST, tables

SCHEMAS = Path(__file__).parent / "schemas"


def statements(dialect: str) -> list[str]:
    """Return what makes an empty database one of the newest schema."""
    found: list[str] = []

    def take(statement: Any, *_args: object, **_options: object) -> None:
        found.append(
            "\n".join(line.rstrip() for line in str(statement.compile(dialect=engine.dialect)).strip().split("\n"))
        )

    driver = "postgresql+asyncpg://" if dialect == "postgresql" else "sqlite://"
    engine = sa.create_mock_engine(driver, take)
    tables().create_all(engine, checkfirst=False)
    found.sort(key=lambda statement: statement if statement.startswith("CREATE INDEX") else "")
    found.append(f"INSERT INTO schema_version (version) VALUES ({NEWEST})")
    found.append("INSERT INTO position (id, value) VALUES (1, 42)")
    return found


def file(version: int, dialect: str) -> Path:
    """Return where the schema of a version lies."""
    return SCHEMAS / f"{version:04}.{dialect}.sql"


def text(dialect: str) -> str:
    """Return the file's content for the schema of today."""
    return ";\n\n".join(statements(dialect)) + ";\n"


if __name__ == "__main__":
    for name in ("sqlite", "postgresql"):
        file(NEWEST, name).write_text(text(name))
