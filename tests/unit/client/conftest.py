import ssl
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest


@pytest.fixture
def authority(tmp_path: Path) -> Callable[[], tuple[Path, ssl.SSLContext]]:
    """A self-signed authority for localhost: its PEM file, and a server's TLS context."""

    def make() -> tuple[Path, ssl.SSLContext]:
        cert, key = tmp_path / "ca.pem", tmp_path / "key.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
             "-nodes", "-days", "1", "-subj", "/CN=localhost", "-addext",
             "subjectAltName=DNS:localhost", "-keyout", str(key), "-out", str(cert)],
            check=True, capture_output=True,
        )  # fmt: skip
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(cert, key)
        return cert, context

    return make
