"""What breaks off half way: connections that resume or bind, clients that do not read, feeds that fail."""

import asyncio
import inspect
import re
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from federation.core.xmpp.element import Element
from homeserver.errors import NotFound
from homeserver.http.tls import ShownCertificate
from homeserver.xmpp import invites, past, presence, unacknowledged
from homeserver.xmpp import session as sessions_module
from homeserver.xmpp.certificate import Certificate
from homeserver.xmpp.hub import Hub
from homeserver.xmpp.listener import TcpWire
from homeserver.xmpp.occupancy import Occupancies
from homeserver.xmpp.session import Session
from homeserver.xmpp.x509 import end_point_of
from tests.support.certificates import Authority
from tests.support.raw_xmpp import RawClient, bound, connected
from tests.support.waiting import until
from tests.support.world import World, ok
from tests.xmpp.test_resumption import SM, enabled
from tests.xmpp.test_websocket import BIND, OPEN, auth

pytestmark = pytest.mark.asyncio(loop_scope="module")
PING = "<ping xmlns='urn:xmpp:ping'/>"


def sessions(world: World, name: str) -> list[Session]:
    """Return somebody's sessions."""
    assert world.app.xmpp is not None
    return [one for one in world.app.xmpp.accounts.all() if one.jid.local == name]


@asynccontextmanager
async def returning(world: World, name: str) -> AsyncIterator[RawClient]:
    """Connect and log in, but bind nothing."""
    async with connected(world) as client:
        await client.secures()
        await client.opens()
        await client.logs_in(name)
        yield client


async def test_a_resumption_that_breaks_off_can_be_tried_again(shared_world: World) -> None:
    await shared_world.user("resumer")
    async with bound(shared_world, "resumer") as client:
        name = await enabled(client)
        (session,) = sessions(shared_world, "resumer")
        resume = f"<resume {SM} previd='{name}' h='0'/>"
        client.breaks()
        await until(lambda: session.connection is None)
        async with session.handling, returning(shared_world, "resumer") as back:
            assert shared_world.app.xmpp is not None
            session.send(Element("message", "jabber:client", {"id": "kept"}))
            before = asyncio.all_tasks()
            await back.says(resume)
            await until(lambda: session.handling._waiters)
            (working,) = [task for task in asyncio.all_tasks() - before if task.get_name() == "xmpp-connection"]
            connection = inspect.getcoroutinelocals(working.get_coro())["self"]  # type: ignore[arg-type]
            back.breaks()
            await until(lambda: connection._closed)
        await working
        assert sessions(shared_world, "resumer") == [session]
        async with returning(shared_world, "resumer") as again:
            await again.says(resume)
            assert "<resumed " in await again.hears("id='kept'[^>]*/>")


async def test_of_two_that_resume_a_session_at_once_the_last_one_has_it(shared_world: World) -> None:
    await shared_world.user("twice")
    async with bound(shared_world, "twice") as client:
        name = await enabled(client)
        (session,) = sessions(shared_world, "twice")
        async with returning(shared_world, "twice") as one, returning(shared_world, "twice") as other:
            async with session.handling:
                await one.says(f"<resume {SM} previd='{name}' h='0'/>")
                await until(lambda: len(session.handling._waiters or ()) == 1)
                await other.says(f"<resume {SM} previd='{name}' h='0'/>")
                await until(lambda: len(session.handling._waiters or ()) == 2)
            await other.hears("<resumed [^>]*/>")
            assert "<conflict " in await one.hears_the_end()
            assert "type='result'" in await other.asks(PING)
            await other.says(f"<r {SM}/>")
            assert "h='1'" in await other.hears("<a [^>]*/>")


async def test_of_two_that_bind_a_resource_at_once_only_one_has_it(shared_world: World) -> None:
    await shared_world.user("binder")
    async with AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(returning(shared_world, "binder")) for _ in range(4)]
        await asyncio.gather(*(client.binds("same") for client in clients), return_exceptions=True)
        (session,) = sessions(shared_world, "binder")
        ended = [client.hears_the_end() for client in clients if not _is(client, session)]
        assert len(await asyncio.gather(*ended)) == 3


def _is(client: RawClient, session: Session) -> bool:
    """Return whether it is the client that has a session."""
    assert session.connection is not None
    wire = session.connection.wire
    assert isinstance(wire, TcpWire)
    assert wire._transport is not None
    return bool(wire._transport.get_extra_info("peername") == client.writer.get_extra_info("sockname"))


async def test_strangers_get_no_answers_that_they_have_not_asked_for(shared_world: World) -> None:
    await shared_world.user("victim")
    await shared_world.user("stranger")
    async with (
        bound(shared_world, "victim") as victim,
        bound(shared_world, "victim", "other") as own,
        bound(shared_world, "stranger") as stranger,
    ):
        await victim.says("<iq type='get' id='wanted' to='victim@hs1/other'><x xmlns='urn:x'/></iq>")
        await own.hears("id='wanted'[^>]*>.*?</iq>")
        answer = "<iq type='result' id='{}' to='victim@hs1/raw'/>"
        await stranger.says(answer.format("wanted"))
        assert "type='result'" in await stranger.asks(PING)
        await own.says(answer.format("unwanted") + answer.format("wanted") + answer.format("wanted"))
        assert "type='result'" in await own.asks(PING)
        assert re.findall("id='(.*?)'", await victim.asks(PING)) == ["wanted", "asked"]


async def test_whoever_cannot_be_followed_is_told_to_come_again(
    shared_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shared_world.user("deaf")

    async def fails(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(shared_world.app.services.live, "enter", fails)
    async with returning(shared_world, "deaf") as client:
        await client.says("<iq type='set' id='1'><bind xmlns='urn:ietf:params:xml:ns:xmpp-bind'/></iq>")
        assert "<stream:error>" in await client.hears_the_end()
    await until(lambda: not sessions(shared_world, "deaf"))


async def test_a_socket_that_is_not_read_is_cut_off(shared_world: World) -> None:
    await shared_world.user("silent")
    async with aiohttp.ClientSession() as http:
        ws = await http.ws_connect(f"{shared_world.base}/xmpp-websocket", protocols=["xmpp"])
        for frame in (OPEN, auth("silent"), OPEN, BIND):
            await ws.send_str(frame)
            if (await ws.receive_str()).startswith("<open"):
                await ws.receive_str()
        (session,) = sessions(shared_world, "silent")
        for _ in range(16):
            session.send(Element("message", "jabber:client", {}, Element("body", "jabber:client", {}, "x" * 1_000_000)))
            await asyncio.sleep(0)
        await until(lambda: not [one for one in asyncio.all_tasks() if one.get_name() == "xmpp-websocket"])
        assert not sessions(shared_world, "silent")


async def test_who_goes_while_entering_a_room_is_not_in_it(
    shared_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await shared_world.user("keeper")
    await owner.creates_room(preset="public_chat", room_alias_name="revolving")
    await shared_world.user("gone")
    history = Hub._history

    async def goes(hub: Hub, session: Session, span: past.Span | None) -> list[Element]:
        session.end()
        return await history(hub, session, span)

    monkeypatch.setattr(Hub, "_history", goes)
    assert shared_world.app.xmpp is not None
    occupancies = shared_world.app.xmpp.accounts.kept(Occupancies)
    async with bound(shared_world, "gone") as client:
        (session,) = sessions(shared_world, "gone")
        join = "<x xmlns='http://jabber.org/protocol/muc'/>"
        await client.says(f"<presence to='revolving@rooms.hs1/gone'>{join}</presence>")
        await client.hears_the_end()
        await until(lambda: not session.handling.locked())
    assert not occupancies._hubs


async def test_what_a_client_confirms_counts_before_what_it_has_asked_for_is_done(
    shared_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shared_world.user("eager")
    monkeypatch.setattr(unacknowledged, "MOST_WAITING", 30)
    async with bound(shared_world, "eager") as client:
        await enabled(client)
        (session,) = sessions(shared_world, "eager")
        waiting = session.unacknowledged
        assert waiting is not None
        async with session.handling:
            await client.says(f"<iq type='get' id='slow' to='hs1'>{PING}</iq>")
            for got in (20, 40):
                for _ in range(20):
                    session.send(Element("message"))
                await client.says(f"<a {SM} h='{got}'/>")
                await until(lambda: not len(waiting))
        await client.hears("id='slow'[^>]*/>")


async def test_what_another_server_takes_long_for_keeps_nobody_waiting(
    shared_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shared_world.user("patient")
    monkeypatch.setattr(sessions_module, "PATIENCE_SECONDS", 0.01)
    answered = asyncio.Event()

    async def slow(*_: object) -> None:
        await answered.wait()
        raise NotFound("There is no such room")

    monkeypatch.setattr(type(shared_world.app.services.memberships), "join", slow)
    async with bound(shared_world, "patient") as client:
        name = await enabled(client)
        join = "<x xmlns='http://jabber.org/protocol/muc'/>"
        await client.says(f"<presence id='far' to='#far%other.org@rooms.hs1/me'>{join}</presence>")
        assert "far" not in await client.asks(PING)
        client.breaks()
        (session,) = sessions(shared_world, "patient")
        await until(lambda: session.connection is None)
        async with returning(shared_world, "patient") as back:
            await back.says(f"<resume {SM} previd='{name}' h='1'/>")
            assert "h='2'" in await back.hears("<resumed[^>]*/>")
            answered.set()
            assert "<item-not-found " in await back.hears("<presence [^>]*id='far'.*?</presence>")
        assert not session._slow


async def test_a_login_is_bound_to_the_certificate_that_is_shown(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path)
    first, second = authority.certificate("hs1"), authority.certificate("hs1")
    certificate, key = tmp_path / "shown.pem", tmp_path / "shown.key"
    certificate.write_bytes(first.certificate.read_bytes())
    key.write_bytes(first.key.read_bytes())
    shown = Certificate(ShownCertificate(str(certificate), str(key)))
    bound_to = shown.end_point()
    assert bound_to == end_point_of(first.certificate.read_bytes())
    certificate.write_bytes(second.certificate.read_bytes())
    assert shown.end_point() == bound_to, "the key has not come yet"
    key.write_bytes(second.key.read_bytes())
    assert shown.end_point() == end_point_of(second.certificate.read_bytes())
    certificate.unlink()
    assert shown.end_point() == end_point_of(second.certificate.read_bytes())


async def test_an_invite_that_cannot_be_accepted_keeps_nobody_from_logging_in(
    shared_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    inviter, invited = await shared_world.user("inviter"), await shared_world.user("invited")
    await inviter.creates_room(invited, is_direct=True, preset="trusted_private_chat")
    monkeypatch.setattr(invites, "PATIENCE_SECONDS", 0.01)
    memberships = type(shared_world.app.services.memberships)
    answered, join = asyncio.Event(), memberships.join
    tries = []

    async def slow(*arguments: Any) -> Any:
        tries.append(arguments)
        await answered.wait()
        return await join(*arguments)

    monkeypatch.setattr(memberships, "join", slow)
    async with bound(shared_world, "invited") as client:
        await client.says("<presence/>")
        # Whatever comes next does not wait for it either, and it is tried once.
        ok(await invited.put(f"/user/{invited.user_id}/account_data/m.some", {}))
        ok(await invited.put(f"/user/{invited.user_id}/account_data/m.ignored_user_list", {"ignored_users": {}}))
        assert "type='result'" in await client.asks(PING)
        answered.set()
        rooms = []
        while not rooms:
            rooms = ok(await invited.get("/joined_rooms"))["joined_rooms"]
        assert len(tries) == 1


async def test_presence_alone_does_not_end_the_session_of_a_client_that_is_away(
    shared_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    await shared_world.user("away")
    await shared_world.user("flooder")
    monkeypatch.setattr(unacknowledged, "MOST_WAITING", 10)
    async with bound(shared_world, "away") as client, bound(shared_world, "flooder") as flooder:
        name = await enabled(client)
        await client.says("<presence/>")
        assert "type='result'" in await client.asks(PING)
        client.breaks()
        (session,) = sessions(shared_world, "away")
        await until(lambda: session.connection is None)
        for number in range(30):
            await flooder.says(f"<presence to='away@hs1'><status>{number}</status></presence>")
        large = "x" * presence.LARGEST
        await flooder.says(f"<presence id='large' to='away@hs1'><status>{large}</status></presence>")
        assert "<not-acceptable " in await flooder.hears("id='large'.*?</presence>")
        async with returning(shared_world, "away") as back:
            await back.says(f"<resume {SM} previd='{name}' h='0'/>")
            assert re.findall("<status>(.*?)</status>", await back.hears("<status>29</status>")) == ["29"]


async def test_who_tells_the_others_what_is_new_may_go_meanwhile(
    shared_world: World, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner = await shared_world.user("talks")
    await owner.creates_room(preset="public_chat", room_alias_name="relay")
    for name in ("goes", "stays"):
        await shared_world.user(name)
    async with bound(shared_world, "goes") as one, bound(shared_world, "stays") as other:
        for client, name in ((one, "goes"), (other, "stays")):
            join = "<x xmlns='http://jabber.org/protocol/muc'><history maxstanzas='0'/></x>"
            await client.says(f"<presence to='relay@rooms.hs1/{name}'>{join}</presence>")
            await client.hears("<subject.*?</message>")
        assert shared_world.app.xmpp is not None
        hub = shared_world.app.xmpp.accounts.kept(Occupancies)._hubs["relay"]
        catch_up, began, go_on = hub._catch_up_some, asyncio.Event(), asyncio.Event()

        async def slow(until: int) -> None:
            began.set()
            await go_on.wait()
            await catch_up(until)

        monkeypatch.setattr(hub, "_catch_up_some", slow)
        (session,) = sessions(shared_world, "goes")
        (room_id,) = ok(await owner.get("/joined_rooms"))["joined_rooms"]
        await owner.says(room_id, "to whoever stays")
        await began.wait()
        session.end()
        go_on.set()
        await other.hears("to whoever stays")


async def test_lists_that_two_clients_change_at_once_hold_what_both_have_said(shared_world: World) -> None:
    both = await shared_world.user("both")
    names = [f"new{number}" for number in range(6)]
    for name in names:
        await shared_world.user(name)
    async with bound(shared_world, "both") as one, bound(shared_world, "both", "other") as other:
        for number, name in enumerate(names):
            client = one if number % 2 else other
            item = f"<item jid='blocked{number}@hs1'/>"
            await client.says(f"<message to='{name}@hs1' id='m{number}'><body>Hello</body></message>")
            await client.says(f"<iq type='set' id='b{number}'><block xmlns='urn:xmpp:blocking'>{item}</block></iq>")
        for client in (one, other):
            assert "type='result'" in await client.asks(PING)
    listed = ok(await both.get(f"/user/{both.user_id}/account_data/m.direct"))
    assert set(listed) == {f"@{name}:hs1" for name in names}
    ignored = ok(await both.get(f"/user/{both.user_id}/account_data/m.ignored_user_list"))
    assert set(ignored["ignored_users"]) == {f"@blocked{number}:hs1" for number in range(6)}
