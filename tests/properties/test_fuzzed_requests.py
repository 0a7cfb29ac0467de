"""Random requests to random endpoints, by somebody who is logged in and has a room: no fault of ours comes of it.

`ISTHMUS_TEST_FUZZ_EXAMPLES` says how many are tried where 200 are not enough.
"""

import asyncio
import os
import tempfile
from collections.abc import Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from homeserver.http.routing import Endpoint
from tests.conftest import DATABASES, POSTGRES
from tests.support.hostile import ENDPOINTS, PATH_VALUES, QUERY_VALUES, VALUES, Attacker
from tests.support.world import World, fresh_postgres_database, q

EXAMPLES = int(os.environ.get("ISTHMUS_TEST_FUZZ_EXAMPLES", "200"))

# Names that the server looks for; with random ones alone nothing would get past the first check.
NAMES = (
    "membership", "users", "events", "m.relates_to", "rel_type", "event_id", "key", "type", "state_key", "content",
    "room_id", "user_id", "invite", "preset", "visibility", "room_version", "initial_state", "creation_content",
    "power_level_content_override", "room_alias_name", "auth", "session", "identifier", "password", "messages",
    "devices",
    "actions", "conditions", "pattern", "enabled", "room", "timeline", "limit", "types", "order", "typing", "timeout",
    "presence", "m.read", "m.fully_read", "thread_id", "redacts", "displayname", "search_term", "filter", "new_version",
)  # fmt: skip

texts = st.text(max_size=12) | st.sampled_from(
    ["m.room.member", "join", "invite", "m.login.password", "m.thread", "@alice:hs1", "public_chat", "12", "1", "\0"]
)
names = st.sampled_from(NAMES) | st.text(max_size=6)
scalars = (
    st.none() | st.booleans() | st.integers(-(2**53) + 1, 2**53 - 1) | st.floats(allow_nan=False, allow_infinity=False)
    | texts | st.sampled_from(VALUES)
)  # fmt: skip
values = st.recursive(
    scalars, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=4), max_leaves=10
)
encoded = st.sampled_from([*PATH_VALUES, *QUERY_VALUES]) | st.text(st.characters(exclude_categories=["Cs"])).map(q)


@st.composite
def requests(draw: st.DrawFn) -> tuple[Endpoint, dict[str, str], str, bytes | None]:
    """A request: the endpoint, what stands in its path and query, and its body."""
    # What logs the attacker out ends the game.
    endpoint = draw(st.sampled_from([each for each in ENDPOINTS if "/logout" not in each.path]))
    path = {name: draw(encoded) for name in endpoint.names if draw(st.integers(0, 3)) == 0}
    kind = endpoint.query
    fields = [each.encode_name for each in msgspec.structs.fields(kind)] if kind is not None else ["x"]
    query = "&".join(f"{name}={draw(encoded)}" for name in fields if draw(st.booleans()))
    body = None
    if endpoint.body is not None and draw(st.integers(0, 9)) > 0:
        wanted = _fields(endpoint.body)
        content: dict[str, Any] = {name: draw(values) for name in wanted if draw(st.booleans())}
        body = msgspec.json.encode(content | draw(st.dictionaries(names, values, max_size=3)))
    elif endpoint.body is not None:
        body = draw(st.binary(max_size=40))
    return endpoint, path, query, body


def _fields(kind: Any) -> list[str]:
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        return [each.encode_name for each in msgspec.structs.fields(kind)]
    return []


class Game:
    """A server that lives as long as the test, for Hypothesis calls a plain function many times."""

    def __init__(self, kind: str) -> None:
        self.loop = asyncio.new_event_loop()
        self.stack = AsyncExitStack()
        self.attacker = self.loop.run_until_complete(self._start(kind))

    async def _start(self, kind: str) -> Attacker:
        directory = Path(self.stack.enter_context(tempfile.TemporaryDirectory()))
        url = f"sqlite:///{directory}/isthmus.db"
        if kind == "postgresql":
            url = await self.stack.enter_async_context(fresh_postgres_database(POSTGRES))
        world = await self.stack.enter_async_context(World.start(url, directory))
        return await Attacker.prepare(world)

    async def play(self, asked: list[tuple[Endpoint, dict[str, str], str, bytes | None]]) -> None:
        for endpoint, path, query, body in asked:
            await self.attacker.send(endpoint, path=self.attacker.path(endpoint, **path), query=query, raw=body)
        user = self.attacker.user
        assert (await user.get("/account/whoami"))[0] == 200
        user.since = None
        await user.syncs()

    def end(self) -> None:
        self.loop.run_until_complete(self.stack.aclose())
        self.loop.close()


@pytest.fixture(params=DATABASES)
def game(request: pytest.FixtureRequest) -> Iterator[Game]:
    started = Game(request.param)
    yield started
    started.end()


@pytest.mark.timeout(0 if EXAMPLES > 200 else 120)
def test_random_requests_do_no_harm(game: Game) -> None:
    @settings(max_examples=EXAMPLES, deadline=None, suppress_health_check=list(HealthCheck))
    @given(st.lists(requests(), min_size=1, max_size=5))
    @example([(ENDPOINTS[0], {}, "", None)])
    def play(asked: list[tuple[Endpoint, dict[str, str], str, bytes | None]]) -> None:
        game.loop.run_until_complete(game.play(asked))

    play()
