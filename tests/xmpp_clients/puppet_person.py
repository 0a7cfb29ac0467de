"""People with slixmpp and aioxmpp: libraries, in processes of their own, with a client each in `puppets`."""

import os
import sys
from collections.abc import Callable, Mapping
from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from benchmarks.environments import ROOT
from tests.support.puppet import Puppet
from tests.xmpp_clients.person import Corrects, Reacts, Uploads, XmppPerson, is_room

HERE = Path(__file__).parent / "puppets"


class PuppetPerson(XmppPerson, Corrects, Uploads):
    """Somebody whose client is a script."""

    _puppet: Puppet | None = None

    async def _starts(self, *command: str, **variables: str) -> None:
        environ = {**os.environ, **variables}
        self._puppet = await Puppet.start(*command, tell_news=self.news.set, cwd=HERE, env=environ)

    async def leaves(self) -> None:
        if self._puppet is not None:
            await self._puppet.ends()

    async def asks(self, deed: str, *parameters: object) -> Any:
        """Let the client do something."""
        assert self._puppet is not None
        return await self._puppet.asks(deed, *parameters)

    async def finds(self, room: str, name: str) -> None:
        listed = await self.asks("lists", room.partition("@")[2])
        assert [room, name] in listed

    async def joins(self, room: str) -> None:
        await self.asks("joins", room)

    async def sees_occupant(self, room: str, nick: str) -> None:
        await self.sees_until(lambda: self.asks("occupants", room), lambda nicks: nick in nicks)

    async def sees_online(self, jid: str) -> None:
        await self.sees_until(lambda: self.asks("is_online", jid), bool)

    async def says(self, to: str, text: str) -> None:
        await self.asks("says", to, text)
        await self.hears(to, self.name, text)

    async def hears(self, where: str, nick: str, text: str) -> None:
        await self._until(where, lambda one: one["text"] == text and (one["nick"] == nick or not is_room(where)))

    async def counts(self, where: str, text: str) -> int:
        return [one["text"] for one in await self.asks("sees", where)].count(text)

    async def scrolls_to(self, where: str, text: str) -> None:
        while not await self.counts(where, text):
            if not await self.asks("scrolls_back", where):
                pytest.fail(f"{text!r} is not in the past of {where}")

    async def corrects(self, to: str, text: str) -> None:
        await self.asks("corrects", to, text)

    async def sees_correction(self, where: str, nick: str, old: str, new: str) -> None:
        await self.hears(where, nick, new)
        assert old not in [one["text"] for one in await self.asks("sees", where)]

    async def uploads(self, to: str, file: Path) -> None:
        await self.asks("uploads", to, str(file))

    async def sees_link(self, where: str, name: str) -> str:
        found = await self._until(where, lambda one: (one["link"] or "").endswith(f"/{name}"))
        return str(found["link"])

    async def _until(self, where: str, condition: Callable[[Mapping[str, Any]], object]) -> Mapping[str, Any]:
        seen = await self.sees_until(
            lambda: self.asks("sees", where), lambda shown: any(condition(one) for one in shown)
        )
        return next(one for one in seen if condition(one))


class SlixmppPerson(PuppetPerson, Reacts):
    """Somebody with slixmpp."""

    program = "slixmpp"

    @classmethod
    def missing(cls) -> str | None:
        return None

    async def _logs_in(self, password: str) -> None:
        await self._starts(sys.executable, "slixmpp_client.py", SSL_CERT_FILE=str(self.door.ca))
        await self.asks("logs_in", self.jid, password, self.door.port)

    async def reacts(self, where: str, text: str, *keys: str) -> None:
        await self.asks("reacts", where, text, keys)

    async def sees_reactions(self, where: str, text: str, *keys: str) -> None:
        def fits(one: Mapping[str, Any]) -> bool:
            return one["text"] == text and sorted(chain(*one["reactions"].values())) == sorted(keys)

        await self._until(where, fits)


class AioxmppPerson(PuppetPerson):
    """Somebody with aioxmpp, which does not live beside what we use ourselves."""

    program = "aioxmpp"

    @classmethod
    def missing(cls) -> str | None:
        environment = _aioxmpp_environment()
        there = any(environment.glob("lib/python*/site-packages/aioxmpp"))
        return None if there else f"there is no aioxmpp in {environment}: set AIOXMPP_VENV"

    async def _logs_in(self, password: str) -> None:
        await self._starts(str(_aioxmpp_environment() / "bin/python"), "aioxmpp_client.py")
        await self.asks("logs_in", self.jid, password, self.door.port, str(self.door.ca))


def _aioxmpp_environment() -> Path:
    return Path(os.environ.get("AIOXMPP_VENV") or ROOT / ".venv-aioxmpp").absolute()
