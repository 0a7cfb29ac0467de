"""A server that is killed while people talk by XMPP loses nothing that came back to them, and doubles nothing."""

from pathlib import Path

import aiohttp

from tests.support.ports import free_port
from tests.support.process import ServerProcess
from tests.support.talker import talker_at
from tests.support.world import CLIENT, PASSWORD
from tests.xmpp.test_archive import bodies, page

ROOM = "crash@rooms.hs1"
SENT = 40


async def test_what_was_acknowledged_is_in_the_archive_once(tmp_path: Path) -> None:
    port = free_port()
    async with ServerProcess.start(tmp_path, XMPP__LISTEN=f"127.0.0.1:{port}", RATE_LIMITS__ENABLED="false") as server:
        async with aiohttp.ClientSession() as http:
            body = {"username": "alice", "password": PASSWORD, "auth": {"type": "m.login.dummy"}}
            async with http.post(f"{server.base}{CLIENT}/register", json=body) as response:
                assert response.status == 200
        async with talker_at("127.0.0.1", port, "alice@hs1/one") as alice:
            await alice.enters(ROOM, "alice")
            ids = {f"message {number}": f"id{number}" for number in range(SENT)}
            for text, id_ in ids.items():
                alice.says(ROOM, text, type_="groupchat", id_=id_)
            await alice.hears(f"message {SENT // 4}", type_="groupchat")
            await server.dies()
            echoed = {str(one["body"]) for one in alice.received if one.name == "message" and one["body"]}
            echoed.add(f"message {SENT // 4}")
        await server.starts()
        async with talker_at("127.0.0.1", port, "alice@hs1/two") as alice:
            await alice.enters(ROOM, "alice")
            # What the client does not know to have arrived it sends again, under the same IDs.
            for text, id_ in ids.items():
                alice.says(ROOM, text, type_="groupchat", id_=id_)
            alice.says(ROOM, "the end", type_="groupchat")
            await alice.hears("the end", type_="groupchat")
            found = bodies((await page(alice, ROOM, "<max>100</max>"))[0])
            assert echoed <= set(found)
            assert sorted(found) == sorted([*ids, "the end"])
