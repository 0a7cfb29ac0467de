"""How costs grow with a room, its members and its history. Rooms are made in a process, for they have many events."""

import sys
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import quote

from benchmarks.client import PASSWORD, User
from benchmarks.measuring import Bench, Cost
from benchmarks.server import Server, running
from federation.core.events.content import Membership
from federation.core.events.draft import Draft
from federation.core.ids import UserID, new_user_id, parse_server_name
from federation.core.room_versions import DEFAULT_ROOM_VERSION, ROOM_VERSIONS
from homeserver import app
from homeserver.app import Application
from homeserver.config import load
from homeserver.model.devices import NewDevice
from homeserver.model.new_rooms import NewRoom, Preset
from homeserver.services import member_events
from homeserver.storage import accounts
from homeserver.storage.database import Write

SERVER = parse_server_name("bench.test")
SHAPES = ((10, 1_000), (100, 1_000), (1_000, 1_000), (10_000, 1_000), (10, 10_000), (10, 100_000))
"""Members and messages."""
BATCH = 200
JOINERS = 20
FIGURES = ("send", "sync", "first sync", "join", "newest page", "middle page", "oldest page")


@dataclass
class Room:
    """A room that was made, and who may ask about it."""

    members: int
    messages: int
    room_id: str = ""
    middle: str = ""
    reader: str = ""
    joiners: list[str] = field(default_factory=list)


async def run(scale: float = 1.0) -> str:
    """Make the rooms, measure, and return a table: milliseconds of CPU time an operation."""
    rooms = [Room(max(10, int(members * scale)), max(300, int(messages * scale))) for members, messages in SHAPES]

    async def fill(file: Path, environ: Mapping[str, str]) -> None:
        application = await app.build(load(file, environ))
        try:
            for number, room in enumerate(rooms):
                print(f"making a room of {room.members:,} with {room.messages:,} messages", file=sys.stderr)
                await _make(application, room, number)
        finally:
            await application.stop()

    async with running("isthmus", fill=fill) as server:
        lines = [f"| members | messages | {' | '.join(FIGURES)} |", "|--:|--:|" + "--:|" * len(FIGURES)]
        for room in rooms:
            costs = await _measure(server, room)
            cells = " | ".join(f"{1000 * cost.cpu_seconds / cost.operations:.2f}" for cost in costs)
            lines.append(f"| {room.members:,} | {room.messages:,} | {cells} |")
        stored, memory = await server.stored_bytes(), server.resident_bytes()
        events = await server.stored_events()
    lines += ["", f"{stored / events:,.0f} bytes an event in all; {memory / 2**20:.0f} MiB of memory at the end"]
    return "\n".join(lines)


async def _make(application: Application, room: Room, number: int) -> None:
    services = application.services
    timeline = services.messages.timeline
    names = [f"user{number}x{each}" for each in range(room.members + JOINERS)]
    user_ids = [new_user_id(name, SERVER) for name in names]
    logins = {}
    for user_id in (user_ids[0], *user_ids[room.members :]):
        login = await services.registration.make(user_id, PASSWORD, admin=False, device=NewDevice())
        assert login is not None
        logins[user_id] = login.pair.access
    creator = await services.sessions.authenticate(logins[user_ids[0]], address="", agent="")
    version = ROOM_VERSIONS[DEFAULT_ROOM_VERSION]
    wanted = NewRoom(version=version, preset=Preset.PUBLIC, creation_content={}, power_levels={})
    room_id = await services.rooms.create(creator, wanted)

    def join(some: list[UserID]) -> Callable[[Write], None]:
        def write(tx: Write) -> None:
            turn = timeline.turn_of(tx, room_id)
            for user_id in some:
                accounts.create(tx, timeline.names.intern_user(tx, user_id), admin=False, now=timeline.clock.now_ms())
                member_events.append(timeline, turn, user_id, user_id, Membership.JOIN)

        return write

    def say(some: range) -> Callable[[Write], str]:
        def write(tx: Write) -> str:
            turn = timeline.turn_of(tx, room_id)
            for each in some:
                content = {"msgtype": "m.text", "body": f"Message {each} of many, about as long as people write them"}
                event = timeline.append(turn, Draft(room_id, "m.room.message", user_ids[each % room.members], content))
            return event.event_id

        return write

    for at in range(1, room.members, BATCH):
        await application.db.write(join(user_ids[at : min(at + BATCH, room.members)]))
    for at in range(0, room.messages, BATCH):
        newest = await application.db.write(say(range(at, min(at + BATCH, room.messages))))
        if at <= room.messages // 2:
            room.middle = newest
    room.room_id, room.reader = room_id, logins[user_ids[0]]
    room.joiners = [logins[user_id] for user_id in user_ids[room.members :]]


async def _measure(server: Server, room: Room) -> list[Cost]:
    bench = Bench(server)
    reader = User(server.client, "", "", room.reader)
    path = f"/rooms/{quote(room.room_id, safe='')}"
    lazy = quote('{"room":{"state":{"lazy_load_members":true}}}', safe="")
    around = await reader.ask("GET", f"{path}/context/{quote(room.middle, safe='')}?limit=2")
    pages = [
        f"{path}/messages?limit=100&dir={place}"
        for place in ("b", f"b&from={quote(around['start'], safe='')}", "f")
    ]  # fmt: skip

    async def join(number: int) -> None:
        await User(server.client, "", "", room.joiners[number]).joins(room.room_id)

    async def send(_: int) -> None:
        await reader.says(room.room_id, next(bench.numbers))

    async def sync(_: int) -> None:
        await reader.syncs()

    async def page(place: str) -> Cost:
        await reader.ask("GET", place)
        return await bench.measure(lambda _: reader.ask("GET", place), 20)

    await reader.syncs()
    await bench.measure(send, 20)
    sending = await bench.measure(send, 200)
    syncing = await _one_by_one(bench, send, sync)
    first = await bench.measure(lambda _: reader.ask("GET", f"/sync?timeout=0&filter={lazy}"), 10)
    joining = await bench.measure(join, JOINERS)
    return [sending, syncing, first, joining, *[await page(place) for place in pages]]


async def _one_by_one(
    bench: Bench, before: Callable[[int], Awaitable[None]], do: Callable[[int], Awaitable[None]]
) -> Cost:  # fmt: skip
    """Measure what follows on something else, without that."""
    costs = []
    for number in range(50):
        await before(number)
        costs.append(await bench.measure(do, 1))
    latencies = [cost.latencies[0] for cost in costs]
    return Cost(len(costs), sum(cost.cpu_seconds for cost in costs), sum(latencies), latencies)
