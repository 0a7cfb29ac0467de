"""What an operator may write into the configuration, and what is said about mistakes."""

import re
from pathlib import Path

import pytest

from homeserver.config import Config, ConfigError, load
from homeserver.config.options import sections_of


def read(tmp_path: Path, text: str, **environ: str) -> Config:
    file = tmp_path / "homeserver.toml"
    file.write_text(text, encoding="utf-8")
    return load(file, environ)


def problems(tmp_path: Path, text: str, **environ: str) -> tuple[str, ...]:
    with pytest.raises(ConfigError) as caught:
        read(tmp_path, text, **environ)
    return tuple(problem.removeprefix(f"{tmp_path}/homeserver.toml: ") for problem in caught.value.problems)


def test_the_contract_of_keys_and_defaults_holds() -> None:
    config = Config(server_name="example.org")

    assert config.public_url == ""
    assert config.database.url == "sqlite:///data/isthmus.db"
    assert config.http.listen == ("127.0.0.1:8008",)
    assert config.http.trusted_proxies == ("127.0.0.1", "::1")
    assert config.federation.enabled is True
    assert config.federation.listen == ()
    assert config.federation.tls_certificate == config.federation.tls_key == ""
    assert config.outgoing.extra_ca == ""
    assert config.outgoing.allow_private_addresses is False
    assert config.rooms.default_version == "12"
    assert config.registration.enabled is False
    assert config.registration.shared_secret == ""
    assert config.passwords.argon2_memory_kib == 65536
    assert config.passwords.argon2_iterations == 3
    assert config.rate_limits.enabled is True
    assert config.presence.enabled is True
    assert config.application_services.directory == ""
    assert config.xmpp.enabled is True
    assert config.xmpp.listen == ("127.0.0.1:5222",)
    assert config.xmpp.tls_certificate == config.xmpp.tls_key == ""
    assert config.media.path == "data/media"
    assert config.media.max_upload_bytes == 104857600
    assert config.metrics.listen == ""


def test_every_option_has_one_sentence() -> None:
    for section in sections_of(Config):
        for option in section.options:
            assert re.fullmatch(r"\S.*[^.\s]\.", option.declared.sentence), option.name
        assert not section.name or section.sentence.endswith("."), section.name


def test_every_default_is_within_its_own_bounds() -> None:
    for section in sections_of(Config):
        for option in section.options:
            declared, default = option.declared, option.default
            if isinstance(default, int | float) and not isinstance(default, bool):
                assert declared.at_least is None or default >= declared.at_least, option.name
                assert declared.at_most is None or default <= declared.at_most, option.name
            for item in (default,) if isinstance(default, str) else default if isinstance(default, tuple) else ():
                assert not declared.one_of or item in declared.one_of, option.name
                if declared.check is not None:
                    declared.check(item)


def test_a_file_sets_options(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        """
        server_name = "example.org"
        [http]
        listen = ["0.0.0.0:80", "[::]:80"]
        [rate_limits]
        enabled = false
        messages_per_second = 3
        """,
    )

    assert config.server_name == "example.org"
    assert config.http.listen == ("0.0.0.0:80", "[::]:80")
    assert config.rate_limits.enabled is False
    assert config.rate_limits.messages_per_second == 3.0


def test_the_environment_wins_over_the_file(tmp_path: Path) -> None:
    config = read(
        tmp_path,
        'server_name = "a"\n[database]\nurl = "sqlite:///x.db"\n',
        ISTHMUS_SERVER_NAME="b",
        ISTHMUS_DATABASE__URL="postgresql://user:password@host/database",
    )

    assert config.server_name == "b"
    assert config.database.url == "postgresql://user:password@host/database"


def test_the_environment_alone_is_enough() -> None:
    config = load(
        None,
        {
            "ISTHMUS_SERVER_NAME": "localhost:8448",
            "ISTHMUS_HTTP__LISTEN": "127.0.0.1:1, [::1]:2",
            "ISTHMUS_HTTP__TRUSTED_PROXIES": "",
            "ISTHMUS_MEDIA__MAX_UPLOAD_BYTES": "5",
            "ISTHMUS_RATE_LIMITS__LOGIN_PER_SECOND": "0.5",
            "ISTHMUS_PRESENCE__ENABLED": "False",
            "HOME": "/root",
        },
    )

    assert config.server_name == "localhost:8448"
    assert config.http.listen == ("127.0.0.1:1", "[::1]:2")
    assert config.http.trusted_proxies == ()
    assert config.media.max_upload_bytes == 5
    assert config.rate_limits.login_per_second == 0.5
    assert config.presence.enabled is False


def test_variables_of_our_own_tools_are_not_options() -> None:
    environ = {
        "ISTHMUS_SERVER_NAME": "a",
        "ISTHMUS_TEST_POSTGRES": "x",
        "ISTHMUS_CONFIG": "x",
        "ISTHMUS_BIN": "x",
    }
    assert load(None, environ) == Config(server_name="a")


@pytest.mark.parametrize("flag", ["true", "yes", "on", "1", "TRUE"])
def test_flags_have_several_spellings_in_the_environment(flag: str) -> None:
    assert load(None, {"ISTHMUS_SERVER_NAME": "a", "ISTHMUS_REGISTRATION__ENABLED": flag}).registration.enabled


# What is written, what is said.
@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[databse]\nurl = 'x'", "unknown option databse; the nearest known one is database"),
        ("[database]\nulr = 'x'", "unknown option database.ulr; the nearest known one is database.url"),
        ("servername = 'x'", "unknown option servername; the nearest known one is server_name"),
        (
            "[http]\nargon2_iterations = 1",
            "unknown option http.argon2_iterations; the nearest known one is passwords.argon2_iterations",
        ),
        (
            "[metrics]\nenabled = true",
            "unknown option metrics.enabled; the nearest known one is metrics.listen",
        ),
        ("http = 5", "http: expected a table, [http], got 5"),
        ("[http]\nmax_pending = 'many'", 'http.max_pending: expected a whole number, got "many"'),
        ("[http]\nmax_pending = true", "http.max_pending: expected a whole number, got true"),
        ("[http]\nmax_pending = 0", "http.max_pending: expected at least 1, got 0"),
        ("[passwords]\nmax_concurrent = 500", "passwords.max_concurrent: expected at most 64, got 500"),
        ("[http]\nlisten = '1.2.3.4:5'", 'http.listen: expected a list of texts, got "1.2.3.4:5"'),
        ("[presence]\nenabled = 'no'", 'presence.enabled: expected true or false, got "no"'),
        ("[rate_limits]\nlogin_per_second = inf", "rate_limits.login_per_second: expected a number, got inf"),
        (
            "[http]\nlisten = ['8008']",
            'http.listen: expected an address and a port such as "127.0.0.1:8008" or "[::]:8008", got "8008"',
        ),
        (
            "[http]\ntrusted_proxies = ['proxy']",
            'http.trusted_proxies: expected an IP address or a network such as "10.0.0.0/8", got "proxy"',
        ),
        (
            "public_url = 'matrix.example.org'",
            'public_url: expected a URL such as "https://matrix.example.org", without "?" and "#", '
            'got "matrix.example.org"',
        ),
        (
            "[rooms]\ndefault_version = '13'",
            'rooms.default_version: expected one of 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, got "13"',
        ),
        ("[xmpp]\ntls_key = 'x'", "xmpp: tls_certificate and tls_key have to be given together"),
        (
            "[federation]\nlisten = ['0.0.0.0:8448']",
            "federation.listen: needs federation.tls_certificate and federation.tls_key",
        ),
    ],
)
def test_a_mistake_is_named_with_what_is_expected(tmp_path: Path, text: str, problem: str) -> None:
    root = "" if text.startswith("server_name") else "server_name = 'a'\n"
    assert problems(tmp_path, root + text) == (problem,)


def test_mistakes_in_the_environment_name_the_variable() -> None:
    environ = {
        "ISTHMUS_SERVER_NAME": "a",
        "ISTHMUS_DATABASE__ULR": "x",
        "ISTHMUS_HTTP__MAX_PENDING": "many",
        "ISTHMUS_PRESENCE__ENABLED": "maybe",
    }
    with pytest.raises(ConfigError) as caught:
        load(None, environ)

    assert caught.value.problems == (
        "environment: unknown option ISTHMUS_DATABASE__ULR; the nearest known one is ISTHMUS_DATABASE__URL",
        'ISTHMUS_HTTP__MAX_PENDING: expected a whole number, got "many"',
        'ISTHMUS_PRESENCE__ENABLED: expected true or false, got "maybe"',
    )


def test_all_mistakes_are_told_at_once(tmp_path: Path) -> None:
    assert len(problems(tmp_path, "foo = 1\n[http]\nmax_pending = 0\n[database]\nurl = 'mysql://'")) == 4


def test_secrets_are_not_repeated_in_problems(tmp_path: Path) -> None:
    text = "server_name = 'a'\n[database]\nurl = 'mysql://:hunter2@b/c'\n[registration]\nshared_secret = 7531"
    told = "\n".join(problems(tmp_path, text))
    assert "database.url: expected" in told
    assert "registration.shared_secret: expected text" in told
    assert "hunter2" not in told
    assert "7531" not in told


def test_the_server_name_has_to_be_given() -> None:
    with pytest.raises(ConfigError, match=r"server_name: has to be given, in the file or as ISTHMUS_SERVER_NAME"):
        load(None, {})


@pytest.mark.parametrize("name", ["hs1", "localhost:8448", "example.org", "[::1]:8448", "1.2.3.4"])
def test_server_names_need_no_dot_and_may_have_a_port(name: str) -> None:
    assert load(None, {"ISTHMUS_SERVER_NAME": name}).server_name == name


@pytest.mark.parametrize("name", ["", "a b", "@a:b", "a:port", "https://example.org", "a" * 231])
def test_what_is_no_server_name_is_refused(name: str) -> None:
    with pytest.raises(ConfigError, match="ISTHMUS_SERVER_NAME: expected"):
        load(None, {"ISTHMUS_SERVER_NAME": name})


def test_a_file_that_is_missing_or_no_toml_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nowhere\.toml: cannot be read: No such file"):
        load(tmp_path / "nowhere.toml", {})
    assert problems(tmp_path, "server_name =")[0].startswith("is not TOML:")


@pytest.mark.parametrize(
    ("public_url", "base_url"),
    [("", "https://example.org"), ("https://m.example.org/", "https://m.example.org")],
)
def test_clients_are_told_a_url_without_a_slash_at_its_end(public_url: str, base_url: str) -> None:
    assert Config(server_name="example.org", public_url=public_url).base_url == base_url
