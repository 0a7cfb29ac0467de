"""Draw the picture of Converse.js in the documentation: `python -m tests.converse.screenshot [FILE]`.

It takes a font with emoji, Debian's fonts-noto-color-emoji.
"""

import asyncio
import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import aiohttp
from PIL import Image, ImageDraw

from tests.converse.person import REACTION, ConversePerson
from tests.converse.site import before, browser
from tests.support.media import encoded
from tests.support.process import ServerProcess
from tests.support.talker import event_of, hears
from tests.support.world import PASSWORD, Site, User, ok, q

FILE = Path(__file__).parents[2] / "docs" / "converse.png"
SERVER = "example.org"


async def main(file: Path) -> None:
    """Start a server, let people talk, and write what one of them sees."""
    with TemporaryDirectory() as name:
        directory = Path(name)
        (directory / "server").mkdir()
        async with (
            ServerProcess.start(
                directory / "server", server_name=SERVER, PUBLIC_URL=f"https://{SERVER}", RATE_LIMITS__ENABLED="false"
            ) as server,
            aiohttp.ClientSession() as http,
        ):
            site = Site(server.base, http, SERVER)
            people = [await site.user(name) for name in ("alice", "bob", "carol")]
            for user, colour in zip(people, ("#b5651d", "#2e7d5b", "#6a4c93"), strict=True):
                await is_known(user, user.user_id[1:].partition(":")[0].title(), colour)
            async with before(site, directory / "line") as line, browser(line, directory / "browser") as page:
                await talk(ConversePerson(page), people[1], people[2])
                picture = await page.draws()
    image = Image.open(io.BytesIO(picture)).convert("RGB").quantize(256, dither=Image.Dither.NONE)
    image.save(file, "PNG", optimize=True)


async def talk(alice: ConversePerson, bob: User, carol: User) -> None:
    """Say what is to be in the picture."""
    room_id = await bob.creates_room(
        name="Tea room", topic="What is in the pot, and who brings the cake", preset="public_chat",
        visibility="public", room_alias_name="tea",
    )  # fmt: skip
    await carol.joins(room_id)
    await bob.says(room_id, "The kettle is on! Who is in?")
    await carol.says(room_id, "Me, from Matrix. I am on the train")
    await bob.syncs()
    await alice.logs_in(f"alice@{SERVER}", PASSWORD)
    await alice.enters("Tea room", f"rooms.{SERVER}")
    await alice.hears("I am on the train")
    await alice.says("And me, from Converse.js. Is there any of the *good* one left?")
    question = await hears(bob, room_id)
    await shows(bob, room_id, "pot.png", cup())
    await alice.sees_picture("pot.png")
    await bob.says(room_id, "A whole pot of it")
    await alice.hears("A whole pot")
    await alice.reacts("A whole pot")
    reaction = (await event_of(bob, room_id, "m.reaction"))["content"]
    await carol.sends(room_id, "m.reaction", reaction)
    await alice.page.sees(REACTION, "2")
    await alice.says("On my way. I bring the caek")
    await hears(bob, room_id)
    await alice.edits("On my way. I bring the caek", "On my way. I bring the cake")
    await hears(bob, room_id)
    relation: dict[str, Any] = {"m.in_reply_to": {"event_id": question["event_id"]}}
    await carol.says(room_id, "Leave some for me!", **{"m.relates_to": relation})
    await alice.hears("Leave some for me!")
    await alice.page.points_at(".chatbox-title__text")


async def is_known(user: User, name: str, colour: str) -> None:
    """Give somebody a name and a face."""
    ok(await user.put(f"/profile/{q(user.user_id)}/displayname", {"displayname": name}))
    face = Image.new("RGB", (96, 96), colour)
    draw = ImageDraw.Draw(face)
    draw.ellipse((30, 18, 66, 54), fill="#fff4e0")
    draw.ellipse((14, 60, 82, 130), fill="#fff4e0")
    ok(await user.put(f"/profile/{q(user.user_id)}/avatar_url", {"avatar_url": await uploaded(user, encoded(face))}))


async def uploaded(user: User, png: bytes) -> str:
    """Upload a picture; return its content URI."""
    answer = await user.world.request(
        "POST", "/_matrix/media/v3/upload", token=user.token, raw=png, headers={"Content-Type": "image/png"}
    )
    return str(ok(answer)["content_uri"])


async def shows(user: User, room_id: str, name: str, image: Image.Image) -> None:
    """Send a picture from Matrix."""
    png = encoded(image)
    info = {"mimetype": "image/png", "size": len(png), "w": image.width, "h": image.height}
    content = {"msgtype": "m.image", "body": name, "url": await uploaded(user, png), "info": info}
    await user.sends(room_id, "m.room.message", content)


def cup() -> Image.Image:
    """Draw a cup of tea."""
    scale = 4
    image = Image.new("RGB", (280 * scale, 160 * scale), "#f3e3c8")
    draw = ImageDraw.Draw(image)

    def at(left: int, top: int, right: int, bottom: int) -> tuple[tuple[float, float], tuple[float, float]]:
        return (left * scale, top * scale), (right * scale, bottom * scale)

    draw.rectangle(at(0, 118, 280, 160), fill="#c79a63")
    draw.ellipse(at(70, 112, 210, 136), fill="#ffffff")
    draw.ellipse(at(168, 58, 212, 100), outline="#2f6690", width=9 * scale)
    draw.pieslice(at(84, 0, 190, 124), 0, 180, fill="#2f6690")
    draw.ellipse(at(84, 52, 190, 74), fill="#3a7ca5")
    draw.ellipse(at(90, 55, 184, 72), fill="#8a4b18")
    for x in (112, 136, 160):
        draw.arc(at(x - 8, 14, x + 8, 30), 90, 270, fill="#ffffff", width=4 * scale)
        draw.arc(at(x - 8, 30, x + 8, 46), 270, 90, fill="#ffffff", width=4 * scale)
    return image.resize((280, 160), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1]) if len(sys.argv) > 1 else FILE))
