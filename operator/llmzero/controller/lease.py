"""One operator at a time: a Lease held by a loop of our own.

``kubernetes.aio``'s election lets a leader act on without a lease after a connection error; here
a leader that cannot renew in time stops.
"""

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime, timedelta
from typing import Any

from llmzero.controller.kube import ApiError, Kube
from llmzero.controller.metrics import LEADER

LEASE_SECONDS = 10
RENEW_SECONDS = 7.0
RETRY_SECONDS = 2.0


class LeaseLost(RuntimeError):
    """Another replica may act now: this one has to end."""


class Lease:
    """Wait with :meth:`acquire`, keep with :meth:`keep`, leave with :meth:`release`."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        clock: Callable[[], datetime] = lambda: datetime.now(UTC),
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._clock = clock
        self._sleep = sleep
        self._seen: tuple[str, datetime] | None = None

    async def acquire(self) -> None:
        """Until we hold it."""
        while True:
            with contextlib.suppress(ApiError):
                if await self._try():
                    LEADER.set(1)
                    return
            await self._sleep(RETRY_SECONDS)

    async def keep(self) -> None:
        """Renews for ever. Raises LeaseLost where it could not for RENEW_SECONDS."""
        renewed = self._clock()
        while True:
            await self._sleep(RETRY_SECONDS)
            held = False
            with contextlib.suppress(ApiError, TimeoutError):
                held = await asyncio.wait_for(self._try(), RENEW_SECONDS)
                if not held:
                    break
            if held:
                renewed = self._clock()
            elif self._clock() - renewed > timedelta(seconds=RENEW_SECONDS):
                break
        LEADER.set(0)
        raise LeaseLost(f"lease {self._namespace}/{self._name} could not be renewed")

    async def release(self) -> None:
        """So that the next replica need not wait for the lease to run out."""
        LEADER.set(0)
        with contextlib.suppress(ApiError):
            found = await self._kube.get("Lease", self._namespace, self._name)
            if found and found["spec"].get("holderIdentity") == self._identity:
                found["spec"]["holderIdentity"] = ""
                await self._kube.put("Lease", self._namespace, found)

    async def _try(self) -> bool:
        """Take or renew; False where another holds it."""
        found = await self._kube.get("Lease", self._namespace, self._name)
        if found is None:
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": self._spec({}),
            }
            await self._kube.create("Lease", self._namespace, body)
            return True
        spec = found["spec"]
        holder = spec.get("holderIdentity", "")
        if holder not in ("", self._identity) and not self._expired(found):
            return False
        found["spec"] = self._spec(spec)
        await self._kube.put("Lease", self._namespace, found)  # 409: somebody was faster
        return True

    def _expired(self, lease: dict[str, Any]) -> bool:
        """By our own clock since the last change that we saw: clocks of replicas differ."""
        version = lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, self._clock())
        duration = int(lease["spec"].get("leaseDurationSeconds") or LEASE_SECONDS)
        return self._clock() - self._seen[1] > timedelta(seconds=duration)

    def _spec(self, old: dict[str, Any]) -> dict[str, Any]:
        now = self._clock().isoformat(timespec="microseconds").replace("+00:00", "Z")
        ours = old.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": old.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if ours else 1),
        }
