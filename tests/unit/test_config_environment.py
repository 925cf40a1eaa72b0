"""Overrides from the environment: one variable for every key, and no variable without a meaning."""

import contextlib
import tomllib
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from mirror.config import Config, parse_config
from mirror.config.environment import key_paths, variable_of
from mirror.config.show import rows
from mirror.errors import ConfigError

FILE = tomllib.loads("""
[clusters.Prod-EU]
role = "source"
bootstrap_servers = ["a:9092"]
[clusters.standby]
role = "target"
bootstrap_servers = ["b:9092"]
[repositories.main]
url = "s3://backup"
access_key = { env = "MIRROR_S3_KEY" }
secret_key = { env = "MIRROR_S3_SECRET" }
""")


def load(**environ: str) -> Config:
    """The configuration with these variables."""
    return parse_config(FILE, environ=environ)


def refusal(**environ: str) -> str:
    """The message with which these variables are refused."""
    with pytest.raises(ConfigError) as caught:
        load(**environ)
    return caught.value.message


def test_values_are_overridden_by_kind() -> None:
    """Durations, sizes, numbers, flags, lists and words are read from text; the alias matches in capitals, - as _."""
    config = load(
        MIRROR_WORKER__FLUSH_INTERVAL="1s",
        MIRROR_WORKER__FLUSH_BYTES="1MiB",
        MIRROR_WORKER__WEB_PORT="9000",
        MIRROR_WORKER__TOPICS="orders, pay-*",
        MIRROR_WORKER__TOPICS_REGEX='["a{1,2}", "b"]',
        MIRROR_WORKER__EXCLUDE="",
        MIRROR_PRICES__PER_GIB_MONTH="0.5",
        MIRROR_CLUSTERS__PROD_EU__BOOTSTRAP_SERVERS="x:1,[::1]:2",
        MIRROR_CLUSTERS__PROD_EU__SECURITY_PROTOCOL="SSL",
        MIRROR_CLUSTERS__PROD_EU__SSL__CHECK_HOSTNAME="False",
        MIRROR_REPOSITORIES__MAIN__URL="s3://other/prefix/",
    )
    assert (config.worker.flush_interval_ms, config.worker.flush_bytes, config.worker.web_port) == (1000, 1 << 20, 9000)
    assert config.worker.topics == ("orders", "pay-*")
    assert config.worker.topics_regex == ("a{1,2}", "b")
    assert config.worker.exclude == ()
    assert config.prices.per_gib_month == 0.5
    cluster = config.cluster("Prod-EU")
    assert cluster.bootstrap_servers == ("x:1", "[::1]:2")
    assert cluster.ssl is not None
    assert not cluster.ssl.check_hostname
    assert config.repository().url == "s3://other/prefix"


def test_optional_table_can_come_from_variables_alone() -> None:
    """A login that the file does not have is made by variables; the password's variable holds the password."""
    prefix = "MIRROR_CLUSTERS__STANDBY__"
    values = {
        "SECURITY_PROTOCOL": "SASL_SSL",
        "SASL__MECHANISM": "PLAIN",
        "SASL__USERNAME": "u",
        "SASL__PASSWORD": "horse",
    }
    config = load(**{prefix + key: value for key, value in values.items()})
    sasl = config.cluster("standby").sasl
    assert sasl is not None
    assert sasl.password is not None
    assert sasl.password.reveal() == "horse"
    assert config.cluster("Prod-EU").sasl is None


@pytest.mark.parametrize(
    ("variable", "value", "expected"),
    [
        ("MIRROR_WORKER_FLUSH_INTERVAL", "1s", "did you mean MIRROR_WORKER__FLUSH_INTERVAL?"),
        ("MIRROR_WORKER__FLUSH_INTERVALL", "1s", "did you mean MIRROR_WORKER__FLUSH_INTERVAL?"),
        ("MIRROR_CLUSTERS__PROD_US__ROLE", "source", "did you mean MIRROR_CLUSTERS__PROD_EU__ROLE?"),
        ("MIRROR_CONFG", "x", "did you mean MIRROR_CONFIG?"),
        ("MIRROR_WORKER_WEB_PORT", "80", "did you mean MIRROR_WORKER__WEB_PORT?"),
        ("MIRROR_ZZZZZZZZZZZZZZ", "x", "unknown environment variable MIRROR_ZZZZZZZZZZZZZZ"),
        ("MIRROR_WORKER__FLUSH_INTERVAL", "0s", 'MIRROR_WORKER__FLUSH_INTERVAL = "0s": expected a duration'),
        ("MIRROR_WORKER__WEB_PORT", "eighty", 'MIRROR_WORKER__WEB_PORT = "eighty": expected a whole number'),
        ("MIRROR_WORKER__WEB_PORT", "", 'MIRROR_WORKER__WEB_PORT = ""'),
        ("MIRROR_WORKER__TOPICS", '["a", 3]', "3: it is a number"),
        ("MIRROR_WORKER__TOPICS", "a,,b", "it is empty"),
        ("MIRROR_CLUSTERS__PROD_EU__SSL__CHECK_HOSTNAME", "yes", "expected true or false"),
        ("MIRROR_CLUSTERS__PROD_EU__BOOTSTRAP_SERVERS", "", "it is empty"),
    ],
)
def test_bad_variable_is_named(variable: str, value: str, expected: str) -> None:
    """A variable that overrides nothing, or with a wrong value, is an error that names it and the nearest right one."""
    assert expected in refusal(**{variable: value})


def test_other_variables_are_left_alone() -> None:
    """MIRROR_CONFIG, variables that secrets name, and the service links of Kubernetes are no errors."""
    load(
        MIRROR_CONFIG="x",
        MIRROR_STACK_CACHE="x",
        MIRROR_S3_KEY="k",
        MIRROR_S3_SECRET="s",
        MIRROR_SERVICE_HOST="10.0.0.1",
        MIRROR_SERVICE_PORT="8083",
        MIRROR_SERVICE_PORT_WEB="8083",
        MIRROR_PORT="tcp://10.0.0.1:8083",
        MIRROR_WORKER_PORT_8083_TCP_ADDR="10.0.0.1",
        MIRRORED="x",
    )


def test_a_secret_in_a_wrong_variable_is_not_repeated() -> None:
    """The message about an unknown variable names it, never its value."""
    assert "hunter2" not in refusal(MIRROR_REPOSITORIES__MAIN__SECRETKEY="hunter2")


def test_aliases_that_share_a_variable_are_refused() -> None:
    """a-b and a_b cannot both be overridden by one variable: an error, not a choice."""
    table = {"role": "target", "bootstrap_servers": ["b:9092"]}
    with pytest.raises(ConfigError, match="would share the variable MIRROR_CLUSTERS__A_B__ROLE"):
        parse_config({"clusters": {"a-b": table, "a_b": table}}, environ={})


def test_every_key_has_its_own_variable() -> None:
    """Within one configuration no two keys share a variable."""
    names = [variable_of(path) for path, _ in key_paths(Config, FILE)]
    assert len(names) == len(set(names)) > 60


def test_what_is_shown_can_be_given_back_as_variables() -> None:
    """Every value of `config show` is the text that gives the same value by its variable."""
    config = load(MIRROR_WORKER__TOPICS_REGEX='["a{1,2}"]', MIRROR_WORKER__FLUSH_BYTES="3MB")
    secrets = ("access_key", "secret_key")
    environ = {
        variable_of(tuple(row.key.split("."))): _as_text(row.value)
        for row in rows(config)
        if row.value is not None and not row.key.endswith(secrets)
    }
    again = parse_config(FILE, environ=environ)
    assert again.worker == config.worker
    assert (again.clusters, again.objectives, again.prices) == (config.clusters, config.objectives, config.prices)
    assert {row.origin.split()[0] for row in rows(again) if not row.key.endswith(secrets)} <= {"env", "default"}


def _as_text(value: Any) -> str:
    if isinstance(value, list):
        return "[" + ", ".join(f"'{item}'" for item in value) + "]"
    return str(value)


_TOPIC = st.text(alphabet="abcXYZ019._-*?", min_size=1, max_size=30)


@given(st.lists(_TOPIC, max_size=6))
def test_list_round_trip(topics: list[str]) -> None:
    """Any list of topics survives being joined by commas."""
    assert load(MIRROR_WORKER__EXCLUDE=",".join(topics)).worker.exclude == tuple(topics)


@given(st.text(max_size=30), st.sampled_from([variable_of(path) for path, _ in key_paths(Config, FILE)]))
def test_any_text_is_a_value_or_a_config_error(text: str, variable: str) -> None:
    """No value of any variable makes loading raise anything but ConfigError."""
    with contextlib.suppress(ConfigError):
        assert load(**{variable: text}).path is None
