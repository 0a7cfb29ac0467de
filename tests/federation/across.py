"""What people on two homeservers do together; whoever asks for it says which two."""

import itertools
from dataclasses import dataclass
from typing import Any

import pytest

from tests.support.ear import Ear
from tests.support.media import encoded, picture
from tests.support.waiting import asking
from tests.support.world import Site, User, ok, q

VERSIONS = ("6", "9", "10", "11", "12")
_numbers = itertools.count(1)


@dataclass(slots=True)
class Sides:
    """Rooms are created at home, and joined from away."""

    home: Site
    away: Site

    async def two(self) -> tuple[User, User]:
        """Make a user on either side: alice at home, bob away."""
        number = next(_numbers)
        return await self.home.user(f"alice{number}"), await self.away.user(f"bob{number}")


async def joins(user: User, room_id: str, via: str) -> None:
    """Join a room by way of a server."""
    ok(await user.post(f"/join/{q(room_id)}", via=via))


async def state_of(user: User, room_id: str) -> dict[tuple[str, str], str]:
    """Return a room's state as its member's server has it."""
    return {
        (event["type"], event["state_key"]): event["event_id"]
        for event in ok(await user.get(f"/rooms/{q(room_id)}/state"))
    }


async def agree(room_id: str, *users: User) -> dict[tuple[str, str], str]:
    """Wait until all servers have the same state; return it."""

    async def states() -> list[dict[tuple[str, str], str]]:
        return [await state_of(user, room_id) for user in users]

    return (await asking(states, lambda found: all(state == found[0] for state in found)))[0]


async def member(user: User, room_id: str, of: str) -> dict[str, Any]:
    """Return the content of somebody's membership."""
    content: dict[str, Any] = ok(await user.get(f"/rooms/{q(room_id)}/state/m.room.member/{q(of)}"))
    return content


async def invites(user: User, room_id: str, other: User) -> None:
    """Invite somebody."""
    ok(await user.post(f"/rooms/{q(room_id)}/invite", {"user_id": other.user_id}))


async def does(user: User, room_id: str, what: str, target: User | None = None) -> None:
    """Leave, or kick, ban or unban somebody."""
    body = {"user_id": target.user_id, "reason": "because"} if target is not None else {}
    ok(await user.post(f"/rooms/{q(room_id)}/{what}", body))


async def gives_level(user: User, room_id: str, level: int, *others: User) -> None:
    """Give people a power level."""
    content = ok(await user.get(f"/rooms/{q(room_id)}/state/m.room.power_levels/"))
    content["users"] = {**content.get("users", {}), **{other.user_id: level for other in others}}
    await user.sets(room_id, "m.room.power_levels", content)


async def reads_back(user: User, room_id: str, page: int = 20) -> list[str]:
    """Return all texts of a room by paging back from now, oldest first."""
    texts: list[str] = []
    query: dict[str, Any] = {"dir": "b", "limit": page}
    for _ in range(100):
        answer = ok(await user.get(f"/rooms/{q(room_id)}/messages", **query))
        texts += [event["content"].get("body", "") for event in answer["chunk"] if event["type"] == "m.room.message"]
        if "end" not in answer:
            break
        query["from"] = answer["end"]
    return texts[::-1]


class AcrossServers:
    """Tests for any two servers, which the fixture `sides` gives."""

    @pytest.mark.parametrize("version", VERSIONS)
    async def test_people_meet_in_a_public_room_and_talk(self, sides: Sides, version: str) -> None:
        alice, bob = await sides.two()
        room = await alice.creates_room(preset="public_chat", room_version=version, name="Meeting")
        await joins(bob, room, sides.home.name)
        hers, his = await Ear.of(alice), await Ear.of(bob)
        assert (await member(alice, room, bob.user_id))["membership"] == "join"
        assert ok(await bob.get(f"/rooms/{q(room)}/state/m.room.name/"))["name"] == "Meeting"

        question = await alice.says(room, "how are you?")
        assert (await his.hears(room, question))["content"]["body"] == "how are you?"
        answer = await bob.says(room, "fein")
        await hers.hears(room, answer)

        # An edit, a reaction and redactions.
        relation = {"m.relates_to": {"rel_type": "m.replace", "event_id": answer}}
        new = {"m.new_content": {"msgtype": "m.text", "body": "fine"}}
        edit = await bob.says(room, "* fine", **relation, **new)
        assert (await hers.hears(room, edit))["content"]["m.new_content"]["body"] == "fine"
        reaction = await alice.sends(
            room, "m.reaction", {"m.relates_to": {"rel_type": "m.annotation", "event_id": answer, "key": "+1"}}
        )
        await his.hears(room, reaction)
        for who, other_ear, other, event_id in (
            (alice, his, bob, question),
            (bob, hers, alice, edit),
            (alice, his, bob, answer),
        ):
            await other_ear.hears(room, await who.redacts(room, event_id))
            shown = ok(await other.get(f"/rooms/{q(room)}/event/{q(event_id)}"))
            assert "body" not in shown["content"]

        # State from both sides.
        await gives_level(alice, room, 50, bob)
        await asking(lambda: bob.put(f"/rooms/{q(room)}/state/m.room.topic/", {"topic": "his"}), lambda a: a[0] == 200)
        await hers.hears(room, await alice.sets(room, "m.room.name", {"name": "hers"}))
        await his.hears(room, (await state_of(alice, room))["m.room.name", ""])
        state = await agree(room, alice, bob)
        assert ("m.room.topic", "") in state
        assert his.messages(room)[:1] == ["how are you?"]

    @pytest.mark.parametrize("version", VERSIONS)
    async def test_memberships_cross(self, sides: Sides, version: str) -> None:
        alice, bob = await sides.two()
        room = await alice.creates_room(preset="private_chat", room_version=version, name="Private")
        hers, his = await Ear.of(alice), await Ear.of(bob)

        # An invite is shown with what the room is called, and refused.
        await invites(alice, room, bob)
        await his.is_now(room, "invite")
        shown = {(event["type"], event.get("state_key")): event for event in his.told[room]}
        assert shown["m.room.name", ""]["content"] == {"name": "Private"}
        assert shown["m.room.member", bob.user_id]["sender"] == alice.user_id
        await does(bob, room, "leave")
        await his.is_now(room, "leave")
        await asking(lambda: member(alice, room, bob.user_id), lambda content: content["membership"] == "leave")

        # Another is taken back.
        await invites(alice, room, bob)
        await his.is_now(room, "invite")
        await does(alice, room, "kick", bob)
        await his.is_now(room, "leave")

        # The next is taken, without a word of where the room is.
        await invites(alice, room, bob)
        await his.is_now(room, "invite")
        ok(await bob.post(f"/join/{q(room)}"))
        await hers.until(
            lambda ear: any(
                event.get("state_key") == bob.user_id and event["content"]["membership"] == "join"
                for event in ear.timelines[room]
            )
        )
        await agree(room, alice, bob)

        # Leave, and come back.
        await his.is_now(room, "join")
        await does(bob, room, "leave")
        await his.is_now(room, "leave")
        await asking(lambda: member(alice, room, bob.user_id), lambda content: content["membership"] == "leave")
        while_away = await alice.says(room, "while you were away")
        await invites(alice, room, bob)
        await his.is_now(room, "invite")
        await joins(bob, room, sides.home.name)
        await his.is_now(room, "join")
        await his.hears(room, await alice.says(room, "welcome back"))
        await agree(room, alice, bob)
        assert while_away

        # Kicked, invited, and back.
        await does(alice, room, "kick", bob)
        await his.is_now(room, "leave")
        assert (await bob.put(f"/rooms/{q(room)}/send/m.room.message/1", {"msgtype": "m.text", "body": "x"}))[0] == 403
        await invites(alice, room, bob)
        await his.is_now(room, "invite")
        await joins(bob, room, sides.home.name)
        await his.is_now(room, "join")

        # Banned: no way in until it is lifted.
        await does(alice, room, "ban", bob)
        await his.is_now(room, "leave")
        assert (await bob.post(f"/join/{q(room)}", via=sides.home.name))[0] == 403
        await does(alice, room, "unban", bob)
        await invites(alice, room, bob)
        await his.is_now(room, "invite")
        await joins(bob, room, sides.home.name)
        await his.hears(room, await alice.says(room, "peace"))
        await hers.hears(room, await bob.says(room, "peace"))
        await agree(room, alice, bob)

    @pytest.mark.parametrize("version", VERSIONS[1:])
    async def test_somebody_knocks_and_is_let_in(self, sides: Sides, version: str) -> None:
        alice, bob = await sides.two()
        room = await alice.creates_room(
            preset="private_chat", room_version=version, name="Closed",
            initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}],
        )  # fmt: skip
        hers, his = await Ear.of(alice), await Ear.of(bob)
        assert (await bob.post(f"/join/{q(room)}", via=sides.home.name))[0] == 403

        def knocking(ear: Ear) -> list[dict[str, Any]]:
            return [
                event
                for event in ear.timelines[room]
                if event.get("state_key") == bob.user_id and event["content"]["membership"] == "knock"
            ]

        ok(await bob.post(f"/knock/{q(room)}", {"reason": "let me in"}, via=sides.home.name))
        (event,) = await hers.until(knocking)
        assert event["content"]["reason"] == "let me in"
        await his.is_now(room, "knock")
        assert any(event["content"].get("name") == "Closed" for event in his.told[room])

        await invites(alice, room, bob)
        await his.is_now(room, "invite")
        await joins(bob, room, sides.home.name)
        await hers.hears(room, await bob.says(room, "thanks"))
        await agree(room, alice, bob)

    @pytest.mark.parametrize("version", VERSIONS[1:])
    async def test_members_of_one_room_may_join_another(self, sides: Sides, version: str) -> None:
        alice, bob = await sides.two()
        club = await alice.creates_room(preset="public_chat", room_version=version)
        rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
        room = await alice.creates_room(
            preset="private_chat", room_version=version,
            initial_state=[{"type": "m.room.join_rules", "state_key": "", "content": rule}],
        )  # fmt: skip
        hers = await Ear.of(alice)
        assert (await bob.post(f"/join/{q(room)}", via=sides.home.name))[0] == 403

        await joins(bob, club, sides.home.name)
        await joins(bob, room, sides.home.name)
        assert (await member(alice, room, bob.user_id))["join_authorised_via_users_server"] == alice.user_id
        await hers.hears(room, await bob.says(room, "in"))
        await agree(room, alice, bob)

    @pytest.mark.parametrize("version", VERSIONS)
    async def test_history_from_before_the_join_is_read(self, sides: Sides, version: str) -> None:
        alice, bob = await sides.two()
        room = await alice.creates_room(preset="public_chat", room_version=version)
        said = [f"message {number}" for number in range(45)]
        for text in said:
            await alice.says(room, text)
        await joins(bob, room, sides.home.name)
        his = await Ear.of(bob)
        await his.hears(room, await alice.says(room, "after"))
        assert await asking(lambda: reads_back(bob, room), lambda texts: len(texts) >= 46) == [*said, "after"]

    async def test_who_types_has_read_and_is_there_is_told(self, sides: Sides) -> None:
        alice, bob = await sides.two()
        room = await alice.creates_room(preset="public_chat")
        await joins(bob, room, sides.home.name)
        hers, his = await Ear.of(alice), await Ear.of(bob)
        for who, ear, other, other_ear in ((alice, hers, bob, his), (bob, his, alice, hers)):
            typing = f"/rooms/{q(room)}/typing/{q(who.user_id)}"
            ok(await who.put(typing, {"typing": True, "timeout": 20000}))
            await other_ear.until(lambda ear, who=who: ear.typing.get(room) == [who.user_id])
            ok(await who.put(typing, {"typing": False}))
            await other_ear.until(lambda ear: ear.typing.get(room) == [])

            first, root = await other.says(room, "read this"), await other.says(room, "a root")
            relation = {"m.relates_to": {"rel_type": "m.thread", "event_id": root}}
            threaded = await other.says(room, "in a thread", **relation)
            await ear.hears(room, threaded)
            ok(await who.post(f"/rooms/{q(room)}/receipt/m.read.private/{q(first)}", {}))
            ok(await who.post(f"/rooms/{q(room)}/receipt/m.read/{q(root)}", {}))
            ok(await who.post(f"/rooms/{q(room)}/receipt/m.read/{q(threaded)}", {"thread_id": root}))

            def receipts(ear: Ear, who: User = who) -> dict[tuple[str, Any], str]:
                return {
                    (event_id, content.get("thread_id")): kind
                    for _, event_id, kind, user, content in ear.receipts
                    if user == who.user_id
                }

            wanted = {(root, None): "m.read", (threaded, root): "m.read"}
            await other_ear.until(lambda ear, wanted=wanted: wanted.items() <= receipts(ear).items())
            assert "m.read.private" not in receipts(other_ear).values()

            ok(await who.put(f"/presence/{q(who.user_id)}/status", {"presence": "unavailable", "status_msg": "tea"}))
            await other_ear.until(lambda ear, who=who: ear.presence.get(who.user_id, {}).get("status_msg") == "tea")

    async def test_profiles_are_asked_for_and_told(self, sides: Sides) -> None:
        alice, bob = await sides.two()
        avatar = await uploads(alice, encoded(picture(20, 20)), "image/png")
        ok(await alice.put(f"/profile/{q(alice.user_id)}/displayname", {"displayname": "Alice A."}))
        ok(await alice.put(f"/profile/{q(alice.user_id)}/avatar_url", {"avatar_url": avatar}))
        profile = ok(await bob.get(f"/profile/{q(alice.user_id)}"))
        assert (profile["displayname"], profile["avatar_url"]) == ("Alice A.", avatar)
        assert ok(await bob.get(f"/profile/{q(alice.user_id)}/displayname")) == {"displayname": "Alice A."}
        nobody = f"@nobody:{sides.home.name}"
        assert (await bob.get(f"/profile/{q(nobody)}"))[0] == 404

        room = await alice.creates_room(preset="public_chat")
        await joins(bob, room, sides.home.name)
        ok(await bob.put(f"/profile/{q(bob.user_id)}/displayname", {"displayname": "Bob B."}))
        await asking(lambda: member(alice, room, bob.user_id), lambda content: content.get("displayname") == "Bob B.")

    async def test_aliases_and_public_rooms_of_the_other_side_are_found(self, sides: Sides) -> None:
        alice, bob = await sides.two()
        name = f"room{next(_numbers)}"
        alias = f"#{name}:{sides.home.name}"
        room = await alice.creates_room(
            preset="public_chat", room_alias_name=name, visibility="public", name=f"Published {name}", topic="for all"
        )
        found = ok(await bob.get(f"/directory/room/{q(alias)}"))
        assert found["room_id"] == room
        assert sides.home.name in found["servers"]
        assert (await bob.get(f"/directory/room/{q(f'#none:{sides.home.name}')}"))[0] == 404

        listed = ok(await bob.get("/publicRooms", server=sides.home.name))
        (entry,) = [entry for entry in listed["chunk"] if entry["room_id"] == room]
        assert (entry["name"], entry["canonical_alias"]) == (f"Published {name}", alias)
        searched = ok(await bob.post("/publicRooms", {"filter": {"generic_search_term": name}}, server=sides.home.name))
        assert [entry["room_id"] for entry in searched["chunk"]] == [room]

        assert ok(await bob.post(f"/join/{q(alias)}"))["room_id"] == room
        await agree(room, alice, bob)

    async def test_files_of_the_other_side_are_shown(self, sides: Sides) -> None:
        alice, bob = await sides.two()
        for who, other in ((alice, bob), (bob, alice)):
            image = encoded(picture(200, 100))
            path = (await uploads(who, image, "image/png")).removeprefix("mxc://")
            assert await other.get(f"/_matrix/client/v1/media/download/{path}") == (200, image)
            status, small = await other.get(
                f"/_matrix/client/v1/media/thumbnail/{path}", width=32, height=32, method="scale"
            )
            assert status == 200
            assert small.startswith((b"\x89PNG", b"\xff\xd8"))
        nothing = f"/_matrix/client/v1/media/download/{sides.home.name}/nothing"
        assert (await bob.get(nothing))[0] == 404

    async def test_spaces_are_looked_into(self, sides: Sides) -> None:
        alice, bob = await sides.two()
        space = await alice.creates_room(preset="public_chat", creation_content={"type": "m.space"})
        child = await alice.creates_room(preset="public_chat", name="Child")
        await alice.sets(space, "m.space.child", {"via": [sides.home.name]}, child)
        await joins(bob, space, sides.home.name)
        answer = ok(await bob.get(f"/_matrix/client/v1/rooms/{q(space)}/hierarchy"))
        assert {entry["room_id"]: entry.get("name") for entry in answer["rooms"]} == {space: None, child: "Child"}

    async def test_devices_find_each_other_and_exchange_messages(self, sides: Sides) -> None:
        alice, bob = await sides.two()
        room = await alice.creates_room(preset="public_chat")
        await joins(bob, room, sides.home.name)
        hers, his = await Ear.of(alice), await Ear.of(bob)
        for who, other, other_ear in ((alice, bob, his), (bob, alice, hers)):
            keys = device_keys(who)
            other_ear.changed_devices.clear()
            ok(await who.post("/keys/upload", {"device_keys": keys, "one_time_keys": {"curve25519:A": "aGVsbG8"}}))
            await other_ear.until(lambda ear, who=who: who.user_id in ear.changed_devices)
            found = ok(await other.post("/keys/query", {"device_keys": {who.user_id: []}}))
            shown = found["device_keys"][who.user_id][who.device_id]
            assert {name: shown[name] for name in keys} == keys
            claim = {"one_time_keys": {who.user_id: {who.device_id: "curve25519"}}}
            claimed = ok(await other.post("/keys/claim", claim))["one_time_keys"]
            assert claimed == {who.user_id: {who.device_id: {"curve25519:A": "aGVsbG8"}}}

            body = {"messages": {other.user_id: {other.device_id: {"secret": who.user_id}}}}
            ok(await who.put(f"/sendToDevice/org.example.secret/{next(_numbers)}", body))
            await other_ear.until(lambda ear: ear.to_device)
            assert other_ear.to_device == [
                {"type": "org.example.secret", "sender": who.user_id, "content": {"secret": who.user_id}}
            ]


async def uploads(user: User, data: bytes, content_type: str) -> str:
    """Upload a file; return its content URI."""
    answer = await user.world.request(
        "POST", "/_matrix/media/v3/upload", raw=data, token=user.token, headers={"Content-Type": content_type}
    )
    return str(ok(answer)["content_uri"])


def device_keys(user: User) -> dict[str, Any]:
    """Return the keys of a device, which nobody here verifies."""
    return {
        "user_id": user.user_id, "device_id": user.device_id, "algorithms": ["m.olm.v1.curve25519-aes-sha2"],
        "keys": {f"curve25519:{user.device_id}": "Y3VydmU", f"ed25519:{user.device_id}": "ZWQ"},
        "signatures": {user.user_id: {f"ed25519:{user.device_id}": "c2ln"}},
    }  # fmt: skip
