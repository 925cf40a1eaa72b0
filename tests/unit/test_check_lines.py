"""The lines of `mirror check`: which exit code wins, what a grant looks like, how a clock and this machine are judged."""

import os
import socket
from pathlib import Path

import pytest

from mirror.config import Config, parse_config
from mirror.errors import AccessError, RepositoryNotFoundError, UnreachableError
from mirror.service.check_lines import CheckLine, exit_code_of, failed, grant_command, ok, skipped, warned
from mirror.service.check_local import check_local
from mirror.service.check_source import principal_of
from mirror.service.check_store import check_store, clock_line


def _config(tmp_path: Path, **worker: object) -> Config:
    raw = {
        "worker": {"id": "w", "data_dir": str(tmp_path / "data"), **worker},
        "clusters": {"prod": {"role": "source", "bootstrap_servers": ["127.0.0.1:1"]}},
        "repositories": {"main": {"url": f"file://{tmp_path}/repository"}},
    }
    return parse_config(raw, environ={})


def test_worst_failure_decides_the_exit_code() -> None:
    """Unreachable hides missing rights, which hide a missing repository; warnings and skips never fail."""
    fine: list[CheckLine] = [ok("a", "fine"), warned("a", "hm"), skipped("a", "not proven")]
    assert exit_code_of(fine) == 0
    no_repository = failed("r", RepositoryNotFoundError("none", hint="`mirror init`"))
    no_right = failed("r", AccessError("no"))
    assert exit_code_of([*fine, no_repository]) == 10
    assert exit_code_of([no_repository, no_right]) == 12
    assert exit_code_of([no_right, failed("s", UnreachableError("gone")), no_repository]) == 13
    assert exit_code_of([failed("s", "something")]) == 1
    assert no_repository.next_step == "`mirror init`"


def test_grant_is_spelled_as_the_tool_wants_it() -> None:
    """Operations in the tool's spelling, sorted; every name; a prefix where asked for."""
    command = grant_command("b:1", "User:x", {"READ", "DESCRIBE_CONFIGS"}, resource="topic", names=["a", "b"])
    assert command.endswith(
        "--add --allow-principal User:x --operation DescribeConfigs --operation Read --topic a --topic b"
    )
    prefixed = grant_command("b:1", "User:x", ["CREATE"], resource="topic", names=["w-"], prefixed=True)
    assert prefixed.endswith("--topic w- --resource-pattern-type prefixed")


@pytest.mark.parametrize(
    ("ahead_s", "level"), [(0.4, "ok"), (-29, "ok"), (31, "warn"), (-599, "warn"), (601, "fail"), (-9999, "fail")]
)
def test_clock(ahead_s: float, level: str) -> None:
    """Half a minute is a warning, ten minutes a failure, in both directions."""
    assert clock_line(ahead_s).level == level


def test_this_machine(tmp_path: Path) -> None:
    """A folder that can be made is fine and is not made; a taken port is a warning."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        lines = check_local(_config(tmp_path, web_port=taken.getsockname()[1]))
    levels = {line.area: line.level for line in lines}
    assert levels["config"] == "ok"
    assert levels["disk"] == "ok"
    assert levels["web"] == "warn"
    assert not (tmp_path / "data").exists()


def test_data_dir_that_is_a_file_fails(tmp_path: Path) -> None:
    """A file where the folder should be."""
    (tmp_path / "data").write_text("x")
    lines = check_local(_config(tmp_path, web_port=1))
    assert [line.exit_code for line in lines if line.area == "disk"] == [2]


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_unwritable_data_dir_fails(tmp_path: Path) -> None:
    """Exit code 12: a right is missing."""
    tmp_path.chmod(0o500)
    try:
        lines = check_local(_config(tmp_path))
    finally:
        tmp_path.chmod(0o700)
    assert [line.exit_code for line in lines if line.area == "disk"] == [12]


def test_missing_secret_is_named_without_its_value(tmp_path: Path) -> None:
    """The variable is named, exit code 2."""
    raw = {
        "worker": {"id": "w", "data_dir": str(tmp_path)},
        "clusters": {
            "prod": {
                "role": "source",
                "bootstrap_servers": ["127.0.0.1:1"],
                "security_protocol": "SASL_PLAINTEXT",
                "sasl": {"mechanism": "PLAIN", "username": "u", "password": {"env": "NO_SUCH_VARIABLE"}},
            }
        },
        "repositories": {"main": {"url": f"file://{tmp_path}/repository"}},
    }
    config = parse_config(raw, environ={})
    (line,) = [line for line in check_local(config) if line.level == "fail"]
    assert "NO_SUCH_VARIABLE" in line.message
    assert line.exit_code == 2
    assert principal_of(config.source_cluster) == "User:u"


def test_missing_folder_is_no_repository(tmp_path: Path) -> None:
    """Exit 10 with the command that makes it; nothing is made."""
    lines = check_store(_config(tmp_path), cluster_id=None, write_probe=True)
    assert exit_code_of(lines) == 10
    assert "mirror init" in lines[0].next_step
    assert list(tmp_path.iterdir()) == []
