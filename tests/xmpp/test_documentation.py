"""The script of docs/xmpp.md, with a Matrix client on the other side."""

import asyncio
import re
import sys
from pathlib import Path

from tests.support.talker import SECONDS, direct_room, hears
from tests.support.world import PASSWORD, User, World, ok, q

PAGE = (Path(__file__).parents[2] / "docs/xmpp.md").read_text(encoding="utf-8")
[SCRIPT] = re.findall(r"```python\n(.*?)```", PAGE, re.DOTALL)


async def test_the_script_and_a_matrix_client_talk_in_a_room_and_in_a_chat(world: World, bob: User) -> None:
    await world.user("alice")
    assert world.app.xmpp is not None
    port = world.app.xmpp.listening[0].rpartition(":")[2]
    assert f'"{PASSWORD}"' in SCRIPT
    source = SCRIPT.replace('connect("localhost", 5222)', f'connect("127.0.0.1", {port})').replace("localhost", "hs1")
    await bob.syncs()
    script = await asyncio.create_subprocess_exec(sys.executable, "-c", source)
    try:
        chat = await direct_room(bob)
        assert (await hears(bob, chat))["content"]["body"] == "Come to #tea:hs1!"
        await bob.says(chat, "hello")
        assert (await hears(bob, chat))["content"]["body"] == "You said: hello"
        room = ok(await bob.post(f"/join/{q('#tea:hs1')}"))["room_id"]
        await bob.says(room, "tea?")
        assert (await hears(bob, room))["content"]["body"] == "You said: tea?"
    finally:
        script.terminate()
        await asyncio.wait_for(script.wait(), SECONDS)
