"""What is generated from the declarations can be used."""

import json
import re
import tomllib
from pathlib import Path

import jsonschema
import pytest

from homeserver.config import Config, load
from homeserver.config.options import sections_of
from homeserver.config.rendering import example, json_schema, manual, toml


def test_the_example_is_a_configuration(tmp_path: Path) -> None:
    file = tmp_path / "homeserver.toml"
    file.write_text(example(), encoding="utf-8")
    assert load(file, {}) == Config(server_name="example.org")


def test_the_example_shows_each_option_with_its_default(tmp_path: Path) -> None:
    file = tmp_path / "homeserver.toml"
    file.write_text(re.sub(r"(?m)^#(\w+ = )", r"\1", example()), encoding="utf-8")

    assert load(file, {}) == Config(server_name="example.org")
    document = tomllib.loads(file.read_text(encoding="utf-8"))
    for section in sections_of(Config):
        shown = document[section.name] if section.name else document
        assert {option.path[-1] for option in section.options} <= set(shown)


def test_the_schema_takes_the_example_and_refuses_what_the_loader_refuses() -> None:
    schema = json.loads(json_schema())
    jsonschema.Draft202012Validator.check_schema(schema)
    jsonschema.validate(tomllib.loads(example()), schema)

    for wrong in ({}, {"server_name": "a", "x": 1}, {"server_name": "a", "http": {"max_pending": 0}}):
        with pytest.raises(jsonschema.ValidationError):
            jsonschema.validate(wrong, schema)


def test_the_manual_names_every_option_and_its_variable() -> None:
    page = manual()
    for section in sections_of(Config):
        for option in section.options:
            assert f"### `{option.path[-1]}`" in page
            assert f"`{option.variable}`" in page


@pytest.mark.parametrize("value", ["", 'a"b\\c', "tab\tnew\nline", "ü😀", "\x7f\x01", True, 5, 0.5, ("a", "b"), ()])
def test_values_are_written_as_toml_reads_them(value: str | bool | int | float | tuple[str, ...]) -> None:
    read = tomllib.loads(f"x = {toml(value)}")["x"]
    assert (tuple(read) if isinstance(read, list) else read) == value
