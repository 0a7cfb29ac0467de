"""Logs: one event a line to standard error, with the request it belongs to, and never with a secret.

Anything that looks like a secret is replaced before a line is written, whoever wrote it: by the name of the
field (`password`, `access_token`, ...), and by its form inside texts (`Authorization` headers, query strings,
tracebacks). `log = structlog.get_logger()` is how a module gets its logger.
"""

import logging
import re
import sys
from collections.abc import Mapping, MutableMapping, Sequence
from contextvars import ContextVar
from typing import Any

import structlog
from structlog.typing import EventDict, Processor

from homeserver.config.schema import Logging

REDACTED = "<redacted>"
MAX_DEPTH = 8

request_id: ContextVar[str] = ContextVar("request_id", default="")
"""The request that the current task works on; tasks that it starts inherit it."""

SECRET_NAMES = re.compile(
    r"password|passwd|secret|token|authori[sz]ation|cookie|signing_key|private_key|session|nonce|^mac$|^auth$",
    re.IGNORECASE,
)
NOT_SECRET = frozenset({"token_kind", "tokens_required"})

SECRET_TEXTS = (
    # A header, as a request or its dump writes it.
    re.compile(r"""(?i)(authorization["']?\s*[:=]\s*["']?)(?:(?:bearer|basic)\s+\S+|[^"'\r\n]+)"""),
    re.compile(r"(?i)(\b(?:bearer|basic)\s+)[\w.~+/=-]+"),
    # A query string or a form.
    re.compile(r"""(?i)((?:access|refresh|login)_?token=|\bpassword=|\bsecret=|loginToken=)[^&\s"']+"""),
    # A JSON body or the repr of a dict.
    re.compile(r"""(?i)(["'][\w.]*(?:password|token|secret|authorization)[\w.]*["']\s*:\s*["'])(?:[^"'\\]|\\.)*"""),
    # The password of a database URL.
    re.compile(r"(\w+://[^:/@\s]*:)[^@/\s]+(?=@)"),
)


def configure(settings: Logging) -> None:
    """Send structlog's events and the standard library's records to standard error in one form."""
    shared: list[Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _add_request,
        structlog.processors.format_exc_info,
        redact,
    ]
    rendering: Processor
    if settings.format == "json":
        rendering = structlog.processors.JSONRenderer(sort_keys=False, default=repr)
    else:
        rendering = structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty())
    level = getattr(logging, settings.level.upper())
    structlog.configure(
        processors=[*shared, rendering],
        wrapper_class=structlog.make_filtering_bound_logger(level),
        logger_factory=structlog.WriteLoggerFactory(file=sys.stderr),
        cache_logger_on_first_use=True,
    )
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, rendering],
        )
    )
    logging.basicConfig(handlers=[handler], level=level, force=True)
    # We write one line a request ourselves.
    logging.getLogger("aiohttp.access").setLevel(logging.WARNING)


def redact(_logger: object, _method: str, event: EventDict) -> MutableMapping[str, Any]:
    """Replace every secret in an event; a processor of structlog."""
    return {name: _clean(name, value, 0) for name, value in event.items()}


def redact_text(text: str) -> str:
    """Return a text without the secrets that can be told by their form, such as `?access_token=...`."""
    for pattern in SECRET_TEXTS:
        text = pattern.sub(rf"\1{REDACTED}", text)
    return text


def _clean(name: str, value: object, depth: int) -> object:
    if name not in NOT_SECRET and SECRET_NAMES.search(name):
        return REDACTED
    if depth > MAX_DEPTH:
        return "<deep>"
    match value:
        case bool() | int() | float() | None:
            return value
        case str():
            return redact_text(value)
        case bytes():
            return f"<{len(value)} bytes>"
        case Mapping():
            return {str(key): _clean(str(key), inner, depth + 1) for key, inner in value.items()}
        case Sequence() | set() | frozenset():
            return [_clean("", inner, depth + 1) for inner in value]
        case _:
            return redact_text(repr(value))


def _add_request(_logger: object, _method: str, event: EventDict) -> EventDict:
    identifier = request_id.get()
    if identifier:
        event["request"] = identifier
    return event
