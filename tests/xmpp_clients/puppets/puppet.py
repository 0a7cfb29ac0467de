"""What the clients have in common that tests drive through standard input and output: see tests/support/puppet.py.

Nothing is imported here but the standard library: each client runs in the environment that it needs.
"""

import asyncio
import inspect
import json
import sys
import traceback
from dataclasses import asdict, dataclass, field
from typing import Any


@dataclass
class Shown:
    """A message as it is on the screen."""

    where: str
    """The room, or the person with whom one talks alone."""
    nick: str
    id: str
    text: str
    stanza_id: str | None = None
    """By which those in a room refer to it."""
    link: str | None = None
    reactions: dict[str, list[str]] = field(default_factory=dict)
    """Who has reacted how, by nick."""


class Client:
    """A client: its public coroutines are what it can be told to do."""

    def __init__(self) -> None:
        """Show nothing."""
        self.shown: list[Shown] = []

    # What the library has heard

    def show(self, message: Shown, replaces: str | None = None) -> None:
        """Put a message on the screen, perhaps in the place of an earlier one of the same sender."""
        if replaces is not None:
            for one in self.shown:
                if (one.where, one.nick, one.id) == (message.where, message.nick, replaces):
                    one.text = message.text
        else:
            self.shown.append(message)
        self.tell_news()

    def react(self, where: str, nick: str, name: str, keys: list[str]) -> None:
        """Show somebody's reactions to a message, by the ID that reactions call it."""
        for one in self.shown:
            if one.where == where and name in (one.id, one.stanza_id):
                one.reactions[nick] = keys
        self.tell_news()

    def tell_news(self) -> None:
        """Say that the screen has changed."""
        _write({"news": True})

    def last(self, where: str, nick: str) -> Shown:
        """Return what somebody has said last."""
        return next(one for one in reversed(self.shown) if (one.where, one.nick) == (where, nick))

    # What every client is told

    async def sees(self, where: str) -> list[dict[str, Any]]:
        """Return what is on the screen."""
        return [asdict(one) for one in self.shown if one.where == where]

    # How it runs

    async def run(self) -> None:
        """Do what is wanted, until nobody wants anything any more."""
        lines = asyncio.StreamReader(limit=64 * 1024 * 1024)
        protocol = asyncio.StreamReaderProtocol(lines)
        await asyncio.get_running_loop().connect_read_pipe(lambda: protocol, sys.stdin)
        running = set()
        async for line in lines:
            task = asyncio.create_task(self._perform(json.loads(line)))
            running.add(task)
            task.add_done_callback(running.discard)

    async def _perform(self, wanted: dict[str, Any]) -> None:
        try:
            answer = getattr(self, wanted["does"])(*wanted["with"])
            if inspect.isawaitable(answer):
                answer = await answer
        except Exception:
            _write({"id": wanted["id"], "error": {"stack": traceback.format_exc()}})
        else:
            _write({"id": wanted["id"], "answer": answer})


def _write(line: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(line) + "\n")
    sys.stdout.flush()
