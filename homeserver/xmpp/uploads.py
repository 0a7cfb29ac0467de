"""Files: a slot to upload one, and links by which others get it: https://xmpp.org/extensions/xep-0363.html.

XMPP clients send no tokens with HTTP, so whoever has a link has the file: each holds a code that only this server can
make. What is uploaded lies in the media store, and Matrix clients get it as their own.
"""

import hashlib
import hmac
from base64 import urlsafe_b64encode
from urllib.parse import quote

import msgspec
from aiohttp import web
from sqlalchemy import Connection

from federation.core.ids import DeviceID, ServerName
from federation.core.xmpp import stanza as stanzas
from federation.core.xmpp.element import Element
from federation.core.xmpp.errors import ErrorType, StanzaCondition, StanzaError
from homeserver.errors import Forbidden, NotFound, TooLarge
from homeserver.http.files import FileResponse, content_type_of
from homeserver.http.packing import pieces_of
from homeserver.http.routing import Answer, Auth, Call, Routes
from homeserver.model.accounts import Requester
from homeserver.model.media import MediaID
from homeserver.model.nids import DeviceNid, UserNid
from homeserver.services.media.uploads import Upload
from homeserver.storage import media
from homeserver.xmpp.accounts import Accounts
from homeserver.xmpp.acting import LONGEST_NUMBER
from homeserver.xmpp.addresses import Place
from homeserver.xmpp.chats import FILES, Chats
from homeserver.xmpp.router import Handler, Key, Kind
from homeserver.xmpp.session import Session

UPLOAD = "urn:xmpp:http:upload:0"
SLOTS = "/_isthmus/xmpp/uploads"
LONGEST_NAME = 200
WAIT_MS = 20_000


class SlotQuery(msgspec.Struct):
    """What a slot says of its file beside its path."""

    content_type: str | None = None


async def request_slot(session: Session, iq: Element) -> Element:
    """Give a client the URLs to send a file to and to get it from. Raises `StanzaError`."""
    wanted = stanzas.payload_of(iq)
    name, size = (wanted.get("filename") or "").replace("/", "_"), wanted.get("size") or ""
    if not name or not size.isdecimal() or len(size) > LONGEST_NUMBER or int(size) == 0:
        raise StanzaError(StanzaCondition.BAD_REQUEST, "a slot needs a filename and a size")
    most = session.services.config.media.max_upload_bytes
    if int(size) > most:
        raise _too_large(most)
    chats = session.accounts.kept(Chats)
    await chats.ready()
    session.services.limits.take("media", session.who.user_id)
    reserved = await session.services.media.uploads.reserve(session.who)
    content_type = content_type_of(wanted.get("content-type"))
    code = _code(chats, reserved.media_id, int(size), content_type)
    shown = quote(name[-LONGEST_NAME:], safe="")
    base = session.services.config.base_url
    put = f"{base}{SLOTS}/{quote(reserved.media_id, safe='')}/{code}/{int(size)}/{shown}"
    put += f"?content_type={quote(content_type, safe='')}"
    get = chats.link(reserved.uri, name[-LONGEST_NAME:]) or ""
    slot = Element("slot", UPLOAD)
    slot.add(Element("put", UPLOAD, {"url": put}), Element("get", UPLOAD, {"url": get}))
    return stanzas.result(iq, slot)


def _too_large(most: int) -> StanzaError:
    return StanzaError(StanzaCondition.NOT_ACCEPTABLE, f"Files have at most {most} bytes here", type=ErrorType.MODIFY)


def _code(chats: Chats, media_id: str, size: int, content_type: str) -> str:
    """Return the code that lets somebody fill a slot with a file of this size and type."""
    text = f"put/{media_id}/{size}/{content_type}".encode()
    return urlsafe_b64encode(hmac.new(chats.secret, text, hashlib.sha256).digest()[:18]).decode()


def add_routes(routes: Routes, accounts: Accounts) -> None:
    """Serve uploads and downloads over HTTP."""

    @routes.put(f"{SLOTS}/{{media_id}}/{{code}}/{{size}}/{{file_name}}", auth=Auth.NONE, limit="none", raw_body=True)
    async def fill(call: Call, media_id: MediaID, code: str, size: str, file_name: str, query: SlotQuery) -> Answer:
        """Take a file into its slot."""
        chats = accounts.kept(Chats)
        await chats.ready()
        content_type = content_type_of(query.content_type)
        if (
            not size.isdecimal()
            or len(size) > LONGEST_NUMBER
            or not hmac.compare_digest(code.encode(), _code(chats, media_id, int(size), content_type).encode())
        ):
            raise Forbidden("This is no slot for an upload")
        length = call.request.content_length
        if length is not None and length != int(size):
            raise TooLarge("The file has another size than the slot")
        origin = ServerName(call.services.config.server_name)

        def read(conn: Connection) -> UserNid | None:
            found = media.find(conn, origin, media_id)
            return found.uploader if found is not None else None

        uploader = await call.services.db.read(read)
        if uploader is None:
            raise NotFound("The slot has expired")
        user_id = await call.services.db.read(lambda conn: call.services.history.names.user_id(conn, uploader))
        who = Requester(user_id, uploader, DeviceID(""), DeviceNid(0))
        upload = Upload(pieces_of(call.request), int(size), content_type, file_name or None)
        await call.services.media.uploads.fill(who, origin, media_id, upload)
        return Answer(b"{}", 201)

    @routes.get(f"{FILES}/{{server_name}}/{{media_id}}/{{holder}}/{{code}}/{{file_name}}", auth=Auth.NONE, limit="none")
    async def fetch(
        call: Call, server_name: ServerName, media_id: MediaID, holder: str, code: str, file_name: str
    ) -> web.StreamResponse:
        """Send a file to whoever has its link, as long as the message is there that shows it."""
        chats = accounts.kept(Chats)
        await chats.ready()
        event = int(holder) if holder.isdecimal() and len(holder) <= LONGEST_NUMBER else -1
        if not hmac.compare_digest(code.encode(), chats.code(server_name, media_id, event).encode()):
            raise NotFound("There is no such file")
        if not await call.services.db.read(lambda conn: chats.may_fetch(conn, server_name, media_id, event)):
            raise NotFound("This file was taken back")
        found = await call.services.media.downloads.find(server_name, media_id, WAIT_MS)
        response = FileResponse(call.request, found, file_name)
        # The file never changes, but who has the link may lose it.
        response.headers["Cache-Control"] = "private, no-cache"
        return response


FEATURES: dict[Place, tuple[str, ...]] = {Place.UPLOADS: (UPLOAD,)}
HANDLERS: dict[Key, Handler] = {(Place.UPLOADS, Kind.GET, UPLOAD, "request"): request_slot}
