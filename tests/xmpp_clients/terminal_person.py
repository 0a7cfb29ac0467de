"""People with Profanity and Poezio, who sit before a terminal."""

import re
import shutil
import tempfile
from abc import abstractmethod
from pathlib import Path

from homeserver.clock import SystemClock
from tests.support.waiting import until
from tests.xmpp_clients.person import Corrects, Uploads, XmppPerson, is_room
from tests.xmpp_clients.terminal import ENTER, PAGE_DOWN, PAGE_UP, Terminal

MOST_PAGES = 20
CONSOLE = "1"
"""The window of Profanity that is always there."""


class TerminalPerson(XmppPerson, Corrects):
    """Somebody who types commands, and reads what stands on the screen."""

    command: str
    _home: Path | None = None
    _terminal: Terminal | None = None
    _where: str | None = None
    """The room or the person whose window is shown."""

    @classmethod
    def missing(cls) -> str | None:
        return None if shutil.which(cls.command) else f"{cls.program} is missing: apt-get install {cls.command}"

    async def _logs_in(self, password: str) -> None:
        # Not where pytest makes directories: nobody but its own user may look in there.
        self._home = Path(tempfile.mkdtemp(prefix=f"isthmus-{self.command}."))
        arguments = self._configures(self._home, password)
        variables = {"SSL_CERT_FILE": str(self.door.ca)}
        self._terminal = await Terminal.start(
            self.command, *arguments, home=self._home, variables=variables, tell_news=self.news.set
        )
        await self._reads(self._greeting())

    async def leaves(self) -> None:
        if self._terminal is not None:
            await self._terminal.ends()
        if self._home is not None:
            shutil.rmtree(self._home)

    @abstractmethod
    def _configures(self, home: Path, password: str) -> list[str]:
        """Write the client's configuration; return the arguments of its command."""

    @abstractmethod
    def _greeting(self) -> str:
        """Return what the client shows when it is logged in, as a regular expression."""

    @abstractmethod
    async def _goes_to(self, where: str) -> None:
        """Show the window of a room or of a person."""

    def _calls_oneself(self, to: str) -> str:
        """Return what the client calls its user in a window."""
        return self.name

    async def _opens(self, where: str) -> None:
        if self._where != where:
            await self._goes_to(where)
            self._where = where

    @property
    def terminal(self) -> Terminal:
        """What the client runs in."""
        assert self._terminal is not None
        return self._terminal

    async def _types(self, line: str) -> None:
        """Type a line, and press Enter when it stands there: all that comes at once is taken for something pasted."""
        self.terminal.presses(line)
        await self.sees_until(self.terminal.looks, lambda screen: screen.endswith(line))
        self.terminal.presses(ENTER)
        await self.sees_until(self.terminal.looks, lambda screen: not screen.endswith(line))

    async def _reads(self, pattern: str, but: str | None = None) -> re.Match[str]:
        """Return the last place on the screen where a regular expression fits a line, when there is one."""

        def fits(screen: str) -> bool:
            return re.search(pattern, screen, re.MULTILINE) is not None and (but is None or but not in screen)

        screen = await self.sees_until(self.terminal.looks, fits)
        *_, last = re.finditer(pattern, screen, re.MULTILINE)
        return last

    async def says(self, to: str, text: str) -> None:
        await self._opens(to)
        await self._types(text)
        await self._reads(rf"\b{self._calls_oneself(to)}\b.*{re.escape(text)}")

    async def hears(self, where: str, nick: str, text: str) -> None:
        await self._opens(where)
        # Whom one talks with alone is called as the roster calls them.
        who = rf"\b{nick}\b" if is_room(where) else ""
        await self._reads(rf"{who}.*{re.escape(text)}")

    async def counts(self, where: str, text: str) -> int:
        await self._opens(where)
        return (await self.terminal.looks()).count(text)

    async def scrolls_to(self, where: str, text: str) -> None:
        await self._opens(where)
        for _ in range(MOST_PAGES):
            before = await self.terminal.looks()
            if text in before:
                break
            self.terminal.presses(PAGE_UP)
            await self.sees_until(self.terminal.looks, lambda screen, before=before: screen != before)
        for _ in range(MOST_PAGES):
            self.terminal.presses(PAGE_DOWN)

    async def corrects(self, to: str, text: str) -> None:
        await self._opens(to)
        await self._types(f"/correct {text}")

    async def sees_correction(self, where: str, nick: str, old: str, new: str) -> None:
        await self._opens(where)
        # Poezio counts the versions of a message behind its sender's nick.
        await self._reads(rf"\b{nick}[0-9]*\b.*{re.escape(new)}", but=old)

    async def sees_link(self, where: str, name: str) -> str:
        await self._opens(where)
        return (await self._reads(rf"https://\S+/{re.escape(name)}"))[0]


class ProfanityPerson(TerminalPerson, Uploads):
    """Somebody with Profanity."""

    program = "Profanity"
    command = "profanity"
    # It asks the archive for chats of two only, and experimentally; in rooms it has what comes when it joins.
    reaches_back = 20

    def _configures(self, home: Path, password: str) -> list[str]:
        config, data = home / "config/profanity", home / "data/profanity"
        (data / "certs").mkdir(parents=True)
        config.mkdir(parents=True)
        (config / "profrc").write_text(
            "[ui]\nsplash=false\nvercheck=false\n[connection]\ncorrection.allow=true\nmam=true\n[notifications]\nremind=0\n"
        )
        account = {
            "enabled": "true", "jid": self.jid, "password": password, "server": "127.0.0.1", "port": self.door.port,
            "tls.policy": "force", "muc.nick": self.name,
        }  # fmt: skip
        lines = [f"[{self.jid}]", *(f"{name}={value}" for name, value in account.items())]
        (data / "accounts").write_text("\n".join(lines) + "\n")
        # Whom it trusts with files; with streams, it asks OpenSSL.
        shutil.copyfile(self.door.ca, data / "certs/CAfile.pem")
        return ["--account", self.jid]

    def _greeting(self) -> str:
        # Only when it knows what the server can does it speak of that, and ask the archive.
        return "OMEMO: cannot publish crypto materials before they are generated"

    def _calls_oneself(self, to: str) -> str:
        return self.name if is_room(to) else "me"

    async def _goes_to(self, where: str) -> None:
        if is_room(where) or where == CONSOLE:
            await self._types(f"/win {where}")
        else:
            # In a room, this would be a word with one of those who are there.
            await self._types(f"/win {CONSOLE}")
            await self._types(f"/msg {where}")

    async def finds(self, room: str, name: str) -> None:
        await self._opens(CONSOLE)
        # Without its address there is no list until Profanity has found the service by itself.
        await self._types(f"/rooms service {room.partition('@')[2]}")
        await self._reads(f"{re.escape(room)}.*{re.escape(name)}")

    async def joins(self, room: str) -> None:
        await self._types(f"/join {room}")
        await self._reads(f"You have joined the room as {self.name}")
        self._where = room

    async def sees_occupant(self, room: str, nick: str) -> None:
        await self._opens(room)
        await self._reads(rf" {nick}$")

    async def sees_online(self, jid: str) -> None:
        await self._opens(jid)
        # In the title of the window; what stands at its end is whether oneself is.
        await self._reads(r"^ \S+ \[online\] \[unencrypted\]")

    async def uploads(self, to: str, file: Path) -> None:
        await self._opens(to)
        await self._types(f"/sendfile {file}")


class PoezioPerson(TerminalPerson):
    """Somebody with Poezio."""

    program = "Poezio"
    command = "poezio"

    def _configures(self, home: Path, password: str) -> list[str]:
        options = {
            "jid": self.jid, "password": password, "custom_host": "127.0.0.1", "custom_port": self.door.port,
            "ca_cert_path": self.door.ca, "force_encryption": "true", "default_nick": self.name,
            "use_log": "false", "auto_reconnect": "false",
        }  # fmt: skip
        directory = home / "config/poezio"
        directory.mkdir(parents=True)
        lines = ["[Poezio]", *(f"{name} = {value}" for name, value in options.items())]
        (directory / "poezio.cfg").write_text("\n".join(lines) + "\n")
        return []

    def _greeting(self) -> str:
        return f"Your JID is {self.jid}"

    async def _commands(self, line: str) -> None:
        """Type a command in a window that is there to look at: the slash opens a line to type in."""
        before = await self.terminal.looks()
        self.terminal.presses(line[0])
        await self.sees_until(self.terminal.looks, lambda screen: screen != before)
        await self._types(line[1:])

    async def _goes_to(self, where: str) -> None:
        await self._commands(f"/win {where}" if is_room(where) else f"/message {where}")
        await self._reads(re.escape(f"[{where}]"))

    async def finds(self, room: str, name: str) -> None:
        await self._commands(f"/list {room.partition('@')[2]}")
        await self._reads(rf"{re.escape(room.partition('@')[0])}\s+{re.escape(name)}")
        self._where = None

    async def _lets_time_pass(self) -> None:
        """Wait until it asks the archive for now: it means whole seconds, of which it takes one away."""
        clock = SystemClock()
        asked = clock.now_ms()
        await until(lambda: clock.now_ms() // 1000 > asked // 1000 + 1)

    async def joins(self, room: str) -> None:
        await self._lets_time_pass()
        await self._commands(f"/join {room}/{self.name}")
        await self._reads(rf"\b{self.name}\s*$")
        self._where = room

    async def sees_occupant(self, room: str, nick: str) -> None:
        await self._opens(room)
        await self._reads(rf"\b{nick}\s*$")

    async def sees_online(self, jid: str) -> None:
        await self._commands("/win 0")
        # It hides from the roster who is offline.
        await self._reads(rf"\[\+\].*{jid}")
        self._where = None

    async def scrolls_to(self, where: str, text: str) -> None:
        if self._where != where:
            await self._lets_time_pass()
        await super().scrolls_to(where, text)
