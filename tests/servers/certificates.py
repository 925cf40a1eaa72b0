"""A certificate authority made by the openssl command, for TLS and mTLS tests on loopback."""

import subprocess
from dataclasses import dataclass
from pathlib import Path

from tests.servers.errors import StackError
from tests.servers.fetch import tool

_NEW_KEY = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes"]


@dataclass(frozen=True, slots=True, kw_only=True)
class Certificate:
    """Paths of one issued certificate: `chain_path` and `key_path` apart, `bundle_path` both in one file (all PEM)."""

    name: str
    chain_path: Path
    key_path: Path
    bundle_path: Path


class CertificateAuthority:
    """Issues certificates for 127.0.0.1 and localhost; `ca_path` is what the other side has to trust."""

    def __init__(self, folder: Path) -> None:
        """Make the authority's own key in `folder` (made when missing). Raises StackError when openssl is missing."""
        self.folder = folder
        self.ca_path = folder / "ca.pem"
        self._key_path = folder / "ca.key"
        folder.mkdir(parents=True, exist_ok=True)
        subject = ["-subj", "/CN=mirror test authority", "-days", "30"]
        _openssl("req", "-x509", *_NEW_KEY, "-keyout", str(self._key_path), "-out", str(self.ca_path), *subject)

    def issue(self, name: str, *, days: int = 30) -> Certificate:
        """Issue a certificate with that common name; doing it again replaces the files, as a rotation does."""
        chain, key, bundle, request, extensions = (
            self.folder / f"{name}.{suffix}" for suffix in ("pem", "key", "bundle.pem", "csr", "ext")
        )
        extensions.write_text("subjectAltName=IP:127.0.0.1,DNS:localhost\n")
        _openssl("req", "-new", *_NEW_KEY, "-keyout", str(key), "-out", str(request), "-subj", f"/CN={name}")
        signer = ["-CA", str(self.ca_path), "-CAkey", str(self._key_path), "-CAcreateserial"]
        files = ["-in", str(request), "-out", str(chain), "-extfile", str(extensions)]
        _openssl("x509", "-req", *signer, *files, "-days", str(days))
        bundle.write_text(key.read_text() + chain.read_text())
        return Certificate(name=name, chain_path=chain, key_path=key, bundle_path=bundle)


def _openssl(*arguments: str) -> None:
    done = subprocess.run([tool("openssl"), *arguments], capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise StackError(f"openssl {arguments[0]} exited with {done.returncode}:\n{done.stderr[-2000:]}")
