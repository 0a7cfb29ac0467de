"""What is measured. A scenario prepares unmeasured what it needs, and returns what measures."""

import os
from collections.abc import Awaitable, Callable
from urllib.parse import quote

from benchmarks.client import RequestFailed, User
from benchmarks.deliveries import deliver
from benchmarks.measuring import Bench, Measurement, at_once

MEDIA_BYTES = 1 << 20

Scenario = Callable[[Bench], Awaitable[Measurement]]


async def register(bench: Bench) -> Measurement:
    """Make an account. Hashing the password is cheap on both servers, so this is the rest of it."""

    async def do(_: int) -> None:
        bench.users.append(await bench.server.client.register(f"user{next(bench.numbers)}"))

    return lambda: bench.measure(do, bench.times(50), workers=4)


async def login(bench: Bench) -> Measurement:
    """Log in on another device."""
    people = await bench.people(bench.times(50))
    return lambda: bench.measure(lambda number: people[number].on_another_device(), len(people), workers=4)


async def create_room(bench: Bench) -> Measurement:
    """Create a room with the usual state."""
    people = await bench.people(10)
    return lambda: bench.measure(lambda number: people[number % 10].creates_room(), bench.times(50), workers=4)


async def join(bench: Bench) -> Measurement:
    """Join a room that grows."""
    people = await bench.people(bench.times(100) + 1)
    room = await people[0].creates_room()
    return lambda: bench.measure(lambda number: people[number + 1].joins(room), len(people) - 1, workers=10)


async def send_one_by_one(bench: Bench) -> Measurement:
    """Send messages one after the other: each pays for its own commit."""
    people, room = await bench.keep("room of ten", lambda: _room_of_ten(bench))
    return lambda: bench.measure(lambda _: people[0].says(room, next(bench.numbers)), bench.times(200))


async def send_to_one_room(bench: Bench) -> Measurement:
    """Send messages into one room of ten, all of them at once."""
    people, room = await bench.keep("room of ten", lambda: _room_of_ten(bench))

    async def say(number: int) -> None:
        await people[number % 10].says(room, next(bench.numbers))

    return lambda: bench.measure(say, bench.times(1000), workers=10)


async def _room_of_ten(bench: Bench) -> tuple[list[User], str]:
    people = await bench.people(10)
    room = await bench.room(people)
    await at_once(10, lambda number: people[number % 10].says(room, next(bench.numbers)), 20)
    return people, room


async def send_to_many_rooms(bench: Bench) -> Measurement:
    """Send messages into fifty rooms of two, one in each at once."""
    many = bench.times(50, least=10)

    async def make() -> tuple[list[User], list[str]]:
        people = await bench.people(many + 1)
        rooms = [await bench.room([people[number], people[number + 1]]) for number in range(many)]
        await at_once(many, lambda number: people[number].says(rooms[number], next(bench.numbers)), many)
        return people, rooms

    people, rooms = await bench.keep("many rooms", make)

    async def say(number: int) -> None:
        await people[number % many].says(rooms[number % many], next(bench.numbers))

    return lambda: bench.measure(say, bench.times(1000), workers=many)


async def deliver_to_50(bench: Bench) -> Measurement:
    """Bring a message to fifty long polls, the next one when all have it; an operation is one delivery."""
    return await deliver(bench, bench.times(50), bench.times(20))


async def deliver_to_200(bench: Bench) -> Measurement:
    """The same with two hundred."""
    return await deliver(bench, bench.times(200), bench.times(8))


async def initial_sync(bench: Bench) -> Measurement:
    """Sync a new device for the first time with a hundred rooms of twenty messages."""
    return await _initial_sync(bench, bench.times(100))


async def initial_sync_of_500(bench: Bench) -> Measurement:
    """The same with five hundred rooms."""
    return await _initial_sync(bench, bench.times(500))


async def _initial_sync(bench: Bench, rooms: int) -> Measurement:
    reader = await bench.keep(f"reader of {rooms}", lambda: _reader(bench, rooms))
    # A server may keep an answer for the same device.
    devices = [await reader.on_another_device() for _ in range(5)]
    return lambda: bench.measure(lambda number: devices[number].syncs(), len(devices))


async def _reader(bench: Bench, rooms: int) -> User:
    other = (await bench.people(1))[0]
    reader = await bench.server.client.register(f"reader{rooms}")

    async def make(_: int) -> None:
        room = await bench.room([other, reader])
        for _ in range(20):
            await other.says(room, next(bench.numbers))

    await at_once(6, make, rooms)
    return reader


async def idle_sync(bench: Bench) -> Measurement:
    """Sync a device that is in a hundred rooms, with nothing new."""
    reader = await bench.keep(f"reader of {bench.times(100)}", lambda: _reader(bench, bench.times(100)))
    await at_once(1, lambda _: reader.syncs(), 10)
    return lambda: bench.measure(lambda _: reader.syncs(), bench.times(500), workers=10)


async def paginate(bench: Bench) -> Measurement:
    """Read a history of two thousand messages back in pages of a hundred."""
    length = bench.times(2000, least=200)

    async def make() -> tuple[User, str]:
        people = await bench.people(10)
        room = await bench.room(people)
        await at_once(10, lambda number: people[number % 10].says(room, next(bench.numbers)), length)
        return people[0], room

    reader, room = await bench.keep("history", make)
    place = ""

    async def page(_: int) -> None:
        nonlocal place
        start = f"&from={quote(place, safe='')}" if place else ""
        answer = await reader.ask("GET", f"/rooms/{quote(room, safe='')}/messages?dir=b&limit=100{start}")
        place = answer.get("end", "")

    return lambda: bench.measure(page, 2 * (length // 100))


async def state(bench: Bench) -> Measurement:
    """Read the state of a room of two thousand."""
    return await _read_big_room(bench, "state")


async def members(bench: Bench) -> Measurement:
    """Read the members of a room of two thousand."""
    return await _read_big_room(bench, "members")


async def _read_big_room(bench: Bench, what: str) -> Measurement:
    async def make() -> tuple[User, str]:
        people = await bench.people(bench.times(2000))
        return people[0], await bench.room(people)

    reader, room = await bench.keep("big room", make)
    return lambda: bench.measure(lambda _: reader.ask("GET", f"/rooms/{quote(room, safe='')}/{what}"), 10)


async def upload(bench: Bench) -> Measurement:
    """Upload a mebibyte of random bytes."""
    user = (await bench.people(1))[0]
    content = os.urandom(MEDIA_BYTES)
    return lambda: bench.measure(lambda _: _upload(user, content), bench.times(40), workers=4)


async def download(bench: Bench) -> Measurement:
    """Download a mebibyte."""
    user = (await bench.people(1))[0]
    content = os.urandom(MEDIA_BYTES)
    place = (await _upload(user, content)).removeprefix("mxc://")

    async def get(_: int) -> None:
        path = f"/_matrix/client/v1/media/download/{place}"
        status, found, _at = await user.client.send("GET", path, None, user.token)
        if (status, found) != (200, content):
            raise RequestFailed(f"download: {status}, {len(found)} bytes")

    return lambda: bench.measure(get, bench.times(40), workers=4)


async def _upload(user: User, content: bytes) -> str:
    path = "/_matrix/media/v3/upload?filename=random.bin"
    status, answer, _ = await user.client.send("POST", path, content, user.token, "application/octet-stream")
    if status != 200:
        raise RequestFailed(f"upload: {status} {answer[:200]!r}")
    return answer.decode().split('"')[3]


SCENARIOS: dict[str, Scenario] = {
    scenario.__name__: scenario
    for scenario in (
        register, login, create_room, join, send_one_by_one, send_to_one_room, send_to_many_rooms, deliver_to_50,
        deliver_to_200, initial_sync, idle_sync, paginate, upload, download, state, members,
    )
}  # fmt: skip
ALONE: dict[str, Scenario] = {"initial_sync_of_500": initial_sync_of_500}
"""What would take too long beside Synapse."""
