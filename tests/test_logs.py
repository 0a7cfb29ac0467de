"""No line of the log holds a secret, and every line names its request."""

import json
import logging
from collections.abc import Iterator
from contextvars import copy_context

import pytest
import structlog

from homeserver import logs
from homeserver.config.schema import Logging


@pytest.fixture(autouse=True)
def default_logging() -> Iterator[None]:
    """Put logging back as it was."""
    root = logging.getLogger()
    handlers, level = list(root.handlers), root.level
    configured = structlog.get_config()
    yield
    # Not structlog's defaults: those draw the locals of each frame of an exception, which takes seconds.
    structlog.reset_defaults()
    structlog.configure(**configured)
    root.handlers[:] = handlers
    root.setLevel(level)


# What is written to the log, which part of it may not be seen.
LEAKS = [
    ("GET /_matrix/client/v3/sync?access_token=S3CRET&since=s1", "S3CRET"),
    ("POST /login?loginToken=S3CRET", "S3CRET"),
    ("Authorization: Bearer S3CRET", "S3CRET"),
    ("authorization=Bearer S3CRET rest", "S3CRET"),
    ("{'Authorization': 'Bearer S3CRET'}", "S3CRET"),
    ('{"type": "m.login.password", "password": "S3C\\"RET"}', 'S3C\\"RET'),
    ('{"access_token":"S3CRET","device_id":"A"}', "S3CRET"),
    ('{"new_password": "S3CRET"}', "S3CRET"),
    ("could not open postgresql://synapse:S3CRET@db/synapse", "S3CRET"),
]


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(("text", "secret"), LEAKS)
def test_secrets_are_told_by_their_form(text: str, secret: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Logging(format=form))
    structlog.get_logger().info(text, detail=text, nested=[{"text": text}])
    logging.getLogger("asyncio").warning(text)
    try:
        raise ValueError(text)
    except ValueError:
        structlog.get_logger().exception("failed")

    written = capsys.readouterr().err
    assert "failed" in written
    assert secret not in written
    assert "S3C" not in written


@pytest.mark.parametrize("form", ["json", "console"])
@pytest.mark.parametrize(
    "name",
    ["password", "new_password", "access_token", "refresh_token", "Authorization", "shared_secret", "mac"],
)
def test_secrets_are_told_by_their_name(name: str, form: str, capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Logging(format=form))
    structlog.get_logger().info("call", **{name: "S3CRET"}, body={"auth": {name: ["S3CRET"]}, "user": "alice"})

    written = capsys.readouterr().err
    assert "alice" in written
    assert "S3CRET" not in written


def test_a_line_names_the_request_it_belongs_to(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Logging(format="json"))
    log = structlog.get_logger()

    def work() -> None:
        logs.request_id.set("r1")
        log.info("inside")
        logging.getLogger("library").warning("inside a library")

    copy_context().run(work)
    log.info("outside")

    inside, library, outside = map(json.loads, capsys.readouterr().err.splitlines())
    assert (inside["event"], inside["level"], inside["request"]) == ("inside", "info", "r1")
    assert (library["event"], library["level"], library["request"]) == ("inside a library", "warning", "r1")
    assert "request" not in outside


def test_the_level_is_that_of_the_configuration(capsys: pytest.CaptureFixture[str]) -> None:
    logs.configure(Logging(level="warning"))
    structlog.get_logger().info("chatter")
    logging.getLogger("library").info("chatter")
    structlog.get_logger().warning("trouble")

    written = capsys.readouterr().err
    assert "chatter" not in written
    assert "trouble" in written


def test_any_value_can_be_logged(capsys: pytest.CaptureFixture[str]) -> None:
    loop: list[object] = []
    loop.append(loop)
    logs.configure(Logging(format="json"))
    structlog.get_logger().info("odd", bytes=b"S3CRET", loop=loop, kind=ValueError("x"), nothing=None)

    line = json.loads(capsys.readouterr().err)
    assert line["bytes"] == "<6 bytes>"
    assert line["kind"] == "ValueError('x')"
    assert line["nothing"] is None
