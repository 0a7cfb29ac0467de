"""A person who chats with matrix-nio."""

import asyncio
import io
from collections import defaultdict
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from nio import (
    AsyncClient,
    BadEvent,
    DownloadResponse,
    ErrorResponse,
    Event,
    MatrixRoom,
    MessageDirection,
    PresenceEvent,
    ReactionEvent,
    Receipt,
    RedactedEvent,
    RedactionEvent,
    Response,
    RoomCreateResponse,
    RoomMessage,
    RoomMessageEmote,
    RoomMessageImage,
    RoomMessagesResponse,
    RoomMessageText,
    RoomSendResponse,
    SyncError,
    SyncResponse,
    ThumbnailResponse,
    UnknownBadEvent,
    UploadResponse,
)

from tests.clients.person import Message, Person, Presence, RoomView

SYNC_MILLISECONDS = 30_000
PAGE = 30
DEVICE_NAME = "Kettle"
KINDS: Mapping[type[RoomMessage], str] = {
    RoomMessageText: "m.text",
    RoomMessageEmote: "m.emote",
    RoomMessageImage: "m.image",
}

Answer = TypeVar("Answer", bound=Response)


def understood(answer: Response, kind: type[Answer]) -> Answer:
    """Return an answer that nio could read and that is no error."""
    assert isinstance(answer, kind), answer
    assert not isinstance(answer, ErrorResponse), answer
    return answer


class NioPerson(Person):
    """An `AsyncClient` whose `sync_forever` runs, with callbacks for what it hears; without encryption."""

    def __init__(self, base: str) -> None:
        super().__init__(base)
        self.client = AsyncClient(base)
        self.not_understood: list[object] = []
        """Events and answers of /sync that nio could not read."""
        self._heard: defaultdict[str, list[Event]] = defaultdict(list)
        self._earlier: dict[str, str | None] = {}
        self._presences: dict[str, Presence] = {}
        self._syncing: asyncio.Task[None] | None = None

    async def _sign_up(self, name: str, password: str) -> None:
        understood(await self.client.register(name, password, DEVICE_NAME), Response)
        await self._begins()

    async def _log_in(self, name: str, password: str) -> None:
        self.client.user = name
        understood(await self.client.login(password, DEVICE_NAME), Response)
        await self._begins()

    async def _begins(self) -> None:
        self.user_id = self.client.user_id
        self.client.add_event_callback(self._hears, (Event, BadEvent, UnknownBadEvent))
        self.client.add_presence_callback(self._hears_presence, PresenceEvent)
        self.client.add_response_callback(self._has_synced, (SyncResponse, SyncError))
        self._syncing = asyncio.create_task(self.client.sync_forever(SYNC_MILLISECONDS, full_state=True))
        # Whatever ends the syncing is news to those who wait for more.
        self._syncing.add_done_callback(lambda task: self.news.set())
        while not self.client.next_batch:
            await self.news.wait()
            self.news.clear()
            self._complains()

    async def _hears(self, room: MatrixRoom, event: Event) -> None:
        if isinstance(event, (BadEvent, UnknownBadEvent)):
            self.not_understood.append(event)
        elif room.room_id in self.client.rooms:
            self._heard[room.room_id].append(event)

    async def _hears_presence(self, event: PresenceEvent) -> None:
        self._presences[event.user_id] = Presence(event.presence, event.status_msg)

    async def _has_synced(self, answer: SyncResponse | SyncError) -> None:
        if isinstance(answer, SyncError):
            self.not_understood.append(answer)
        else:
            for room_id, room in answer.rooms.join.items():
                self._earlier.setdefault(room_id, room.timeline.prev_batch)
        self.news.set()

    def _complains(self) -> None:
        assert not self.not_understood, self.not_understood
        if self._syncing is not None and self._syncing.done():
            self._syncing.result()
            raise AssertionError("syncing has ended")

    async def leaves(self) -> None:
        if self._syncing is not None:
            self._syncing.cancel()
            await asyncio.gather(self._syncing, return_exceptions=True)
        await self.client.close()

    async def logs_out(self) -> None:
        understood(await self.client.logout(), Response)

    async def creates_room(self, name: str) -> str:
        return str(understood(await self.client.room_create(name=name), RoomCreateResponse).room_id)

    async def invites(self, room_id: str, user_id: str) -> None:
        understood(await self.client.room_invite(room_id, user_id), Response)

    async def joins(self, room_id: str) -> None:
        understood(await self.client.join(room_id), Response)

    async def opens(self, room_id: str) -> None:
        while (start := self._earlier[room_id]) is not None:
            answer = await self.client.room_messages(room_id, start, direction=MessageDirection.back, limit=PAGE)
            page = understood(answer, RoomMessagesResponse)
            self._heard[room_id][:0] = reversed(page.chunk)
            self._earlier[room_id] = page.end

    async def sends(self, room_id: str, content: Mapping[str, Any]) -> str:
        return await self._sends(room_id, "m.room.message", content)

    async def _sends(self, room_id: str, event_type: str, content: Mapping[str, Any]) -> str:
        answer = await self.client.room_send(room_id, event_type, dict(content))
        return str(understood(answer, RoomSendResponse).event_id)

    async def emotes(self, room_id: str, body: str) -> str:
        return await self.sends(room_id, {"msgtype": "m.emote", "body": body})

    async def shows(self, room_id: str, png: bytes, name: str) -> str:
        answer, _ = await self.client.upload(io.BytesIO(png), "image/png", name, filesize=len(png))
        url = understood(answer, UploadResponse).content_uri
        info = {"mimetype": "image/png", "size": len(png)}
        return await self.sends(room_id, {"msgtype": "m.image", "body": name, "url": url, "info": info})

    async def downloads(self, url: str) -> bytes:
        body = understood(await self.client.download(url), DownloadResponse).body
        assert isinstance(body, bytes)
        return body

    async def thumbnail(self, url: str, size: int) -> bytes:
        server_name, media_id = url.removeprefix("mxc://").split("/")
        answer = await self.client.thumbnail(server_name, media_id, size, size)
        body = understood(answer, ThumbnailResponse).body
        assert isinstance(body, bytes)
        return body

    async def reacts(self, room_id: str, event_id: str, key: str) -> str:
        relation = {"rel_type": "m.annotation", "event_id": event_id, "key": key}
        return await self._sends(room_id, "m.reaction", {"m.relates_to": relation})

    async def redacts(self, room_id: str, event_id: str, reason: str) -> None:
        understood(await self.client.room_redact(room_id, event_id, reason), Response)

    async def types(self, room_id: str, is_typing: bool) -> None:
        understood(await self.client.room_typing(room_id, is_typing), Response)

    async def reads(self, room_id: str, event_id: str) -> None:
        understood(await self.client.room_read_markers(room_id, event_id, event_id), Response)

    async def becomes(self, presence: str, status: str) -> None:
        understood(await self.client.set_presence(presence, status), Response)

    async def sees(self, room_id: str) -> RoomView | None:
        self._complains()
        if (invited := self.client.invited_rooms.get(room_id)) is not None:
            return _view(invited, "invite", [])
        room = self.client.rooms.get(room_id)
        return None if room is None else _view(room, "join", _messages(self._heard[room_id]))

    async def sees_presence(self, user_id: str) -> Presence | None:
        self._complains()
        return self._presences.get(user_id)


def _view(room: MatrixRoom, membership: str, messages: list[Message]) -> RoomView:
    receipts: list[Receipt] = list(room.read_receipts.values())
    return RoomView(
        name=room.display_name,
        membership=membership,
        members={user: "invite" if user in room.invited_users else "join" for user in room.users},
        typing=list(room.typing_users),
        read={receipt.user_id: receipt.event_id for receipt in receipts},
        unread=room.unread_notifications,
        highlights=room.unread_highlights,
        messages=messages,
    )


def _messages(events: Iterable[Event]) -> list[Message]:
    """Put edits, reactions and redactions to the messages that they are about, as nio leaves to its user."""
    messages: dict[str, Message] = {}
    edits: dict[str, str] = {}
    reactions: dict[str, ReactionEvent] = {}
    redacted: set[str] = set()
    for event in events:
        match event:
            case RedactionEvent():
                redacted.add(event.redacts)
            case ReactionEvent():
                reactions[event.event_id] = event
            case RoomMessage() if (edited := _edited(event)) is not None:
                edits[edited] = event.source["content"]["m.new_content"]["body"]
            case RoomMessage():
                messages[event.event_id] = _message(event)
            case RedactedEvent(type="m.room.message"):
                messages[event.event_id] = _removed(event)
            case _:
                continue
    by_key: defaultdict[str, defaultdict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
    for reaction in reactions.values():
        if reaction.event_id not in redacted:
            by_key[reaction.reacts_to][reaction.key].append(reaction.sender)
    return [
        _removed(message) if message.id in redacted else _with(message, edits.get(message.id), by_key[message.id])
        for message in messages.values()
    ]


def _edited(event: RoomMessage) -> str | None:
    relation = event.source["content"].get("m.relates_to", {})
    return relation["event_id"] if relation.get("rel_type") == "m.replace" else None


def _message(event: RoomMessage) -> Message:
    relation = event.source["content"].get("m.relates_to", {})
    return Message(
        id=event.event_id,
        sender=event.sender,
        kind=KINDS[type(event)],
        body=event.body,
        url=getattr(event, "url", None),
        reply_to=relation.get("m.in_reply_to", {}).get("event_id"),
    )


def _with(message: Message, edit: str | None, reactions: Mapping[str, list[str]]) -> Message:
    return Message(
        id=message.id,
        sender=message.sender,
        kind=message.kind,
        body=message.body if edit is None else edit,
        url=message.url,
        reply_to=message.reply_to,
        edited=edit is not None,
        redacted=message.redacted,
        reactions={key: sorted(senders) for key, senders in reactions.items()},
    )


def _removed(event: Event | Message) -> Message:
    event_id = event.id if isinstance(event, Message) else event.event_id
    return Message(id=event_id, sender=event.sender, kind=None, body=None, redacted=True)
