"""People who chat with matrix-js-sdk, the client library of Element."""

import pytest

from tests.clients.conversation import Conversation
from tests.clients.js_person import JsError, JsPerson
from tests.support.process import ServerProcess
from tests.support.world import q

V3 = "/_matrix/client/v3"

ASKED_AT_A_START = [
    ("GET", "/_matrix/client/versions"),
    ("GET", f"{V3}/capabilities"),
    ("GET", f"{V3}/pushrules/"),
    ("POST", f"{V3}/user/@alice:hs1/filter"),
    ("GET", f"{V3}/sync"),
]
"""What the SDK cannot do without."""

ASKED_BY_ELEMENT = [
    ("GET", f"{V3}/voip/turnServer", None),
    ("GET", f"{V3}/thirdparty/protocols", None),
    ("GET", f"{V3}/devices", None),
    ("GET", f"{V3}/pushers", None),
    ("GET", f"{V3}/profile/@alice:hs1", None),
    ("GET", f"{V3}/user/@alice:hs1/account_data/m.cross_signing.master", None),
    ("GET", f"{V3}/room_keys/version", None),
    ("POST", f"{V3}/keys/query", {"device_keys": {}}),
    ("POST", f"{V3}/keys/upload", {}),
    ("GET", "/_matrix/client/v1/media/config", None),
    ("GET", "/_matrix/client/v1/auth_metadata", None),
    ("GET", "/_matrix/client/unstable/org.matrix.msc2965/auth_metadata", None),
    ("GET", "/_matrix/client/unstable/org.matrix.msc3814.v1/dehydrated_device", None),
    ("GET", "/_matrix/client/unstable/org.matrix.msc4143/rtc/transports", None),
]
"""What Element asks for besides, and can do without."""


@pytest.mark.asyncio(loop_scope="class")
class TestTwoWithTheJsSdk(Conversation):
    """Both have matrix-js-sdk."""

    alice_has = JsPerson
    bob_has = JsPerson

    async def test_a_start_is_answered(self, server: ServerProcess, alice: JsPerson) -> None:
        async with JsPerson.logs_in(server.base, "alice") as again:
            asked = {(one["method"], one["path"]): one for one in await again.asks("hasAsked")}
        for method, path in ASKED_AT_A_START:
            assert asked[method, q(path).replace("%2F", "/")]["status"] == 200
        others = [one for one in asked.values() if one["status"] != 200]
        assert {one["errcode"] for one in others} <= {"M_UNRECOGNIZED"}

    async def test_what_element_asks_for_is_answered_or_not_recognized(
        self, alice: JsPerson, bob: JsPerson, room_id: str
    ) -> None:
        for method, path, body in ASKED_BY_ELEMENT:
            assert await answered(alice, method, path, body) in {"yes", "M_UNRECOGNIZED", "M_NOT_FOUND"}, path
        event_id = await bob.says(room_id, "Are you still there?")
        await alice.until_message(room_id, event_id)

    async def test_a_thread_is_apart_from_the_room(self, alice: JsPerson, bob: JsPerson, room_id: str) -> None:
        root = await alice.says(room_id, "About the cups")
        await bob.until_message(room_id, root)
        reply = await bob.asks("saysInThread", room_id, root, "Which cups?")
        last = await bob.asks("saysInThread", room_id, root, "The blue ones?")

        thread = await alice.sees_until(
            lambda: alice.asks("seesThread", room_id, root),
            lambda thread: (thread["length"], thread["unread"]) == (2, 2) and len(thread["messages"]) == 3,
        )
        assert [message["id"] for message in thread["messages"]] == [root, reply, last]
        view = await alice.until(room_id, lambda view: view.unread == 2)
        assert [message.id for message in view.messages] == [root]

        await alice.asks("readsThread", room_id, last)
        await alice.sees_until(lambda: alice.asks("seesThread", room_id, root), lambda thread: thread["unread"] == 0)
        await alice.until(room_id, lambda view: view.unread == 0)

    async def test_members_are_loaded_when_the_room_is_opened(
        self, server: ServerProcess, alice: JsPerson, bob: JsPerson, room_id: str
    ) -> None:
        async with JsPerson.signs_up(server.base, "carol") as carol:
            await alice.invites(room_id, carol.user_id)
            await carol.until(room_id, lambda view: view.membership == "invite")
            await carol.joins(room_id)
            await alice.until(room_id, lambda view: view.members.get(carol.user_id) == "join")
        for number in range(21):
            await alice.says(room_id, f"crumb {number}")

        async with JsPerson.logs_in(server.base, "bob") as fresh:
            view = await fresh.until(room_id, lambda view: view.membership == "join")
            assert carol.user_id not in view.members
            await fresh.opens(room_id)
            await fresh.until(room_id, lambda view: view.members.get(carol.user_id) == "join")


async def answered(person: JsPerson, method: str, path: str, body: object) -> str | None:
    """Say "yes", or which error the SDK threw."""
    try:
        await person.asks("asksFor", method, path, body)
    except JsError as error:
        return error.errcode
    return "yes"
