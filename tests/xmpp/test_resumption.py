"""A connection that breaks loses nothing: XEP-0198."""

import asyncio
import re
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from homeserver.xmpp import resumption, unacknowledged
from homeserver.xmpp.session import Session
from tests.support.raw_xmpp import RawClient, bound, connected
from tests.support.waiting import until
from tests.support.world import User, World

SM = "xmlns='urn:xmpp:sm:3'"
ENABLE = f"<enable {SM} resume='true'/>"


def session_of(world: World, resource: str = "raw") -> Session:
    """Return Alice's session."""
    assert world.app.xmpp is not None
    (session,) = [one for one in world.app.xmpp.accounts.all() if one.jid.resource == resource]
    return session


def note(number: int) -> str:
    """A message that the client's other session sends to it."""
    return f"<iq type='get' id='note{number}' to='alice@hs1/raw'><note xmlns='urn:test'>{number}</note></iq>"


async def enabled(client: RawClient) -> str:
    """Turn it on; return the name of the session."""
    await client.says(ENABLE)
    found = re.search("id='([^']+)'", await client.hears("<enabled[^>]*/>"))
    assert found is not None
    return found[1]


@asynccontextmanager
async def returning(world: World, name: str = "alice") -> AsyncIterator[RawClient]:
    """Connect and log in, but bind nothing."""
    async with connected(world) as client:
        await client.secures()
        await client.opens()
        assert f"<sm {SM}/>" in await client.logs_in(name)
        yield client


async def test_what_is_sent_while_a_client_is_away_comes_when_it_is_back_once(world: World, alice: User) -> None:
    async with bound(world, "alice", "other") as other, bound(world, "alice") as client:
        name = await enabled(client)
        await other.says(note(1) + note(2))
        await client.hears("note2'.*?</iq>")
        # It has got both, and says so of the first one only.
        await client.says(f"<a {SM} h='1'/>")
        client.breaks()
        await until(lambda: session_of(world).connection is None)
        await other.says(note(3))
        async with returning(world) as back:
            await back.says(f"<resume {SM} previd='{name}' h='1'/>")
            said = await back.hears("note3'.*?</iq>")
            assert f"<resumed {SM} previd='{name}' h='0'/>" in said
            assert re.findall("id='note([0-9])'", said) == ["2", "3"]
            await other.says(note(4))
            await back.hears("note4'.*?</iq>")
            await back.says(f"<a {SM} h='4'/>")
            assert "type='result'" in await back.asks("<ping xmlns='urn:xmpp:ping'/>")


async def test_what_the_client_has_sent_is_counted(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        name = await enabled(client)
        await client.says(f"<presence/><iq type='get' id='1' to='hs1'><ping xmlns='urn:xmpp:ping'/></iq><r {SM}/>")
        assert "h='2'" in await client.hears("<a [^>]*/>")
        client.breaks()
        async with returning(world) as back:
            await back.says(f"<resume {SM} previd='{name}' h='0'/>")
            assert "h='2'" in await back.hears("<resumed[^>]*/>")


async def test_the_server_asks_what_the_client_has_got(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        await enabled(client)
        await client.asks("<ping xmlns='urn:xmpp:ping'/>")
        await client.hears(f"<r {SM}/>")
        # One question at a time.
        await client.asks("<ping xmlns='urn:xmpp:ping'/>")
        assert "<r " not in client.heard
        await client.says(f"<a {SM} h='1'/>")
        await client.hears(f"<r {SM}/>")
        await client.says(f"<a {SM} h='2'/>")
        await client.asks("<ping xmlns='urn:xmpp:ping'/>")
        await client.hears(f"<r {SM}/>")


async def test_a_client_may_come_back_before_its_old_connection_is_known_to_be_dead(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        name = await enabled(client)
        async with returning(world) as back:
            await back.says(f"<resume {SM} previd='{name}' h='0'/>")
            await back.hears("<resumed[^>]*/>")
            assert "<conflict " in await client.hears_the_end()
            assert "type='result'" in await back.asks("<ping xmlns='urn:xmpp:ping'/>")
            assert session_of(world).jid.resource == "raw"


async def test_nobody_resumes_what_is_gone_or_not_theirs(world: World, alice: User, bob: User) -> None:
    async with bound(world, "alice") as client:
        name = await enabled(client)
        client.breaks()
        async with returning(world, "bob") as stranger:
            for previd in (name, "nonsense"):
                await stranger.says(f"<resume {SM} previd='{previd}' h='0'/>")
                assert "<item-not-found " in await stranger.hears("</failed>")
            await stranger.binds("phone")
            await stranger.says(f"<resume {SM} previd='{name}' h='0'/>")
            assert "<unexpected-request " in await stranger.hears("</failed>")
        assert not session_of(world).ended


async def test_a_client_that_stays_away_is_gone(world: World, alice: User, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resumption, "AWAY_SECONDS", 0.05)
    async with bound(world, "alice") as client:
        await enabled(client)
        client.breaks()
        assert world.app.xmpp is not None
        await until(lambda: world.app.xmpp is not None and not world.app.xmpp.accounts.all())


async def test_without_resumption_a_broken_connection_ends_the_session(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        await client.says(f"<enable {SM}/>")
        await client.hears(f"<enabled {SM}/>")
        client.breaks()
        await until(lambda: world.app.xmpp is not None and not world.app.xmpp.accounts.all())


async def test_a_client_that_closes_its_stream_is_not_waited_for(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        await enabled(client)
        await client.says("</stream:stream>")
        await client.hears_the_end()
        await until(lambda: world.app.xmpp is not None and not world.app.xmpp.accounts.all())


async def test_more_cannot_be_confirmed_than_was_sent(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        await enabled(client)
        await client.says(f"<a {SM} h='5'/>")
        assert "<undefined-condition " in await client.hears_the_end()
    async with bound(world, "alice") as client:
        name = await enabled(client)
        client.breaks()
        async with returning(world) as back:
            await back.says(f"<resume {SM} previd='{name}' h='x'/>")
            assert "<undefined-condition " in await back.hears_the_end()


async def test_before_a_resource_is_bound_and_twice_it_is_refused(world: World, alice: User) -> None:
    async with returning(world) as client:
        for sent in (ENABLE, f"<r {SM}/>", f"<a {SM} h='0'/>"):
            await client.says(sent)
            assert "<unexpected-request " in await client.hears("</failed>")
        await client.binds("raw")
        await enabled(client)
        await client.says(ENABLE)
        assert "<unexpected-request " in await client.hears("</failed>")


async def test_a_client_that_confirms_nothing_is_cut_off(
    world: World, alice: User, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(unacknowledged, "MOST_WAITING", 10)
    async with bound(world, "alice") as client:
        await enabled(client)
        await client.says("".join(note(n).replace("alice@hs1/raw", "hs1") for n in range(20)))
        assert "<resource-constraint " in await client.hears_the_end()
    await until(lambda: world.app.xmpp is not None and not world.app.xmpp.accounts.all())


async def test_a_device_logged_out_while_away_cannot_come_back(world: World, alice: User) -> None:
    async with bound(world, "alice") as client:
        name = await enabled(client)
        client.breaks()
        await until(lambda: session_of(world).connection is None)
        again = await alice.login_again()
        assert (await again.post("/logout/all"))[0] == 200
        await until(lambda: world.app.xmpp is not None and not world.app.xmpp.accounts.all())
        async with returning(world) as back:
            await back.says(f"<resume {SM} previd='{name}' h='0'/>")
            assert "<item-not-found " in await back.hears("</failed>")


async def test_nothing_is_lost_or_doubled_while_connections_break_again_and_again(world: World, alice: User) -> None:
    async with bound(world, "alice", "other") as other, bound(world, "alice") as client:
        name, got = await enabled(client), list[str]()

        async def send() -> None:
            for number in range(200):
                await other.says(note(number))
                await asyncio.sleep(0)

        sending = asyncio.create_task(send())
        await _read(client, got, 20)
        client.breaks()
        while len(got) < 200:
            async with returning(world) as back:
                await back.says(f"<resume {SM} previd='{name}' h='{len(got)}'/>")
                await back.hears("<resumed[^>]*/>")
                await _read(back, got, min(200, len(got) + 60))
                back.breaks()
        await sending
        assert got == [str(number) for number in range(200)]


async def _read(client: RawClient, got: list[str], until_count: int) -> None:
    """Take notes as they come; the counts are those of the client."""
    while len(got) < until_count:
        said = await client.hears("<iq [^>]*id='note[0-9]+'.*?</iq>")
        got.extend(re.findall("id='note([0-9]+)'", said))
