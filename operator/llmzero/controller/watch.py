"""What kopf watches for us: handlers that record the object and mark its search dirty.

kopf runs in a thread and an event loop of its own: at its end it cancels every task of its loop,
and it would take the signal handlers. It writes nothing to any object.
"""

import asyncio
import logging
import threading
from collections.abc import Callable
from typing import Any

import kopf

from llmzero.api.base import GROUP, VERSION
from llmzero.controller.labels import NODE_LABEL
from llmzero.controller.metrics import LAST_EVENT
from llmzero.controller.store import Object, Store

log = logging.getLogger(__name__)

KINDS = ("TrainingSearch", "StageNode", "Job", "Pod")
STOP_SECONDS = 5.0

Sink = Callable[[str, Object], None]


class Watch:
    """kopf's watches, from :meth:`start` to :meth:`stop`."""

    def __init__(self, store: Store, namespaces: tuple[str, ...]) -> None:
        self._store = store
        self._namespaces = namespaces
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None

    def start(self) -> "asyncio.Future[None]":
        """The future ends when kopf does; it raises what ended it."""
        loop = asyncio.get_running_loop()
        ended: asyncio.Future[None] = loop.create_future()

        def put(kind: str, event: Object) -> None:
            loop.call_soon_threadsafe(self._take, kind, event)

        def tell(error: BaseException | None) -> None:
            if not ended.done():
                if error is None:
                    ended.set_result(None)
                else:
                    ended.set_exception(error)

        def work() -> None:
            error: BaseException | None = None
            try:
                asyncio.run(self._operate(put))
            except BaseException as caught:
                error = caught
            if not loop.is_closed():
                loop.call_soon_threadsafe(tell, error)

        self._thread = threading.Thread(target=work, name="kopf", daemon=True)
        self._thread.start()
        return ended

    def stop(self) -> None:
        """Returns when kopf has ended, or after a few seconds: its thread is a daemon."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(STOP_SECONDS)

    def _take(self, kind: str, event: Object) -> None:
        LAST_EVENT.set_to_current_time()
        body = {"kind": kind, **event["object"]}
        body["metadata"] = dict(body["metadata"])
        if event["type"] == "DELETED":
            self._store.remove(kind, body)
        else:
            self._store.put(kind, body)

    async def _operate(self, put: Sink) -> None:
        try:
            await kopf.operator(
                registry=registry(put),
                settings=settings(),
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=list(self._namespaces),
                stop_flag=self._stop,
            )
        finally:
            self._stop.set()  # kopf waits for it in a thread, which would outlive kopf


def registry(put: Sink) -> kopf.OperatorRegistry:
    """``on.event`` for our four kinds and nothing else."""
    made = kopf.OperatorRegistry()

    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        inside = kopf.login_with_service_account(**kwargs)
        return inside or kopf.login_with_kubeconfig(**kwargs)

    kopf.on.login(registry=made)(login)

    def seen(kind: str) -> Callable[..., Any]:
        async def handler(event: Object, **_: Any) -> None:
            put(kind, event)

        return handler

    ours = {NODE_LABEL: kopf.PRESENT}
    kopf.on.event(GROUP, VERSION, "trainingsearches", registry=made)(seen("TrainingSearch"))
    kopf.on.event(GROUP, VERSION, "stagenodes", registry=made)(seen("StageNode"))
    kopf.on.event("batch", "v1", "jobs", registry=made, labels=ours)(seen("Job"))
    kopf.on.event("", "v1", "pods", registry=made, labels=ours)(seen("Pod"))
    return made


def settings() -> kopf.OperatorSettings:
    made = kopf.OperatorSettings()
    made.posting.enabled = False
    # Our CRDs are there by now, and no permission on namespaces or CRDs is asked for.
    made.scanning.disabled = True
    made.networking.request_timeout = 30
    made.networking.connect_timeout = 10
    made.watching.chunk_size = 500
    # Handlers filter at the client; the server need not send what is not ours.
    made.watching.label_selectors["batch", "v1", "jobs"] = NODE_LABEL
    made.watching.label_selectors["", "v1", "pods"] = NODE_LABEL
    # A worker keeps its last event while it is idle: thousands of objects at the start.
    made.queueing.idle_timeout = 0.5
    made.persistence.finalizer = f"{GROUP}/finalizer"
    return made
