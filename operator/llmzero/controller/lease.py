"""One operator at a time: a Lease held by a loop of our own.

``kubernetes.aio``'s election lets a leader act on without a lease after a connection error; here
a leader that cannot renew in time stops, before another may take over.
"""

import asyncio
import contextlib
import logging
import time
from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from typing import Any

from llmzero.controller.kube import Kube
from llmzero.controller.metrics import LEADER
from llmzero.controller.transport import ApiError

log = logging.getLogger(__name__)

LEASE_SECONDS = 10
RENEW_SECONDS = 7.0
"""A holder that could not renew for so long ends; others wait for LEASE_SECONDS."""
RETRY_SECONDS = 2.0


class LeaseLost(RuntimeError):
    """Another replica may act soon: this one has to end."""


class Lease:
    """Wait with :meth:`acquire`, keep with :meth:`keep`, leave with :meth:`release`."""

    def __init__(
        self,
        kube: Kube,
        namespace: str,
        name: str,
        identity: str,
        *,
        monotonic: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._kube = kube
        self._namespace = namespace
        self._name = name
        self._identity = identity
        self._monotonic = monotonic
        self._sleep = sleep
        self._seen: tuple[str, float] | None = None
        self._renewed = 0.0

    async def acquire(self) -> None:
        """Until we hold it. Raises ApiError where we are not allowed to."""
        waiting = False
        while not await self._tried():
            if not waiting:
                log.info("waiting for the lease %s/%s", self._namespace, self._name)
                waiting = True
            await self._sleep(RETRY_SECONDS)
        LEADER.set(1)

    async def keep(self) -> None:
        """Renews for ever. Raises LeaseLost in time before others may take over."""
        while True:
            await self._sleep(RETRY_SECONDS)
            left = self._renewed + RENEW_SECONDS - self._monotonic()
            taken = False
            if left > 0:
                with contextlib.suppress(ApiError, TimeoutError):
                    async with asyncio.timeout(left):
                        taken = not await self._try()
            if taken or self._monotonic() - self._renewed >= RENEW_SECONDS:
                LEADER.set(0)
                raise LeaseLost(f"lease {self._namespace}/{self._name} is lost")

    async def release(self) -> None:
        """So that the next replica need not wait for the lease to run out."""
        LEADER.set(0)
        with contextlib.suppress(ApiError):
            found = await self._kube.get("Lease", self._namespace, self._name)
            if found and found["spec"].get("holderIdentity") == self._identity:
                found["spec"]["holderIdentity"] = ""
                await self._kube.put("Lease", self._namespace, found)

    async def _tried(self) -> bool:
        try:
            async with asyncio.timeout(RENEW_SECONDS):
                return await self._try()
        except TimeoutError:
            return False
        except ApiError as error:
            if not error.passing:
                raise
            return False

    async def _try(self) -> bool:
        """Take or renew; False where another holds it."""
        asked = self._monotonic()
        found = await self._kube.get("Lease", self._namespace, self._name)
        if found is None:
            body = {
                "apiVersion": "coordination.k8s.io/v1",
                "kind": "Lease",
                "metadata": {"name": self._name, "namespace": self._namespace},
                "spec": self._spec({}),
            }
            await self._kube.create("Lease", self._namespace, body)
        else:
            spec = found.get("spec", {})
            if spec.get("holderIdentity", "") not in ("", self._identity) and not self._expired(
                found
            ):
                return False
            found["spec"] = self._spec(spec)
            await self._kube.put("Lease", self._namespace, found)  # 409: somebody was faster
        self._renewed = asked
        return True

    def _expired(self, lease: dict[str, Any]) -> bool:
        """By our own clock since the last change that we saw: clocks of replicas differ."""
        version = lease["metadata"]["resourceVersion"]
        if self._seen is None or self._seen[0] != version:
            self._seen = (version, self._monotonic())
        duration = int(lease["spec"].get("leaseDurationSeconds") or LEASE_SECONDS)
        return self._monotonic() - self._seen[1] > duration

    def _spec(self, old: dict[str, Any]) -> dict[str, Any]:
        now = datetime.now(UTC).isoformat(timespec="microseconds").replace("+00:00", "Z")
        ours = old.get("holderIdentity") == self._identity
        return {
            "holderIdentity": self._identity,
            "leaseDurationSeconds": LEASE_SECONDS,
            "acquireTime": old.get("acquireTime", now) if ours else now,
            "renewTime": now,
            "leaseTransitions": int(old.get("leaseTransitions") or 0) + (0 if ours else 1),
        }
