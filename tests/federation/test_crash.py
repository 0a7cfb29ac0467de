"""Two servers that are killed again and again while they send to each other: nothing that was acknowledged is lost,
nothing comes twice."""

import asyncio
import itertools
import random
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from tests.federation.across import agree, joins, reads_back
from tests.support.certificates import Authority
from tests.support.ear import Ear
from tests.support.pair import in_process_of_its_own
from tests.support.process import ServerProcess
from tests.support.waiting import asking
from tests.support.world import User, ok, q

ROUNDS = 15
"""In which twenty processes are killed: one, the other, both, and so on."""


@dataclass
class Sender:
    """Somebody who sends one thing after the other, and again what was not acknowledged."""

    user: User
    room: str
    friend: User
    number: int = 0
    said: list[str] = field(default_factory=list)
    """Texts that were acknowledged."""
    whispered: list[str] = field(default_factory=list)
    """Messages to the friend's device that were acknowledged."""

    async def keeps_sending(self) -> None:
        """Send until it is told to stop; wait for a server that is not there."""
        while True:
            message = {"msgtype": "m.text", "body": self.text}
            await self._sends(f"/rooms/{q(self.room)}/send/m.room.message", message)
            self.said.append(self.text)
            whisper = {"messages": {self.friend.user_id: {self.friend.device_id: {"text": self.text}}}}
            await self._sends("/sendToDevice/org.example.whisper", whisper)
            self.whispered.append(self.text)
            self.number += 1
            await asyncio.sleep(0.02)

    @property
    def text(self) -> str:
        """What is sent next."""
        return f"{self.user.user_id} {self.number}"

    async def _sends(self, path: str, body: Any) -> None:
        while True:
            try:
                ok(await self.user.put(f"{path}/n{self.number}", body))
            except (aiohttp.ClientError, OSError):
                await asyncio.sleep(0.02)
            else:
                return


@pytest.mark.timeout(300)
async def test_two_servers_that_are_killed_lose_and_double_nothing(authority: Authority, tmp_path: Path) -> None:
    async with (
        in_process_of_its_own(authority, tmp_path / "one", PRESENCE__ENABLED="false") as (one, site),
        in_process_of_its_own(authority, tmp_path / "other", PRESENCE__ENABLED="false") as (other, other_site),
    ):
        alice, bob = await site.user("alice"), await other_site.user("bob")
        room = await alice.creates_room(preset="public_chat")
        await joins(bob, room, site.name)
        hers, his = await Ear.of(alice), await Ear.of(bob)
        senders = [Sender(alice, room, bob), Sender(bob, room, alice)]
        async with asyncio.TaskGroup() as group:
            sending = [group.create_task(sender.keeps_sending()) for sender in senders]
            for victims in itertools.islice(itertools.cycle([(one,), (other,), (one, other)]), ROUNDS):
                await asyncio.sleep(random.uniform(0.05, 0.3))
                await asyncio.gather(*(kill(victim) for victim in victims))
            for task in sending:
                task.cancel()
        said = Counter(text for sender in senders for text in sender.said)
        assert min(len(sender.said) for sender in senders) > ROUNDS, "hardly anything happened"

        # What was sent last may be there without having been acknowledged; nothing else.
        last = {sender.text for sender in senders}
        for user in (alice, bob):
            texts = Counter(
                await asking(lambda user=user: reads_back(user, room, 100), lambda seen: set(said) <= {*seen})
            )  # type: ignore[misc]
            assert {text: count for text, count in texts.items() if count > 1} == {}
            assert set(texts) - last == set(said) - last
        await agree(room, alice, bob)

        for ear, sender in ((his, senders[0]), (hers, senders[1])):
            await ear.until(lambda ear, sender=sender: set(sender.whispered) <= whispers(ear).keys())
            assert {text: count for text, count in whispers(ear).items() if count > 1} == {}
            # Each sender's events are in order.
            mine = [text for text in await reads_back(ear.user, room, 100) if text.startswith(sender.user.user_id)]
            assert mine == sorted(mine, key=lambda text: int(text.split()[1]))


async def kill(server: ServerProcess) -> None:
    """End a server in the middle of whatever it does, and start it again."""
    with suppress(ProcessLookupError):
        await server.dies()
    await server.starts()


def whispers(ear: Ear) -> Counter[str]:
    """Return what came to somebody's device, and how often."""
    return Counter(message["content"]["text"] for message in ear.to_device)
