"""`mirror init` and `mirror check` with wrong keys of the store, on the real servers."""

from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from mirror.cli.__main__ import main

if TYPE_CHECKING:
    from tests.servers.kafka import KafkaCluster
    from tests.servers.minio import MinioServer


@pytest.mark.servers
@pytest.mark.parametrize("command", ["init", "check"])
@pytest.mark.parametrize("wrong", ["access_key", "secret_key"])
def test_wrong_keys_are_not_called_a_missing_right(
    command: str,
    wrong: str,
    kafka: "KafkaCluster",
    minio: "MinioServer",
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """Exit 12, S3's own word for it, and no advice to grant anything; the secret is not shown."""
    keys = {"access_key": minio.access_key, "secret_key": minio.secret_key, wrong: "a-wrong-one"}
    monkeypatch.setenv("S3_ACCESS_KEY", keys["access_key"])
    monkeypatch.setenv("S3_SECRET_KEY", keys["secret_key"])
    config = tmp_path / "mirror.toml"
    config.write_text(
        f'[worker]\nid = "wrong-keys"\ndata_dir = "data"\nweb_port = 18097\n'
        f'[clusters.prod]\nrole = "source"\nbootstrap_servers = ["{kafka.bootstrap}"]\n'
        f'[repositories.main]\nurl = "s3://never-made"\nendpoint = "{minio.url}"\n'
        'access_key = { env = "S3_ACCESS_KEY" }\nsecret_key = { env = "S3_SECRET_KEY" }\n'
    )
    assert main(["--config", str(config), command]) == 12
    output = capsys.readouterr()
    said = output.out + output.err
    assert {"access_key": "InvalidAccessKeyId", "secret_key": "SignatureDoesNotMatch"}[wrong] in said
    assert "the credentials are wrong" in said
    assert "s3:" not in said.replace("s3://", "")
    assert minio.secret_key not in said
