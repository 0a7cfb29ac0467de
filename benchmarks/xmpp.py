"""What clients of XMPP cost, beside Prosody: sessions on which nothing happens, a large room, and coming into it.

    python -m benchmarks xmpp [--with-prosody] [--scale 0.1]

Both servers have the same users, certificate and clients, one server after the other.
"""

import asyncio
import os
import socket
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from statistics import median

from benchmarks import environments, prosody
from benchmarks.client import Client
from benchmarks.crowd import Order, flat, numbers
from benchmarks.measuring import at_once
from benchmarks.processes import cpu_seconds, free_port, own_bytes, stop
from benchmarks.server import CHEAP, process, rests
from homeserver.clock import SystemClock
from homeserver.config.authority import Authority

DOMAIN = "bench.test"
ROOMS = f"rooms.{DOMAIN}"
ROOM = f"large@{ROOMS}"
SESSIONS = 5000
OCCUPANTS = 500
MESSAGES = 50
LATECOMERS = 10
REGISTERED_AT_ONCE = 4
WARM = 50
"""Sessions that come and go before memory is looked at: what a server loads once is not what a session costs."""
QUIET_SECONDS = 30.0
START_SECONDS = 30.0

Start = Callable[[], AbstractAsyncContextManager[int]]
"""Starts a server, and gives its process."""


@dataclass(frozen=True)
class Idle:
    """What sessions need on which nothing happens."""

    session_bytes: float
    login_cpu: float
    quiet_cpu: float
    """CPU seconds a second, for all of them."""


@dataclass(frozen=True)
class Room:
    """What a room needs."""

    entry_cpu: float
    everybody: list[float]
    """Seconds until everybody had a message."""
    each: list[float]
    """Seconds until an occupant had a message."""
    delivery_cpu: float
    joins: list[float]
    join_cpu: float


@dataclass(frozen=True)
class Found:
    """What one server needed."""

    idle: Idle
    room: Room


async def run(scale: float, with_prosody: bool) -> str:
    """Return the table."""
    sessions, occupants = max(WARM, round(SESSIONS * scale)), max(10, round(OCCUPANTS * min(1.0, 10 * scale)))
    names = ["isthmus", "prosody"] if with_prosody else ["isthmus"]
    found = []
    with tempfile.TemporaryDirectory(prefix="xmpp-bench-") as directory:
        root = Path(directory)
        os.chmod(root, 0o755)  # Prosody has a user of its own, who must come through
        now_ms = SystemClock().now_ms()
        certificate = Authority.at(root / "authority", now_ms).certify(DOMAIN, root / "authority", now_ms)
        for name in names:
            (root / name).mkdir()
            print(f"{name} ", end="", file=sys.stderr, flush=True)
            found.append(await _measure(name, root / name, certificate, sessions, occupants))
            print(file=sys.stderr)
    return _table(found, sessions, occupants)


async def _measure(
    name: str, directory: Path, certificate: tuple[Path, Path], sessions: int, occupants: int
) -> Found:  # fmt: skip
    users = max(sessions, occupants + LATECOMERS)
    port = free_port()
    server = _isthmus if name == "isthmus" else _prosody
    async with server(directory, certificate, port, users) as start:
        async with start() as pid:
            idle = await _idle(pid, port, sessions)
        async with start() as pid:
            room = await _room(pid, port, occupants)
    return Found(idle, room)


async def _idle(pid: int, port: int, sessions: int) -> Idle:
    """Let so many log in, and do nothing."""
    crowd = await Order.start(DOMAIN, port)
    try:
        await crowd("log_in", numbers=numbers(0, min(WARM, sessions)))
        await crowd("log_out")
        await rests(lambda: cpu_seconds([pid]))
        bytes_before, cpu = own_bytes(pid), cpu_seconds([pid])
        await crowd("log_in", numbers=numbers(0, sessions), patience=10)
        login_cpu = (cpu_seconds([pid]) - cpu) / sessions
        print(f"login {1000 * login_cpu:.2f} ms ", end="", file=sys.stderr, flush=True)
        # What a server lets go of when nothing happens it has let go of then.
        await asyncio.sleep(QUIET_SECONDS)
        cpu, began = cpu_seconds([pid]), time.perf_counter()
        await asyncio.sleep(QUIET_SECONDS)
        quiet_cpu = (cpu_seconds([pid]) - cpu) / (time.perf_counter() - began)
        session_bytes = (own_bytes(pid) - bytes_before) / sessions
        print(f"session {session_bytes / 1024:.1f} KiB ", end="", file=sys.stderr, flush=True)
    finally:
        await crowd.end()
    return Idle(session_bytes, login_cpu, quiet_cpu)


async def _room(pid: int, port: int, occupants: int) -> Room:
    """Let so many enter a room one after another, say something, and some more enter."""
    crowd = await Order.start(DOMAIN, port)
    members = numbers(0, occupants)
    try:
        await crowd("log_in", numbers=numbers(0, occupants + LATECOMERS))
        await crowd("enter", room=ROOM, numbers=members[:1])
        await crowd("configure", room=ROOM, number=0)
        cpu = cpu_seconds([pid])
        await crowd("enter", room=ROOM, numbers=members[1:], patience=5)
        entry_cpu = (cpu_seconds([pid]) - cpu) / (occupants - 1)
        await crowd("say", room=ROOM, numbers=members, times=5)
        await rests(lambda: cpu_seconds([pid]))
        cpu = cpu_seconds([pid])
        said = await crowd("say", room=ROOM, numbers=members, times=MESSAGES)
        delivery_cpu = (cpu_seconds([pid]) - cpu) / (MESSAGES * occupants)
        print(f"delivery {1e6 * delivery_cpu:.0f} us ", end="", file=sys.stderr, flush=True)
        await rests(lambda: cpu_seconds([pid]))
        joins: list[float] = []
        cpu = cpu_seconds([pid])
        for number in numbers(occupants, LATECOMERS):
            joins += await crowd("enter", room=ROOM, numbers=[number])
            await asyncio.sleep(0.3)
        join_cpu = (cpu_seconds([pid]) - cpu) / LATECOMERS
    finally:
        await crowd.end()
    return Room(entry_cpu, [max(each) for each in said], flat(said), delivery_cpu, joins, join_cpu)


@asynccontextmanager
async def _isthmus(
    directory: Path, certificate: tuple[Path, Path], port: int, users: int
) -> AsyncIterator[Start]:  # fmt: skip
    """Prepare Isthmus with so many users; give what starts it."""
    http = free_port()
    settings = CHEAP | {
        "ISTHMUS_SERVER_NAME": DOMAIN,
        "ISTHMUS_HTTP__LISTEN": f"127.0.0.1:{http}",
        "ISTHMUS_XMPP__LISTEN": f"127.0.0.1:{port}",
        "ISTHMUS_XMPP__TLS_CERTIFICATE": str(certificate[0]),
        "ISTHMUS_XMPP__TLS_KEY": str(certificate[1]),
        "ISTHMUS_DATABASE__URL": f"sqlite:///{directory / 'bench.db'}",
        "ISTHMUS_MEDIA__PATH": str(directory / "media"),
    }
    command = [environments.of_isthmus(), "-m", "homeserver", "run"]

    @asynccontextmanager
    async def start() -> AsyncIterator[int]:
        async with process(command, directory, settings, Client("127.0.0.1", http)) as (pid, _):
            yield pid

    client = Client("127.0.0.1", http)
    async with process(command, directory, settings, client):
        await at_once(REGISTERED_AT_ONCE, lambda number: client.register(f"user{number}"), users)
        client.close()
    yield start


@asynccontextmanager
async def _prosody(
    directory: Path, certificate: tuple[Path, Path], port: int, users: int
) -> AsyncIterator[Start]:  # fmt: skip
    """Prepare Prosody with so many users; give what starts it."""
    command = prosody.prepare(directory, DOMAIN, ROOMS, port, certificate, users)

    @asynccontextmanager
    async def start() -> AsyncIterator[int]:
        with (directory / "log").open("ab") as log:
            running = await asyncio.create_subprocess_exec(
                *command, cwd=directory, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log
            )
        try:
            until = time.perf_counter() + START_SECONDS
            while not _listens(port):
                if running.returncode is not None or time.perf_counter() > until:
                    raise SystemExit(f"Prosody does not start:\n{(directory / 'log').read_text()[-3000:]}")
                await asyncio.sleep(0.05)
            yield running.pid
        finally:
            await stop(running)

    yield start


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def _table(found: list[Found], sessions: int, occupants: int) -> str:
    rows: list[tuple[str, Callable[[Found], float]]] = [
        (f"memory of one of {sessions:,} idle sessions, KiB", lambda one: one.idle.session_bytes / 1024),
        ("CPU of a login, ms", lambda one: 1000 * one.idle.login_cpu),
        (f"CPU of {sessions:,} idle sessions, ms a second", lambda one: 1000 * one.idle.quiet_cpu),
        (f"a message until all {occupants} have it, ms, p50", lambda one: 1000 * median(one.room.everybody)),
        ("p99", lambda one: 1000 * _percentile(one.room.everybody, 99)),
        ("until one of them has it, ms, p50", lambda one: 1000 * median(one.room.each)),
        ("CPU s per 1,000 deliveries", lambda one: 1000 * one.room.delivery_cpu),
        (f"entering as the {occupants + 1}st, ms, p50", lambda one: 1000 * median(one.room.joins)),
        ("longest", lambda one: 1000 * max(one.room.joins)),
        ("CPU of that, ms", lambda one: 1000 * one.room.join_cpu),
        (f"CPU of entering, on the way to {occupants}, ms", lambda one: 1000 * one.room.entry_cpu),
    ]
    head = ["", "Isthmus", *(["Prosody", "ratio"] if len(found) > 1 else [])]
    lines = [f"| {' | '.join(head)} |", f"|---|{'---:|' * (len(head) - 1)}"]
    for title, value in rows:
        figures = [value(one) for one in found]
        cells = [title, *(f"{figure:.3g}" if figure < 100 else f"{figure:,.0f}" for figure in figures)]
        if len(figures) > 1:
            cells.append(f"{figures[0] / figures[1]:.2f}" if figures[1] else "")
        lines.append(f"| {' | '.join(cells)} |")
    versions = f", Prosody {prosody.version()}" if len(found) > 1 else ""
    return "\n".join(lines) + f"\n\n{os.cpu_count()} CPUs{versions}"


def _percentile(figures: list[float], percent: int) -> float:
    ordered = sorted(figures)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
