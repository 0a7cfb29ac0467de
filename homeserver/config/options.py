"""How an option is declared: once, in `schema.py`, with its default, its bounds and one sentence.

A section is a frozen dataclass whose fields are made by `option`. From the same declaration come the
loader (`reading.py`), the example file, the manual page and the JSON schema (`rendering.py`).
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import MISSING, dataclass, field, fields
from enum import StrEnum
from functools import cache
from typing import Any, TypeVar, get_type_hints

T = TypeVar("T")

Check = Callable[[str], None]
"""Looks at a text (each item of a list); raises `ValueError` that says what is expected instead."""

Scalar = str | int | float | bool
Value = Scalar | tuple[str, ...]

ENVIRONMENT_PREFIX = "ISTHMUS_"


class ConfigError(Exception):
    """The configuration cannot be used; `problems` has one sentence for each thing that is wrong."""

    def __init__(self, *problems: str) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


class Kind(StrEnum):
    """What type of value an option takes."""

    TEXT = "text"
    INTEGER = "a whole number"
    NUMBER = "a number"
    FLAG = "true or false"
    LIST = "a list of texts"


KINDS: dict[object, Kind] = {
    str: Kind.TEXT,
    int: Kind.INTEGER,
    float: Kind.NUMBER,
    bool: Kind.FLAG,
    tuple[str, ...]: Kind.LIST,
}


@dataclass(frozen=True, slots=True, kw_only=True)
class Declaration:
    """What `option` says beside type and default."""

    sentence: str
    at_least: float | None = None
    at_most: float | None = None
    one_of: tuple[str, ...] = ()
    check: Check | None = None
    secret: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Option:
    """One option as the loader and the renderers see it."""

    path: tuple[str, ...]
    kind: Kind
    default: Value | None
    """None: the option has to be given."""
    declared: Declaration

    @property
    def name(self) -> str:
        """The dotted name, such as `database.url`."""
        return ".".join(self.path)

    @property
    def variable(self) -> str:
        """The environment variable that overrides it, such as `ISTHMUS_DATABASE__URL`."""
        return ENVIRONMENT_PREFIX + "__".join(self.path).upper()


@dataclass(frozen=True, slots=True)
class Section:
    """A table of the file with its options; the options outside any table are the section named ''."""

    name: str
    sentence: str
    options: tuple[Option, ...]


def option(
    default: T,
    sentence: str,
    *,
    at_least: float | None = None,
    at_most: float | None = None,
    one_of: tuple[str, ...] = (),
    check: Check | None = None,
    secret: bool = False,
) -> T:
    """Declare an option: its default, one sentence for the operator, and what values it allows.

    A `secret` value is never printed.
    """
    declared = Declaration(
        sentence=sentence, at_least=at_least, at_most=at_most, one_of=one_of, check=check, secret=secret
    )
    return field(default=default, metadata={"option": declared})


def required(sentence: str, *, check: Check | None = None) -> Any:
    """Declare a text option without a default."""
    return field(metadata={"option": Declaration(sentence=sentence, check=check)})


def section(kind: type[T], sentence: str) -> T:
    """Declare a table of the file; `kind` is the dataclass of its options."""
    return field(default_factory=kind, metadata={"section": sentence})


@cache
def sections_of(config: type) -> Sequence[Section]:
    """Return the sections of a configuration class in the order of their declaration, the top level first."""
    hints = get_type_hints(config)
    sections = [Section("", "", tuple(_options(config, ())))]
    for each in fields(config):
        if "section" in each.metadata:
            options = tuple(_options(hints[each.name], (each.name,)))
            sections.append(Section(each.name, each.metadata["section"], options))
    return sections


def _options(kind: type, prefix: tuple[str, ...]) -> Iterator[Option]:
    hints = get_type_hints(kind)
    for each in fields(kind):
        if "option" in each.metadata:
            yield Option(
                path=(*prefix, each.name),
                kind=KINDS[hints[each.name]],
                default=None if each.default is MISSING else each.default,
                declared=each.metadata["option"],
            )
