"""A TCP proxy before PostgreSQL that can lose a connection at a chosen moment."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from urllib.parse import urlsplit


@dataclass
class Proxy:
    """Passes bytes on, until it is told to cut."""

    url: str = ""
    cut_at_commit: bool = False
    """Let the next COMMIT reach the server, and cut the connection instead of passing on the answer."""
    down: bool = False
    """Take no connection."""
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    @classmethod
    @asynccontextmanager
    async def before(cls, url: str) -> AsyncIterator["Proxy"]:
        """Start a proxy before the server at `url`; its own URL is `proxy.url`."""
        target = urlsplit(url)
        proxy = cls()

        async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            if proxy.down:
                writer.close()
                return
            there, back = await asyncio.open_connection(target.hostname, target.port)
            proxy._writers |= {writer, back}
            task = asyncio.create_task(proxy._carry(reader, writer, there, back))
            proxy._tasks.add(task)
            task.add_done_callback(proxy._tasks.discard)

        server = await asyncio.start_server(accept, "127.0.0.1", 0)
        port = server.sockets[0].getsockname()[1]
        proxy.url = target._replace(netloc=f"{target.username}@127.0.0.1:{port}").geturl()
        try:
            yield proxy
        finally:
            proxy.cut()
            server.close()
            await asyncio.gather(*proxy._tasks, return_exceptions=True)

    def cut(self) -> None:
        """Lose all connections."""
        for writer in self._writers:
            writer.close()
        self._writers.clear()

    async def _carry(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, there: asyncio.StreamReader,
        back: asyncio.StreamWriter,
    ) -> None:  # fmt: skip
        committing = False

        async def answers() -> None:
            with suppress(OSError):
                while (data := await there.read(65536)) and not committing:
                    writer.write(data)
                    await writer.drain()
            writer.close()
            back.close()

        answering = asyncio.create_task(answers())
        with suppress(OSError):
            while data := await reader.read(65536):
                if self.cut_at_commit and b"COMMIT" in data:
                    self.cut_at_commit, committing = False, True
                back.write(data)
                await back.drain()
        if not committing:
            back.close()
        await answering
