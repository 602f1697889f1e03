"""Kubernetes Events for what a person would want to know, each said once."""

import contextlib
import hashlib
from collections.abc import Callable
from datetime import datetime

from llmzero.api.search import TrainingSearch
from llmzero.controller.kube import Kube
from llmzero.controller.transport import ApiError


class Events:
    """The name of an Event is a hash of what it says, so a repeated one is a 409 and no noise."""

    def __init__(self, kube: Kube, clock: Callable[[], datetime]) -> None:
        self._kube = kube
        self._clock = clock
        self._said: set[str] = set()

    async def say(
        self, search: TrainingSearch, reason: str, message: str, warning: bool = False
    ) -> None:
        """Never raises: an Event that cannot be written stops nothing."""
        text = f"{search.metadata.uid}/{search.metadata.generation}/{reason}/{message}"
        name = f"{search.name}.{hashlib.sha256(text.encode()).hexdigest()[:16]}"
        if name in self._said:
            return
        if len(self._said) > 10_000:
            self._said.clear()
        self._said.add(name)
        now = self._clock().replace(microsecond=0).isoformat().replace("+00:00", "Z")
        namespace = search.metadata.namespace or "default"
        body = {
            "apiVersion": "v1",
            "kind": "Event",
            "metadata": {"name": name, "namespace": namespace},
            "involvedObject": {
                "apiVersion": search.api_version,
                "kind": search.kind,
                "name": search.name,
                "namespace": namespace,
                "uid": search.metadata.uid,
            },
            "reason": reason,
            "message": message[:1024],
            "type": "Warning" if warning else "Normal",
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "source": {"component": "llmzero"},
        }
        with contextlib.suppress(ApiError):
            await self._kube.create("Event", namespace, body)
