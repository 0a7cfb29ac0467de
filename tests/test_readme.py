"""What README promises a newcomer."""

import asyncio
import re
import sys
from pathlib import Path

from tests.support.certificates import Authority
from tests.support.pair import federating
from tests.support.world import PASSWORD, User, World

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


CHAT, ACROSS = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
CHAT_PRINTS, ACROSS_PRINTS = re.findall(r"It prints `([^`]*)`", README)


async def run(source: str) -> tuple[str, str]:
    """Run a script; return what it prints, and its complaints."""
    assert f'"{PASSWORD}"' in source
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", source, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    written, complaints = await asyncio.wait_for(process.communicate(), 60)
    return written.decode(), complaints.decode()


async def test_the_script_makes_two_users_chat(world: World, alice: User, bob: User) -> None:
    written, complaints = await run(CHAT.replace("http://localhost:8008", world.base))
    assert written == CHAT_PRINTS.replace("@alice:localhost", alice.user_id) + "\n", complaints
    assert bob.user_id != alice.user_id


async def test_the_second_script_makes_users_of_two_servers_chat(tmp_path: Path) -> None:
    authority = Authority.make(tmp_path / "authority")
    (tmp_path / "one").mkdir()
    (tmp_path / "two").mkdir()
    async with federating(authority, tmp_path / "one") as one, federating(authority, tmp_path / "two") as two:
        alice, bob = await one.user("alice"), await two.user("bob")
        source = ACROSS.replace("http://localhost:8018", one.base).replace("http://localhost:8019", two.base)
        written, complaints = await run(source)
        assert written == ACROSS_PRINTS.replace("@alice:localhost:8448", alice.user_id) + "\n", complaints
        assert one.name != two.name, bob.user_id


def test_the_users_are_made_with_the_password_of_the_scripts() -> None:
    assert README.count(f"--password '{PASSWORD}'") == 4
