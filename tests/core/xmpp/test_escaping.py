"""Matrix identifiers in JIDs, and back: hostile names, and all that hypothesis thinks of."""

import stringprep
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st
from slixmpp import JID

from federation.core.errors import InvalidIdentifier
from federation.core.ids import RoomAlias, RoomID, ServerName, UserID
from federation.core.room_versions import ROOM_VERSIONS, RoomVersion
from federation.core.xmpp import escaping
from federation.core.xmpp.jid import Jid

OWN = ServerName("hs1")

# Localpart in Matrix, localpart of the JID.
NAMES = [
    ("alice", "alice"),
    ("Alice", "^alice"),
    ("ALICE", "^a^l^i^c^e"),
    ("a/b", "a\\2fb"),
    ("100%", "100\\25"),
    ("^x", "^^x"),
    ("", "^_"),
    ("a b", "a\\20b"),
    (" a ", "^.a^."),
    (" ", "^."),
    ("a@b", "a\\40b"),
    ("'\"<>&", "\\27\\22\\3c\\3e\\26"),
    ("\\20", "\\5c20"),
    ("\\", "\\5c"),
    ("=2f_-.+", "=2f_-.+"),
    ("josé", "josé"),
    ("n\u0303", "n\\cc\\83"),
    ("straße", "stra\\c3\\9fe"),
    ("Ω", "\\ce\\a9"),
    ("İ", "\\c4\\b0"),
    ("ﬁ", "\\ef\\ac\\81"),
    ("日本語", "日本語"),
    ("가", "가"),
    ("\u1100\u1161", "\\e1\\84\\80\\e1\\85\\a1"),
    ("שלום", "\\d7\\a9\\d7\\9c\\d7\\95\\d7\\9d"),
    ("‮evil", "\\e2\\80\\aeevil"),
    ("🎉", "\\f0\\9f\\8e\\89"),
    ("\x01\x7f", "\\01\\7f"),
    ("x" * 240, "x" * 240),
    ("/" * 240, "\\2f" * 240),
]


@pytest.mark.parametrize(("name", "localpart"), NAMES)
def test_a_name_has_one_localpart_and_comes_back(name: str, localpart: str) -> None:
    user_id = UserID(f"@{name}:hs1")
    assert escaping.local_user(user_id) == localpart
    assert escaping.user_of_local(localpart, OWN) == user_id


@pytest.mark.parametrize("name", [name for name, _ in NAMES])
def test_every_localpart_is_one_to_old_clients_too(name: str) -> None:
    for localpart in (
        escaping.local_user(UserID(f"@{name}:hs1")),
        escaping.remote_user(UserID(f"@{name}:other.org:8448")),
        escaping.alias(RoomAlias(f"#{name}:hs1"), OWN),
        escaping.alias(RoomAlias(f"#{name}:other.org"), OWN),
        escaping.room(RoomID(f"!{name}:other.org")),
    ):
        assert str(JID(f"{localpart}@hs1")) == f"{localpart}@hs1" == str(Jid.parse(f"{localpart}@hs1"))


def test_users_of_other_servers_name_them() -> None:
    assert escaping.remote_user(UserID("@bob:other.org")) == "bob%other.org"
    assert escaping.remote_user(UserID("@bob:Other.org:8448")) == "bob%^other.org\\3a8448"
    assert escaping.user_of_remote("bob%^other.org\\3a8448") == "@bob:Other.org:8448"
    assert escaping.remote_user(UserID("@:[::1]")) == "%[\\3a\\3a1]"


@pytest.mark.parametrize(
    ("room", "localpart"),
    [
        ("#lounge:hs1", "lounge"),
        ("#Lounge:hs1", "^lounge"),
        ("#:hs1", "^_"),
        ("#!x:hs1", "\\21x"),
        ("##x:hs1", "\\23x"),
        ("#lounge:other.org", "#lounge%other.org"),
        ("!opaque:hs1", "!opaque%hs1"),
        ("!AbC:other.org", "!^ab^c%other.org"),
        ("!" + "A" * 43, "!" + "^a" * 43),
    ],
)
def test_rooms_are_known_by_alias_or_id(room: str, localpart: str) -> None:
    if room.startswith("#"):
        assert escaping.alias(RoomAlias(room), OWN) == localpart
    else:
        assert escaping.room(RoomID(room)) == localpart
    assert escaping.room_of(localpart, OWN) == room


OPAQUE = ("AbC", "x" * 200, "/", "%", "^\\20", "'\"<>&", "🎉", "שלום", "=_-.+")


@pytest.mark.parametrize("version", ROOM_VERSIONS.values(), ids=lambda version: version.id)
@pytest.mark.parametrize("opaque", OPAQUE)
def test_room_ids_of_every_version_have_an_address(version: RoomVersion, opaque: str) -> None:
    # Since version 12 they are the hash of the create event, and name no server; before they may be anything.
    room_id = "!" + "Ab-_" * 10 + "Abc" if version.room_id_is_create_hash else f"!{opaque}:Other.org:8448"
    localpart = escaping.room(RoomID(room_id))
    assert escaping.room_of(localpart, OWN) == room_id
    assert str(JID(f"{localpart}@rooms.hs1")) == f"{localpart}@rooms.hs1" == str(Jid.parse(f"{localpart}@rooms.hs1"))


@pytest.mark.parametrize("localpart", ["^1", "a^", "\\ff", "\\3a", "a%b", "\\00"])
def test_what_is_no_escape_is_no_user(localpart: str) -> None:
    with pytest.raises(InvalidIdentifier):
        escaping.user_of_local(localpart, OWN)


def test_a_user_of_another_server_needs_a_server() -> None:
    with pytest.raises(InvalidIdentifier):
        escaping.user_of_remote("bob")
    with pytest.raises(InvalidIdentifier):
        escaping.room_of("#den", OWN)
    with pytest.raises(InvalidIdentifier):
        escaping.user_of_remote("bob%")


def test_what_stands_there_unescaped_stands_for_itself() -> None:
    assert escaping.user_of_local("straße", OWN) == "@straße:hs1"
    assert escaping.user_of_local("a\\zz", OWN) == "@a\\zz:hs1"


def test_letters_that_are_safe_only_alone_are_escaped(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(_text: str) -> str:
        raise InvalidIdentifier("not together")

    monkeypatch.setattr(escaping, "prepare_localpart", refuse)
    assert escaping.escape("日本") == "\\e6\\97\\a5\\e6\\9c\\ac"


LOCALPARTS = st.text(st.characters(exclude_characters=":\0", exclude_categories=["Cs"]), max_size=40)


@given(LOCALPARTS, LOCALPARTS)
def test_no_two_names_share_a_localpart(one: str, other: str) -> None:
    first, second = (escaping.local_user(UserID(f"@{name}:hs1")) for name in (one, other))
    assert (first == second) == (one == other)
    assert escaping.user_of_local(first, OWN) == f"@{one}:hs1"
    assert escaping.user_of_remote(escaping.remote_user(UserID(f"@{one}:other.org"))) == f"@{one}:other.org"
    assert escaping.room_of(escaping.alias(RoomAlias(f"#{one}:hs1"), OWN), OWN) == f"#{one}:hs1"


@given(LOCALPARTS)
def test_nodeprep_leaves_a_localpart_alone(name: str) -> None:
    localpart = escaping.local_user(UserID(f"@{name}:hs1"))
    # https://www.rfc-editor.org/rfc/rfc6122#appendix-A
    mapped = "".join(stringprep.map_table_b2(char) for char in localpart if not stringprep.in_table_b1(char))
    assert unicodedata.ucd_3_2_0.normalize("NFKC", mapped) == localpart
    assert not any(stringprep.in_table_a1(char) for char in localpart)
