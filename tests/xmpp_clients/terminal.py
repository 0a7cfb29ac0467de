"""A program in a pseudo-terminal, with what somebody in front of it would see."""

import asyncio
import fcntl
import os
import pwd
import struct
import termios
from collections.abc import Callable, Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyte

COLUMNS, LINES = 200, 30
NOBODY = "nobody"
END_SECONDS = 5

ENTER = "\r"
PAGE_UP = "\x1b[5~"
PAGE_DOWN = "\x1b[6~"

_VARIABLES = {
    # Of the terminals that every system knows, the one whose sequences pyte knows, too.
    "TERM": "linux",
    "LANG": "C.UTF-8",
    "LC_ALL": "C.UTF-8",
    "TZ": "UTC",
    "PATH": "/usr/local/bin:/usr/bin:/bin:/usr/games",
}


class Terminal:
    """A running program and its screen."""

    def __init__(self, process: asyncio.subprocess.Process, master: int, tell_news: Callable[[], object]) -> None:
        """Take a program that runs at the other end of a pseudo-terminal."""
        self._process = process
        self._master = master
        self._tell_news = tell_news
        self._screen = pyte.Screen(COLUMNS, LINES)
        self._stream = pyte.ByteStream(self._screen)
        asyncio.get_running_loop().add_reader(master, self._read)

    @classmethod
    async def start(
        cls, *command: str, home: Path, variables: Mapping[str, str], tell_news: Callable[[], object]
    ) -> "Terminal":
        """Start a program whose files are all below `home`; `tell_news` is called when the screen has changed.

        Clients want no root, so for root it is run by somebody else, whose home it is from then on.
        """
        who = _give_to_nobody(home) if os.geteuid() == 0 else {}
        environ = {
            **_VARIABLES,
            "HOME": str(home),
            **{f"XDG_{kind}_HOME": str(home / kind.lower()) for kind in ("CONFIG", "DATA", "CACHE", "STATE")},
            **variables,
        }
        master, slave = os.openpty()
        try:
            fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", LINES, COLUMNS, 0, 0))
            process = await asyncio.create_subprocess_exec(
                *command, cwd=home, env=environ, stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
                **who,
            )  # fmt: skip
        finally:
            os.close(slave)
        return cls(process, master, tell_news)

    def presses(self, keys: str) -> None:
        """Press keys."""
        os.write(self._master, keys.encode())

    async def looks(self) -> str:
        """Return what is on the screen, line by line."""
        return "\n".join(line.rstrip() for line in self._screen.display)

    async def ends(self) -> None:
        """End the program."""
        with suppress(ProcessLookupError):
            self._process.terminate()
        try:
            await asyncio.wait_for(self._process.wait(), END_SECONDS)
        except TimeoutError:
            self._process.kill()
            await self._process.wait()
        asyncio.get_running_loop().remove_reader(self._master)
        os.close(self._master)

    def _read(self) -> None:
        try:
            data = os.read(self._master, 65536)
        except OSError:
            # The program has ended.
            data = b""
        if not data:
            asyncio.get_running_loop().remove_reader(self._master)
        self._stream.feed(data)
        self._tell_news()


def _give_to_nobody(home: Path) -> dict[str, Any]:
    """Give a directory to a user who may nothing else; return what lets a process run as that user."""
    nobody = pwd.getpwnam(NOBODY)
    for path in (home, *home.rglob("*")):
        os.chown(path, nobody.pw_uid, nobody.pw_gid)
    return {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
