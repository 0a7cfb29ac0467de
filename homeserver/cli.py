"""The command `isthmus`. Each command reads the configuration and calls one function of the server.

What runs the server is imported inside the command that needs it, so that the others answer at once; and the command
line is read by the standard library alone, for what reads it stays in the memory of the server
(`docs/decisions/0009-the-command-line.md`).
"""

import argparse
import getpass
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import NoReturn, TypeVar

from federation.core.errors import InvalidIdentifier
from federation.core.ids import ServerName, parse_server_name
from homeserver.clock import SystemClock, SystemIds
from homeserver.config import Config, ConfigError, load, signing_keys
from homeserver.config.initial import FILE_NAME, initialise
from homeserver.config.rendering import example, json_schema
from homeserver.errors import MatrixError

DEFAULT_DATA = Path("data")
DEFAULT_PORT = 8008
NEVER_USED = ("rich", "pydantic_core")
"""What structlog and yarl load where they find it, for what the server does not do; together five megabytes."""

Command = Callable[[argparse.Namespace], None]
T = TypeVar("T")


def main(words: list[str] | None = None) -> None:
    """Run the command line; `words` are those behind the name of the command."""
    parser = _parser()
    arguments = parser.parse_args(words)
    command: Command = arguments.command
    command(arguments)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="isthmus", description="Isthmus: a Matrix homeserver.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)

    command = _add(commands, "init", init)
    command.add_argument("--server-name", required=True, help="the name behind the colon of user IDs")
    command.add_argument("--data", type=Path, default=DEFAULT_DATA, help="directory for the configuration and all data")
    command.add_argument("--port", type=_port, default=DEFAULT_PORT, help="port to listen on")
    command.add_argument(
        "--authority", type=Path, metavar="DIR",
        help="for servers in a closed network or on one machine: the directory of the authority, made at first, "
        "that makes their certificates and that they trust",
    )  # fmt: skip

    _add_config(_add(commands, "run", run))
    command = _add(commands, "check", check)
    command.add_argument("--against", metavar="SERVER", help="another server, to compare the clock of this one with")
    _add_config(command)

    of_users = commands.add_parser("user", help="Accounts of this server.").add_subparsers(
        metavar="COMMAND", required=True
    )
    command = _add(of_users, "add", add_user)
    command.add_argument("name", help="the part of the user ID before the colon, such as alice")
    command.add_argument("--password", help="asked for, or read from standard input")
    command.add_argument("--admin", action="store_true", help="may administer the server")
    _add_config(command)

    of_keys = commands.add_parser("keys", help="Signing keys of this server.").add_subparsers(
        metavar="COMMAND", required=True
    )
    _add_config(_add(of_keys, "rotate", rotate_key))

    of_federation = commands.add_parser("federation", help="What waits for other servers.").add_subparsers(
        metavar="COMMAND", required=True
    )
    command = _add(of_federation, "destinations", federation_destinations)
    command.add_argument("--failing", action="store_true", help="only those that fail or are blocked")
    _add_config(command)
    for name, function in (
        ("retry", federation_retry),
        ("block", federation_block),
        ("unblock", federation_unblock),
    ):
        command = _add(of_federation, name, function)
        command.add_argument("server", type=_server, help="its server name, such as example.org")
        _add_config(command)

    of_config = commands.add_parser("config", help="What can be configured.").add_subparsers(
        metavar="COMMAND", required=True
    )
    _add(of_config, "example", config_example)
    _add(of_config, "schema", config_schema)
    return parser


def _add(
    commands: "argparse._SubParsersAction[argparse.ArgumentParser]", name: str, command: Command
) -> argparse.ArgumentParser:
    text = command.__doc__
    parser = commands.add_parser(name, help=text, description=text)
    parser.set_defaults(command=command)
    return parser


def _add_config(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "--config",
        type=Path,
        metavar="FILE",
        help="configuration file; else $ISTHMUS_CONFIG, else data/homeserver.toml",
    )


def _port(text: str) -> int:
    port = int(text)
    if not 1 <= port <= 65535:
        raise argparse.ArgumentTypeError("a port is a number from 1 to 65535")
    return port


def _server(text: str) -> ServerName:
    try:
        return parse_server_name(text)
    except InvalidIdentifier as error:
        raise argparse.ArgumentTypeError(str(error)) from error


def init(arguments: argparse.Namespace) -> None:
    """Write a configuration, keys and secrets; nothing that exists is overwritten."""
    file = _initialise(arguments.data, arguments.server_name, arguments.port, arguments.authority)
    print(f"Wrote {file}. Start the server with: isthmus run --config {file}")


def run(arguments: argparse.Namespace) -> None:
    """Run the server until it is told to stop; without a configuration, make one for localhost first."""
    file = _find(arguments.config)
    if file is None:
        server_name = os.environ.get("ISTHMUS_SERVER_NAME", "localhost")
        file = _initialise(DEFAULT_DATA, server_name, DEFAULT_PORT)
        print(f"Wrote {file} for the server name {server_name}.", file=sys.stderr)
    settings = _load(file)

    for module in NEVER_USED:
        sys.modules.setdefault(module, None)  # type: ignore[arg-type]  # to import it fails, as if it were not there
    from homeserver import app as server
    from homeserver.storage.migrations.runner import UnusableDatabase

    try:
        server.run(settings)
    except ConfigError as error:
        _fail(*error.problems)
    except UnusableDatabase as error:
        _fail(str(error))
    except OSError as error:
        # An address in use, a key or a certificate that cannot be read.
        _fail(f"{error}; `isthmus check` says more")


def check(arguments: argparse.Namespace) -> None:
    """Look at the configuration and at all that it names, and at the server as others see it; say how to mend it."""
    from homeserver import reachability
    from homeserver.checks import all_findings

    file = _needed(arguments.config)
    settings = _load(file)
    findings = [*all_findings(settings), *reachability.findings(settings, arguments.against)]
    for finding in findings:
        print(f"{'ok ' if finding.good else 'BAD'}  {finding.subject}: {finding.text}")
        if not finding.good:
            print(f"     To mend it: {finding.mend}")
    wrong = sum(not finding.good for finding in findings)
    print(f"{file}: {'nothing is wrong' if not wrong else f'{wrong} of {len(findings)} are wrong'}")
    if wrong:
        raise SystemExit(1)


def add_user(arguments: argparse.Namespace) -> None:
    """Make an account; works while the server runs."""
    settings = _load(_needed(arguments.config))
    secret = _ask_password() if arguments.password is None else arguments.password

    from homeserver import app as server
    from homeserver.storage.migrations.runner import UnusableDatabase

    try:
        user_id = server.add_user(settings, arguments.name, secret, arguments.admin)
    except ConfigError as error:
        _fail(*error.problems)
    except UnusableDatabase as error:
        _fail(str(error))
    except MatrixError as error:
        _fail(error.message)
    print(f"Made {user_id}{', who may administer the server' if arguments.admin else ''}.")


def rotate_key(arguments: argparse.Namespace) -> None:
    """Make a new signing key; the server takes it when it is started again, and lists the old one for old events."""
    settings = _load(_needed(arguments.config))
    path = Path(settings.keys.signing_key)
    try:
        old = signing_keys.read(path)[0]
        new = signing_keys.rotate(path, SystemIds())
    except ConfigError as error:
        _fail(*error.problems)
    print(
        f"Put {new.key_id} before {old.key_id} in {path}. Start the server again: until then it signs with the old key."
    )


def federation_destinations(arguments: argparse.Namespace) -> None:
    """List the servers to which this one sends: what waits for each, since when it fails, and why."""
    from homeserver import queues

    rows = _beside(arguments, lambda settings: queues.listing(settings, arguments.failing))
    if not rows:
        print("No server fails or is blocked." if arguments.failing else "Nothing was ever sent to another server.")
    for found, waiting in rows:
        told = [f"{waiting} waiting"]
        if found.blocked:
            told.append("blocked")
        if found.failing_since is not None:
            told.append(f"failing since {_when(found.failing_since)}, next attempt {_when(found.retry_at)}")
        print(f"{found.server}: {', '.join(told)}{f' ({found.error})' if found.error else ''}")


def federation_retry(arguments: argparse.Namespace) -> None:
    """Try a server again that fails, without waiting for the next attempt."""
    from homeserver import queues

    if not _beside(arguments, lambda settings: queues.retry(settings, arguments.server)):
        _fail(f"nothing was ever sent to {arguments.server}")
    print(f"The running server tries {arguments.server} again within half a minute.")


def federation_block(arguments: argparse.Namespace) -> None:
    """Send nothing more to a server; what it misses is kept for it."""
    from homeserver import queues

    _beside(arguments, lambda settings: queues.block(settings, arguments.server, True))
    print(f"The running server sends nothing more to {arguments.server} within half a minute.")


def federation_unblock(arguments: argparse.Namespace) -> None:
    """Send to a blocked server again, first what it has missed."""
    from homeserver import queues

    _beside(arguments, lambda settings: queues.block(settings, arguments.server, False))
    print(f"The running server sends to {arguments.server} again within half a minute.")


def _beside(arguments: argparse.Namespace, do: Callable[[Config], T]) -> T:
    """Do something with the database of a server that may be running."""
    from homeserver.storage.migrations.runner import UnusableDatabase

    try:
        return do(_load(_needed(arguments.config)))
    except UnusableDatabase as error:
        _fail(str(error))


def _when(at_ms: int | None) -> str:
    if at_ms is None:
        return "never"
    return datetime.fromtimestamp(at_ms / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S UTC")


def config_example(_: argparse.Namespace) -> None:
    """Print a configuration file with every option and its default."""
    print(example(), end="")


def config_schema(_: argparse.Namespace) -> None:
    """Print the JSON schema of the configuration file."""
    print(json_schema(), end="")


def _find(given: Path | None) -> Path | None:
    """Return the file to read, or None if none is named and the usual one does not exist."""
    if given is not None:
        return given
    named = os.environ.get("ISTHMUS_CONFIG")
    if named:
        return Path(named)
    usual = DEFAULT_DATA / FILE_NAME
    return usual if usual.exists() else None


def _needed(given: Path | None) -> Path:
    file = _find(given)
    if file is None:
        usual = DEFAULT_DATA / FILE_NAME
        _fail(f"there is no {usual}; make it with `isthmus init --server-name NAME`, or name one with --config")
    return file


def _load(file: Path) -> Config:
    try:
        return load(file, os.environ)
    except ConfigError as error:
        _fail(*error.problems)


def _initialise(directory: Path, server_name: str, port: int, authority: Path | None = None) -> Path:
    try:
        return initialise(directory, server_name, port, SystemIds(), SystemClock(), authority)
    except ConfigError as error:
        _fail(*error.problems)


def _ask_password() -> str:
    if sys.stdin.isatty():
        while (answer := getpass.getpass()) != getpass.getpass("Repeat it: "):
            print("They are not the same; again.", file=sys.stderr)
        return answer
    line = sys.stdin.readline().rstrip("\n")
    if not line:
        _fail("no password was given: use --password, or write it to standard input")
    return line


def _fail(*problems: str) -> NoReturn:
    for problem in problems:
        print(f"isthmus: {problem}", file=sys.stderr)
    raise SystemExit(1)
