"""What README promises a newcomer."""

import asyncio
import re
import sys
from pathlib import Path

from tests.support.world import PASSWORD, User, World

README = (Path(__file__).parents[1] / "README.md").read_text(encoding="utf-8")


async def test_the_script_makes_two_users_chat(world: World, alice: User, bob: User, tmp_path: Path) -> None:
    (source,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert f'"{PASSWORD}"' in source
    script = tmp_path / "chat.py"
    script.write_text(source.replace("http://localhost:8008", world.base), encoding="utf-8")

    process = await asyncio.create_subprocess_exec(
        sys.executable, script, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    written, complaints = await process.communicate()

    (promised,) = re.findall(r"It prints `([^`]*)`", README)
    assert written.decode() == promised.replace("@alice:localhost", alice.user_id) + "\n", complaints.decode()
    assert bob.user_id != alice.user_id


def test_the_users_are_made_with_the_password_of_the_script() -> None:
    assert README.count(f"--password '{PASSWORD}'") == 2
