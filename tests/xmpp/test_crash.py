"""A server that is killed while people talk by XMPP loses nothing that came back to them, and doubles nothing."""

import re
from contextlib import suppress
from pathlib import Path

import aiohttp

from tests.support.ports import free_port
from tests.support.process import ServerProcess
from tests.support.raw_xmpp import RawClient, connected_to
from tests.support.talker import talker_at
from tests.support.world import CLIENT, PASSWORD
from tests.xmpp.test_archive import bodies, page
from tests.xmpp.test_resumption import SM, enabled

ROOM, OTHER = "crash@rooms.hs1", "other@rooms.hs1"
SENT = 40


async def sign_up(server: ServerProcess, *names: str) -> None:
    """Make accounts."""
    async with aiohttp.ClientSession() as http:
        for name in names:
            body = {"username": name, "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
            async with http.post(f"{server.base}{CLIENT}/register", json=body) as response:
                assert response.status == 200


async def test_what_was_acknowledged_is_in_the_archive_once(tmp_path: Path) -> None:
    """Alice counts by XEP-0198 and talks in a room and to Bob; Carol waits for her words to come back from the room."""
    port = free_port()
    place = f"127.0.0.1:{port}"
    async with ServerProcess.start(tmp_path, XMPP__LISTEN=place, RATE_LIMITS__ENABLED="false") as server:
        await sign_up(server, "alice", "bob", "carol")
        async with connected_to(place) as alice, talker_at("127.0.0.1", port, "carol@hs1/one") as carol:
            await carol.enters(OTHER, "carol")
            await begins(alice)
            sent = []
            for number in range(SENT):
                to, kind = (ROOM, "groupchat") if number % 2 else ("bob@hs1", "chat")
                sent.append((to, kind, f"message {number}"))
                body = f"<body>message {number}</body>"
                await alice.says(f"<message to='{to}' type='{kind}' id='id{number}'>{body}</message><r {SM}/>")
                carol.says(OTHER, f"message {number}", type_="groupchat", id_=f"id{number}")
            said = await alice.hears(f"<a {SM} h='{SENT // 4}'/>")
            await carol.hears(f"message {SENT // 4}", type_="groupchat")
            await server.dies()
            with suppress(ConnectionError):
                await alice.hears_the_end()
            said += alice.heard
            confirmed = max(int(h) for h in re.findall(f"<a {SM} h='([0-9]+)'/>", said))
            assert confirmed >= SENT // 4
            echoed = {str(one["body"]) for one in carol.received if one.name == "message" and one["body"]}
            echoed.add(f"message {SENT // 4}")
        await server.starts()
        async with (
            talker_at("127.0.0.1", port, "alice@hs1/two") as back,
            talker_at("127.0.0.1", port, "carol@hs1/two") as carol,
        ):
            await back.enters(ROOM, "alice")
            for again in (False, True):
                if again:
                    # What the server has not confirmed is sent again, under the same IDs.
                    for number in range(confirmed, SENT):
                        to, kind, text = sent[number]
                        back.says(to, text, type_=kind, id_=f"id{number}")
                    back.says(ROOM, "the end", type_="groupchat")
                    await back.hears("the end", type_="groupchat")
                for to, archive in ((ROOM, ROOM), ("bob@hs1", None)):
                    found = bodies((await page(back, archive, "<max>100</max>"))[0])
                    found = [text for text in found if text != "the end"]
                    wanted = [text for where, _, text in sent if where == to]
                    kept = [text for where, _, text in sent[:confirmed] if where == to]
                    assert found == (wanted if again else wanted[: len(found)])
                    assert len(found) >= len(kept)

            await carol.enters(OTHER, "carol")
            found = bodies((await page(carol, OTHER, "<max>100</max>"))[0])
            assert echoed <= set(found)
            assert len(found) == len(set(found))


async def begins(client: RawClient) -> None:
    """Log Alice in, enter a room, and have everything counted from there on."""
    await client.secures()
    await client.opens()
    await client.logs_in("alice")
    await client.binds("one")
    muc = "<x xmlns='http://jabber.org/protocol/muc'/>"
    await client.says(f"<presence/><presence to='{ROOM}/alice'>{muc}</presence>")
    await client.hears("<subject.*?</message>")
    await enabled(client)
