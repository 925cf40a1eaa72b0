"""A MinIO server on a free loopback port, with a folder of its own."""

import secrets
import shutil
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import urllib3
from minio import Minio, MinioAdmin
from minio.credentials import StaticProvider

from tests.servers.certificates import CertificateAuthority
from tests.servers.errors import StackError
from tests.servers.fetch import ensure_minio
from tests.servers.ports import free_port
from tests.servers.process import ServerProcess

READY_TIMEOUT_S = 30.0


class MinioServer(ServerProcess):
    """One MinIO; `start` after `stop` or `kill` comes back on the same port with the same data."""

    def __init__(
        self,
        folder: Path,
        *,
        access_key: str | None = None,
        secret_key: str | None = None,
        authority: CertificateAuthority | None = None,
        env: Mapping[str, str] | None = None,
        pid_path: Path | None = None,
    ) -> None:
        """Prepare a server in `folder` (made when missing), with random root credentials unless given.

        With an `authority` it serves HTTPS under a certificate of that authority. For `pid_path` see ServerProcess.
        """
        self.folder = folder
        self.port = free_port()
        self.access_key = access_key or f"root{secrets.token_hex(4)}"
        self.secret_key = secret_key or secrets.token_hex(16)
        (folder / "data").mkdir(parents=True, exist_ok=True)
        argv = [str(ensure_minio()), "server", str(folder / "data"), "--address", self.endpoint, "--quiet"]
        self._ca_path = authority.ca_path if authority else None
        if authority is not None:
            argv += ["--certs-dir", str(_lay_out_certificates(folder / "certs", authority))]
        settings = {
            "MINIO_ROOT_USER": self.access_key,
            "MINIO_ROOT_PASSWORD": self.secret_key,
            "MINIO_BROWSER": "off",
            "MINIO_UPDATE": "off",  # it must not ask the internet for a newer version
            **(env or {}),
        }
        super().__init__("minio", argv, log_path=folder / "server.log", env=settings, pid_path=pid_path)

    @property
    def endpoint(self) -> str:
        """`host:port`, without a scheme, as the minio client wants it; plain HTTP."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self) -> str:
        """`http://host:port`, or `https://…` when made with an authority."""
        return f"{'https' if self._ca_path else 'http'}://{self.endpoint}"

    def start(self) -> None:
        """Start it and wait until it serves S3 requests. Raises StackError when it does not come up."""
        super().start()
        client = self.client_of(self.access_key, self.secret_key, self._http(retries=False, timeout=2.0))
        deadline = time.monotonic() + READY_TIMEOUT_S
        last_error: Exception | None = None
        while time.monotonic() < deadline:
            self.require_alive()
            try:
                client.list_buckets()
            except Exception as error:
                last_error = error
                time.sleep(0.05)
                continue
            return
        raise StackError(f"{self.name} does not answer after {READY_TIMEOUT_S} s: {last_error!r}\n{self.log_tail()}")

    def client(self) -> Minio:
        """A client with root's rights."""
        return self.client_of(self.access_key, self.secret_key)

    def client_of(self, access_key: str, secret_key: str, http_client: urllib3.PoolManager | None = None) -> Minio:
        """A client with the rights of those keys."""
        return Minio(
            self.endpoint,
            access_key=access_key,
            secret_key=secret_key,
            secure=self._ca_path is not None,
            region="us-east-1",
            http_client=http_client or self._http(),
        )

    def make_bucket(self, name: str) -> str:
        """Make a bucket and return its name."""
        self.client().make_bucket(name)
        return name

    def create_user(self, access_key: str, policy: Mapping[str, Any]) -> str:
        """Make a user (3 to 20 characters) with exactly the rights of that IAM policy; returns its secret key."""
        secret_key = secrets.token_hex(16)
        credentials = StaticProvider(self.access_key, self.secret_key)
        admin = MinioAdmin(
            endpoint=self.endpoint, credentials=credentials, secure=self._ca_path is not None, http_client=self._http()
        )
        admin.user_add(access_key, secret_key)
        policy_name = f"only-{access_key}"
        admin.policy_add(policy_name, policy=dict(policy))
        admin.attach_policy([policy_name], user=access_key)
        return secret_key

    def _http(self, **options: Any) -> urllib3.PoolManager:
        return urllib3.PoolManager(ca_certs=str(self._ca_path) if self._ca_path else None, **options)


def _lay_out_certificates(folder: Path, authority: CertificateAuthority) -> Path:
    # the file names are MinIO's
    certificate = authority.issue("minio")
    folder.mkdir(exist_ok=True)
    shutil.copy(certificate.chain_path, folder / "public.crt")
    shutil.copy(certificate.key_path, folder / "private.key")
    return folder
