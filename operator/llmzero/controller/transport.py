"""Requests to the API server: who we are, timeouts on every one, refusals for being too many."""

import asyncio
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from pathlib import Path
from typing import Any, Self

import aiohttp
from kubernetes.aio import client, config
from pydantic_core import from_json

from llmzero.controller.metrics import API_REQUESTS
from llmzero.failpoints import failpoint

Object = dict[str, Any]

TIMEOUT_SECONDS = 20.0
MERGE_PATCH = "application/merge-patch+json"
TOO_MANY = 429
TRIES = 4
RETRY_AFTER_LIMIT_SECONDS = 5.0


class NoCluster(RuntimeError):
    """Neither a service account nor a kubeconfig."""


class ApiError(Exception):
    """An answer that is no success; ``status`` is 0 where there was none (timeout, connection)."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(f"{status}: {message}" if status else message)
        self.status = status

    @property
    def passing(self) -> bool:
        """Whether the same call may go through later."""
        return self.status in (0, 408, 409, 429) or self.status >= 500


def kubeconfig() -> str:
    """File names as in KUBECONFIG. Raises NoCluster: the library would only log that none exists,
    and its own default was read when it was imported."""
    files = os.environ.get("KUBECONFIG") or str(Path.home() / ".kube/config")
    if not any(Path(part).exists() for part in files.split(os.pathsep)):
        raise NoCluster(f"no cluster: {files} is not there, set KUBECONFIG")
    return files


class Transport:
    """One connection pool to the API server. Use as an async context.

    ``settings`` say where it is and who we are; else the pod's account does, or the kubeconfig.
    """

    def __init__(self, settings: client.Configuration | None = None) -> None:
        self._settings = settings
        self._client: client.ApiClient | None = None

    async def __aenter__(self) -> Self:
        settings = self._settings
        if settings is None:
            try:
                config.load_incluster_config()
            except config.ConfigException:
                await config.load_kube_config(config_file=kubeconfig())
            settings = client.Configuration.get_default_copy()
        # Every follow of a log holds a connection for as long as its stage runs.
        settings.connection_pool_maxsize = 0
        self._client = client.ApiClient(settings)
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._client is not None:
            await self._client.close()

    async def stream(self, target: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
        """Lines of an answer as they come."""
        response = await self._send("GET", target, query, None, None)
        try:
            if response.status >= 400:
                raise ApiError(response.status, _message(await response.read()))
            async for line in _lines(response):
                yield line
        except aiohttp.ClientError as error:
            raise ApiError(0, f"GET {target}: {error}") from error
        finally:
            response.close()

    async def call(
        self,
        method: str,
        target: str,
        *,
        query: Mapping[str, str] | None = None,
        body: Object | None = None,
    ) -> Object:
        """One request with a JSON answer. Raises ApiError."""
        if method != "GET":
            failpoint("before-write")
        response = await self._send(method, target, query or {}, body, TIMEOUT_SECONDS)
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                text = await response.read()
        except (aiohttp.ClientError, TimeoutError) as error:
            raise ApiError(0, f"{method} {target}: {error or 'timed out'}") from error
        if response.status >= 400:
            raise ApiError(response.status, _message(text))
        if method != "GET":
            failpoint("after-write")
        found: Object = from_json(text)
        return found

    async def _send(
        self,
        method: str,
        target: str,
        query: Mapping[str, str],
        body: Object | None,
        seconds: float | None,
    ) -> aiohttp.ClientResponse:
        """What is refused for being too many is sent again: nothing was done with it."""
        for _ in range(TRIES - 1):
            response = await self._send_once(method, target, query, body, seconds)
            if response.status != TOO_MANY:
                return response
            response.close()
            await asyncio.sleep(_retry_after(response.headers.get("Retry-After", "")))
        return await self._send_once(method, target, query, body, seconds)

    async def _send_once(
        self,
        method: str,
        target: str,
        query: Mapping[str, str],
        body: Object | None,
        seconds: float | None,
    ) -> aiohttp.ClientResponse:
        assert self._client is not None
        headers = {"Accept": "application/json"}
        if target.endswith("/log"):
            headers["Accept"] = "*/*"
        if body is not None:
            headers["Content-Type"] = MERGE_PATCH if method == "PATCH" else "application/json"
        _, url, headers, _, _ = await self._client.param_serialize(
            method,
            target,
            query_params=list(query.items()),
            header_params=headers,
            auth_settings=["BearerToken"],
        )
        kind = target.split("/namespaces/")[-1].split("/")[1:2] or [target.rsplit("/", 1)[-1]]
        try:
            answer = await self._client.call_api(
                method,
                url,
                headers,
                body,
                None,
                _request_timeout=_timeout(seconds),
            )
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            API_REQUESTS.labels(method, kind[0], "none").inc()
            raise ApiError(0, f"{method} {target}: {error or 'timed out'}") from error
        except client.ApiException as error:
            API_REQUESTS.labels(method, kind[0], str(error.status or "none")).inc()
            raise ApiError(error.status or 0, str(error.reason)) from error
        response: aiohttp.ClientResponse = answer.response
        API_REQUESTS.labels(method, kind[0], str(response.status)).inc()
        return response


async def _lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Lines of any length up to 1 MiB; longer ones are passed over."""
    buffer = b""
    async for chunk in response.content.iter_any():
        buffer += chunk
        *lines, buffer = buffer.split(b"\n")
        for line in lines:
            yield line
        if len(buffer) > 1024 * 1024:
            buffer = b""
    if buffer:
        yield buffer


def _message(text: bytes) -> str:
    try:
        return str(from_json(text).get("message", ""))[:2000]
    except ValueError:
        return text.decode(errors="replace")[:500]


def _retry_after(header: str) -> float:
    """Seconds; a date, which no API server sends, counts as one second."""
    return min(float(header), RETRY_AFTER_LIMIT_SECONDS) if header.isdecimal() else 1.0


def _timeout(seconds: float | None) -> aiohttp.ClientTimeout:
    """For the whole call; None is for a stream, whose reader has its own limit of silence."""
    return aiohttp.ClientTimeout(total=seconds, sock_connect=TIMEOUT_SECONDS)
