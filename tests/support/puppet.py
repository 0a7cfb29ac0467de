"""A client in a process of its own, told what to do by one JSON object a line.

`{"id": 1, "does": "says", "with": [...]}` on its standard input is answered on its standard output by
`{"id": 1, "answer": ...}` or `{"id": 1, "error": {...}}`; `{"news": true}` says that its screen has changed.
"""

import asyncio
import itertools
import json
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

LONGEST_LINE = 64 * 1024 * 1024


class Thrown(Exception):
    """What a client has thrown."""

    def __init__(self, thrown: Mapping[str, Any]) -> None:
        super().__init__(thrown["stack"])


class Puppet:
    """A running client."""

    def __init__(
        self,
        process: asyncio.subprocess.Process,
        tell_news: Callable[[], object],
        error: Callable[[Mapping[str, Any]], Exception],
    ) -> None:
        self._process = process
        self._tell_news = tell_news
        self._error = error
        self._numbers = itertools.count(1)
        self._asked: dict[int, asyncio.Future[Any]] = {}
        self._listening = asyncio.create_task(self._listens())

    @classmethod
    async def start(
        cls, *command: str, tell_news: Callable[[], object], error: Callable[[Mapping[str, Any]], Exception] = Thrown,
        cwd: Path | None = None, env: Mapping[str, str] | None = None,
    ) -> "Puppet":  # fmt: skip
        """Start a client; `tell_news` is called when it says that there is news, and when it has ended."""
        process = await asyncio.create_subprocess_exec(
            *command, cwd=cwd, env=env,
            stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE, limit=LONGEST_LINE,
        )  # fmt: skip
        return cls(process, tell_news, error)

    async def asks(self, deed: str, *parameters: object) -> Any:
        """Let the client do what it calls by that name; return its answer. Raises what `error` makes of its errors."""
        assert self._process.stdin is not None
        number = next(self._numbers)
        answer = self._asked[number] = asyncio.get_running_loop().create_future()
        self._process.stdin.write(json.dumps({"id": number, "does": deed, "with": parameters}).encode() + b"\n")
        await self._process.stdin.drain()
        return await answer

    async def ends(self) -> None:
        """Let the client end."""
        assert self._process.stdin is not None
        self._process.stdin.close()
        await self._process.wait()
        await self._listening

    async def _listens(self) -> None:
        assert self._process.stdout is not None
        async for line in self._process.stdout:
            told = json.loads(line)
            if "news" in told:
                self._tell_news()
            elif "error" in told:
                self._asked.pop(told["id"]).set_exception(self._error(told["error"]))
            else:
                self._asked.pop(told["id"]).set_result(told["answer"])
        for answer in self._asked.values():
            answer.set_exception(EOFError("the client has ended"))
        self._tell_news()
