"""A server in a process of its own, started as an operator starts it; it can be stopped, killed and started again."""

import asyncio
import os
import signal
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp

from tests.support.ports import free_port

START_SECONDS = 30
STOP_SECONDS = 30


@dataclass
class ServerProcess:
    """`isthmus run` with its data in `directory`, configured by the environment alone."""

    directory: Path
    port: int
    environ: dict[str, str]
    running: asyncio.subprocess.Process | None = None
    log: Path = field(init=False)

    def __post_init__(self) -> None:
        self.log = self.directory / "server.log"

    @classmethod
    @asynccontextmanager
    async def start(
        cls, directory: Path, database_url: str = "", *, server_name: str = "hs1", **options: str
    ) -> AsyncIterator["ServerProcess"]:
        """Start a server; options are those of the environment, such as `REGISTRATION__ENABLED="true"`.

        Without a database URL it makes its own SQLite file. It is gone afterwards, whatever happened.
        """
        port = free_port()
        settings = {
            "SERVER_NAME": server_name,
            "HTTP__LISTEN": f"127.0.0.1:{port}",
            "XMPP__LISTEN": "127.0.0.1:0",
            "REGISTRATION__ENABLED": "true",
            "PASSWORDS__ARGON2_MEMORY_KIB": "1024",
            "PASSWORDS__ARGON2_ITERATIONS": "1",
            **({"DATABASE__URL": database_url} if database_url else {}),
            **options,
        }
        environ = {name: value for name, value in os.environ.items() if not name.startswith("ISTHMUS_")}
        environ |= {f"ISTHMUS_{name}": value for name, value in settings.items()}
        server = cls(directory, port, environ)
        try:
            await server.starts()
            yield server
        finally:
            if server.running is not None:
                await server.dies()

    @property
    def base(self) -> str:
        """The address that clients are given."""
        return f"http://127.0.0.1:{self.port}"

    async def starts(self) -> None:
        """Start the process; return when it answers."""
        assert self.running is None
        with self.log.open("ab") as log:
            self.running = await asyncio.create_subprocess_exec(
                sys.executable, "-m", "homeserver", "run",
                cwd=self.directory, env=self.environ, stdin=asyncio.subprocess.DEVNULL, stdout=log, stderr=log,
            )  # fmt: skip
        async with asyncio.timeout(START_SECONDS), aiohttp.ClientSession() as http:
            while not await self._answers(http):
                assert self.running.returncode is None, f"the server does not start:\n{self.written()}"
                await asyncio.sleep(0.02)

    async def stops(self) -> int:
        """Ask the process to end as a service manager does; return its exit code."""
        return await self._ends(signal.SIGTERM)

    async def dies(self) -> int:
        """End the process without a chance to finish anything; return its exit code."""
        return await self._ends(signal.SIGKILL)

    def written(self) -> str:
        """Return what the process has logged so far."""
        return self.log.read_text(encoding="utf-8", errors="replace")

    async def _ends(self, how: signal.Signals) -> int:
        assert self.running is not None
        if self.running.returncode is None:
            self.running.send_signal(how)
        async with asyncio.timeout(STOP_SECONDS):
            code = await self.running.wait()
        self.running = None
        return code

    async def _answers(self, http: aiohttp.ClientSession) -> bool:
        try:
            async with http.get(f"{self.base}/_matrix/client/versions") as response:
                return response.status == 200
        except aiohttp.ClientConnectionError:
            return False
