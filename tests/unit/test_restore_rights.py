"""Which rights a restore lacks, and how they are named."""

from pathlib import Path

import pytest

from mirror.cli.__main__ import main
from mirror.core.restore_rights import LOADING, MissingRight, lacking, text_of
from mirror.service.check_lines import grant_command


def test_lesser_rights_are_named_only_where_no_greater_one_brings_them() -> None:
    """DESCRIBE comes with READ, DESCRIBE_CONFIGS with ALTER_CONFIGS; with an authorizer that thinks otherwise they stand alone."""
    assert lacking(LOADING, frozenset()) == {"READ", "WRITE", "ALTER_CONFIGS"}
    assert lacking(LOADING, LOADING - {"ALTER_CONFIGS", "DESCRIBE_CONFIGS"}) == {"ALTER_CONFIGS"}
    assert lacking(LOADING, LOADING - {"DESCRIBE"}) == {"DESCRIBE"}
    assert lacking(LOADING, LOADING | {"CREATE"}) == frozenset()


def test_missing_rights_are_told_by_kind_and_name() -> None:
    """One, many, and the cluster, which has no name."""
    many = tuple("abcdefg")
    one = MissingRight(resource="topic", names=("orders",), operations=("READ", "WRITE"))
    assert text_of(one) == "READ, WRITE on topic orders"
    assert text_of(MissingRight(resource="group", names=many, operations=("READ",))) == (
        "READ on groups a, b, c, d, e and 2 more"
    )
    assert text_of(MissingRight(resource="cluster", names=(), operations=("CLUSTER_ACTION",))) == (
        "CLUSTER_ACTION on the cluster"
    )


def test_grants_of_the_cluster_and_of_transactional_ids() -> None:
    """As the tool wants them."""
    command = grant_command("b:1", "User:x", ["CLUSTER_ACTION"], resource="cluster", names=[])
    assert command.endswith("--add --allow-principal User:x --operation ClusterAction --cluster")
    command = grant_command("b:1", "User:x", ["WRITE"], resource="transactional-id", names=["m-"], prefixed=True)
    assert command.endswith("--operation Write --transactional-id m- --resource-pattern-type prefixed")


@pytest.mark.parametrize("options", [["--topic", "a"], ["--prefix", "a"], ["--target", "dst", "--write-probe"]])
def test_options_of_check_that_do_not_go_together(
    options: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit 2 before anything is asked."""
    (tmp_path / "mirror.toml").write_text("")
    assert main(["--config", str(tmp_path / "mirror.toml"), "check", *options]) == 2
    assert "--target" in capsys.readouterr().err or "--write-probe" in options
