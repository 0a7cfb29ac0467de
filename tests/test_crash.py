"""A server that is killed loses nothing that it has acknowledged; one that is asked to stop finishes what it does."""

import asyncio
import random
import time
from collections.abc import AsyncIterator
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from homeserver.storage.database import open_database
from tests.support import consistency
from tests.support.process import ServerProcess
from tests.support.waiting import until
from tests.support.world import CLIENT, PASSWORD, q

CRASHES = 20
SENDERS = 4


@pytest.fixture
async def server(tmp_path: Path, database_url: str) -> AsyncIterator[ServerProcess]:
    """A server in a process of its own."""
    async with ServerProcess.start(
        tmp_path, database_url, RATE_LIMITS__ENABLED="false", PRESENCE__ENABLED="false"
    ) as started:
        yield started


@dataclass
class Sender:
    """Someone who sends one message after the other, and sends again what was not acknowledged."""

    server: ServerProcess
    name: str
    token: str = ""
    room: str = ""
    number: int = 0
    acknowledged: dict[str, str] = field(default_factory=dict)
    """Text to event ID."""

    async def ask(self, http: aiohttp.ClientSession, method: str, path: str, body: Any = None) -> Any:
        """Return the body of an answer, which must be 200."""
        headers = {"Authorization": f"Bearer {self.token}"} if self.token else {}
        url = aiohttp.client.URL(f"{self.server.base}{CLIENT}{path}", encoded=True)
        async with http.request(method, url, json=body, headers=headers) as response:
            answer = await response.json()
            assert response.status == 200, answer
            return answer

    async def register(self, http: aiohttp.ClientSession) -> None:
        """Make the account."""
        body = {"username": self.name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
        self.token = (await self.ask(http, "POST", "/register", body))["access_token"]

    async def keep_sending(self) -> None:
        """Send until the server is gone: mostly messages, also the room's topic and an own name."""
        async with aiohttp.ClientSession() as http:
            with suppress(aiohttp.ClientError, OSError):
                while True:
                    await self.send_next(http)

    async def send_next(self, http: aiohttp.ClientSession) -> None:
        """Send the next message, or again the one that was not acknowledged."""
        text = f"{self.name} {self.number}"
        room = f"/rooms/{q(self.room)}"
        content = {"msgtype": "m.text", "body": text}
        answer = await self.ask(http, "PUT", f"{room}/send/m.room.message/{self.number}", content)
        assert self.acknowledged.setdefault(text, answer["event_id"]) == answer["event_id"]
        self.number += 1
        if self.number % 5 == 0:
            await self.ask(http, "PUT", f"{room}/state/org.example.mood/{self.name}", {"mood": text})


async def texts_of(sender: Sender) -> list[tuple[str, str]]:
    """Return text and event ID of every message of the room, oldest first."""
    found: list[tuple[str, str]] = []
    place = ""
    async with aiohttp.ClientSession() as http:
        while True:
            start = f"&from={place}" if place else ""
            page = await sender.ask(http, "GET", f"/rooms/{q(sender.room)}/messages?dir=f&limit=500{start}")
            found += [
                (event["content"]["body"], event["event_id"])
                for event in page["chunk"]
                if event["type"] == "m.room.message"
            ]
            if "end" not in page:
                return found
            place = page["end"]


async def people_in_a_room(server: ServerProcess) -> list[Sender]:
    """Return senders who are in one room."""
    senders = [Sender(server, f"sender{n}") for n in range(SENDERS)]
    async with aiohttp.ClientSession() as http:
        for sender in senders:
            await sender.register(http)
        room = (await senders[0].ask(http, "POST", "/createRoom", {"preset": "public_chat"}))["room_id"]
        levels = {"users_default": 50}
        await senders[0].ask(http, "PUT", f"/rooms/{q(room)}/state/m.room.power_levels/", levels)
        for sender in senders:
            await sender.ask(http, "POST", f"/join/{q(room)}", {})
            sender.room = room
    return senders


@pytest.mark.timeout(300)
async def test_what_was_acknowledged_is_there_once_and_in_order_after_every_crash(
    server: ServerProcess, database_url: str
) -> None:
    chance = random.Random(11)
    senders = await people_in_a_room(server)
    for _ in range(CRASHES):
        sending = [asyncio.create_task(sender.keep_sending()) for sender in senders]
        await asyncio.sleep(chance.uniform(0.02, 0.3))
        await server.dies()
        await asyncio.gather(*sending)
        database = open_database(database_url)
        await database.read(consistency.check)
        await database.close()
        await server.starts()
    async with aiohttp.ClientSession() as http:
        for sender in senders:
            await sender.send_next(http)  # what was not acknowledged at the last crash

    found = await texts_of(senders[0])
    assert sum(sender.number for sender in senders) > CRASHES
    for sender in senders:
        own = [(text, event_id) for text, event_id in found if text.startswith(f"{sender.name} ")]
        assert own == [(f"{sender.name} {n}", sender.acknowledged[f"{sender.name} {n}"]) for n in range(sender.number)]
    assert len(found) == sum(sender.number for sender in senders)


async def test_a_server_that_is_asked_to_stop_finishes_what_it_does(server: ServerProcess, database_url: str) -> None:
    senders = await people_in_a_room(server)
    sending = [asyncio.create_task(sender.keep_sending()) for sender in senders]
    await until(lambda: all(sender.number > 3 for sender in senders))
    assert await server.stops() == 0
    await asyncio.gather(*sending)
    assert "Traceback" not in server.written()
    database = open_database(database_url)
    await database.read(consistency.check)
    await database.close()
    await server.starts()
    found = dict(await texts_of(senders[0]))
    for sender in senders:
        assert sender.acknowledged.items() <= found.items()


async def test_who_waits_for_news_is_answered_at_once_when_the_server_stops(server: ServerProcess) -> None:
    senders = await people_in_a_room(server)
    async with aiohttp.ClientSession() as http:
        sinces = [(await sender.ask(http, "GET", "/sync"))["next_batch"] for sender in senders]
        waiting = [
            asyncio.create_task(sender.ask(http, "GET", f"/sync?timeout=60000&since={since}"))
            for sender, since in zip(senders, sinces, strict=True)
        ]
        done, _ = await asyncio.wait(waiting, timeout=1)
        assert not done
        began = time.monotonic()
        assert await server.stops() == 0
        assert time.monotonic() - began < 15
        for answer in await asyncio.gather(*waiting):
            assert "next_batch" in answer


async def test_a_server_stops_though_clients_keep_their_connections(server: ServerProcess) -> None:
    async with aiohttp.ClientSession() as http, http.get(f"{server.base}/_matrix/client/versions") as response:
        await response.read()
        assert await server.stops() == 0
