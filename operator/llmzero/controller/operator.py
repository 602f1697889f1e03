"""The operator: one reconcile a search at a time, again after failures, and a resync."""

import asyncio
import contextlib
import itertools
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

from llmzero.client.endpoints import load_endpoints
from llmzero.client.proposer import EndpointProposer
from llmzero.controller.apply import Applier, Conflict
from llmzero.controller.asking import Asking, Change
from llmzero.controller.backoff import Backoff
from llmzero.controller.events import Events
from llmzero.controller.kube import Kube
from llmzero.controller.labels import NODE_LABEL, SEARCH_LABEL
from llmzero.controller.logs import Followers
from llmzero.controller.metrics import (
    LAST_RECONCILE,
    RECONCILE_ERRORS,
    RECONCILE_SECONDS,
)
from llmzero.controller.reconcile import Reconciler
from llmzero.controller.storage import Claims
from llmzero.controller.store import Key, Store
from llmzero.controller.transport import ApiError
from llmzero.controller.watch import KINDS
from llmzero.telemetry import Snapshot

log = logging.getLogger(__name__)

FIRST_RESYNCS_SECONDS = (5.0, 30.0)
RETRY_SECONDS = 1.0
RETRY_LIMIT_SECONDS = 60.0
PASSING_LIMIT_SECONDS = 15.0
"""While the API server is overloaded or away, GPUs wait too."""
REFUSED = (400, 403, 422)
"""Answers that mean: not so. Trying again helps only after somebody changed something."""
AT_ONCE = 16
"""Searches that are reconciled at the same time."""


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
    """Holds the parts; :func:`llmzero.controller.process.run` is the way in."""

    def __init__(self, settings: Settings, kube: Kube) -> None:
        self.settings = settings
        self.kube = kube
        self.store = Store()
        file, clock = settings.endpoints_file, settings.clock
        endpoints = load_endpoints(file) if file else {}
        self.proposer = EndpointProposer(endpoints)
        self.followers = Followers(kube, self.store.mark, clock)
        self.asking = Asking(self.proposer, clock, frozenset(endpoints))
        self.asking.keep = self.keep
        claims = Claims(kube)
        self.applier = Applier(
            kube, self.store, self.followers, self.asking, claims, settings.image, clock
        )
        self.reconciler = Reconciler(
            kube, self.store, self.applier, self.followers, claims, Events(kube, clock), clock
        )
        self._running: dict[Key, asyncio.Task[None]] = {}
        self._backoff = Backoff()
        self._timers: dict[Key, asyncio.TimerHandle] = {}

    def snapshot(self) -> Snapshot:
        """For the thread of a scrape: each list of a dictionary is one step of the interpreter,
        and the objects in it are never changed."""
        groups = list(self.store.groups.values())
        nodes = [group.seen(node) for group in groups for node in list(group.nodes.values())]
        return [group.search for group in groups if group.search is not None], nodes

    async def work(self) -> None:
        """Reconciles dirty searches for ever: several at once, each one at a time."""
        try:
            while True:
                await self.store.changed.wait()
                self.store.changed.clear()
                free = AT_ONCE - len(self._running)
                for key in [k for k in self.store.dirty if k not in self._running][:free]:
                    self.store.dirty.discard(key)
                    task = asyncio.create_task(self._one(key), name=f"reconcile {key}")
                    self._running[key] = task
                    task.add_done_callback(lambda _, key=key: self._done(key))  # type: ignore[misc]
        finally:
            for task in self._running.values():
                task.cancel()

    def _done(self, key: Key) -> None:
        del self._running[key]
        if self.store.dirty:
            self.store.changed.set()

    async def _one(self, key: Key) -> None:
        began, written = time.monotonic(), self._written(key)
        wait: float | None = None
        try:
            again = await self.reconciler.reconcile(key)
        except Conflict as error:
            log.debug("search %s/%s: %s; seen again", *key, error)
            await self._see_again(key)
            wait = 0.05
        except ApiError as error:
            if self._written(key) > written:
                self._backoff.succeeded(key)  # it got on, and will get on
            wait = self._failed(
                key, PASSING_LIMIT_SECONDS if error.passing else RETRY_LIMIT_SECONDS
            )
            log.warning("search %s/%s: %s; again in %.0f s", *key, error, wait)
            if error.status in REFUSED:
                await self._show(key, error)
        except Exception:
            wait = max(self._failed(key, RETRY_LIMIT_SECONDS), 10.0)
            log.exception("search %s/%s: reconcile failed; again in %.0f s", *key, wait)
        else:
            self._backoff.succeeded(key)
            wait = None if again is None else again.total_seconds()
        self._later(key, wait)
        RECONCILE_SECONDS.observe(time.monotonic() - began)
        LAST_RECONCILE.set_to_current_time()

    def _written(self, key: Key) -> int:
        group = self.store.groups.get(key)
        return group.written if group else 0

    def _failed(self, key: Key, limit: float) -> float:
        RECONCILE_ERRORS.inc()
        return self._backoff.failed(key, time.monotonic(), limit)

    async def _show(self, key: Key, error: ApiError) -> None:
        """A refusal of the API server stands on the object, not in our log alone."""
        group = self.store.groups.get(key)
        if group is None or group.search is None:
            return
        with contextlib.suppress(ApiError, Conflict):
            await self.reconciler.writer.refuse(
                group, "Refused", f"The API server refuses: {error}"
            )

    async def _see_again(self, key: Key) -> None:
        """After a conflict: the newest search and stages, not what the watch has shown so far."""
        with contextlib.suppress(ApiError):
            found = await self.kube.get("TrainingSearch", *key)
            if found is not None:
                self.store.put_search(found)
            await self._list("StageNode", key[0], f"{SEARCH_LABEL}={key[1]}", only=key)

    def _later(self, key: Key, seconds: float | None) -> None:
        """Look again then; an earlier appointment of this search is dropped."""
        known = self._timers.pop(key, None)
        if known is not None:
            known.cancel()
        if seconds is not None:
            loop = asyncio.get_running_loop()
            self._timers[key] = loop.call_later(seconds, self.store.mark, key)

    async def keep(self, search: Key, name: str, change: Change) -> None:
        """Stores a change of a stage's status, however often somebody else writes first."""
        for _ in range(20):
            group = self.store.groups.get(search)
            node = group.nodes.get(name) if group else None
            if group is None or node is None:
                return
            try:
                await self.applier.write(group, node, change(node))
            except Conflict:
                await self._see_again(search)
            except ApiError as error:
                if not error.passing:
                    raise
                await asyncio.sleep(RETRY_SECONDS)
            else:
                break
        self.store.mark(search)

    async def resync(self) -> None:
        """A paginated LIST replaces what was seen: soon after the start, for the watches list by
        themselves, and what goes between our list and theirs is never DELETED; then now and then.
        """
        usual = self.settings.resync_seconds
        for wait in itertools.chain(FIRST_RESYNCS_SECONDS, itertools.repeat(usual)):
            await asyncio.sleep(min(wait, usual))
            try:
                await self.list_all()
            except ApiError as error:
                log.warning("resync: %s", error)

    async def list_all(self) -> None:
        for kind in KINDS:
            selector = NODE_LABEL if kind in ("Job", "Pod") else ""
            if not self.settings.namespaces:
                await self._list(kind, None, selector)
            for namespace in self.settings.namespaces:
                await self._list(kind, namespace, selector)

    async def _list(
        self, kind: str, namespace: str | None, selector: str, only: Key | None = None
    ) -> None:
        names: list[Key] = []
        version = 0
        async for page in self.kube.list(kind, namespace, selector):
            version = version or page.version
            for body in page.items:
                names.append((body["metadata"]["namespace"], body["metadata"]["name"]))
                self.store.put(kind, body)
            await asyncio.sleep(0)
        self.store.retain(kind, names, version, namespace, only)

    async def close(self) -> None:
        self.asking.close()
        self.followers.close()
        await self.proposer.aclose()
