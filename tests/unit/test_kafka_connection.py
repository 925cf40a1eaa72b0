"""How to reach a cluster: what is refused, what the libraries get, and that no secret shows."""

from pathlib import Path
from typing import Any

import pytest

from mirror.errors import ConfigError
from mirror.kafka.connection import ClusterConnection, Sasl, aiokafka_options, confluent_options
from mirror.kafka.oauth import ClientCredentials, TokenFile, TokenProvider
from mirror.kafka.tls import TlsFiles

SERVERS = ("a:9092", "[::1]:9093")


def _sasl() -> Sasl:
    return Sasl(mechanism="SCRAM-SHA-512", username="me", password=lambda: "hidden-word")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({"bootstrap_servers": ()}, "at least one"),
        ({"bootstrap_servers": ("a",)}, "host:port"),
        ({"bootstrap_servers": ("a:b",)}, "host:port"),
        ({"bootstrap_servers": ("a:70000",)}, "host:port"),
        ({"security_protocol": "TLS"}, "TLS"),
        ({"security_protocol": "SASL_SSL"}, "SASL"),
        ({"sasl": _sasl()}, "PLAINTEXT"),
        ({"tls": TlsFiles(), "security_protocol": "PLAINTEXT"}, "PLAINTEXT"),
    ],
)
def test_contradictions_are_config_errors(settings: dict[str, Any], said: str) -> None:
    """Settings that cannot work together are refused when the value is made."""
    with pytest.raises(ConfigError, match=said):
        ClusterConnection(**({"bootstrap_servers": SERVERS} | settings))


def test_a_login_must_be_whole() -> None:
    """Unknown mechanisms, a missing password and a missing token are refused."""
    for settings in (
        {"mechanism": "GSSAPI"},
        {"mechanism": "PLAIN", "username": "me"},
        {"mechanism": "OAUTHBEARER"},
    ):
        with pytest.raises(ConfigError):
            Sasl(**settings)  # type: ignore[arg-type]
    with pytest.raises(ConfigError):
        TlsFiles(key_file=Path("key"))


def test_no_secret_shows() -> None:
    """Neither repr nor str of a connection has a password in it or calls for one."""

    def never() -> str:
        raise AssertionError("read")

    credentials = ClientCredentials(token_url="https://t", client_id="c", client_secret=never)
    for sasl in (
        Sasl(mechanism="PLAIN", username="me", password=never),
        Sasl(mechanism="OAUTHBEARER", token=credentials),
    ):
        tls = TlsFiles(key_password=never)
        conn = ClusterConnection(bootstrap_servers=SERVERS, security_protocol="SASL_SSL", sasl=sasl, tls=tls)
        assert "never" not in repr(conn)


def test_both_libraries_get_the_same_login() -> None:
    """User, password, mechanism and protocol, each by its library's names; secrets are read when asked for."""
    conn = ClusterConnection(
        bootstrap_servers=SERVERS, security_protocol="SASL_PLAINTEXT", sasl=_sasl(), client_rack="z1"
    )
    assert aiokafka_options(conn) == {
        "security_protocol": "SASL_PLAINTEXT",
        "ssl_context": None,
        "sasl_mechanism": "SCRAM-SHA-512",
        "sasl_plain_username": "me",
        "sasl_plain_password": "hidden-word",
    }
    options = confluent_options(conn)
    assert options["bootstrap.servers"] == "a:9092,[::1]:9093"
    assert (options["sasl.username"], options["sasl.password"]) == ("me", "hidden-word")
    assert options["allow.auto.create.topics"] is False
    assert options["client.rack"] == "z1"


def test_tokens_reach_both_libraries(tmp_path: Path) -> None:
    """A token source becomes aiokafka's provider and librdkafka's callback."""
    path = tmp_path / "token"
    path.write_text("t-1\n")
    sasl = Sasl(mechanism="OAUTHBEARER", token=TokenFile(path=path))
    conn = ClusterConnection(bootstrap_servers=SERVERS, security_protocol="SASL_PLAINTEXT", sasl=sasl)
    assert isinstance(aiokafka_options(conn)["sasl_oauth_token_provider"], TokenProvider)
    assert confluent_options(conn)["oauth_cb"]("")[0] == "t-1"


def test_a_missing_file_is_a_config_error(tmp_path: Path) -> None:
    """Both libraries' options name the file that cannot be read."""
    tls = TlsFiles(ca_file=tmp_path / "no-such-ca.pem")
    conn = ClusterConnection(bootstrap_servers=SERVERS, security_protocol="SSL", tls=tls)
    for options in (aiokafka_options, confluent_options):
        with pytest.raises(ConfigError, match="no-such-ca"):
            options(conn)
