"""Prints the declared options: example file, manual page, JSON schema.

`config/homeserver.example.toml` and `docs/operation/configure.md` are these texts; a test compares them.
"""

import json
from collections.abc import Iterator

from homeserver.config.options import Kind, Option, Section, Value, sections_of
from homeserver.config.schema import Config

EXAMPLE_NAME = "example.org"

INTRODUCTION = """\
<!-- Made by `make docs` from homeserver/config/schema.py. -->
# Configuration

Isthmus reads one TOML file: the one given with `--config`, else the one that the environment variable
`ISTHMUS_CONFIG` names, else `data/homeserver.toml`. `isthmus config example` prints a file with every option,
`isthmus config schema` its JSON schema for editors. `isthmus check` says what is wrong with a configuration.
Changes take effect when the server is started again.

Each option can be given as an environment variable as well, and the variable wins over the file. Lists are
separated by commas: `ISTHMUS_HTTP__LISTEN=127.0.0.1:8008,[::1]:8008`. An unknown option, in the file or in a
variable that starts with `ISTHMUS_`, stops the server from starting.

Times are whole seconds and sizes are bytes unless the name says otherwise. A path that is not absolute is
relative to the directory in which the server is started; `isthmus init` writes absolute paths.
"""

JSON_TYPES: dict[Kind, dict[str, object]] = {
    Kind.TEXT: {"type": "string"},
    Kind.INTEGER: {"type": "integer"},
    Kind.NUMBER: {"type": "number"},
    Kind.FLAG: {"type": "boolean"},
    Kind.LIST: {"type": "array", "items": {"type": "string"}},
}


def toml(value: Value) -> str:
    """Return a value as TOML writes it."""
    match value:
        case bool():
            return "true" if value else "false"
        case str():
            # A JSON string is a TOML string, but for this one control character.
            return json.dumps(value, ensure_ascii=False).replace("\x7f", "\\u007f")
        case tuple():
            return "[" + ", ".join(map(toml, value)) + "]"
        case _:
            return str(value)


def example() -> str:
    """Return a configuration file with every option and its default (`isthmus config example`)."""
    lines = [
        "# Configuration of Isthmus, made by `isthmus config example`.",
        "# A line that starts with # and a name shows a default; remove the # to change it.",
        "# Every option can be given as an environment variable too: ISTHMUS_SECTION__OPTION.",
    ]
    for section in sections_of(Config):
        lines.append("")
        if section.name:
            lines += [f"# {section.sentence}", f"[{section.name}]"]
        for option in section.options:
            lines.append(f"# {_explained(option)}")
            if option.default is None:
                lines.append(f"{option.path[-1]} = {toml(EXAMPLE_NAME)}")
            else:
                lines.append(f"#{option.path[-1]} = {toml(option.default)}")
    return "\n".join(lines) + "\n"


def manual() -> str:
    """Return the manual page of all options in Markdown."""
    lines = [line for section in sections_of(Config) for line in _manual_section(section)]
    return INTRODUCTION + "\n".join(lines) + "\n"


def json_schema() -> str:
    """Return the JSON schema of the configuration file (`isthmus config schema`)."""
    properties: dict[str, object] = {}
    needed: list[str] = []
    for section in sections_of(Config):
        options = {option.path[-1]: _json_option(option) for option in section.options}
        if section.name:
            properties[section.name] = {
                "type": "object",
                "description": section.sentence,
                "properties": options,
                "additionalProperties": False,
            }
        else:
            properties |= options
            needed = [option.name for option in section.options if option.default is None]
    document = {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "Configuration of Isthmus",
        "type": "object",
        "properties": properties,
        "required": needed,
        "additionalProperties": False,
    }
    return json.dumps(document, indent=2, ensure_ascii=False) + "\n"


def _explained(option: Option) -> str:
    bounds = _bounds(option)
    return option.declared.sentence + (f" ({bounds})" if bounds else "")


def _bounds(option: Option) -> str:
    declared = option.declared
    if declared.one_of:
        return "one of " + ", ".join(declared.one_of)
    limits = []
    if declared.at_least is not None:
        limits.append(f"at least {_number(declared.at_least)}")
    if declared.at_most is not None:
        limits.append(f"at most {_number(declared.at_most)}")
    return ", ".join(limits)


def _number(value: float) -> str:
    return str(int(value)) if value == int(value) else str(value)


def _manual_section(section: Section) -> Iterator[str]:
    yield ""
    yield f"## [{section.name}]" if section.name else "## Top level"
    if section.sentence:
        yield ""
        yield section.sentence
    for option in section.options:
        default = "has to be given" if option.default is None else f"default `{toml(option.default)}`"
        bounds = _bounds(option)
        yield ""
        yield f"### `{option.path[-1]}`"
        yield ""
        yield option.declared.sentence
        yield ""
        yield f"{option.kind.capitalize()}{f', {bounds}' if bounds else ''}; {default}. `{option.variable}`"


def _json_option(option: Option) -> dict[str, object]:
    declared = option.declared
    schema = {"description": declared.sentence, **JSON_TYPES[option.kind]}
    if option.default is not None:
        schema["default"] = list(option.default) if isinstance(option.default, tuple) else option.default
    if declared.one_of:
        schema["enum"] = list(declared.one_of)
    if declared.at_least is not None:
        schema["minimum"] = declared.at_least
    if declared.at_most is not None:
        schema["maximum"] = declared.at_most
    return schema
