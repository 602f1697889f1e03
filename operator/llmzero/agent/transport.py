"""The last metre to a model's endpoint: the key goes in here, and a bounded answer comes out."""

from collections.abc import AsyncIterator
from pathlib import Path

import httpx2

ANSWER_BYTES = 4 * 1024 * 1024
"""Largest response of a model endpoint that is read."""
PLACEHOLDER_KEY = "in-the-transport"
"""What the SDKs hold for a key: the real one is read from its file for each request."""


class KeyUnreadable(httpx2.TransportError):
    """The key file is missing, empty or not a key. The message never quotes it."""


class AnswerTooLarge(httpx2.TransportError):
    """The endpoint sent more than is read, or compressed data that was not asked for."""


class GuardedTransport(httpx2.AsyncBaseTransport):
    """Adds the API key, refuses compression (a bomb is small on the wire), bounds the answer."""

    def __init__(
        self,
        inner: httpx2.AsyncBaseTransport,
        *,
        key_file: Path | None,
        key_header: str,
        key_prefix: str,
        limit: int = ANSWER_BYTES,
    ) -> None:
        self._inner = inner
        self._key_file = key_file
        self._header = key_header
        self._prefix = key_prefix
        self._limit = limit

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        for header in ("Authorization", "X-Api-Key"):
            request.headers.pop(header, None)
        if self._key_file is not None:
            request.headers[self._header] = self._prefix + read_key(self._key_file)
        request.headers["Accept-Encoding"] = "identity"
        response = await self._inner.handle_async_request(request)
        if response.headers.get("Content-Encoding", "identity") != "identity":
            await response.aclose()
            raise AnswerTooLarge("the endpoint compressed its answer unasked")
        assert isinstance(response.stream, httpx2.AsyncByteStream)
        response.stream = _Bounded(response.stream, self._limit)
        return response

    async def aclose(self) -> None:
        await self._inner.aclose()


class _Bounded(httpx2.AsyncByteStream):
    def __init__(self, stream: httpx2.AsyncByteStream, limit: int) -> None:
        self._stream = stream
        self._limit = limit

    async def __aiter__(self) -> AsyncIterator[bytes]:
        size = 0
        async for part in self._stream:
            size += len(part)
            if size > self._limit:
                raise AnswerTooLarge(f"the endpoint's answer is larger than {self._limit} bytes")
            yield part

    async def aclose(self) -> None:
        await self._stream.aclose()


def read_key(path: Path) -> str:
    """The key as the file holds it now. Raises :class:`KeyUnreadable`."""
    try:
        key = path.read_text().strip()
    except (OSError, UnicodeDecodeError):
        raise KeyUnreadable("the key file cannot be read") from None
    if not key or not key.isascii() or not key.isprintable():
        raise KeyUnreadable("the key file holds no usable key")
    return key
