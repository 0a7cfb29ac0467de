"""What processes cost, as Linux counts it; and how they are started and stopped."""

import asyncio
import os
import signal
import socket
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

PAGE_BYTES = os.sysconf("SC_PAGE_SIZE")
TICKS = os.sysconf("SC_CLK_TCK")
STOP_SECONDS = 30


def family(pid: int) -> Iterator[int]:
    """Yield a process and all that it has started and that still run."""
    yield pid
    with suppress(OSError):
        for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
            yield from family(int(child))


def cpu_seconds(pids: list[int]) -> float:
    """Return the CPU seconds so far of processes and their families."""
    total = 0.0
    for root in pids:
        for pid in family(root):
            with suppress(OSError):
                # The clock of a process, as clock_getcpuclockid(3) makes it; /proc/PID/stat counts in steps of 10 ms.
                total += time.clock_gettime((~pid << 3) | 2)
                # Children that have ended.
                fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
                total += (int(fields[13]) + int(fields[14])) / TICKS
    return total


def resident_bytes(pid: int) -> int:
    """Return the memory that a process and its family hold."""
    total = 0
    for member in family(pid):
        with suppress(OSError):
            total += int(Path(f"/proc/{member}/statm").read_text().split()[1]) * PAGE_BYTES
    return total


def own_bytes(pid: int) -> int:
    """Return the memory of a process and its family that is theirs alone: without the pages of files that they map."""
    total = 0
    for member in family(pid):
        with suppress(OSError):
            for line in Path(f"/proc/{member}/status").read_text().splitlines():
                if line.startswith("RssAnon:"):
                    total += int(line.split()[1]) * 1024
    return total


def free_port() -> int:
    """Return a port that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


async def stop(process: asyncio.subprocess.Process) -> None:
    """Ask a process to end; make it end if it does not."""
    if process.returncode is None:
        process.send_signal(signal.SIGTERM)
        try:
            async with asyncio.timeout(STOP_SECONDS):
                await process.wait()
        except TimeoutError:
            process.kill()
    await process.wait()
