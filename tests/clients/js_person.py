"""A person who chats with matrix-js-sdk, in a Node process that `js/person.mjs` runs."""

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from tests.clients.person import Message, Person, Presence, RoomView
from tests.support.puppet import Puppet, Thrown

HERE = Path(__file__).parent / "js"


class JsError(Thrown):
    """What the SDK threw."""

    def __init__(self, thrown: Mapping[str, Any]) -> None:
        super().__init__(thrown)
        self.status: int | None = thrown["status"]
        self.errcode: str | None = thrown["errcode"]


class JsPerson(Person):
    """A client made by `createClient` and kept running by `startClient`, as Element does it; without encryption."""

    _puppet: Puppet | None = None

    async def asks(self, deed: str, *parameters: object) -> Any:
        """Do what `js/person.mjs` calls by that name. Raises `JsError`."""
        assert self._puppet is not None
        return await self._puppet.asks(deed, *parameters)

    async def _sign_up(self, name: str, password: str) -> None:
        await self._begins("signsUp", name, password)

    async def _log_in(self, name: str, password: str) -> None:
        await self._begins("logsIn", name, password)

    async def _begins(self, deed: str, *parameters: object) -> None:
        command = ("node", "person.mjs", self.base)
        self._puppet = await Puppet.start(*command, tell_news=self.news.set, error=JsError, cwd=HERE)
        self.user_id = (await self.asks(deed, *parameters))["user_id"]

    async def leaves(self) -> None:
        if self._puppet is not None:
            await self._puppet.ends()

    async def logs_out(self) -> None:
        await self.asks("logsOut")

    async def creates_room(self, name: str) -> str:
        return str(await self.asks("createsRoom", {"name": name, "preset": "private_chat", "visibility": "private"}))

    async def invites(self, room_id: str, user_id: str) -> None:
        await self.asks("invites", room_id, user_id)

    async def joins(self, room_id: str) -> None:
        await self.asks("joins", room_id)

    async def opens(self, room_id: str) -> None:
        await self.asks("opens", room_id)

    async def sends(self, room_id: str, content: Mapping[str, Any]) -> str:
        return str(await self.asks("says", room_id, content))

    async def emotes(self, room_id: str, body: str) -> str:
        return str(await self.asks("emotes", room_id, body))

    async def shows(self, room_id: str, png: bytes, name: str) -> str:
        url = await self.asks("uploads", base64.b64encode(png).decode(), "image/png", name)
        return str(await self.asks("showsImage", room_id, url, {"mimetype": "image/png", "size": len(png)}, name))

    async def downloads(self, url: str) -> bytes:
        return base64.b64decode(await self.asks("downloads", url))

    async def thumbnail(self, url: str, size: int) -> bytes:
        return base64.b64decode(await self.asks("thumbnail", url, size))

    async def reacts(self, room_id: str, event_id: str, key: str) -> str:
        return str(await self.asks("reacts", room_id, event_id, key))

    async def redacts(self, room_id: str, event_id: str, reason: str) -> None:
        await self.asks("redacts", room_id, event_id, reason)

    async def types(self, room_id: str, is_typing: bool) -> None:
        await self.asks("types", room_id, is_typing)

    async def reads(self, room_id: str, event_id: str) -> None:
        await self.asks("reads", room_id, event_id)

    async def becomes(self, presence: str, status: str) -> None:
        await self.asks("becomes", presence, status)

    async def sees(self, room_id: str) -> RoomView | None:
        view = await self.asks("sees", room_id)
        if view is None:
            return None
        return RoomView(**{**view, "messages": [Message(**message) for message in view["messages"]]})

    async def sees_presence(self, user_id: str) -> Presence | None:
        seen = await self.asks("seesPresence", user_id)
        return None if seen is None else Presence(**seen)
