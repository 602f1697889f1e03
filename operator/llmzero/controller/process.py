"""The operator as a process: lists, then watches and works until a signal; a lease, a page of metrics."""

import asyncio
import logging
import os
import signal
import socket
from collections.abc import Awaitable, Callable
from typing import Any

from prometheus_client import REGISTRY, start_http_server

from llmzero.controller.kube import Kube
from llmzero.controller.lease import Lease
from llmzero.controller.metrics import WORK_QUEUE
from llmzero.controller.operator import (
    RETRY_LIMIT_SECONDS,
    RETRY_SECONDS,
    Operator,
    Settings,
)
from llmzero.controller.transport import ApiError
from llmzero.controller.watch import Watch
from llmzero.telemetry import SearchCollector

log = logging.getLogger(__name__)


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
        if lease is not None and not await _unless(stop, lease.acquire()):
            return
        operator = Operator(settings, kube)
        collector = SearchCollector(operator.snapshot, settings.clock)
        REGISTRY.register(collector)
        WORK_QUEUE.set_function(lambda: len(operator.store.dirty))
        try:
            await _serve(operator, lease, stop)
        finally:
            REGISTRY.unregister(collector)
            await operator.close()
            if lease is not None:
                await lease.release()


async def _serve(operator: Operator, lease: Lease | None, stop: asyncio.Event) -> None:
    """Lists, watches and works until ``stop``, or until a part fails."""
    keeping: list[asyncio.Future[Any]] = []
    if lease is not None:
        keeping.append(asyncio.create_task(lease.keep(), name="lease"))
    if not await _unless(stop, _patiently(operator.list_all), *keeping):
        return
    log.info("ready: %d searches", len(operator.store.groups))
    watch = Watch(operator.store, operator.settings.namespaces)
    tasks: list[asyncio.Future[Any]] = [
        *keeping,
        asyncio.create_task(operator.work(), name="work"),
        asyncio.create_task(operator.resync(), name="resync"),
        watch.start(),
    ]
    stopping: asyncio.Future[Any] = asyncio.create_task(stop.wait())
    try:
        await asyncio.wait([stopping, *tasks], return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            if task.done():
                task.result()
                if not stop.is_set():
                    raise RuntimeError("the watches ended by themselves")
    finally:
        # First of all nothing more is written: the lease may be lost.
        for task in [stopping, *tasks]:
            task.cancel()
        await asyncio.gather(stopping, *tasks, return_exceptions=True)
        await asyncio.to_thread(watch.stop)


async def _patiently(work: Callable[[], Awaitable[None]]) -> None:
    """At the start the API server may still be coming up, or the CRDs may be missing."""
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


async def _unless(
    stop: asyncio.Event, work: Awaitable[None], *others: "asyncio.Future[Any]"
) -> bool:
    """Whether ``work`` was done before ``stop``; raises what it or one of ``others`` raises."""
    stopping: asyncio.Future[Any] = asyncio.ensure_future(stop.wait())
    working: asyncio.Future[Any] = asyncio.ensure_future(work)
    await asyncio.wait([stopping, working, *others], return_when=asyncio.FIRST_COMPLETED)
    stopping.cancel()
    for task in (working, *others):
        if task.done():
            task.result()
    if not working.done():
        working.cancel()
    return working.done()


def _lease(settings: Settings, kube: Kube) -> Lease | None:
    if not settings.lease_namespace:
        return None
    identity = f"{os.environ.get('POD_NAME') or socket.gethostname()}-{os.getpid()}"
    return Lease(kube, settings.lease_namespace, settings.lease_name, identity)
