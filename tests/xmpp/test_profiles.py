"""Names, vCards and passwords: by XMPP and by Matrix (XEP-0054, XEP-0172, XEP-0077)."""

from typing import Any

import pytest
from slixmpp.exceptions import IqError
from slixmpp.xmlstream import StanzaBase

from tests.support.raw_xmpp import bound
from tests.support.talker import Talker, talker
from tests.support.waiting import until
from tests.support.world import CLIENT, PASSWORD, User, World, ok, q
from tests.xmpp.test_avatars import EVENT, SMALL, avatar_of, gets, pair, puts, shows

pytestmark = pytest.mark.asyncio(loop_scope="module")

NICK = "http://jabber.org/protocol/nick"
CARD = "{vcard-temp}"
REGISTER = "jabber:iq:register"
NEW = "another battery, another horse"


async def name_of(user: User) -> Any:
    """Return the display name that Matrix clients see."""
    return ok(await user.get(f"/profile/{q(user.user_id)}")).get("displayname")


async def is_called(user: User, name: str) -> None:
    """Let a Matrix user have a display name."""
    ok(await user.put(f"/profile/{q(user.user_id)}/displayname", {"displayname": name}))


def nick(stanza: StanzaBase) -> str | None:
    """Return the name in an event."""
    return stanza.xml.findtext(f"{EVENT}event/{EVENT}items[@node='{NICK}']/{EVENT}item/{{{NICK}}}nick")


async def card_of(person: Talker, whose: str | None) -> Any:
    """Return a vCard."""
    return (await person.asks(whose, "<vCard xmlns='vcard-temp'/>"))[0]


async def test_a_nick_that_is_published_is_the_display_name_and_the_other_way_round(shared_world: World) -> None:
    ada, _ = await pair(shared_world, "ada", "bert")
    async with talker(shared_world, "ada", wants=(NICK,)) as own, talker(shared_world, "bert", wants=(NICK,)) as other:
        await puts(own, NICK, "current", f"<nick xmlns='{NICK}'>Ada L.</nick>")
        assert await name_of(ada) == "Ada L."
        for person in (own, other):
            told = await person.gets(lambda one: nick(one) == "Ada L.")
            assert str(told["from"]) == "ada@hs1"
        await is_called(ada, "Countess")
        await other.gets(lambda one: nick(one) == "Countess")
        assert (await gets(other, "ada@hs1", NICK)).findtext(f"{{{NICK}}}nick") == "Countess"
        with pytest.raises(IqError) as raised:
            await puts(own, NICK, "current", f"<nick xmlns='{NICK}'>{'x' * 300}</nick>")
        assert raised.value.condition == "bad-request"
        await puts(own, NICK, "current", f"<nick xmlns='{NICK}'/>")
        assert await name_of(ada) is None
        await other.gets(lambda one: nick(one) == "")
    async with talker(shared_world, "bert", wants=(NICK,)) as other:
        await is_called(ada, "Ada again")
        await other.gets(lambda one: nick(one) == "Ada again")


async def test_a_vcard_is_taken_and_given_back_with_all_that_is_in_it(shared_world: World) -> None:
    carl = await shared_world.user("carl")
    await shared_world.user("dana")
    uri = await shows(carl, SMALL)
    async with talker(shared_world, "carl") as own, talker(shared_world, "dana") as other:
        before = await card_of(own, None)
        binval = before.findtext(f"{CARD}PHOTO/{CARD}BINVAL")
        photo = f"<PHOTO><TYPE>image/png</TYPE><BINVAL>{binval}</BINVAL></PHOTO>"
        address = "<ADR><HOME/><LOCALITY>Verona</LOCALITY></ADR>"
        told = f"<NICKNAME>Carlo</NICKNAME><BDAY>1476-06-09</BDAY>{address}<FN>Carl</FN>{photo}"
        await own.asks(None, f"<vCard xmlns='vcard-temp'>{told}</vCard>", "set")
        assert (await name_of(carl), await avatar_of(carl)) == ("Carlo", uri)
        for person in (own, other):
            card = await card_of(person, "carl@hs1")
            assert card.findtext(f"{CARD}FN") == card.findtext(f"{CARD}NICKNAME") == "Carlo"
            assert card.findtext(f"{CARD}BDAY") == "1476-06-09"
            assert card.findtext(f"{CARD}ADR/{CARD}LOCALITY") == "Verona"
            assert card.findtext(f"{CARD}PHOTO/{CARD}BINVAL") == binval
        await is_called(carl, "Carl by Matrix")
        assert (await card_of(other, "carl@hs1")).findtext(f"{CARD}FN") == "Carl by Matrix"
        # What differs from the name that both fields were given out with is what the user has changed.
        both = "<NICKNAME>Carl by Matrix</NICKNAME><FN>Carl by XMPP</FN>"
        await own.asks(None, f"<vCard xmlns='vcard-temp'>{both}</vCard>", "set")
        assert (await name_of(carl), await avatar_of(carl)) == ("Carl by XMPP", None)
        card = await card_of(other, "carl@hs1")
        assert card.find(f"{CARD}BDAY") is None
        await own.asks(None, "<vCard xmlns='vcard-temp'><NICKNAME/></vCard>", "set")
        assert await name_of(carl) is None
        with pytest.raises(IqError) as raised:
            await own.asks("dana@hs1", "<vCard xmlns='vcard-temp'/>", "set")
        assert raised.value.condition == "service-unavailable"
        with pytest.raises(IqError) as raised:
            await own.asks(None, f"<vCard xmlns='vcard-temp'><NOTE>{'x' * 140_000}</NOTE></vCard>", "set")
        assert raised.value.condition == "not-acceptable"


async def changes(person: Talker, fields: str) -> Any:
    """Ask the server to change a registration."""
    return await person.asks("hs1", f"<query xmlns='{REGISTER}'>{fields}</query>", "set")


async def logs_in(world: World, name: str, password: str) -> int:
    """Log in as a Matrix client; return the status."""
    identifier = {"type": "m.id.user", "user": name}
    body = {"type": "m.login.password", "identifier": identifier, "password": password}
    return (await world.request("POST", f"{CLIENT}/login", body))[0]


async def test_a_password_is_changed_in_band_and_holds_everywhere(shared_world: World) -> None:
    erna = await shared_world.user("erna")
    async with talker(shared_world, "erna") as own, bound(shared_world, "erna", "other") as other:
        await changes(own, f"<username>erna</username><password>{NEW}</password>")
        assert "not-authorized" in await other.hears("</stream:stream>")
        assert (await erna.get("/account/whoami"))[0] == 401
        assert await logs_in(shared_world, "erna", PASSWORD) == 403
        assert await logs_in(shared_world, "erna", NEW) == 200
        await own.asks("hs1", "<ping xmlns='urn:xmpp:ping'/>")
    async with talker(shared_world, "erna", password=NEW) as own:
        assert own.jid == "erna@hs1"


async def test_a_password_that_is_changed_by_matrix_opens_xmpp(shared_world: World) -> None:
    fritz = await shared_world.user("fritz")
    auth = {"type": "m.login.password", "identifier": {"type": "m.id.user", "user": "fritz"}, "password": PASSWORD}
    async with bound(shared_world, "fritz", "old") as old:
        ok(await fritz.post("/account/password", {"new_password": NEW, "auth": auth}))
        assert "not-authorized" in await old.hears("</stream:stream>")
    async with talker(shared_world, "fritz", password=NEW) as own:
        assert own.jid == "fritz@hs1"


async def test_who_is_registered_is_told_so(shared_world: World) -> None:
    await shared_world.user("gus")
    async with talker(shared_world, "gus") as own:
        for to in ("hs1", None):
            query = (await own.asks(to, f"<query xmlns='{REGISTER}'/>"))[0]
            assert query.find(f"{{{REGISTER}}}registered") is not None
            assert query.findtext(f"{{{REGISTER}}}username") == "gus"
            assert query.findtext(f"{{{REGISTER}}}password") == ""
        info = await own.client.plugin["xep_0030"].get_info("hs1")
        assert REGISTER in info["disco_info"]["features"]


@pytest.mark.parametrize(
    ("fields", "condition"),
    [
        ("<remove/>", "not-allowed"),
        ("<username>hilde</username><password/>", "bad-request"),
        (f"<password>{NEW}</password>", "bad-request"),
        ("<username>hilde</username><password>short</password>", "not-acceptable"),
        (f"<username>somebody</username><password>{NEW}</password>", "not-allowed"),
        (f"<username>hilde</username><password>{'x' * 600}</password>", "bad-request"),
        ("", "bad-request"),
    ],
)
async def test_a_change_that_is_wrong_is_refused_and_not_repeated(
    shared_world: World, fields: str, condition: str
) -> None:
    if await logs_in(shared_world, "hilde", PASSWORD) != 200:
        await shared_world.user("hilde")
    async with talker(shared_world, "hilde") as own:
        with pytest.raises(IqError) as raised:
            await changes(own, fields)
        assert raised.value.condition == condition
        assert raised.value.iq.xml.find(f"{{{REGISTER}}}query") is None
    assert await logs_in(shared_world, "hilde", PASSWORD) == 200


async def test_sessions_that_a_new_password_ends_are_gone_from_the_list_of_devices(shared_world: World) -> None:
    ida = await shared_world.user("ida")
    assert shared_world.app.xmpp is not None
    accounts = shared_world.app.xmpp.accounts
    async with talker(shared_world, "ida") as own, bound(shared_world, "ida", "other"):
        user_id = ida.user_id
        assert len([one for one in accounts.all() if one.who.user_id == user_id]) == 2
        await changes(own, f"<username>ida</username><password>{NEW}</password>")
        await until(lambda: len([one for one in accounts.all() if one.who.user_id == user_id]) == 1)
