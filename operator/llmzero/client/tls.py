"""Whose certificates are trusted."""

import ssl
from pathlib import Path


def tls_context(ca_file: Path | None) -> ssl.SSLContext:
    """Trusts the system's authorities, or those in ``ca_file`` alone. Raises OSError."""
    return ssl.create_default_context(cafile=str(ca_file) if ca_file else None)
