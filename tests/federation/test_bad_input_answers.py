"""A peer that does not answer as it should, whatever it is asked for: whoever asked gets a standard error, soon, and it
costs a bounded amount."""

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any

import pytest

from federation.matrix.requests import Requests
from tests.support import lies
from tests.support.certificates import Authority
from tests.support.pair import federating
from tests.support.peer import Peer
from tests.support.world import User, World, ok, q

BYTES = 64 * lies.MIB
"""What an answer may cost, with all that is on its way when it is cut off."""
PATIENCE_SECONDS = 60
LONGEST_SECONDS = 300
HURRY = 60


@pytest.fixture
def database_url(tmp_path: Path) -> str:
    """SQLite: nothing here depends on which database it is."""
    return f"sqlite:///{tmp_path}/isthmus.db"


Answer = tuple[int, Any]
Ask = Callable[[User, Peer, int], Awaitable[Answer]]

ASKED: Mapping[str, Ask] = {
    "query_profile": lambda user, peer, n: user.get(f"/profile/{q(peer.user(f'somebody{n}'))}"),
    "query_directory": lambda user, peer, n: user.get(f"/directory/room/{q(f'#room{n}:{peer.name}')}"),
    "public_rooms": lambda user, peer, n: user.post(
        "/publicRooms", {"filter": {"generic_search_term": str(n)}}, server=peer.name
    ),
    "hierarchy": lambda user, peer, n: user.get(
        f"/_matrix/client/v1/room_summary/{q(f'!room{n}:{peer.name}')}", via=peer.name
    ),
    "media_download": lambda user, peer, n: user.get(f"/_matrix/client/v1/media/download/{peer.name}/file{n}"),
    "media_thumbnail": lambda user, peer, n: user.get(
        f"/_matrix/client/v1/media/thumbnail/{peer.name}/file{n}", width=32, height=32
    ),
    "make_knock": lambda user, peer, n: user.post(f"/knock/{q(f'!room{n}:{peer.name}')}", via=peer.name),
}
"""What lets our server ask another, by ability; each time for something else, so that no cache answers."""

KEYS: Mapping[str, Ask] = {
    "query_keys": lambda user, peer, n: user.post("/keys/query", {"device_keys": {peer.user(f"somebody{n}"): []}}),
    "claim_keys": lambda user, peer, n: user.post(
        "/keys/claim", {"one_time_keys": {peer.user(f"somebody{n}"): {"DEVICE": "signed_curve25519"}}}
    ),
}
"""The same, where the answer is 200 and names the server under `failures`."""


def check(ability: str, what: str, answer: Answer) -> None:
    """Check that somebody was told that it did not work."""
    status, body = answer
    if ability in KEYS:
        assert status == 200, (ability, what, answer)
        assert body["failures"] or not any(body.get(name) for name in ("device_keys", "one_time_keys")), (what, body)
        return
    assert 400 <= status < 600, (ability, what, answer)
    assert status != 500, (ability, what, answer)
    assert body["errcode"].startswith("M_"), (ability, what, answer)


@pytest.mark.parametrize("ability", [*ASKED, *KEYS])
async def test_who_asked_is_told_that_there_is_no_answer(ours: World, peer: Peer, ability: str) -> None:
    alice = await ours.user("alice")
    ask = {**ASKED, **KEYS}[ability]
    for number, (what, lie) in enumerate(lies.BROKEN.items()):
        if ability.startswith("media") and what in ("never ends", "bomb"):
            continue  # As below.
        peer.poured = 0
        peer.instead[ability] = lie
        started = time.monotonic()
        answer = await ask(alice, peer, number)
        assert time.monotonic() - started < PATIENCE_SECONDS, what
        if (ability, what) not in LAWFUL:
            check(ability, what, answer)
        assert peer.poured < BYTES, what
    assert ok(await alice.get("/account/whoami"))


LAWFUL = {("query_profile", "an odd status"), ("public_rooms", "an odd status")}
"""An empty object is an answer, and 299 a success."""


async def test_files_without_end_are_cut_off(ours: World, peer: Peer) -> None:
    alice = await ours.user("alice")
    limit = ours.app.config.media.max_upload_bytes
    for number, what in enumerate(("never ends", "bomb")):
        peer.poured = 0
        peer.instead["media_download"] = lies.BROKEN[what]
        check("media_download", what, await ASKED["media_download"](alice, peer, number))
        assert peer.poured < limit + BYTES, what


async def test_who_says_nothing_is_not_waited_for_endlessly(
    ours: World, peer: Peer, monkeypatch: pytest.MonkeyPatch
) -> None:
    granted: list[float] = []
    sent = Requests._sent

    def hurried(self: Requests, destination: Any, request: Any, seconds: float) -> Any:
        granted.append(seconds)
        return sent(self, destination, request, seconds / HURRY)

    # The limits are minutes for what takes long; here all run faster, and at the same time.
    monkeypatch.setattr(Requests, "_sent", hurried)
    alice = await ours.user("alice")
    asked = {**ASKED, **KEYS}
    for number, lie in enumerate(lies.ENDLESS.values()):
        peer.instead |= dict.fromkeys(asked, lie)
        started = time.monotonic()
        answers = await asyncio.gather(*(ask(alice, peer, number) for ask in asked.values()))
        for ability, answer in zip(asked, answers, strict=True):
            check(ability, str(number), answer)
        assert time.monotonic() - started < PATIENCE_SECONDS
    assert len(granted) > len(asked)
    assert max(granted) <= LONGEST_SECONDS


async def test_nobody_on_a_private_network_is_asked_unless_that_is_allowed(
    authority: Authority, tmp_path: Path, peer: Peer
) -> None:
    async with federating(authority, tmp_path / "strict", OUTGOING__ALLOW_PRIVATE_ADDRESSES="false") as world:
        alice = await world.user("alice")
        for ability, ask in ASKED.items():
            check(ability, "private", await ask(alice, peer, 0))
        for ability, ask in KEYS.items():
            check(ability, "private", await ask(alice, peer, 0))
        assert (await peer.sends(world.name, []))[0] == 401, "its keys cannot be fetched"
    assert peer.asked == []


async def test_a_redirect_leads_nowhere(ours: World, peer: Peer, authority: Authority) -> None:
    alice = await ours.user("alice")
    async with Peer.start(authority) as other:
        for status in (301, 302, 303, 307, 308):
            lie = lies.redirects(f"https://{other.name}/_matrix/federation/v1/query/profile", status)
            peer.instead |= dict.fromkeys(ASKED, lie)
            for ability, ask in ASKED.items():
                check(ability, str(status), await ask(alice, peer, status))
        assert other.asked == []
