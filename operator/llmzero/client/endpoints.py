"""Agent endpoints by name, as an administrator configured them.

A search names one and never gives a URL: a URL out of a tenant's manifest would be handed the
administrator's token. The file::

    endpoints:
      default: {url: "https://agent.llmzero.svc:8443", tokenFile: /run/agent/token, caFile: /run/agent/ca.crt}
"""

import re
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlsplit

import yaml
from pydantic import Field, ValidationError, field_validator

from llmzero.api.base import Model
from llmzero.api.spec import DNS_LABEL


class EndpointsError(ValueError):
    """The endpoints file cannot be used; the message names file, field and remedy."""


class Endpoint(Model):
    """Where an agent service answers and how it is spoken to."""

    url: str = Field(max_length=2048, description="http(s)://host[:port][/prefix]")
    token_file: Path | None = Field(None, description="Bearer token; read again when it changes.")
    ca_file: Path | None = Field(None, description="PEM certificates to trust, the system's else.")
    connect_seconds: float = Field(5.0, gt=0, le=60)
    concurrency: int = Field(4, ge=1, le=64, description="Questions in flight at once.")
    retries: int = Field(3, ge=0, le=10, description="Only where nothing was begun.")

    @field_validator("url")
    @classmethod
    def _plain_http(cls, url: str) -> str:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError("http://host or https://host is needed")
        if parts.username or parts.password:
            raise ValueError("no credentials in the URL: put the token into tokenFile")
        try:
            _ = parts.port
        except ValueError:
            raise ValueError("the port must be a number from 0 to 65535") from None
        if parts.query or parts.fragment:
            raise ValueError("no query and no fragment in the URL")
        return url.rstrip("/")

    @property
    def origin(self) -> str:
        """Scheme, host and port, for messages: a path may be a secret."""
        parts = urlsplit(self.url)
        return f"{parts.scheme}://{parts.netloc}"


def load_endpoints(path: Path) -> dict[str, Endpoint]:
    """The endpoints in a YAML file, by name. Raises :class:`EndpointsError`."""
    try:
        document = yaml.safe_load(path.read_text())
    except OSError as error:
        raise EndpointsError(f"{path}: cannot be read: {error.strerror}") from None
    except (yaml.YAMLError, UnicodeDecodeError):
        raise EndpointsError(f"{path}: not a YAML file") from None
    entries = document.get("endpoints") if isinstance(document, Mapping) else None
    if not isinstance(entries, Mapping):
        raise EndpointsError(f"{path}: the key 'endpoints' with a mapping of names is needed")
    return {name: _endpoint(path, name, entry) for name, entry in entries.items()}


def _endpoint(path: Path, name: object, entry: object) -> Endpoint:
    if not isinstance(name, str) or len(name) > 63 or not re.fullmatch(DNS_LABEL, name):
        raise EndpointsError(
            f"{path}: endpoints: found the name {name!r}, lower-case letters, digits and dashes "
            "are allowed"
        )
    try:
        return Endpoint.model_validate(entry)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        field = ".".join(["endpoints", name, *(str(part) for part in first["loc"])])
        raise EndpointsError(f"{path}: {field}: {first['msg']}") from None
