"""What comes in over HTTP: bounded bodies, strict JSON, one token."""

import asyncio
import hmac
import re
from pathlib import Path
from typing import TypeVar

from fastapi import HTTPException, Request
from pydantic import ValidationError

from llmzero.api.proposals import ProposalRequest, VerdictRequest
from llmzero.client.judge import clean
from llmzero.client.strict_json import BODY_BYTES, loads

BODY_SECONDS = 30.0
"""A request's body must be here within this time."""

QuestionT = TypeVar("QuestionT", ProposalRequest, VerdictRequest)


async def body(request: Request) -> bytes:
    """The raw body. Raises HTTPException where it is too large, compressed or too slow."""
    length = request.headers.get("Content-Length", "")
    if length.isdecimal() and int(length[:20]) > BODY_BYTES:
        raise HTTPException(413, f"at most {BODY_BYTES} bytes are read")
    if request.headers.get("Content-Encoding", "identity") != "identity":
        raise HTTPException(415, "compressed bodies are not read")
    parts: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(BODY_SECONDS):
            async for part in request.stream():
                size += len(part)
                if size > BODY_BYTES:
                    raise HTTPException(413, f"at most {BODY_BYTES} bytes are read")
                parts.append(part)
    except TimeoutError:
        raise HTTPException(408, f"the body must arrive within {BODY_SECONDS:g} s") from None
    return b"".join(parts)


def wait(request: Request) -> float:
    """Seconds of ``Prefer: wait=N`` (RFC 7240): how long the caller will listen."""
    found = re.search(r"(?:^|[,;\s])wait=(\d{1,5})(?:[,;\s]|$)", request.headers.get("Prefer", ""))
    return max(float(found[1]), 1.0) if found else float("inf")


def parsed(kind: type[QuestionT], raw: bytes) -> QuestionT:
    """The question in a body. Raises HTTPException: 400 no strict JSON, 422 with the fields."""
    try:
        return kind.model_validate(loads(raw))
    except ValidationError as error:
        found = error.errors(include_url=False, include_input=False, include_context=False)[:5]
        fields = "; ".join(
            f"{clean('.'.join(str(p) for p in e['loc']), 120)}: {clean(e['msg'], 160)}"
            for e in found
        )
        raise HTTPException(422, fields) from None
    except ValueError as error:
        raise HTTPException(400, clean(str(error), 200)) from None


def read_tokens(token_file: Path) -> list[str]:
    """The tokens that the file holds now; none where it cannot be read."""
    try:
        return token_file.read_text().split()
    except (OSError, UnicodeDecodeError):
        return []


def check_token(token_file: Path | None, request: Request) -> None:
    """Raises HTTPException: 401 without one of the file's tokens, 503 where it has none to check."""
    if token_file is None:
        return
    tokens = read_tokens(token_file)
    if not tokens:
        raise HTTPException(503, "the token file cannot be used", {"Retry-After": "5"})
    scheme, _, given = request.headers.get("Authorization", "").partition(" ")
    matches = [hmac.compare_digest(given.strip().encode(), t.encode()) for t in tokens]
    if scheme.lower() != "bearer" or not any(matches):
        raise HTTPException(401, "a valid bearer token is needed", {"WWW-Authenticate": "Bearer"})
