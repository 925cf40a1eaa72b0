"""A Kafka with everything a locked-down one has: TLS, mTLS, SASL (PLAIN, SCRAM, OAUTHBEARER) and ACLs."""

import base64
import json
import secrets
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from confluent_kafka.admin import (
    AclBinding,
    AclBindingFilter,
    AclOperation,
    AclPermissionType,
    AdminClient,
    ResourcePatternType,
    ResourceType,
)

from tests.servers.certificates import Certificate, CertificateAuthority
from tests.servers.errors import StackError
from tests.servers.kafka import KafkaCluster

_JAAS = "org.apache.kafka.common.security"


class SecureKafka(KafkaCluster):
    """A cluster whose listeners SASL_SSL and SSL (client certificate required) obey ACLs; PLAINTEXT may do everything.

    `passwords` maps each user to its password, the same for PLAIN and SCRAM. A client certificate's common name is its
    user name. An OAUTHBEARER client names itself in an unsigned token (`unsigned_token`): for tests only.
    """

    def __init__(self, folder: Path, n_brokers: int = 1, *, users: Iterable[str] = ("mirror",), **options: Any) -> None:
        """Prepare a cluster with those users; `options` are those of KafkaCluster."""
        self.authority = CertificateAuthority(folder / "certificates")
        self.passwords = {user: secrets.token_hex(12) for user in users}
        server = self.authority.issue("broker")
        plain_users = " ".join(f'user_{user}="{password}"' for user, password in self.passwords.items())
        sasl = "listener.name.sasl_ssl"
        properties = {
            "authorizer.class.name": "org.apache.kafka.metadata.authorizer.StandardAuthorizer",
            "super.users": "User:ANONYMOUS",  # whoever comes in by PLAINTEXT or CONTROLLER
            "ssl.keystore.type": "PEM",
            "ssl.keystore.location": str(server.bundle_path),
            "ssl.truststore.type": "PEM",
            "ssl.truststore.location": str(self.authority.ca_path),
            "listener.name.ssl.ssl.client.auth": "required",
            "ssl.principal.mapping.rules": "RULE:^CN=([^,]+).*$/$1/",
            "sasl.enabled.mechanisms": "PLAIN,SCRAM-SHA-256,SCRAM-SHA-512,OAUTHBEARER",
            f"{sasl}.plain.sasl.jaas.config": f"{_JAAS}.plain.PlainLoginModule required {plain_users};",
            f"{sasl}.scram-sha-256.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
            f"{sasl}.scram-sha-512.sasl.jaas.config": f"{_JAAS}.scram.ScramLoginModule required;",
            f"{sasl}.oauthbearer.sasl.jaas.config": (
                f'{_JAAS}.oauthbearer.OAuthBearerLoginModule required unsecuredLoginStringClaim_sub="broker";'
            ),
            **options.pop("properties", {}),
        }
        super().__init__(
            folder,
            n_brokers,
            properties=properties,
            extra_listeners={"SASL_SSL": "SASL_SSL", "SSL": "SSL"},
            scram_users=self.passwords,
            **options,
        )

    def sasl_config(self, user: str, mechanism: str = "SCRAM-SHA-512") -> dict[str, Any]:
        """librdkafka settings of a user for the SASL_SSL listener; mechanism PLAIN, SCRAM-SHA-256/512 or OAUTHBEARER."""
        config: dict[str, Any] = {
            "bootstrap.servers": self.bootstrap_of("SASL_SSL"),
            "security.protocol": "SASL_SSL",
            "ssl.ca.location": str(self.authority.ca_path),
            "sasl.mechanism": mechanism,
        }
        if mechanism == "OAUTHBEARER":
            return {**config, "oauth_cb": lambda _: unsigned_token(user)}
        return {**config, "sasl.username": user, "sasl.password": self.passwords[user]}

    def mtls_config(self, certificate: Certificate) -> dict[str, Any]:
        """librdkafka settings of a client certificate (of `authority`) for the SSL listener."""
        return {
            "bootstrap.servers": self.bootstrap_of("SSL"),
            "security.protocol": "SSL",
            "ssl.ca.location": str(self.authority.ca_path),
            "ssl.certificate.location": str(certificate.chain_path),
            "ssl.key.location": str(certificate.key_path),
        }

    def allow(
        self,
        user: str,
        resource: ResourceType,
        name: str,
        *operations: AclOperation,
        pattern: ResourcePatternType = ResourcePatternType.LITERAL,
    ) -> None:
        """Give a user rights on one resource by its literal name (`*`: all of its kind, `kafka-cluster`: the cluster).

        They hold when it returns.
        """
        bindings = [
            AclBinding(resource, name, pattern, f"User:{user}", "*", operation, AclPermissionType.ALLOW)
            for operation in operations
        ]
        admin = AdminClient({"bootstrap.servers": self.bootstrap})  # must outlive its futures
        for future in admin.create_acls(bindings).values():
            future.result(20)
        self._wait(admin, lambda there: all(binding in there for binding in bindings))

    def forbid(
        self,
        user: str | None = None,
        resource: ResourceType = ResourceType.ANY,
        name: str | None = None,
        operation: AclOperation = AclOperation.ANY,
    ) -> None:
        """Take rights away again: by default all of a user, or all there are. They are gone when it returns."""
        principal = f"User:{user}" if user else None
        kinds = ResourcePatternType.ANY, AclPermissionType.ANY
        wanted = AclBindingFilter(resource, name, kinds[0], principal, None, operation, kinds[1])
        admin = AdminClient({"bootstrap.servers": self.bootstrap})
        for future in admin.delete_acls([wanted]).values():
            future.result(20)
        self._wait(admin, lambda there: not there, wanted)

    def _wait(
        self, admin: AdminClient, is_done: Callable[[list[AclBinding]], bool], wanted: AclBindingFilter | None = None
    ) -> None:
        """Until the brokers, which learn of ACLs a moment after the controller, say so."""
        every = wanted or AclBindingFilter(
            ResourceType.ANY,
            None,
            ResourcePatternType.ANY,
            None,
            None,
            AclOperation.ANY,
            AclPermissionType.ANY,
        )
        deadline = time.monotonic() + 20
        while not is_done(admin.describe_acls(every).result(20)):
            if time.monotonic() > deadline:
                raise StackError("the ACLs do not become what they were set to")
            time.sleep(0.02)


def unsigned_token(subject: str, lifetime_s: int = 3600) -> tuple[str, float]:
    """An unsigned JWT for that subject and the time it expires, in seconds since 1970."""
    now = int(time.time())
    claims = {"sub": subject, "iat": now, "exp": now + lifetime_s}
    parts = [json.dumps(part).encode() for part in ({"alg": "none"}, claims)]
    header, body = (base64.urlsafe_b64encode(part).decode().rstrip("=") for part in parts)
    return f"{header}.{body}.", float(now + lifetime_s)
