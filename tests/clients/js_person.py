"""A person who chats with matrix-js-sdk, in a Node process that `js/person.mjs` runs."""

import asyncio
import base64
import fcntl
import hashlib
import itertools
import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest

from tests.clients.person import Message, Person, Presence, RoomView

HERE = Path(__file__).parent / "js"
PACKAGES = HERE / "node_modules"
INSTALLED = PACKAGES / ".installed"
OLDEST_NODE = 20
LONGEST_LINE = 64 * 1024 * 1024


def have_packages() -> None:
    """Install what the client needs, once for each lock file. Skip the test where there is no Node; CI has one."""
    if not _node_is_there():
        missing = f"npm and Node {OLDEST_NODE} or later are missing"
        pytest.fail(missing) if os.environ.get("CI") else pytest.skip(missing)
    lock_file = HERE / "package-lock.json"
    with lock_file.open("rb") as held:
        # Tests in several processes want the same packages.
        fcntl.flock(held, fcntl.LOCK_EX)
        wanted = hashlib.sha256(held.read()).hexdigest()
        if not INSTALLED.exists() or INSTALLED.read_text() != wanted:
            done = subprocess.run(["npm", "ci"], cwd=HERE, capture_output=True, text=True, check=False)
            assert done.returncode == 0, done.stderr
            INSTALLED.write_text(wanted)


def _node_is_there() -> bool:
    if shutil.which("node") is None or shutil.which("npm") is None:
        return False
    version = subprocess.run(["node", "--version"], capture_output=True, text=True, check=True).stdout
    return int(version.removeprefix("v").split(".")[0]) >= OLDEST_NODE


class JsError(Exception):
    """What the SDK threw."""

    def __init__(self, thrown: Mapping[str, Any]) -> None:
        super().__init__(thrown["stack"])
        self.status: int | None = thrown["status"]
        self.errcode: str | None = thrown["errcode"]


class JsPerson(Person):
    """A client made by `createClient` and kept running by `startClient`, as Element does it; without encryption."""

    def __init__(self, base: str) -> None:
        super().__init__(base)
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._process: asyncio.subprocess.Process | None = None
        self._listening: asyncio.Task[None] | None = None

    async def asks(self, deed: str, *parameters: object) -> Any:
        """Do what `js/person.mjs` calls by that name. Raises `JsError`."""
        assert self._process is not None
        assert self._process.stdin is not None
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, "does": deed, "with": parameters}).encode() + b"\n")
        await self._process.stdin.drain()
        return await answer

    async def _sign_up(self, name: str, password: str) -> None:
        await self._begins("signsUp", name, password)

    async def _log_in(self, name: str, password: str) -> None:
        await self._begins("logsIn", name, password)

    async def _begins(self, deed: str, *parameters: object) -> None:
        self._process = await asyncio.create_subprocess_exec(
            "node", "person.mjs", self.base, cwd=HERE,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LONGEST_LINE,
        )  # fmt: skip
        self._listening = asyncio.create_task(self._listens(self._process))
        self.user_id = (await self.asks(deed, *parameters))["user_id"]

    async def _listens(self, process: asyncio.subprocess.Process) -> None:
        assert process.stdout is not None
        async for line in process.stdout:
            told = json.loads(line)
            if "news" in told:
                self.news.set()
            elif "error" in told:
                self._asked.pop(told["id"]).set_exception(JsError(told["error"]))
            else:
                self._asked.pop(told["id"]).set_result(told["answer"])
        for answer in self._asked.values():
            answer.set_exception(EOFError("the client has ended"))

    async def leaves(self) -> None:
        if self._process is None or self._listening is None:
            return
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._listening

    async def logs_out(self) -> None:
        await self.asks("logsOut")

    async def creates_room(self, name: str) -> str:
        return str(await self.asks("createsRoom", {"name": name, "preset": "private_chat", "visibility": "private"}))

    async def invites(self, room_id: str, user_id: str) -> None:
        await self.asks("invites", room_id, user_id)

    async def joins(self, room_id: str) -> None:
        await self.asks("joins", room_id)

    async def opens(self, room_id: str) -> None:
        await self.asks("opens", room_id)

    async def sends(self, room_id: str, content: Mapping[str, Any]) -> str:
        return str(await self.asks("says", room_id, content))

    async def emotes(self, room_id: str, body: str) -> str:
        return str(await self.asks("emotes", room_id, body))

    async def shows(self, room_id: str, png: bytes, name: str) -> str:
        url = await self.asks("uploads", base64.b64encode(png).decode(), "image/png", name)
        return str(await self.asks("showsImage", room_id, url, {"mimetype": "image/png", "size": len(png)}, name))

    async def downloads(self, url: str) -> bytes:
        return base64.b64decode(await self.asks("downloads", url))

    async def thumbnail(self, url: str, size: int) -> bytes:
        return base64.b64decode(await self.asks("thumbnail", url, size))

    async def reacts(self, room_id: str, event_id: str, key: str) -> str:
        return str(await self.asks("reacts", room_id, event_id, key))

    async def redacts(self, room_id: str, event_id: str, reason: str) -> None:
        await self.asks("redacts", room_id, event_id, reason)

    async def types(self, room_id: str, is_typing: bool) -> None:
        await self.asks("types", room_id, is_typing)

    async def reads(self, room_id: str, event_id: str) -> None:
        await self.asks("reads", room_id, event_id)

    async def becomes(self, presence: str, status: str) -> None:
        await self.asks("becomes", presence, status)

    async def sees(self, room_id: str) -> RoomView | None:
        view = await self.asks("sees", room_id)
        if view is None:
            return None
        return RoomView(**{**view, "messages": [Message(**message) for message in view["messages"]]})

    async def sees_presence(self, user_id: str) -> Presence | None:
        seen = await self.asks("seesPresence", user_id)
        return None if seen is None else Presence(**seen)
