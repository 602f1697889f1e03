"""The verbs of the API: objects and lists as plain JSON, watches and logs as they come."""

import contextlib
from collections.abc import AsyncGenerator, AsyncIterator, Mapping
from dataclasses import dataclass
from urllib.parse import quote

from pydantic_core import from_json

from llmzero.api.base import GROUP, VERSION
from llmzero.controller.transport import ApiError, Object, Transport

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


class Kube(Transport):
    """What we ask of the API server. Use as an async context."""

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
        return self.stream(path("Pod", namespace, pod, "log"), query)

    async def watch(
        self, kind: str, namespace: str, version: int, query: Mapping[str, str]
    ) -> AsyncGenerator[Object, None]:
        """Events (``type``, ``object``) after a version, until the server ends the watch; also
        bookmarks, about one a minute. ``query`` holds a selector. Raises ApiError, 410 where the
        version is too old: list anew."""
        more = {"watch": "true", "allowWatchBookmarks": "true", "resourceVersion": str(version)}
        target = path(kind, namespace)
        async with contextlib.aclosing(self.stream(target, {**query, **more})) as lines:
            async for line in lines:
                event: Object = from_json(line)
                if event["type"] == "ERROR":
                    told = event["object"]
                    raise ApiError(int(told.get("code", 500)), str(told.get("message", "")))
                yield event


@dataclass(frozen=True, slots=True)
class Page:
    """Part of a list, and the version that the whole list shows."""

    items: list[Object]
    version: int
