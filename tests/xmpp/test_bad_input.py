"""Bad input that meets a session which is there: an answer as the RFCs have it, and a bound.

What ends a stream before or after login is in `test_streams.py`, what ends a login in `test_login.py`, what the parser
refuses in `core/xmpp/test_xml.py`, and all at random in `properties/test_fuzzed_xmpp.py`.
"""

import asyncio
import re
from pathlib import Path

import pytest

from homeserver.xmpp import connection as connections
from homeserver.xmpp.session import Session
from tests.support.raw_xmpp import HEADER, STARTTLS, RawClient, bound, connected
from tests.support.waiting import until
from tests.support.world import User, World, ok

PING = "<ping xmlns='urn:xmpp:ping'/>"
MUC = "http://jabber.org/protocol/muc"
PLACES = (
    None, "hs1", "hs1/x", "alice@hs1", "alice@hs1/nobody", "bob@hs1", "bob@hs1/phone", "nobody@hs1", "rooms.hs1",
    "tea@rooms.hs1", "tea@rooms.hs1/alice", "tea@rooms.hs1/nobody", "nowhere@rooms.hs1", "nowhere@rooms.hs1/a",
    "upload.hs1", "x@upload.hs1", "mx.hs1", "x%other.org@mx.hs1", "x@mx.hs1", "other.org", "x@other.org/y",
)  # fmt: skip
"""An address of every kind."""
WRONG = (
    ("<iq type='{kind}' id='{id}'{to}><x xmlns='urn:nobody:knows'/></iq>", None),
    ("<iq type='{kind}' id='{id}'{to}/>", "bad-request"),
    (f"<iq type='{{kind}}' id='{{id}}'{{to}}>{PING}{PING}</iq>", "bad-request"),
)
"""Requests that nobody can answer, with the error if it is the same everywhere."""
NOBODY = {"service-unavailable", "remote-server-not-found"}


def address(to: str | None) -> str:
    return "" if to is None else f" to='{to}'"


def condition(said: str) -> str:
    """Return the condition of the one error in an answer."""
    (found,) = re.findall(r"<error [^>]*type='[a-z]+'[^>]*><([a-z-]+) ", said)
    return str(found)


async def tea(alice: User, bob: User) -> None:
    ok(await alice.post("/createRoom", {"room_alias_name": "tea", "preset": "public_chat"}))
    ok(await bob.post("/join/%23tea%3Ahs1"))


async def comes_in(client: RawClient, nick: str) -> None:
    await client.says(f"<presence/><presence to='tea@rooms.hs1/{nick}'><x xmlns='{MUC}'/></presence>")
    await client.hears("<subject")


def session_of(world: World, name: str) -> Session:
    assert world.app.xmpp is not None
    (session,) = [one for one in world.app.xmpp.accounts.all() if one.jid.local == name]
    return session


async def test_a_request_that_nobody_knows_has_one_error_wherever_it_is_sent(
    world: World, alice: User, bob: User
) -> None:
    await tea(alice, bob)
    async with bound(world, "alice") as client:
        await comes_in(client, "alice")
        expected = {}
        for number, to in enumerate(PLACES):
            for kind in ("get", "set"):
                for which, (request, error) in enumerate(WRONG):
                    name = f"{number}-{kind}-{which}"
                    expected[name] = {error} if error is not None else NOBODY
                    await client.says(request.format(kind=kind, id=name, to=address(to)))
        await client.says(f"<iq type='get' id='last' to='hs1'>{PING}</iq>")
        said = await client.hears("<iq [^>]*id='last'[^>]*/>")
        answers = {
            name: condition(answer) for name, answer in re.findall("<iq [^>]*id='([0-9a-z-]+)'[^>]*>(.*?)</iq>", said)
        }
        assert answers.keys() == expected.keys()
        assert said.count("type='error'") == len(expected)
        for name, found in answers.items():
            assert found in expected[name], (PLACES[int(name.partition("-")[0])], name, found)


async def test_a_request_without_an_id_has_an_error_wherever_it_is_sent(world: World, alice: User, bob: User) -> None:
    await tea(alice, bob)
    async with bound(world, "alice") as client:
        for to in PLACES:
            for wrong in ("", " id=''", f" id='{'x' * 5000}'"):
                await client.says(f"<iq type='get'{wrong}{address(to)}>{PING}</iq>")
        await client.says(f"<iq type='get' id='last' to='hs1'>{PING}</iq>")
        said = await client.hears("<iq [^>]*id='last'[^>]*/>")
        assert len(re.findall("<error type='modify'><bad-request ", said)) == 3 * len(PLACES)


@pytest.mark.parametrize(
    "sent",
    [
        "<message from='alice@elsewhere/test' to='bob@hs1'><body>I am elsewhere</body></message>",
        "<presence from='tea@rooms.hs1/bob'/>",
        "<iq from='hs1' type='result' id='1' to='bob@hs1'/>",
        f"<iq from='' type='get' id='1'>{PING}</iq>",
    ],
)
async def test_whoever_gives_themselves_for_another_is_cut_off(world: World, alice: User, sent: str) -> None:
    async with bound(world, "alice") as client:
        await client.says(sent)
        assert "<invalid-from " in await client.hears_the_end()


async def test_another_resource_of_ones_own_is_put_right(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        await client.says(f"<iq from='alice@hs1/elsewhere' type='get' id='1'>{PING}</iq>")
        assert "to='alice@hs1/elsewhere'" not in await client.hears("<iq [^>]*id='1'[^>]*>")


async def test_who_sends_faster_than_the_limits_allow_is_read_more_slowly(tmp_path: Path) -> None:
    options = {
        "RATE_LIMITS__ENABLED": "true", "RATE_LIMITS__DEFAULT_BURST": "20", "RATE_LIMITS__DEFAULT_PER_SECOND": "0.001",
    }  # fmt: skip
    async with World.start(f"sqlite:///{tmp_path}/isthmus.db", tmp_path, **options) as world:
        await world.user("alice")
        async with bound(world, "alice") as client:
            session = session_of(world, "alice")
            pings = f"<iq type='get' id='x' to='hs1'>{PING}</iq>" * 2000

            async def floods() -> None:
                for _ in range(100):
                    await client.says(pings)

            flood = asyncio.create_task(floods())
            await until(lambda: session.connection and session.connection.stream.backlog > connections.MOST_WAITING)
            # Far more is on its way than is taken: what waits is what a look or two at the network bring.
            done, _ = await asyncio.wait([flood], timeout=0.3)
            assert not done
            assert session.connection is not None
            assert session.connection.stream.backlog < 10_000
            flood.cancel()


async def test_who_says_too_much_in_a_room_is_told_to_wait_and_stays(tmp_path: Path) -> None:
    options = {"RATE_LIMITS__ENABLED": "true", "RATE_LIMITS__MESSAGES_BURST": "3",
               "RATE_LIMITS__MESSAGES_PER_SECOND": "0.001", "RATE_LIMITS__LOGIN_BURST": "100"}  # fmt: skip
    async with World.start(f"sqlite:///{tmp_path}/isthmus.db", tmp_path, **options) as world:
        await tea(await world.user("alice"), await world.user("bob"))
        async with bound(world, "alice") as client:
            await comes_in(client, "alice")
            for number in range(6):
                await client.says(
                    f"<message type='groupchat' to='tea@rooms.hs1' id='m{number}'><body>{number}</body></message>"
                )
            said = await client.asks(PING)
            refused = re.findall("<message [^>]*type='error' id='(m[0-9])'><error type='wait'><([a-z-]+) ", said)
            assert refused == [(f"m{number}", "resource-constraint") for number in (3, 4, 5)]


async def test_a_client_that_never_reads_is_cut_off_by_what_others_say(
    world: World, alice: User, bob: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    await tea(alice, bob)
    monkeypatch.setattr(connections, "MOST_UNREAD_BYTES", 200_000)
    async with bound(world, "alice") as speaker, bound(world, "bob") as deaf:
        await comes_in(speaker, "alice")
        await comes_in(deaf, "bob")
        session = session_of(world, "bob")
        deaf.writer.transport.pause_reading()  # type: ignore[attr-defined]
        for number in range(200):
            body = f"<body>{'x' * 40_000}</body>"
            await speaker.says(f"<message type='groupchat' to='tea@rooms.hs1' id='m{number}'>{body}</message>")
            await speaker.hears(f"id='m{number}'.*?</message>")
            if session.ended:
                break
        assert session.ended
        # Nobody else notices.
        assert "type='result'" in await speaker.asks(PING)


async def test_who_asks_for_tls_and_then_says_nothing_is_cut_off(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connections, "LOGIN_SECONDS", 0.2)
    async with connected(world) as client:
        await client.says(HEADER)
        await client.hears("</stream:features>")
        await client.says(STARTTLS)
        await client.hears("<proceed[^>]*/>")
        # Whatever it says in the clear, it ends, and does not stay open for ever.
        await client.hears_the_end()
