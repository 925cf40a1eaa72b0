"""Loading a configuration: what is accepted, and that every wrong input is named, all at once."""

import re
import tomllib
from pathlib import Path
from typing import Any

import pytest

from mirror.config import Config, load_config, parse_config
from mirror.config.environment import key_paths
from mirror.config.locate import sample_toml
from mirror.config.show import rows
from mirror.errors import ConfigError

SAMPLE = Path(__file__).parents[2] / "config" / "mirror.toml"
GOOD = """
[worker]
id = "w"
[clusters.prod-eu]
role = "source"
bootstrap_servers = ["a:9092"]
[repositories.main]
url = "file:///backup"
"""


def load(text: str, **environ: str) -> Config:
    """Parse a text as if it were a file at /etc/x/mirror.toml."""
    return parse_config(tomllib.loads(text), path=Path("/etc/x/mirror.toml"), environ=environ)


def refusal(text: str, **environ: str) -> str:
    """The message with which a text is refused."""
    with pytest.raises(ConfigError) as caught:
        load(text, **environ)
    return caught.value.message


def changed(section: str, line: str) -> str:
    """GOOD with a line added to a section."""
    assert section in GOOD
    return GOOD.replace(section, f"{section}\n{line}")


def test_defaults_are_those_promised() -> None:
    """The defaults of the worker are the documented ones, and the only source and repository are taken."""
    config = load(GOOD)
    worker = config.worker
    assert (worker.source, worker.repository) == ("prod-eu", "main")
    assert (worker.flush_interval_ms, worker.flush_bytes, worker.memory_bytes) == (10_000, 32 << 20, 128 << 20)
    assert (worker.drain_timeout_ms, worker.discovery_interval_ms, worker.start) == (25_000, 10_000, "earliest")
    assert (worker.web_host, worker.max_read_bytes_per_second, worker.body_codec) == ("127.0.0.1", 0, "auto")
    assert config.source_cluster is config.cluster("prod-eu")
    assert config.repository().url == "file:///backup"


WORKER, CLUSTER, REPOSITORY = "[worker]", "[clusters.prod-eu]", "[repositories.main]"


@pytest.mark.parametrize(
    ("section", "line", "expected"),
    [
        (WORKER, 'flush_intervall = "1s"', r"\[worker\] has no key 'flush_intervall'; did you mean flush_interval\?"),
        (WORKER, "qqqqqqq = 1", r"\[worker\] has no key 'qqqqqqq'; there is id, source, "),
        (WORKER, 'flush_interval = "500ms"', r'\[worker\] flush_interval = "500ms": expected a duration from 1s to 1h'),
        (WORKER, 'flush_interval = "2h"', "from 1s to 1h"),
        (WORKER, "flush_interval = 10", r"= 10: .*needs a unit"),
        (WORKER, "flush_interval = 2020-01-01", "it is a date or time"),
        (WORKER, 'flush_bytes = "1KB"', r'flush_bytes = "1KB": expected a size of at least 64KiB'),
        (WORKER, "flush_bytes = true", "it is a flag"),
        (WORKER, "flush_bytes = 1.5", "it is a number"),
        (WORKER, 'flush_bytes = "9999999TiB"', "expected a size"),
        (
            WORKER,
            'memory_bytes = "63MiB"',
            "memory_bytes = 63MiB is less than twice flush_bytes = 32MiB.*at least 64MiB",
        ),
        (WORKER, 'topics = "orders"', "it is not a list"),
        (WORKER, 'topics = ["a b"]', "no topic name holds ' '"),
        (WORKER, 'topics = ["or[ders"]', r"\[worker\] topics = .*the bracket '\[' has no counterpart"),
        (WORKER, 'exclude = ["orders]"]', r"\[worker\] exclude = .*the bracket '\]' has no counterpart"),
        (WORKER, 'topics = ["a", 3]', "3: it is a number"),
        (WORKER, "topics = []", "nothing would be backed up"),
        (WORKER, 'topics_regex = ["("]', "unterminated"),
        (WORKER, 'exclude_regex = ["*"]', "nothing to repeat"),
        (WORKER, 'start = "newest"', "expected one of earliest, latest"),
        (WORKER, 'body_codec = "lz4"', "auto, passthrough, zstd"),
        (WORKER, "zstd_level = 20", "a whole number from 1 to 19"),
        (WORKER, "upload_threads = true", "a whole number from 1 to 64"),
        (WORKER, "web_port = 0", "from 1 to 65535"),
        (WORKER, 'advertised_url = "10.0.0.1:8083"', "expected a URL such as"),
        (WORKER, 'advertised_url = "http://h/x"', "it has a path"),
        (WORKER, 'source = "prod-us"', r"no such cluster; did you mean prod-eu\?"),
        (WORKER, 'repository = "man"', r"no such repository; did you mean main\?"),
        (WORKER, 'data_dir = ""', "it is empty"),
        (CLUSTER, 'client_id = "a b"', "client_id"),
        (CLUSTER, 'client_rack = "a\\nb"', "control character"),
        (CLUSTER, 'security_protocol = "ssl"', "PLAINTEXT, SSL, SASL_PLAINTEXT, SASL_SSL"),
        (CLUSTER, 'security_protocol = "SASL_SSL"', r"needs a \[clusters.prod-eu.sasl\] table"),
        (CLUSTER, 'ssl = { ca_file = "x" }', "has an ssl table, which security_protocol = PLAINTEXT ignores"),
        (CLUSTER, "ssl = 3", r"\[clusters.prod-eu.ssl\] is not a table"),
        (CLUSTER, 'security_protocol = "SSL"\nssl = { key_file = "x" }', "key_file needs cert_file"),
        (CLUSTER, 'sasl = { mechanism = "PLAIN" }', "has a sasl table, which security_protocol = PLAINTEXT ignores"),
        (CLUSTER, '[clusters."a.b"]', "alias 'a.b'"),
        (REPOSITORY, 'endpoint = "http://x"', "endpoint has no use with a file:// repository"),
        (REPOSITORY, 'secret_key = {env = "S"}', "secret_key has no use with a file:// repository"),
        (REPOSITORY, 'credentials = "static"', "credentials has no use with a file:// repository"),
    ],
)
def test_bad_setting_is_named(section: str, line: str, expected: str) -> None:
    """Each wrong setting is refused with its table, key, value, and what is accepted."""
    assert re.search(expected, refusal(changed(section, line)), re.DOTALL)


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("bucket", "expected s3://"),
        ("s3:bucket", "expected s3://"),
        ("s3://", "it names no bucket"),
        ("s3:///x", "it names no bucket"),
        ("s3://h:9000/b", "endpoint"),
        ("s3://b?x=1", "query"),
        ("s3://b ucket", "space"),
        ("file://relative/x", "three slashes"),
        ("file:///", "no folder"),
        ("gs://b", "expected s3://"),
        ("s3://My_Bucket", "'My_Bucket' is not the name of a bucket"),
        ("s3://ab/prefix", "'ab' is not the name of a bucket"),
        ("s3://a..b", "is not the name of a bucket"),
        ("s3://192.168.1.1", "is not the name of a bucket"),
        ("s3://-abc", "is not the name of a bucket"),
        ("s3://key:hunter2@b", "credentials do not belong"),
    ],
)
def test_bad_url_is_refused_without_credentials(url: str, expected: str) -> None:
    """A wrong URL is refused; one that may hold a password is not repeated."""
    message = refusal(GOOD.replace("file:///backup", url))
    assert expected in message
    assert "hunter2" not in message


@pytest.mark.parametrize(
    "address", ["a", "a:0", "a:65536", ":9092", "a:9092,b:9092", "http://a:9092", "a b:1", "::1:9092"]
)
def test_bad_broker_is_refused(address: str) -> None:
    """A broker is host:port."""
    assert "it is not host:port" in refusal(GOOD.replace("a:9092", address))


@pytest.mark.parametrize(
    ("sasl", "expected"),
    [
        ('mechanism = "PLAIN"\nusername = "u"', "password is missing: PLAIN needs it"),
        ('mechanism = "PLAIN"\nusername = "u"\npassword = {env="P"}\nscope = "s"', "scope belongs to OAUTHBEARER"),
        ('mechanism = "GSSAPI"', "PLAIN, SCRAM-SHA-256, SCRAM-SHA-512, OAUTHBEARER"),
        ("", "mechanism is missing"),
        ('mechanism = "OAUTHBEARER"', "needs token_file, or token_endpoint"),
        ('mechanism = "OAUTHBEARER"\ntoken_file = "t"\nscope = "s"', "scope has no use beside token_file"),
        ('mechanism = "OAUTHBEARER"\ntoken_endpoint = "https://t"', "oauth_client_secret is missing"),
        ('mechanism = "OAUTHBEARER"\ntoken_file = "t"\nusername = "u"', "username has no use with OAUTHBEARER"),
    ],
)
def test_incomplete_login_is_refused(sasl: str, expected: str) -> None:
    """Each SASL mechanism needs its settings and refuses those of others."""
    text = changed(CLUSTER, 'security_protocol = "SASL_SSL"') + f"[clusters.prod-eu.sasl]\n{sasl}"
    assert expected in refusal(text)


@pytest.mark.parametrize(
    ("keys", "expected"),
    [
        ('access_key = "a"', "secret_key is missing"),
        ('secret_key = {env="S"}', "access_key is missing"),
        ('credentials = "static"', "static credentials need access_key and secret_key"),
        ('credentials = "instance"\naccess_key = "a"', "access_key has no use with credentials = 'instance'"),
        ('endpoint = "http://m:9000"\nca_file = "x"', "ca_file has no use with an http:// endpoint"),
        ('endpoint = "m:9000"', "expected a URL"),
        ('endpoint = "https://m:9000/x"', "it has a path"),
        ('endpoint = "https://m:nine"', "port"),
    ],
)
def test_store_settings_must_fit(keys: str, expected: str) -> None:
    """Credentials of the store are complete or absent."""
    assert expected in refusal(GOOD.replace("file:///backup", "s3://backup") + keys)


@pytest.mark.parametrize(
    "value",
    ['"hunter2"', '{ value = "hunter2" }', '{ env = "A", file = "hunter2" }', "{}", '["hunter2"]', "3", "{ env = 3 }"],
)
def test_literal_secret_is_refused_and_not_repeated(value: str) -> None:
    """A secret is env or file, nothing else, and the message does not repeat what stood there."""
    text = GOOD.replace("file:///backup", "s3://backup") + f'access_key = "a"\nsecret_key = {value}'
    message = refusal(text)
    assert '{ env = "NAME" } or { file = "path" }' in message
    assert "hunter2" not in message


def test_all_problems_come_together() -> None:
    """One message holds every problem: of keys, values, references and variables."""
    text = changed(WORKER, 'idd = 1\nweb_port = "x"\nsource = "nowhere"') + "\n[wroker]\n"
    message = refusal(text, MIRROR_WORKER__ZSTD_LEVEL="99", MIRROR_WORKER_ID="x")
    assert "6 problems" in message
    for part in (
        "'idd'",
        "web_port",
        "nowhere",
        "'wroker'; did you mean worker?",
        "ZSTD_LEVEL = 99",
        "MIRROR_WORKER__ID?",
    ):
        assert part in message


def test_required_keys_are_named() -> None:
    """A table without its required keys is refused, key by key."""
    message = refusal(GOOD + "[clusters.other]\n[repositories.other]\n")
    assert "[clusters.other] role is missing: expected one of source, target" in message
    assert "[clusters.other] bootstrap_servers is missing: expected a list of brokers as host:port" in message
    assert "[repositories.other] url is missing: expected s3://bucket" in message


def test_several_sources_are_a_question() -> None:
    """Without a choice between two sources nothing is guessed."""
    text = GOOD + '[clusters.us]\nrole = "source"\nbootstrap_servers = ["b:9092"]\n'
    assert "[worker] source is missing: choose one of prod-eu, us" in refusal(text)


def test_target_is_no_source() -> None:
    """A cluster with the role target cannot be backed up."""
    text = changed(WORKER, 'source = "prod-eu"').replace('role = "source"', 'role = "target"')
    assert "role = 'target'" in refusal(text)


def test_restore_needs_no_source() -> None:
    """A configuration with only a target and a repository loads; asking for the source says what is missing."""
    config = load(GOOD.replace('role = "source"', 'role = "target"'))
    assert config.cluster("prod-eu").role == "target"
    with pytest.raises(ConfigError, match="no source cluster"):
        _ = config.source_cluster
    with pytest.raises(ConfigError, match="did you mean prod-eu"):
        config.cluster("prod-us")
    with pytest.raises(ConfigError, match="did you mean main"):
        config.repository("mian")


def test_relative_paths_start_at_the_file() -> None:
    """Files named in the configuration are beside it, those named in variables in the current folder."""
    text = changed(WORKER, 'data_dir = "data"')
    assert load(text).worker.data_dir == Path("/etc/x/data")
    assert load(text, MIRROR_WORKER__DATA_DIR="data").worker.data_dir == Path.cwd() / "data"
    assert load(GOOD).worker.data_dir == Path("/var/lib/mirror")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("[worker]\nid = = 3", r"line 2, column 6: not valid TOML.*\n    id = = 3"),
        ('[worker]\npassword = "hunter2', r"line 2.*\n    password = \*\*\*\*"),
        ("[worker", r"line 1|end of"),
        ('id = "a"\nid = "b"', "line 2"),
    ],
)
def test_syntax_error_shows_its_line(tmp_path: Path, text: str, expected: str) -> None:
    """A syntax error names the line and shows it, unless the line may hold a secret."""
    file = tmp_path / "mirror.toml"
    file.write_text(text)
    with pytest.raises(ConfigError) as caught:
        load_config(file, {})
    assert re.search(expected, caught.value.message)
    assert str(file) in caught.value.message
    assert "hunter2" not in caught.value.message


def test_unreadable_files_are_errors(tmp_path: Path) -> None:
    """No file, a folder, and bytes that are not text are refused by name."""
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe")
    deep = tmp_path / "deep.toml"
    deep.write_text("a = " + "[" * 100_000)
    for path in (tmp_path / "none.toml", tmp_path, binary, deep):
        with pytest.raises(ConfigError, match=re.escape(str(path))):
            load_config(path, {})


def test_search_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """--config wins over MIRROR_CONFIG, which wins over ./mirror.toml, which wins over ./config/mirror.toml."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "config").mkdir()
    places = ["config/mirror.toml", "mirror.toml", "by_variable.toml", "by_option.toml"]
    for name in places:
        Path(name).write_text(GOOD.replace('"w"', f'"{Path(name).as_posix().replace("/", "-")}"'))
    assert load_config(Path("by_option.toml"), {"MIRROR_CONFIG": "by_variable.toml"}).worker.id == "by_option.toml"
    assert load_config(None, {"MIRROR_CONFIG": "by_variable.toml"}).worker.id == "by_variable.toml"
    assert load_config(None, {}).worker.id == "mirror.toml"
    Path("mirror.toml").unlink()
    assert load_config(None, {}).worker.id == "config-mirror.toml"


def test_no_file_names_the_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without any file the error lists where it was looked for."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("mirror.config.locate.DEFAULT_PATHS", (Path("mirror.toml"),))
    with pytest.raises(ConfigError, match=r"mirror\.toml"):
        load_config(None, {})


def test_sample_is_complete_and_true() -> None:
    """config/mirror.toml loads, shows every setting there is, and shows each default as it is."""
    text = SAMPLE.read_text()
    active = load_config(SAMPLE, {})
    shown = tomllib.loads(re.sub(r"^#(?=[a-z\[])", "", text, flags=re.MULTILINE))
    names = {path[-1] for path, _ in key_paths(Config, shown)}
    written = set(re.findall(r"^#?([a-z_]+) = ", text, flags=re.MULTILINE))
    assert written == names
    examples = {"ca_file", "cert_file", "key_file", "session_token"}
    for row in rows(active):
        table: Any = shown
        for part in row.key.split("."):
            table = table[part]
        key = row.key.rsplit(".", 1)[1]
        if row.origin == "default" and key not in examples:
            assert table == row.value or (key, table) == ("recovery_point", "60s"), row.key


@pytest.mark.parametrize("glob", ["a[bc]d", "a[!b]*", "[a-z]?", "a[]]b", "[!]]"])
def test_globs_with_brackets_are_taken(glob: str) -> None:
    """A set of characters, also one that holds the closing bracket itself."""
    assert load(changed(WORKER, f"topics = ['{glob}']")).worker.topics == (glob,)


def test_there_is_one_sample_and_it_is_packaged() -> None:
    """config/mirror.toml is the file that comes with the library, not a copy of it."""
    packaged = SAMPLE.parents[1] / "mirror" / "config" / "sample.toml"
    assert SAMPLE.resolve() == packaged.resolve()
    assert sample_toml() == packaged.read_text()
    project = tomllib.loads((SAMPLE.parents[1] / "pyproject.toml").read_text())
    assert "config/sample.toml" in project["tool"]["setuptools"]["package-data"]["mirror"]
