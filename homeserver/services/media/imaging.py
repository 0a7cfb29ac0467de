"""Drives the process that decodes images: one at a time, given up when it takes too long, started anew when it dies.

The process and how it is spoken to: `homeserver.services.media.worker`.
"""

import asyncio
import os
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson
import structlog

from homeserver.errors import CannotThumbnail, TooLarge, Unavailable
from homeserver.model.media import Method, Shape

log = structlog.get_logger()

SCRIPT = Path(__file__).with_name("worker.py")
BUDGET_SECONDS = 30.0
"""How long one image may take, waiting for a processor included."""
PROCESSOR_SECONDS = 15
"""Processor time of one image."""
JOBS_A_PROCESS = 200
"""A process that has done so many is replaced, so that what leaks does not pile up."""
IDLE_SECONDS = 120.0
"""A process without work for so long is ended, to give its memory back."""
MOST_WAITING = 100
LARGEST_RESULT = 64 * 1024 * 1024
# Not the whole environment: it may hold secrets, and the process looks at what strangers made.
ENVIRONMENT = ("PATH", "PYTHONHOME", "PYTHONPATH", "LD_LIBRARY_PATH")


@dataclass(frozen=True, slots=True)
class Rendered:
    """What was made; `data` is None where the original serves as its own thumbnail."""

    content_type: str
    data: bytes | None


class Imager:
    """The one process that decodes images, and the queue before it."""

    def __init__(self, most_pixels: int, budget_seconds: float = BUDGET_SECONDS) -> None:
        """Take the largest image (width times height) and how long one may take. Nothing is started yet."""
        self._most_pixels = most_pixels
        self._budget = budget_seconds
        self._turn = asyncio.Lock()
        self._waiting = 0
        self._process: asyncio.subprocess.Process | None = None
        self._done = 0
        self._idle: asyncio.TimerHandle | None = None
        self._ending: asyncio.Task[None] | None = None

    @property
    def process_id(self) -> int | None:
        """The number of the process, while there is one."""
        return self._process.pid if self._process is not None else None

    async def render(self, path: Path, shape: Shape) -> Rendered:
        """Make a thumbnail of the image at `path`.

        Raises `CannotThumbnail` if it is no image or a broken one, `TooLarge` if it has too many pixels, and
        `Unavailable` if too many others wait.
        """
        if self._waiting >= MOST_WAITING:
            raise Unavailable("Too many thumbnails are being made", retry_after_ms=2000)
        self._waiting += 1
        try:
            async with self._turn:
                answer, data = await self._ask(path, shape)
        finally:
            self._waiting -= 1
        match answer["outcome"]:
            case "image":
                return Rendered(answer["content_type"], data)
            case "original":
                return Rendered(answer["content_type"], None)
            case "too_large":
                raise TooLarge("The image is too large to make a thumbnail of it")
            case _:
                raise CannotThumbnail("Cannot generate thumbnails for the requested content")

    async def close(self) -> None:
        """End the process."""
        if self._ending is not None:
            await self._ending
        async with self._turn:
            await self._end()

    async def _ask(self, path: Path, shape: Shape) -> tuple[Mapping[str, Any], bytes]:
        job = {
            "path": str(path), "width": shape.width, "height": shape.height, "crop": shape.method is Method.CROP,
            "animated": shape.animated,
        }  # fmt: skip
        process = await self._ready()
        assert process.stdin is not None
        assert process.stdout is not None
        try:
            async with asyncio.timeout(self._budget):
                process.stdin.write(orjson.dumps(job) + b"\n")
                await process.stdin.drain()
                answer: Mapping[str, Any] = orjson.loads(await process.stdout.readuntil())
                if answer["size"] > LARGEST_RESULT:
                    raise ValueError("the result is too large")
                data = await process.stdout.readexactly(answer["size"])
        except (TimeoutError, EOFError, OSError, ValueError, asyncio.LimitOverrunError) as error:
            await self._end()
            log.warning("image_given_up", file=path.name, reason=type(error).__name__, status=process.returncode)
            raise CannotThumbnail("Cannot generate thumbnails for the requested content") from error
        except BaseException:
            # Whoever asks next must not get this answer.
            await self._end()
            raise
        self._done += 1
        if self._done >= JOBS_A_PROCESS:
            await self._end()
        else:
            self._idle = asyncio.get_running_loop().call_later(IDLE_SECONDS, self._end_idle)
        return answer, data

    async def _ready(self) -> asyncio.subprocess.Process:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        if self._process is not None and self._process.returncode is not None:
            await self._end()
        if self._process is None:
            self._done = 0
            self._process = await asyncio.create_subprocess_exec(
                # -P: the modules beside the script are ours, not its.
                sys.executable, "-P", str(SCRIPT), str(self._most_pixels), str(PROCESSOR_SECONDS),
                stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
                env={name: os.environ[name] for name in ENVIRONMENT if name in os.environ},
                start_new_session=True,
            )  # fmt: skip
        return self._process

    def _end_idle(self) -> None:
        async def end() -> None:
            async with self._turn:
                # Someone may have taken their turn in the meantime, and will set the clock anew.
                if self._idle is idle:
                    await self._end()

        idle = self._idle
        self._ending = asyncio.create_task(end(), name="idle-imager")

    async def _end(self) -> None:
        if self._idle is not None:
            self._idle.cancel()
            self._idle = None
        process, self._process = self._process, None
        if process is None:
            return
        if process.returncode is None:
            process.kill()
        assert process.stdin is not None
        process.stdin.close()
        await process.wait()
