"""The locked-down servers refuse and allow what they should."""

import io
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import urllib3
from confluent_kafka import KafkaError, KafkaException, Producer
from confluent_kafka.admin import AclOperation, AdminClient, ResourceType

from tests.servers.certificates import CertificateAuthority
from tests.servers.minio import MinioServer
from tests.servers.secure import SecureKafka


def _produce(config: dict[str, Any], topic: str) -> KafkaError | None:
    errors: list[KafkaError | None] = []
    producer = Producer({**config, "message.timeout.ms": 10_000})
    producer.produce(topic, b"value", on_delivery=lambda error, _: errors.append(error))
    producer.flush(15)
    return errors[0]


@pytest.mark.parametrize("mechanism", ["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512", "OAUTHBEARER"])
def test_every_mechanism_lets_its_user_in(secure_kafka: SecureKafka, mechanism: str) -> None:
    """A user with rights on a topic can write to it, whatever the mechanism."""
    topic = f"for-{mechanism.lower()}"
    secure_kafka.allow("mirror", ResourceType.TOPIC, topic, AclOperation.CREATE, AclOperation.WRITE)
    assert _produce(secure_kafka.sasl_config("mirror", mechanism), topic) is None


def test_a_client_certificate_is_a_user(secure_kafka: SecureKafka) -> None:
    """The common name of a client certificate has rights; a certificate without any is refused the topic."""
    secure_kafka.allow("certified", ResourceType.TOPIC, "by-cert", AclOperation.CREATE, AclOperation.WRITE)
    issue = secure_kafka.authority.issue
    assert _produce(secure_kafka.mtls_config(issue("certified")), "by-cert") is None
    refused = _produce(secure_kafka.mtls_config(issue("stranger")), "by-cert")
    assert refused is not None
    assert refused.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_without_rights_nothing_is_written(secure_kafka: SecureKafka) -> None:
    """A known user without an ACL gets an authorization error."""
    refused = _produce(secure_kafka.sasl_config("nobody"), "forbidden")
    assert refused is not None
    assert refused.code() == KafkaError.TOPIC_AUTHORIZATION_FAILED


def test_a_wrong_password_is_refused(secure_kafka: SecureKafka) -> None:
    """Authentication is checked at all."""
    codes: list[int] = []
    config = {**secure_kafka.sasl_config("mirror"), "sasl.password": "wrong", "log_level": 0}
    admin = AdminClient({**config, "error_cb": lambda error: codes.append(error.code())})
    with pytest.raises(KafkaException):
        admin.list_topics(timeout=1)
    admin.poll(0)
    assert KafkaError._AUTHENTICATION in codes


def test_minio_speaks_tls(new_minio: Callable[..., MinioServer], tmp_path: Path) -> None:
    """With an authority MinIO is served over HTTPS, and only who trusts that authority talks to it."""
    authority = CertificateAuthority(tmp_path / "certificates")
    server = new_minio(authority=authority)
    server.make_bucket("tls")
    server.client().put_object("tls", "name", io.BytesIO(b"x"), 1)
    assert server.url.startswith("https://")
    with pytest.raises(urllib3.exceptions.SSLError):
        urllib3.PoolManager(retries=False).request("GET", server.url)
