"""Joining a room of thousands of members at a distance, and receiving thousands of events from there.

    python -m benchmarks distant [--with-synapse] [--scale 0.1]

Both servers join the same room of the same third server, one after the other, and get the same events.
"""

import asyncio
import os
import ssl
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import orjson

from benchmarks import synapse
from benchmarks.client import Client
from benchmarks.processes import cpu_seconds, free_port
from benchmarks.resident import Resident, serving
from benchmarks.server import CHEAP, process, rests
from federation.core.ids import ServerName
from homeserver.clock import SystemClock
from homeserver.config.authority import Authority

MEMBERS = 10_000
EVENTS = 10_000
LONGEST_JOIN = 600.0


@dataclass(frozen=True)
class Distant:
    """What one server needed."""

    name: str
    answered_in: float
    """Seconds until the client had its answer."""
    join_seconds: float
    """Until the server had nothing more to do."""
    join_cpu: float
    peak_bytes: int
    receive_cpu: float
    receive_seconds: float


async def run(scale: float, with_synapse: bool) -> str:
    """Return the table."""
    members, events = round(MEMBERS * scale), round(EVENTS * scale)
    names = ["isthmus", "synapse"] if with_synapse else ["isthmus"]
    with tempfile.TemporaryDirectory(prefix="distant-bench-") as directory:
        root = Path(directory)
        authority = Authority.at(root / "authority", SystemClock().now_ms())
        found = []
        for name in names:
            (root / name).mkdir()
            found.append(await _measure(name, root / name, authority, members, events))
    return _table(found, members, events)


async def _measure(name: str, directory: Path, authority: Authority, members: int, events: int) -> Distant:
    now_ms = SystemClock().now_ms()
    port = free_port()
    resident = Resident(ServerName(f"localhost:{port}"), members, now_ms)
    (directory / "resident").mkdir()
    certificate = authority.certify("localhost", directory / "resident", now_ms)
    async with serving(resident, port, certificate), _federating(name, directory, authority) as (pid, client, own):
        token = (await client.register("alice")).token
        await rests(lambda: cpu_seconds([pid]))
        _forget_peak(pid)
        began, cpu = time.perf_counter(), cpu_seconds([pid])
        answered_in = await _join(client, token, resident)
        await rests(lambda: cpu_seconds([pid]), at_most=LONGEST_JOIN)
        join_seconds, join_cpu, peak = time.perf_counter() - began, cpu_seconds([pid]) - cpu, _peak(pid)

        sent = resident.says(events)
        trusted = ssl.create_default_context(cafile=str(authority.file))
        async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(ssl=trusted)) as session:
            began, cpu = time.perf_counter(), cpu_seconds([pid])
            await resident.sends(
                session, ServerName(f"localhost:{own}"), own, sent,
                lambda event: _has(client, token, resident.room_id, event.event_id),
            )  # fmt: skip
            receive_seconds = time.perf_counter() - began
            await rests(lambda: cpu_seconds([pid]))
        receive_cpu = cpu_seconds([pid]) - cpu
    return Distant(name, answered_in, join_seconds, join_cpu, peak, receive_cpu, receive_seconds)


async def _join(client: Client, token: str, resident: Resident) -> float:
    """Join the room; return the seconds until the client had an answer. Whoever is told to wait asks again."""
    began = time.perf_counter()
    answered_in = None
    while time.perf_counter() < began + LONGEST_JOIN:
        path = f"/_matrix/client/v3/join/{resident.room_id}?via={resident.name}&server_name={resident.name}"
        status, _, _ = await client.send("POST", path, b"{}", token)
        answered_in = answered_in or time.perf_counter() - began
        if status == 200:
            return answered_in
        await asyncio.sleep(0.5)
    raise SystemExit("the room was not joined")


async def _has(client: Client, token: str, room_id: str, event_id: str) -> None:
    """Wait until a client sees an event."""
    for _ in range(6000):
        status, _, _ = await client.send("GET", f"/_matrix/client/v3/rooms/{room_id}/event/{event_id}", token=token)
        if status == 200:
            return
        await asyncio.sleep(0.02)
    raise SystemExit("the last event did not arrive")


@asynccontextmanager
async def _federating(name: str, directory: Path, authority: Authority) -> AsyncIterator[tuple[int, Client, int]]:
    """Run a server that federates; give its process, a client, and the port where servers reach it."""
    port, own = free_port(), free_port()
    certificate, key = authority.certify("localhost", directory, SystemClock().now_ms())
    if name == "synapse":
        command, settings = synapse.prepare(directory, port, f"sqlite:///{directory / 'bench.db'}"), dict[str, str]()
        file = directory / "homeserver.yaml"
        here = {"bind_addresses": ["127.0.0.1"], "type": "http"}
        more = {
            "server_name": f"localhost:{own}",
            "listeners": [
                {**here, "port": port, "resources": [{"names": ["client"]}]},
                {**here, "port": own, "tls": True, "resources": [{"names": ["federation"]}]},
            ],
            "tls_certificate_path": str(certificate),
            "tls_private_key_path": str(key),
            "federation_custom_ca_list": [str(authority.file)],
            "ip_range_blacklist": [],
            "rc_federation": {"window_size": 1000, "sleep_limit": 10000, "sleep_delay": 1, "reject_limit": 10000},
        }
        file.write_text(orjson.dumps(orjson.loads(file.read_bytes()) | more).decode())
    else:
        command = [sys.executable, "-m", "homeserver", "run"]
        settings = CHEAP | {
            "ISTHMUS_SERVER_NAME": f"localhost:{own}",
            "ISTHMUS_HTTP__LISTEN": f"127.0.0.1:{port}",
            "ISTHMUS_DATABASE__URL": f"sqlite:///{directory / 'bench.db'}",
            "ISTHMUS_MEDIA__PATH": str(directory / "media"),
            "ISTHMUS_FEDERATION__LISTEN": f"127.0.0.1:{own}",
            "ISTHMUS_FEDERATION__TLS_CERTIFICATE": str(certificate),
            "ISTHMUS_FEDERATION__TLS_KEY": str(key),
            "ISTHMUS_OUTGOING__EXTRA_CA": str(authority.file),
            "ISTHMUS_OUTGOING__ALLOW_PRIVATE_ADDRESSES": "true",
        }
    client = Client("127.0.0.1", port)
    async with process(command, directory, settings, client) as (pid, _):
        yield pid, client, own


def _forget_peak(pid: int) -> None:
    Path(f"/proc/{pid}/clear_refs").write_text("5")


def _peak(pid: int) -> int:
    """Return the most memory that a process has held: https://www.kernel.org/doc/html/latest/filesystems/proc.html."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmHWM:"):
            return int(line.split()[1]) * 1024
    return 0


def _table(found: list[Distant], members: int, events: int) -> str:
    mine, others = found[0], found[1:]
    rows: list[tuple[str, Callable[[Distant], float]]] = [
        (f"join of a room with {members:,} members: until the client's answer, s", lambda one: one.answered_in),
        ("until all was done, s", lambda one: one.join_seconds),
        ("CPU, s", lambda one: one.join_cpu),
        ("most memory, MiB", lambda one: one.peak_bytes / 2**20),
        (f"receiving {events:,} events: CPU, s", lambda one: one.receive_cpu),
        ("events a CPU second", lambda one: events / one.receive_cpu),
        ("until a client saw the last one, s", lambda one: one.receive_seconds),
    ]
    head = ["", "Isthmus", *(["Synapse", "ratio"] if others else [])]
    lines = [" | ".join(head), " | ".join("---" for _ in head)]
    for title, value in rows:
        cells = [title, f"{value(mine):.2f}"]
        for other in others:
            cells += [f"{value(other):.2f}", f"{value(mine) / value(other):.3f}"]
        lines.append(" | ".join(cells))
    return "\n".join(lines) + f"\n\n{os.cpu_count()} CPUs"
