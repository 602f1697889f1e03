"""The operator as a process: watches by kopf, one worker loop, a resync, a lease."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import kopf
from prometheus_client import start_http_server

from llmzero.api.base import GROUP, VERSION
from llmzero.client.endpoints import Endpoint, load_endpoints
from llmzero.client.proposer import EndpointProposer
from llmzero.controller.apply import Applier, Conflict
from llmzero.controller.events import Events
from llmzero.controller.kube import ApiError, Kube
from llmzero.controller.lease import Lease, LeaseLost
from llmzero.controller.logs import Followers
from llmzero.controller.metrics import (
    LAST_EVENT,
    LAST_RECONCILE,
    RECONCILE_ERRORS,
    RECONCILE_SECONDS,
)
from llmzero.controller.reconcile import Reconciler
from llmzero.controller.store import NODE_LABEL, SEARCH_LABEL, Key, Store

log = logging.getLogger(__name__)

RETRY_SECONDS = 1.0
RETRY_LIMIT_SECONDS = 60.0
KINDS = ("TrainingSearch", "StageNode", "Job", "Pod")


@dataclass(frozen=True)
class Settings:
    """What an administrator decides."""

    namespaces: tuple[str, ...] = ()
    """Empty: all of them."""
    image: str = "llmzero-trainer:latest"
    endpoints_file: Path | None = None
    resync_seconds: float = 600.0
    lease_namespace: str = ""
    """Empty: no lease (one replica, started by hand)."""
    lease_name: str = "llmzero-operator"
    metrics_port: int = 0
    clock: Callable[[], datetime] = field(default=lambda: datetime.now(UTC))


class Operator:
    """Holds the parts; :func:`run` is the way in."""

    def __init__(self, settings: Settings, kube: Kube) -> None:
        self.settings = settings
        self.kube = kube
        self.store = Store()
        endpoints: dict[str, Endpoint] = (
            load_endpoints(settings.endpoints_file) if settings.endpoints_file else {}
        )
        self.proposer = EndpointProposer(endpoints)
        self.followers = Followers(kube, self.store.mark)
        applier = Applier(kube, self.store, self.proposer, settings.image, settings.clock)
        self.reconciler = Reconciler(
            kube,
            self.store,
            applier,
            self.followers,
            Events(kube, settings.clock),
            settings.image,
            settings.clock,
        )
        self._failures: dict[Key, int] = {}

    async def work(self) -> None:
        """Reconciles dirty searches for ever, one after another."""
        while True:
            await self.store.changed.wait()
            self.store.changed.clear()
            while self.store.dirty:
                await self._one(self.store.dirty.pop())

    async def _one(self, key: Key) -> None:
        began = time.monotonic()
        try:
            again = await self.reconciler.reconcile(key)
        except Conflict:
            await self._see_again(key)
            self._later(key, 0.05)
        except ApiError as error:
            RECONCILE_ERRORS.inc()
            count = self._failures[key] = self._failures.get(key, 0) + 1
            wait = min(RETRY_SECONDS * 2 ** min(count - 1, 10), RETRY_LIMIT_SECONDS)
            log.warning("search %s/%s: %s; again in %.0f s", *key, error, wait)
            self._later(key, wait)
        except Exception:
            RECONCILE_ERRORS.inc()
            log.exception("search %s/%s: reconcile failed", *key)
            self._later(key, RETRY_LIMIT_SECONDS)
        else:
            self._failures.pop(key, None)
            if again is not None:
                self._later(key, again.total_seconds())
        RECONCILE_SECONDS.observe(time.monotonic() - began)
        LAST_RECONCILE.set_to_current_time()

    async def _see_again(self, key: Key) -> None:
        """After a conflict: the newest search and stages, not what the watch has shown so far."""
        with contextlib.suppress(ApiError):
            found = await self.kube.get("TrainingSearch", *key)
            if found is not None:
                self.store.put_search(found)
            async for node in self.kube.list("StageNode", key[0], f"{SEARCH_LABEL}={key[1]}"):
                self.store.put_node(node)

    def _later(self, key: Key, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self.store.mark, key)

    async def resync(self) -> None:
        """A paginated LIST replaces what was seen; the first one before anything is planned."""
        while True:
            await self.list_all()
            await asyncio.sleep(self.settings.resync_seconds)

    async def list_all(self) -> None:
        for kind in KINDS:
            found: list[dict[str, Any]] = []
            selector = NODE_LABEL if kind in ("Job", "Pod") else ""
            for namespace in self.settings.namespaces or (None,):
                async for body in self.kube.list(kind, namespace, selector):
                    found.append(body)
            self.store.replace(kind, found)


def registry(store: Store) -> kopf.OperatorRegistry:
    """Handlers that record the object and mark its search dirty; kopf writes nothing."""
    made = kopf.OperatorRegistry()

    async def login(**kwargs: Any) -> kopf.ConnectionInfo | None:
        inside = kopf.login_with_service_account(**kwargs)
        return inside or kopf.login_with_kubeconfig(**kwargs)

    kopf.on.login(registry=made)(login)

    def seen(kind: str) -> Callable[..., Any]:
        async def handler(event: dict[str, Any], **_: Any) -> None:
            LAST_EVENT.set_to_current_time()
            body = event["object"]
            body = {"kind": kind, **body}
            if event["type"] == "DELETED":
                store.remove(kind, body)
            elif kind == "TrainingSearch":
                store.put_search(body)
            elif kind == "StageNode":
                store.put_node(body)
            elif kind == "Job":
                store.put_job(body)
            else:
                store.put_pod(body)

        return handler

    kopf.on.event(GROUP, VERSION, "trainingsearches", registry=made)(seen("TrainingSearch"))
    kopf.on.event(GROUP, VERSION, "stagenodes", registry=made)(seen("StageNode"))
    kopf.on.event("batch", "v1", "jobs", registry=made, labels={NODE_LABEL: kopf.PRESENT})(
        seen("Job")
    )
    kopf.on.event("", "v1", "pods", registry=made, labels={NODE_LABEL: kopf.PRESENT})(seen("Pod"))
    return made


def kopf_settings() -> kopf.OperatorSettings:
    settings = kopf.OperatorSettings()
    settings.posting.enabled = False
    settings.networking.request_timeout = 30
    settings.networking.connect_timeout = 10
    settings.watching.chunk_size = 500
    settings.watching.label_selectors["batch", "v1", "jobs"] = NODE_LABEL
    settings.watching.label_selectors["", "v1", "pods"] = NODE_LABEL
    settings.persistence.finalizer = f"{GROUP}/finalizer"
    return settings


async def run(settings: Settings) -> None:
    """Until SIGTERM or SIGINT. Raises LeaseLost where another replica may have taken over."""
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    if settings.metrics_port:
        start_http_server(settings.metrics_port)
    async with Kube() as kube:
        lease = _lease(settings, kube)
        if lease is not None:
            waiting = asyncio.create_task(lease.acquire())
            await _first([waiting, asyncio.create_task(stop.wait())])
            if not waiting.done():
                return
        operator = Operator(settings, kube)
        try:
            await _serve(operator, lease, stop)
        finally:
            operator.followers.close()
            await operator.proposer.aclose()
            if lease is not None:
                await lease.release()


async def _serve(operator: Operator, lease: Lease | None, stop: asyncio.Event) -> None:
    await _patiently(operator.list_all)
    log.info("ready: %d searches", len(operator.store.groups))
    settings = operator.settings
    stop_kopf = asyncio.Event()
    watching = kopf.operator(
        registry=registry(operator.store),
        settings=kopf_settings(),
        standalone=True,
        clusterwide=not settings.namespaces,
        namespaces=list(settings.namespaces),
        stop_flag=stop_kopf,
    )
    tasks = [
        asyncio.create_task(watching, name="kopf"),
        asyncio.create_task(_named(operator.work()), name="work"),
        asyncio.create_task(_named(operator.resync()), name="resync"),
        asyncio.create_task(stop.wait(), name="stop"),
    ]
    if lease is not None:
        tasks.append(asyncio.create_task(lease.keep(), name="lease"))
    try:
        done = await _first(tasks, cancel=False)
        for task in done:
            error = task.exception()
            if isinstance(error, LeaseLost):
                log.error("%s: this replica ends", error)
            if error is not None:
                raise error
    finally:
        stop_kopf.set()
        await asyncio.wait(tasks[:1], timeout=10)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _named(work: Any) -> None:
    await work


async def _patiently(work: Callable[[], Any]) -> None:
    """At the start the API server may still be coming up."""
    wait = RETRY_SECONDS
    while True:
        try:
            await work()
        except ApiError as error:
            if not error.passing and error.status != 404:
                raise
            log.warning("%s; again in %.0f s", error, wait)
            await asyncio.sleep(wait)
            wait = min(wait * 2, RETRY_LIMIT_SECONDS)
        else:
            return


async def _first(
    tasks: Iterable["asyncio.Task[Any]"], cancel: bool = True
) -> set["asyncio.Task[Any]"]:
    done, pending = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    if cancel:
        for task in pending:
            task.cancel()
    return done


def _lease(settings: Settings, kube: Kube) -> Lease | None:
    if not settings.lease_namespace:
        return None
    identity = f"{os.environ.get('POD_NAME') or socket.gethostname()}-{os.getpid()}"
    return Lease(kube, settings.lease_namespace, settings.lease_name, identity)
