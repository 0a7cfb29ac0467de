"""Reads the configuration: a TOML file, then environment variables over it.

All problems are collected and told at once. Every one names its key, or the variable, and what is expected.
"""

import math
import tomllib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from typing import Any, get_type_hints

from homeserver.config.options import (
    ENVIRONMENT_PREFIX,
    ConfigError,
    Kind,
    Option,
    Value,
    sections_of,
)
from homeserver.config.schema import Config

Keys = tuple[str, ...]

OTHER_VARIABLES = ("ISTHMUS_CONFIG", "ISTHMUS_BIN")
"""Variables of our own tools: the file to read (`cli.py`), the command to start (benchmarks)."""

TEST_PREFIX = "ISTHMUS_TEST_"

FLAGS = {
    "true": True,
    "yes": True,
    "on": True,
    "1": True,
    "false": False,
    "no": False,
    "off": False,
    "0": False,
}


def load(file: Path | None, environ: Mapping[str, str]) -> Config:
    """Return the configuration of a file (None: only defaults) with the overrides of the environment.

    Raises `ConfigError` with everything that is wrong.
    """
    known = {option.path: option for section in sections_of(Config) for option in section.options}
    problems: list[str] = []
    values: dict[Keys, Value] = {}
    if file is not None:
        values |= _from_file(file, known, problems)
    values |= _from_environment(environ, known, problems)
    for option in known.values():
        if option.default is None and option.path not in values and not _names(problems, option):
            problems.append(f"{option.name}: has to be given, in the file or as {option.variable}")
    if not problems:
        problems += _contradictions(values)
    if problems:
        raise ConfigError(*problems)
    config: Config = _assemble(Config, values, ())
    return config


def _from_file(file: Path, known: Mapping[Keys, Option], problems: list[str]) -> dict[Keys, Value]:
    try:
        document = tomllib.loads(file.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{file}: cannot be read: {error.strerror}") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise ConfigError(f"{file}: is not TOML: {error}") from error
    tables = {path[0] for path in known if len(path) > 1}
    values: dict[Keys, Value] = {}
    for path, raw in _flatten(document, tables):
        option = known.get(path)
        if option is not None:
            _keep(values, option, raw, f"{file}: {option.name}", problems)
        elif path[0] in tables and len(path) == 1:
            problems.append(f"{file}: {path[0]}: expected a table, [{path[0]}], got {_describe(raw)}")
        else:
            problems.append(_unknown(f"{file}: unknown option ", path, known, ".".join))
    return values


def _flatten(document: Mapping[str, Any], tables: Iterable[str]) -> list[tuple[Keys, Any]]:
    flat: list[tuple[Keys, Any]] = []
    for name, raw in document.items():
        # An unknown table is told once, not once for each of its options.
        if isinstance(raw, dict) and name in tables:
            flat += [((name, inner), value) for inner, value in raw.items()]
        else:
            flat.append(((name,), raw))
    return flat


def _from_environment(
    environ: Mapping[str, str], known: Mapping[Keys, Option], problems: list[str]
) -> dict[Keys, Value]:
    values: dict[Keys, Value] = {}
    for variable, text in sorted(environ.items()):
        if not variable.startswith(ENVIRONMENT_PREFIX) or variable.startswith(TEST_PREFIX):
            continue
        if variable in OTHER_VARIABLES:
            continue
        path = tuple(variable.removeprefix(ENVIRONMENT_PREFIX).lower().split("__"))
        option = known.get(path)
        if option is None:
            problems.append(_unknown("environment: unknown option ", path, known, _variable))
            continue
        try:
            raw = _parse(option.kind, text)
        except ValueError:
            problems.append(f"{variable}: expected {option.kind}{_got(option, text)}")
            continue
        _keep(values, option, raw, variable, problems)
    return values


def _variable(path: Keys) -> str:
    return ENVIRONMENT_PREFIX + "__".join(path).upper()


def _parse(kind: Kind, text: str) -> object:
    """Read the text of a variable; raise `ValueError` if it is not of the kind."""
    match kind:
        case Kind.TEXT:
            return text
        case Kind.LIST:
            return [item.strip() for item in text.split(",") if item.strip()]
        case Kind.FLAG if text.strip().lower() in FLAGS:
            return FLAGS[text.strip().lower()]
        case Kind.INTEGER | Kind.NUMBER:
            return int(text) if kind is Kind.INTEGER else float(text)
        case _:
            raise ValueError(text)


def _keep(values: dict[Keys, Value], option: Option, raw: object, where: str, problems: list[str]) -> None:
    """Put the value where it belongs, or say what is wrong with it."""
    try:
        values[option.path] = _checked(option, raw)
    except ValueError as error:
        problems.append(f"{where}: {error}")


def _checked(option: Option, raw: object) -> Value:
    """Return the value of the right type within its bounds; raise `ValueError` with what is expected."""
    declared = option.declared
    value: Value
    match option.kind, raw:
        # bool comes first: it is an int to Python.
        case Kind.FLAG, bool():
            return raw
        case _, bool():
            raise ValueError(f"expected {option.kind}, got {_describe(raw)}")
        case Kind.TEXT, str():
            value = raw
        case Kind.LIST, list() if all(isinstance(item, str) for item in raw):
            value = tuple(raw)
        case Kind.INTEGER, int():
            value = raw
        case Kind.NUMBER, int() | float() if math.isfinite(raw):
            value = float(raw)
        case _:
            raise ValueError(f"expected {option.kind}{_got(option, raw)}")
    if isinstance(value, int | float):
        if declared.at_least is not None and value < declared.at_least:
            raise ValueError(f"expected at least {declared.at_least:g}, got {value:g}")
        if declared.at_most is not None and value > declared.at_most:
            raise ValueError(f"expected at most {declared.at_most:g}, got {value:g}")
        return value
    for item in (value,) if isinstance(value, str) else value:
        if declared.one_of and item not in declared.one_of:
            raise ValueError(f"expected one of {', '.join(declared.one_of)}, got {_describe(item)}")
        if declared.check is not None:
            try:
                declared.check(item)
            except ValueError as error:
                raise ValueError(f"{error}{_got(option, item)}") from None
    return value


def _got(option: Option, raw: object) -> str:
    return "" if option.declared.secret else f", got {_describe(raw)}"


def _describe(raw: object) -> str:
    match raw:
        case bool():
            return "true" if raw else "false"
        case str():
            return f'"{raw}"'
        case dict():
            return "a table"
        case list():
            return "a list"
        case _:
            return str(raw)


def _unknown(prefix: str, path: Keys, known: Iterable[Keys], spell: Callable[[Keys], str]) -> str:
    """Say that an option is unknown, and which known one is nearest."""
    tables = {(name[0],) for name in known if len(name) > 1}
    candidates = [*known, *tables]
    moved = [candidate for candidate in candidates if candidate[1:] and candidate[-1] == path[-1]]
    if len(moved) == 1:
        candidates = moved
    elif path[:1] in tables and len(path) > 1:
        candidates = [candidate for candidate in candidates if candidate[0] == path[0]]
    told = spell(path)
    nearest = get_close_matches(told, map(spell, candidates), n=1, cutoff=0.0)[0]
    return f"{prefix}{told}; the nearest known one is {nearest}"


def _names(problems: Iterable[str], option: Option) -> bool:
    return any(f"{option.name}:" in problem or f"{option.variable}:" in problem for problem in problems)


def _contradictions(values: Mapping[Keys, Value]) -> list[str]:
    """Return what cannot be true of values that are each right by themselves."""
    config = _assemble(Config, values, ())
    problems = []
    for name, tls in (("federation", config.federation), ("xmpp", config.xmpp)):
        if bool(tls.tls_certificate) != bool(tls.tls_key):
            problems.append(f"{name}: tls_certificate and tls_key have to be given together")
    if config.federation.listen and not config.federation.tls_certificate:
        problems.append("federation.listen: needs federation.tls_certificate and federation.tls_key")
    if bool(config.voip.turn_uris) != bool(config.voip.turn_shared_secret):
        problems.append("voip: turn_uris and turn_shared_secret have to be given together")
    if config.registration.tokens_required and not config.registration.enabled:
        problems.append("registration.tokens_required: has no effect without registration.enabled")
    return problems


def _assemble(kind: Any, values: Mapping[Keys, Value], prefix: Keys) -> Any:
    """Build a section from its values; what is absent keeps its default."""
    given: dict[str, object] = {}
    hints = get_type_hints(kind)
    for each in fields(kind):
        path = (*prefix, each.name)
        if "section" in each.metadata:
            given[each.name] = _assemble(hints[each.name], values, path)
        elif path in values:
            given[each.name] = values[path]
    return kind(**given)
