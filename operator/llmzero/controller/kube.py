"""API calls as plain JSON, with timeouts on every one of them."""

import asyncio
import contextlib
import os
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self
from urllib.parse import quote

import aiohttp
from kubernetes.aio import client, config
from pydantic_core import from_json

from llmzero.api.base import GROUP, VERSION
from llmzero.controller.metrics import API_REQUESTS
from llmzero.failpoints import failpoint

Object = dict[str, Any]

TIMEOUT_SECONDS = 20.0
PAGE = 500
OURS = f"/apis/{GROUP}/{VERSION}"
PATHS = {
    "TrainingSearch": (OURS, "trainingsearches"),
    "StageNode": (OURS, "stagenodes"),
    "Job": ("/apis/batch/v1", "jobs"),
    "Pod": ("/api/v1", "pods"),
    "Event": ("/api/v1", "events"),
    "Lease": ("/apis/coordination.k8s.io/v1", "leases"),
    "PersistentVolumeClaim": ("/api/v1", "persistentvolumeclaims"),
}
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


def path(kind: str, namespace: str | None, name: str | None = None, sub: str = "") -> str:
    """URL path of an object or of a list."""
    prefix, plural = PATHS[kind]
    parts = [prefix]
    if namespace:
        parts += ["namespaces", quote(namespace, safe="")]
    parts.append(plural)
    if name:
        parts.append(quote(name, safe=""))
    if sub:
        parts.append(sub)
    return "/".join(parts)


class Kube:
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

    async def list(
        self, kind: str, namespace: str | None, selector: str = ""
    ) -> AsyncIterator["Page"]:
        """Every object, page by page, as of one moment: what is gone is not yielded."""
        token = ""
        while True:
            query = {"limit": str(PAGE)}
            if selector:
                query["labelSelector"] = selector
            if token:
                query["continue"] = token
            found = await self.call("GET", path(kind, namespace), query=query)
            metadata = found.get("metadata", {})
            yield Page(found.get("items", []), int(metadata.get("resourceVersion", "0")))
            token = metadata.get("continue", "")
            if not token:
                return

    async def get(self, kind: str, namespace: str, name: str) -> Object | None:
        """The object, None where there is none."""
        try:
            return await self.call("GET", path(kind, namespace, name))
        except ApiError as error:
            if error.status == 404:
                return None
            raise

    async def create(self, kind: str, namespace: str, body: Object) -> Object:
        """Raises ApiError, 409 where the name is taken."""
        return await self.call("POST", path(kind, namespace), body=body)

    async def patch_status(self, kind: str, namespace: str, name: str, patch: Object) -> Object:
        """A merge patch of the status; 409 where the ``metadata.resourceVersion`` in it is not
        the newest."""
        target = path(kind, namespace, name, "status")
        return await self.call("PATCH", target, body=patch)

    async def put(self, kind: str, namespace: str, body: Object) -> Object:
        return await self.call("PUT", path(kind, namespace, body["metadata"]["name"]), body=body)

    async def delete(self, kind: str, namespace: str, name: str, foreground: bool = False) -> bool:
        """Whether it was still there. ``foreground``: it stays until its children are gone."""
        try:
            body = {"propagationPolicy": "Foreground" if foreground else "Background"}
            await self.call("DELETE", path(kind, namespace, name), body=body)
        except ApiError as error:
            if error.status != 404:
                raise
            return False
        return True

    async def delete_jobs(self, namespace: str, selector: str) -> None:
        """All Jobs that the selector finds, with their pods, in one request."""
        query = {"labelSelector": selector, "propagationPolicy": "Background"}
        await self.call("DELETE", path("Job", namespace), query=query)

    def log(self, namespace: str, pod: str, container: str) -> AsyncGenerator[bytes, None]:
        """Lines of a container's current log file, to its end so far."""
        return self._log(namespace, pod, {"container": container})

    def follow(self, namespace: str, pod: str, container: str) -> AsyncGenerator[bytes, None]:
        """Lines as they come, until the container ends or the connection is cut."""
        return self._log(namespace, pod, {"container": container, "follow": "true"})

    def _log(
        self, namespace: str, pod: str, query: Mapping[str, str]
    ) -> AsyncGenerator[bytes, None]:
        return self._stream(path("Pod", namespace, pod, "log"), query)

    async def watch(
        self, kind: str, namespace: str, version: int, query: Mapping[str, str]
    ) -> AsyncGenerator[Object, None]:
        """Events (``type``, ``object``) after a version, until the server ends the watch; also
        bookmarks, about one a minute. ``query`` holds a selector. Raises ApiError, 410 where the
        version is too old: list anew."""
        more = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": str(version)}
        target = path(kind, namespace)
        async with contextlib.aclosing(self._stream(target, {**query, **more})) as lines:
            async for line in lines:
                event: Object = from_json(line)
                if event["type"] == "ERROR":
                    told = event["object"]
                    raise ApiError(int(told.get("code", 500)), str(told.get("message", "")))
                yield event

    async def _stream(self, target: str, query: Mapping[str, str]) -> AsyncGenerator[bytes, None]:
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


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list, and the version that the whole list shows."""

    items: list[Object]
    version: int


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
