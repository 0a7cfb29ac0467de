"""The command `isthmus`. Each command reads the configuration and calls one function of the server.

What runs the server is imported inside the command that needs it, so that the others answer at once.
"""

import os
import sys
from pathlib import Path
from typing import Annotated, NoReturn

import typer

from homeserver.clock import SystemIds
from homeserver.config import Config, ConfigError, load
from homeserver.config.initial import FILE_NAME, initialise
from homeserver.config.rendering import example, json_schema
from homeserver.errors import MatrixError

DEFAULT_DATA = Path("data")
DEFAULT_PORT = 8008

app = typer.Typer(
    help="Isthmus: a Matrix homeserver.",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode=None,
    # Its tracebacks show the values of variables, passwords among them.
    pretty_exceptions_enable=False,
)
user_app = typer.Typer(help="Accounts of this server.", no_args_is_help=True)
config_app = typer.Typer(help="What can be configured.", no_args_is_help=True)
app.add_typer(user_app, name="user")
app.add_typer(config_app, name="config")

ConfigFile = Annotated[
    Path | None,
    typer.Option("--config", help="Configuration file; else $ISTHMUS_CONFIG, else data/homeserver.toml."),
]


@app.command()
def init(
    server_name: Annotated[str, typer.Option(help="The name behind the colon of user IDs.")],
    data: Annotated[Path, typer.Option(help="Directory for the configuration and all data.")] = DEFAULT_DATA,
    port: Annotated[int, typer.Option(min=1, max=65535, help="Port to listen on.")] = DEFAULT_PORT,
) -> None:
    """Write a configuration, keys and secrets; nothing that exists is overwritten."""
    file = _initialise(data, server_name, port)
    typer.echo(f"Wrote {file}. Start the server with: isthmus run --config {file}")


@app.command()
def run(config: ConfigFile = None) -> None:
    """Run the server until it is told to stop; without a configuration, make one for localhost first."""
    file = _find(config)
    if file is None:
        server_name = os.environ.get("ISTHMUS_SERVER_NAME", "localhost")
        file = _initialise(DEFAULT_DATA, server_name, DEFAULT_PORT)
        typer.echo(f"Wrote {file} for the server name {server_name}.", err=True)
    settings = _load(file)

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


@app.command()
def check(config: ConfigFile = None) -> None:
    """Look at configuration, keys, database, ports and directories; say what is wrong and how to mend it."""
    from homeserver.checks import all_findings

    file = _needed(config)
    findings = all_findings(_load(file))
    for finding in findings:
        typer.echo(f"{'ok ' if finding.good else 'BAD'}  {finding.subject}: {finding.text}")
        if not finding.good:
            typer.echo(f"     To mend it: {finding.mend}")
    wrong = sum(not finding.good for finding in findings)
    typer.echo(f"{file}: {'nothing is wrong' if not wrong else f'{wrong} of {len(findings)} are wrong'}")
    if wrong:
        raise typer.Exit(1)


@user_app.command("add")
def add_user(
    name: Annotated[str, typer.Argument(help="The part of the user ID before the colon, such as alice.")],
    password: Annotated[str | None, typer.Option(help="Asked for, or read from standard input.")] = None,
    admin: Annotated[bool, typer.Option("--admin", help="May administer the server.")] = False,
    config: ConfigFile = None,
) -> None:
    """Make an account; works while the server runs."""
    settings = _load(_needed(config))
    secret = _ask_password() if password is None else password

    from homeserver import app as server
    from homeserver.storage.migrations.runner import UnusableDatabase

    try:
        user_id = server.add_user(settings, name, secret, admin)
    except ConfigError as error:
        _fail(*error.problems)
    except UnusableDatabase as error:
        _fail(str(error))
    except MatrixError as error:
        _fail(error.message)
    typer.echo(f"Made {user_id}{', who may administer the server' if admin else ''}.")


@config_app.command("example")
def config_example() -> None:
    """Print a configuration file with every option and its default."""
    typer.echo(example(), nl=False)


@config_app.command("schema")
def config_schema() -> None:
    """Print the JSON schema of the configuration file."""
    typer.echo(json_schema(), nl=False)


def main() -> None:
    """Run the command line."""
    app(prog_name="isthmus")


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


def _initialise(directory: Path, server_name: str, port: int) -> Path:
    try:
        return initialise(directory, server_name, port, SystemIds())
    except ConfigError as error:
        _fail(*error.problems)


def _ask_password() -> str:
    if sys.stdin.isatty():
        answer: str = typer.prompt("Password", hide_input=True, confirmation_prompt=True)
        return answer
    line = sys.stdin.readline().rstrip("\n")
    if not line:
        _fail("no password was given: use --password, or write it to standard input")
    return line


def _fail(*problems: str) -> NoReturn:
    for problem in problems:
        typer.echo(f"isthmus: {problem}", err=True)
    raise typer.Exit(1)
