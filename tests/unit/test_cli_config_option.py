"""--config before and after the command."""

from pathlib import Path

import pytest
from click.testing import CliRunner

from mirror.cli.app import app


@pytest.mark.parametrize("order", ["before", "after", "after the inner command"])
def test_config_is_taken_wherever_it_stands(order: str, tmp_path: Path) -> None:
    """`mirror --config F config check`, `mirror config --config F check` and `mirror config check --config F` read the same file."""
    config = tmp_path / "elsewhere.toml"
    config.write_text('[worker]\nfluhs_interval = "1s"\n')
    words = {
        "before": ["--config", str(config), "config", "check"],
        "after": ["config", "--config", str(config), "check"],
        "after the inner command": ["config", "check", "--config", str(config)],
    }[order]
    result = CliRunner().invoke(app, words)
    assert "fluhs_interval" in str(result.exception)
