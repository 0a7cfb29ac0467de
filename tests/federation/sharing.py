"""A room that a peer and our server share."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from federation.core.ids import UserID
from tests.support.ear import Ear
from tests.support.forgery import EVIL, Forger
from tests.support.peer import Peer
from tests.support.shared_room import SharedRoom
from tests.support.world import User, World, ok, q


@dataclass(slots=True)
class Shared:
    """Alice lives on our server, and is in a room of the peer."""

    ours: World
    peer: Peer
    alice: User
    room: SharedRoom
    elsewhere: SharedRoom
    """Another such room."""
    ear: Ear

    @classmethod
    async def of(cls, ours: World, peer: Peer, version: str = "11", **how: Any) -> "Shared":
        """Let Alice join two rooms of the peer."""
        alice = await ours.user("alice")
        room, elsewhere = peer.creates_room(version, **how), peer.creates_room(version, **how)
        for each in (room, elsewhere):
            each.member(peer.user("guest"), peer.user("guest"), "join")
            ok(await alice.post(f"/join/{q(each.room_id)}", via=peer.name))
        return cls(ours, peer, alice, room, elsewhere, await Ear.of(alice))

    @property
    def forger(self) -> Forger:
        """Who makes events that are wrong."""
        return Forger(self.peer, self.room, self.elsewhere, UserID(self.alice.user_id))

    async def sends(self, *pdus: Any) -> Mapping[str, Any]:
        """Let the peer send events, whatever they are, in one transaction; return what became of each."""
        status, answer = await self.peer.sends(self.ours.name, pdus)
        assert status == 200, answer
        results: Mapping[str, Any] = answer["pdus"]
        return results

    async def still_talks(self) -> None:
        """Check that the room works in both directions, and that nothing evil was heard or happened."""
        said = self.room.says(self.peer.user("creator"), "still here?")
        assert await self.sends(said) == {said.event_id: {}}
        await self.ear.hears(self.room.room_id, said.event_id)
        answer = await self.alice.says(self.room.room_id, "yes")
        await self.peer.gets(answer)
        assert self.room.heads == (answer,), "the answer does not stand on all that is good, and that alone"
        await self.ear.hears(self.room.room_id, answer)
        assert EVIL not in json.dumps([self.ear.timelines, self.ear.told])
        state = ok(await self.alice.get(f"/rooms/{q(self.room.room_id)}/state"))
        assert EVIL not in json.dumps(state)
        ids = {(event["type"], event["state_key"]): event["event_id"] for event in state}
        assert ids == dict(self.room.state)

    async def gets(self, event_id: str) -> tuple[int, Any]:
        """Let Alice ask for an event."""
        return await self.alice.get(f"/rooms/{q(self.room.room_id)}/event/{q(event_id)}")
