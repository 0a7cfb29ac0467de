"""Files, both ways, and that a link to one ends with its message."""

from typing import Any

import pytest

from tests.support.doors import OOB_URL, RETRACT, Meeting, People
from tests.support.world import ok
from tests.xmpp.test_uploads import put, slot

CONTENT = b"\x89PNG\r\n\x1a\n and so on"
KINDS = [
    ("image/png", "m.image", "cat.png"), ("video/mp4", "m.video", "cat.mp4"), ("audio/ogg", "m.audio", "purr.ogg"),
    ("application/pdf", "m.file", "cats.pdf"),
]  # fmt: skip


def path_of(url: str) -> str:
    """Return where a link leads on this server."""
    assert url.startswith("https://hs1/")
    return url.removeprefix("https://hs1")


@pytest.mark.asyncio(loop_scope="package")
class TestFiles:
    """In chats of two and in rooms alike."""

    @pytest.mark.parametrize(("content_type", "kind", "name"), KINDS, ids=[kind for _, kind, _ in KINDS])
    async def test_a_file_by_xmpp_is_one_of_its_kind_in_matrix(
        self, meeting: Meeting, content_type: str, kind: str, name: str
    ) -> None:
        people = meeting.people
        put_url, url = await slot(people.alice, name, len(CONTENT), content_type)
        assert (await put(people.world, put_url, CONTENT))[0] == 201
        meeting.alice_says(url, f"<x xmlns='jabber:x:oob'><url>{url}</url></x>")
        content = (await people.bob.message(meeting.room_id, lambda one: one["msgtype"] == kind))["content"]
        assert (content["body"], content["info"]) == (name, {"mimetype": content_type, "size": len(CONTENT)})
        path = f"/_matrix/client/v1/media/download/{content['url'].removeprefix('mxc://')}"
        assert ok(await people.bob.user.get(path)) == CONTENT

    @pytest.mark.parametrize(
        ("content_type", "kind", "name"), [*KINDS, ("image/png", "m.sticker", "sticker.png")],
        ids=[*[kind for _, kind, _ in KINDS], "m.sticker"],
    )  # fmt: skip
    async def test_a_file_by_matrix_is_a_link_and_nothing_else(
        self, meeting: Meeting, content_type: str, kind: str, name: str
    ) -> None:
        people = meeting.people
        uri = await people.uploads(CONTENT, content_type)
        content: dict[str, Any] = {"body": name, "url": uri, "info": {"mimetype": content_type}}
        if kind == "m.sticker":
            await people.bob.user.sends(meeting.room_id, kind, content)
        else:
            await people.bob.user.sends(meeting.room_id, "m.room.message", {"msgtype": kind, **content})
        told = await meeting.alice_gets(lambda one: one.xml.find(OOB_URL) is not None)
        assert told["body"] == told.xml.findtext(OOB_URL)
        assert told["body"].endswith(f"/{name}")
        assert await people.world.request("GET", path_of(told["body"])) == (200, CONTENT)

    async def test_with_what_was_said_of_it_a_file_is_a_link_below_that(self, meeting: Meeting) -> None:
        people = meeting.people
        content = {"msgtype": "m.image", "body": "my cat", "filename": "cat.png"}
        content["url"] = await people.uploads(CONTENT, "image/png")
        await people.bob.user.sends(meeting.room_id, "m.room.message", content)
        told = await meeting.alice_gets(lambda one: one.xml.find(OOB_URL) is not None)
        assert told["body"] == f"my cat\n{told.xml.findtext(OOB_URL)}"

    async def test_a_link_by_matrix_ends_with_its_message(self, meeting: Meeting) -> None:
        people = meeting.people
        content = {"msgtype": "m.image", "body": "cat.png", "url": await people.uploads(CONTENT, "image/png")}
        links = {}
        for name in ("first", "second"):
            event_id = await people.bob.user.sends(meeting.room_id, "m.room.message", {**content, "body": name})
            links[event_id] = path_of((await meeting.alice_gets(lambda one: one.xml.find(OOB_URL) is not None))["body"])
        first, second = links
        assert links[first] != links[second]
        # Whoever has one link has no other.
        assert (await people.world.request("GET", links[first].replace("/first", "x/first")))[0] == 404
        await people.bob.user.redacts(meeting.room_id, first)
        assert (await people.world.request("GET", links[first]))[0] == 404
        assert await people.world.request("GET", links[second]) == (200, CONTENT)

    async def test_a_link_by_xmpp_ends_with_its_message(self, meeting: Meeting) -> None:
        people = meeting.people
        put_url, url = await slot(people.alice, "cat.png", len(CONTENT))
        assert (await put(people.world, put_url, CONTENT))[0] == 201
        meeting.alice_says(url, f"<x xmlns='jabber:x:oob'><url>{url}</url></x>", id_="the upload")
        event = await people.bob.message(meeting.room_id, lambda one: one["msgtype"] == "m.image")
        # Passed on, it is another message with a life of its own.
        again = meeting.alice_says(url, f"<x xmlns='jabber:x:oob'><url>{url}</url></x>")
        forwarded = await people.bob.message(meeting.room_id, lambda one: one["msgtype"] == "m.image")
        assert await people.world.request("GET", path_of(url)) == (200, CONTENT)
        target = meeting.named("the upload", event["event_id"])
        meeting.alice_says("", f"<retract xmlns='urn:xmpp:message-retract:1' id='{target}'/>")
        await people.bob.event(meeting.room_id, lambda one: one["type"] == "m.room.redaction")
        assert await people.world.request("GET", path_of(url)) == (200, CONTENT)
        target = meeting.named(again, forwarded["event_id"])
        meeting.alice_says("", f"<retract xmlns='urn:xmpp:message-retract:1' id='{target}'/>")
        await people.bob.event(meeting.room_id, lambda one: one["type"] == "m.room.redaction")
        assert (await people.world.request("GET", path_of(url)))[0] == 404
        meeting.alice_says(url, f"<x xmlns='jabber:x:oob'><url>{url}</url></x>")
        assert (await meeting.bob_hears(url))["content"]["msgtype"] == "m.text"

    async def test_a_file_answers_a_message(self, meeting: Meeting) -> None:
        people = meeting.people
        stanza_id, event_id = await meeting.both_have("how does it look?")
        content = {
            "msgtype": "m.image", "body": "cat.png", "url": await people.uploads(CONTENT, "image/png"),
            "m.relates_to": {"m.in_reply_to": {"event_id": event_id}},
        }  # fmt: skip
        await people.bob.user.sends(meeting.room_id, "m.room.message", content)
        told = await meeting.alice_gets(lambda one: one.xml.find(OOB_URL) is not None)
        reply = told.xml.find("{urn:xmpp:reply:0}reply")
        assert reply is not None
        assert reply.get("id") == meeting.named(stanza_id, event_id)
        assert told["body"] == told.xml.findtext(OOB_URL)

    async def test_a_link_to_somewhere_else_stays_a_link(self, people: People) -> None:
        chat = await people.chat()
        for body in ("https://elsewhere.example/cat.png", "aesgcm://hs1/file#key"):
            chat.alice_says(body, f"<x xmlns='jabber:x:oob'><url>{body}</url></x>")
            assert (await chat.bob_hears(body))["content"] == {"msgtype": "m.text", "body": body}
        assert not [one for one in people.alice.received if one.xml.find(RETRACT) is not None]
