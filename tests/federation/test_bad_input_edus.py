"""A peer that says, in EDUs, what only others may say, or what nobody can read: nothing of it is believed."""

import itertools
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.federation.sharing import Shared
from tests.support.hostile import VALUES
from tests.support.peer import Peer
from tests.support.world import World, ok, q


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite: nothing here depends on which database it is."""
    return f"sqlite:///{tmp_path}/isthmus.db"


THIRD = "@somebody:localhost:1"
_numbers = itertools.count(1)


def typing(room_id: Any, user_id: Any, now: Any = True) -> dict[str, Any]:
    """Return that somebody types."""
    return {"edu_type": "m.typing", "content": {"room_id": room_id, "user_id": user_id, "typing": now}}


def presence(user_id: Any, **more: Any) -> dict[str, Any]:
    """Return that somebody is there."""
    push = {"user_id": user_id, "presence": "online", "status_msg": "forged", "last_active_ago": 1, **more}
    return {"edu_type": "m.presence", "content": {"push": [push]}}


def receipt(room_id: Any, user_id: Any, event_id: Any, kind: str = "m.read", **more: Any) -> dict[str, Any]:
    """Return that somebody has read."""
    read = {"event_ids": [event_id], "data": {"ts": 1_700_000_000_000, **more}}
    return {"edu_type": "m.receipt", "content": {room_id: {kind: {user_id: read}}}}


def device_update(user_id: Any, **more: Any) -> dict[str, Any]:
    """Return that somebody has a device."""
    content = {"user_id": user_id, "device_id": "FORGED", "stream_id": 5, "prev_id": [], **more}
    return {"edu_type": "m.device_list_update", "content": content}


def to_device(sender: Any, target: str, **more: Any) -> dict[str, Any]:
    """Return a message to all devices of somebody."""
    content = {
        "sender": sender, "type": "org.example.forged", "message_id": f"m{next(_numbers)}",
        "messages": {target: {"*": {}}}, **more,
    }  # fmt: skip
    return {"edu_type": "m.direct_to_device", "content": content}


def signing_key(user_id: Any) -> dict[str, Any]:
    """Return that somebody signs with another key."""
    key = {"user_id": user_id, "usage": ["master"], "keys": {"ed25519:A": "A"}}
    return {"edu_type": "m.signing_key_update", "content": {"user_id": user_id, "master_key": key}}


def forged(shared: Shared) -> Iterator[dict[str, Any]]:
    """Yield what the peer may not say."""
    room, alice, guest = shared.room.room_id, shared.alice.user_id, shared.peer.user("guest")
    stranger, event = shared.peer.user("stranger"), shared.room.heads[0]
    for other in (alice, THIRD):
        yield typing(room, other)
        yield presence(other)
        yield receipt(room, other, event)
        yield device_update(other)
        yield to_device(other, alice)
        yield signing_key(other)
    yield typing(room, stranger)
    yield typing("!nothing:localhost:1", guest)
    yield receipt(room, stranger, event)
    yield receipt("!nothing:localhost:1", guest, event)
    yield receipt(room, guest, event, "m.read.private")
    yield receipt(room, guest, event, "m.fully_read")
    yield to_device(guest, THIRD)
    yield to_device(guest, f"@nobody:{shared.ours.name}")
    yield presence(guest, presence="everywhere")


def unreadable(shared: Shared) -> Iterator[Any]:
    """Yield what nobody can read: every field replaced by all that is not what belongs there."""
    room, alice, guest = shared.room.room_id, shared.alice.user_id, shared.peer.user("guest")
    good = [
        typing(room, guest), presence(guest), receipt(room, guest, shared.room.heads[0]), device_update(guest),
        to_device(guest, alice), signing_key(guest),
    ]  # fmt: skip
    for value in VALUES:
        yield value
        yield {"edu_type": value, "content": {}}
        for edu in good:
            yield {"edu_type": edu["edu_type"], "content": value}
            for name in edu["content"]:
                if name == "typing" or (edu["edu_type"], name) == ("m.direct_to_device", "type"):
                    continue
                yield {"edu_type": edu["edu_type"], "content": {**edu["content"], name: value}}
    yield {"edu_type": "m.typing"}
    yield {"content": {}}
    yield {"edu_type": "org.example.unknown", "content": {}}


async def test_nobody_speaks_for_others_in_edus(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer)
    for edu in forged(shared):
        assert (await peer.sends(ours.name, [], [edu]))[0] == 200, edu
    await check_nothing_came(shared)


async def test_edus_that_nobody_can_read_are_passed_over(ours: World, peer: Peer) -> None:
    shared = await Shared.of(ours, peer)
    edus = list(unreadable(shared))
    good = typing(shared.room.room_id, peer.user("guest"), now=False)
    for start in range(0, len(edus), 90):
        status, answer = await peer.sends(ours.name, [], [*edus[start : start + 90], good])
        assert status == 200 or (status, answer["errcode"]) == (400, "M_BAD_JSON"), answer
    ear = shared.ear
    await shared.still_talks()
    assert not ear.to_device or all(each["sender"] == peer.user("guest") for each in ear.to_device)
    assert {user for _, _, _, user, _ in ear.receipts} <= {peer.user("guest"), shared.alice.user_id}


async def check_nothing_came(shared: Shared) -> None:
    """Check that nobody was told anything, and that what is true is told."""
    ear, peer, guest = shared.ear, shared.peer, shared.peer.user("guest")
    room, event = shared.room.room_id, shared.room.heads[0]
    true = [
        typing(room, guest),
        presence(guest, status_msg="true"),
        receipt(room, guest, event),
        to_device(guest, shared.alice.user_id),
    ]
    assert (await peer.sends(shared.ours.name, [], true))[0] == 200
    await ear.until(lambda ear: ear.typing.get(room) and ear.receipts and ear.to_device and guest in ear.presence)
    assert ear.typing[room] == [guest]
    assert [(each[0], each[1], each[2], each[3]) for each in ear.receipts] == [(room, event, "m.read", guest)]
    assert [each["sender"] for each in ear.to_device] == [guest]
    assert ear.presence[guest]["status_msg"] == "true"
    assert set(ear.presence) <= {guest, shared.alice.user_id}
    assert ear.presence.get(shared.alice.user_id, {}).get("status_msg") is None
    assert shared.alice.user_id not in ear.changed_devices
    keys = ok(await shared.alice.post("/keys/query", {"device_keys": {shared.alice.user_id: []}}))
    assert "FORGED" not in str(keys)
    assert not keys.get("master_keys")
    own = ok(await shared.alice.get(f"/presence/{q(shared.alice.user_id)}/status"))
    assert "status_msg" not in own
    await shared.still_talks()
