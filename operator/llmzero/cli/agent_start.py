"""What is looked at before ``llmzero agent`` listens: its address, its certificate, its secrets."""

import ssl
from collections.abc import Iterator
from pathlib import Path

from llmzero.agent.incoming import read_tokens
from llmzero.agent.settings import AgentSettings
from llmzero.agent.transport import KeyUnreadable, read_key
from llmzero.cli.output import fail

PORTS = 65_535


def check_address(port: int, tls_cert: Path | None, tls_key: Path | None) -> None:
    """Ends the command with exit code 2 where the service could not listen as it is told to."""
    if not 0 <= port <= PORTS:
        fail(f"--port: found {port}, 0 to {PORTS} are allowed")
    if tls_cert is None:
        if tls_key is not None:
            fail("--tls-key: found no --tls-cert, which is needed with it")
        return
    for option, file in (("--tls-cert", tls_cert), ("--tls-key", tls_key)):
        if file is not None and (why := _unreadable(file)):
            fail(f"{option}: {file}: cannot be read: {why}")
    try:
        ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER).load_cert_chain(tls_cert, tls_key, _passphrase)
    except _Encrypted:
        return  # uvicorn asks for the passphrase
    except OSError as error:
        given = f"{tls_cert} and {tls_key}" if tls_key else f"{tls_cert} without --tls-key"
        fail(f"--tls-cert: found {given}, a PEM certificate and its key are needed: {error}")


def secrets_missing(settings: AgentSettings) -> Iterator[str]:
    """Warnings: Kubernetes may mount a Secret later, so the service starts without it."""
    tokens, key = settings.token_file, settings.key_file
    if tokens is not None and not read_tokens(tokens):
        why = _unreadable(tokens) or "holds no token"
        yield f"--token-file: {tokens}: {why}; until it holds one every question is refused (503)"
    if key is None:
        return
    if settings.provider == "rules":
        yield f"--key-file: {key}: is not used with --provider rules, which asks no model"
        return
    try:
        read_key(key)
    except KeyUnreadable:
        why = _unreadable(key) or "holds no usable key"
        yield f"--key-file: {key}: {why}; until it holds one the rules answer for the model"


class _Encrypted(Exception):
    """The key has a passphrase."""


def _passphrase() -> str:
    raise _Encrypted


def _unreadable(file: Path) -> str:
    """Why a file cannot be read; empty where it can."""
    try:
        file.open("rb").close()
    except OSError as error:
        return error.strerror or type(error).__name__
    return ""
