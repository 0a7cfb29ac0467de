"""A server name is resolved by asking for well-known files and SRV records. The steps are in `tests/core`."""

from dataclasses import dataclass, field

import pytest

from federation.core.discovery import Place, Target
from federation.core.ids import ServerName
from federation.matrix.errors import Unreachable
from federation.matrix.resolver import Nowhere, Resolver


@dataclass
class World:
    """Well-known files and SRV records, by host and name."""

    files: dict[str, str] = field(default_factory=dict)
    records: dict[str, tuple[Place, ...]] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)

    async def delegate(self, host: str) -> ServerName | None:
        self.asked.append(host)
        found = self.files.get(host)
        return None if found is None else ServerName(found)

    async def services(self, name: str) -> tuple[Place, ...] | None:
        self.asked.append(name)
        return self.records.get(name)


async def test_well_known_files_and_records_are_asked_for() -> None:
    world = World({"a.example": "b.example"}, {"_matrix._tcp.b.example": (Place("c.example", 5),)})
    assert await Resolver(world, world).resolve(ServerName("a.example")) == Target(
        (Place("c.example", 5),), "b.example", "b.example", "3.4"
    )
    assert world.asked == ["a.example", "_matrix-fed._tcp.b.example", "_matrix._tcp.b.example"]


async def test_a_name_with_a_port_needs_no_question() -> None:
    world = World()
    target = await Resolver(world, world).resolve(ServerName("localhost:8448"))
    assert target == Target((Place("localhost", 8448),), "localhost:8448", "localhost", "2")
    assert world.asked == []


async def test_where_federation_is_off_nobody_is_found() -> None:
    world = World()
    with pytest.raises(Unreachable, match="federation is off"):
        await Nowhere(world, world).resolve(ServerName("localhost:8448"))
