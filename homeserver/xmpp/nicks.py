"""Nicks: what members of a room are called as occupants of a MUC room. Pure.

A nick is the resource of a JID, so it must pass both RFC 7622 and the older resourceprep (Unicode 3.2), by which many
clients check addresses: what one of them forbids is left out. It is never an identity; that is the occupant ID.
"""

import hashlib
import re
import stringprep
import unicodedata
from base64 import urlsafe_b64encode
from collections.abc import Iterable
from functools import lru_cache

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomID, UserID, localpart_of
from federation.core.xmpp.jid import prepare_resource

MOST_ADDRESSED = 20
LONGEST = 80
"""Characters of a display name that are shown."""

# What all agree on, and what most names are.
_plain = re.compile("[!-~]+(?: [!-~]+)*").fullmatch
_FORBIDDEN = (
    stringprep.in_table_a1, stringprep.in_table_b1, stringprep.in_table_c12, stringprep.in_table_c21_c22,
    stringprep.in_table_c3, stringprep.in_table_c4, stringprep.in_table_c5, stringprep.in_table_c6,
    stringprep.in_table_c7, stringprep.in_table_c8, stringprep.in_table_c9,
)  # fmt: skip


@lru_cache(16384)
def occupant_id(room_id: RoomID, user_id: UserID) -> str:
    """Return what a room knows a user by, whatever their nick: https://xmpp.org/extensions/xep-0421.html.

    Everybody in a room sees everybody's address, so there is nothing to hide in it.
    """
    return urlsafe_b64encode(hashlib.sha256(f"{room_id}\0{user_id}".encode()).digest()[:18]).decode()


def usual_nick(display_name: str | None, user_id: UserID) -> str:
    """Return the nick of a user who shares their display name with nobody."""
    return _prepared(display_name or "") or _of_id(user_id)


def distinct_nick(display_name: str | None, user_id: UserID) -> str:
    """Return the nick of a user who shares their display name with somebody who has it as nick already.

    https://spec.matrix.org/v1.19/client-server-api/#calculating-the-display-name-for-a-user
    """
    shown = _prepared(display_name or "")
    return _prepared(f"{shown} ({user_id})" if shown else user_id, longest=LONGEST + 260) or _of_id(user_id)


class Nicks:
    """Who is called what in one room. Whoever had a nick first keeps it."""

    def __init__(self, members: Iterable[tuple[UserID, str | None]] = ()) -> None:
        """Take the members and their display names."""
        self._by_user: dict[UserID, str] = {}
        self._by_nick: dict[str, UserID] = {}
        for user_id, display_name in members:
            self.give(user_id, display_name)

    def give(self, user_id: UserID, display_name: str | None) -> str:
        """Give a user the nick that is theirs by their display name; return it."""
        self.drop(user_id)
        nick = usual_nick(display_name, user_id)
        if nick in self._by_nick:
            nick = distinct_nick(display_name, user_id)
        count = 1
        while nick in self._by_nick:
            # Only somebody who calls themselves by another's ID gets here.
            count += 1
            nick = f"{_of_id(user_id)} {count}"
        self._by_user[user_id], self._by_nick[nick] = nick, user_id
        return nick

    def drop(self, user_id: UserID) -> str | None:
        """Take a user's nick away; return it."""
        nick = self._by_user.pop(user_id, None)
        if nick is not None:
            del self._by_nick[nick]
        return nick

    def of(self, user_id: UserID) -> str | None:
        """Return a user's nick."""
        return self._by_user.get(user_id)

    def user(self, nick: str) -> UserID | None:
        """Return whose nick it is."""
        return self._by_nick.get(nick)

    def addressed(self, body: str) -> list[UserID]:
        """Return whom a message names at its beginning, as clients do: "Al: ...", "Al, ...", "Al, Bob: ..."."""
        for mark in (":", ","):
            before, found, _ = body.partition(mark)
            for names in ([before], before.split(", ")[:MOST_ADDRESSED]) if found else ():
                users = [self._by_nick.get(name) for name in names]
                if None not in users:
                    return [user_id for user_id in users if user_id is not None]
        return []


def _of_id(user_id: UserID) -> str:
    # An old ID may hold anything.
    return _prepared(localpart_of(user_id)) or hashlib.sha256(user_id.encode()).hexdigest()[:12]


def _prepared(text: str, longest: int = LONGEST) -> str:
    """Return what of a text can be a nick; nothing if that is nothing."""
    if _plain(text) is not None and len(text) <= longest:
        return text
    folded = " ".join(unicodedata.normalize("NFKC", text).split())
    shown = "".join(char for char in folded if not any(forbids(char) for forbids in _FORBIDDEN))
    shown = " ".join(unicodedata.normalize("NFKC", shown).split())[:longest].strip()
    # https://www.rfc-editor.org/rfc/rfc3454#section-6: no two directions in one name.
    if any(map(stringprep.in_table_d1, shown)) and (
        any(map(stringprep.in_table_d2, shown))
        or not (stringprep.in_table_d1(shown[0]) and stringprep.in_table_d1(shown[-1]))
    ):
        return ""
    try:
        return shown if shown and prepare_resource(shown) == shown else ""
    except InvalidIdentifier:
        return ""
