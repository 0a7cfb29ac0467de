"""The table of clients in docs/xmpp.md says what their tests show."""

import re
from pathlib import Path

import pytest

from tests.xmpp_clients.conversation import Conversation, Corrections, Pictures, Reactions
from tests.xmpp_clients.test_aioxmpp import TestAioxmpp as Aioxmpp
from tests.xmpp_clients.test_poezio import TestPoezio as Poezio
from tests.xmpp_clients.test_profanity import TestProfanity as Profanity
from tests.xmpp_clients.test_slixmpp import TestSlixmpp as Slixmpp

PAGE = (Path(__file__).parents[2] / "docs/xmpp.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("tested", [Slixmpp, Aioxmpp, Profanity, Poezio])
def test_the_table_says_what_a_client_can(tested: type[Conversation]) -> None:
    [row] = re.findall(rf"^\| {tested.has.program} [^|]*\|(.*)\|$", PAGE, re.MULTILINE)
    _, *can, module = (cell.strip() for cell in row.split("|"))
    assert [cell == "yes" for cell in can] == [issubclass(tested, kind) for kind in (Corrections, Reactions, Pictures)]
    assert module == f"`{tested.__module__.removeprefix('tests.').replace('.', '/')}.py`"
