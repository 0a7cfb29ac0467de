"""What an operator can have refused, by who sends it and by what it says."""

from collections.abc import Mapping, Sequence
from typing import Any, cast

import pytest
from sqlalchemy import Connection

from homeserver.services.policy.lists import Entities
from homeserver.services.policy.rules import PolicyRules, texts_of
from tests.support.rooms import BOB, Room

NOBODY = cast(Connection, None)
"""Rules without a list look nothing up."""


def is_refused(
    content: Mapping[str, Any], *, kind: str = "m.room.message", key: str | None = None,
    senders: Sequence[str] = (), words: Sequence[str] = (),
) -> bool:  # fmt: skip
    """Return whether Bob's event is refused."""
    room = Room.public("12", joined=[BOB])
    return PolicyRules(senders, words).refusal(NOBODY, room.send(BOB, kind, content, key)) is not None


@pytest.mark.parametrize(
    ("pattern", "refused"),
    [
        ("@bob:b.example", True),
        ("@BOB:b.example", True),
        ("@*:b.example", True),
        ("@b?b:*", True),
        ("*", True),
        ("@bob", False),
        ("bob:b.example", False),
        ("@*:c.example", False),
        ("@b?:b.example", False),
    ],
)
def test_senders_are_refused_by_the_whole_of_their_id(pattern: str, refused: bool) -> None:
    assert is_refused({"body": "hi"}, senders=["@nobody:x", pattern]) is refused


@pytest.mark.parametrize(
    ("pattern", "body", "refused"),
    [
        ("casino", "the casino", True),
        ("casino", "THE CASINO!", True),
        ("Casino", "casino", True),
        ("casino", "casinos", False),
        ("casino*", "casinos", True),
        ("buy * now", "Buy it\nall now", True),
        ("buy * now", "buy now", False),
        ("free money", "free  money", False),
        ("glücksspiel", "GLÜCKSSPIEL", True),
    ],
)
def test_words_are_refused_wherever_they_stand(pattern: str, body: str, refused: bool) -> None:
    assert is_refused({"body": body}, words=["other", pattern]) is refused


@pytest.mark.parametrize(
    ("kind", "content", "refused"),
    [
        ("m.room.message", {"formatted_body": "<b>casino</b>"}, True),
        ("m.room.message", {"body": "x", "m.new_content": {"body": "casino"}}, True),
        ("m.message", {"m.text": [{"mimetype": "text/html", "body": "casino"}]}, True),
        ("m.room.topic", {"topic": "casino"}, True),
        ("m.room.name", {"name": "casino"}, True),
        ("m.reaction", {"m.relates_to": {"key": "casino"}}, True),
        ("m.room.redaction", {"reason": "casino"}, True),
        ("m.room.message", {"msgtype": "casino"}, False),
        ("m.room.message", {"body": {"casino": "casino"}}, False),
        ("m.room.message", {"body": 7, "url": "mxc://x/casino"}, False),
        ("m.room.encrypted", {"ciphertext": "x", "body": "casino"}, False),
    ],
)
def test_only_what_is_shown_counts(kind: str, content: Mapping[str, Any], refused: bool) -> None:
    assert is_refused(content, kind=kind, words=["casino"]) is refused


def test_nobody_is_kept_in_a_room_but_they_may_not_advertise_on_their_way_out() -> None:
    rules: dict[str, Any] = {"kind": "m.room.member", "key": BOB, "senders": ["*"], "words": ["casino"]}
    assert not is_refused({"membership": "leave"}, **rules)
    assert is_refused({"membership": "leave", "reason": "casino"}, **rules)
    assert is_refused({"membership": "join"}, **rules)


def test_names_are_looked_at_as_well() -> None:
    assert is_refused({"membership": "join", "displayname": "Casino"}, kind="m.room.member", key=BOB, words=["casino"])


def test_texts_are_found_however_deep() -> None:
    deep: dict[str, Any] = {"body": "found"}
    for _ in range(5000):
        deep = {"x": [deep]}
    assert list(texts_of(deep)) == ["found"]


def test_lists_name_people_and_patterns_of_people() -> None:
    entities = Entities(["@Eve:x.example", "@spam*:*", "*.evil.example"])
    for text, meant in (
        ("@eve:x.example", True), ("@spam7:y.example", True), ("a.evil.example", True),
        ("@eve:y.example", False), ("evil.example", False), ("", False),
    ):  # fmt: skip
        assert entities.cover(text) is meant
