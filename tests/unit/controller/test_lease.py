"""One operator at a time, in virtual time, against a lease store that is a fake and says so."""

import asyncio
from typing import Any

import pytest

from llmzero.controller.lease import LEASE_SECONDS, Lease, LeaseLost
from llmzero.controller.transport import ApiError


class FakeLeases:
    """The three calls that a lease needs, with resource versions; ``broken`` fails them all."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self.broken = False
        self._version = 0

    async def get(self, kind: str, namespace: str, name: str) -> dict[str, Any] | None:
        self._check()
        if self.stored is None:
            return None
        return {
            "metadata": dict(self.stored["metadata"]),
            "spec": dict(self.stored["spec"]),
        }

    async def create(self, kind: str, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        self._check()
        if self.stored is not None:
            raise ApiError(409, "exists")
        return self._store(body)

    async def put(self, kind: str, namespace: str, body: dict[str, Any]) -> dict[str, Any]:
        self._check()
        assert self.stored is not None
        if body["metadata"]["resourceVersion"] != self.stored["metadata"]["resourceVersion"]:
            raise ApiError(409, "conflict")
        return self._store(body)

    def _check(self) -> None:
        if self.broken:
            raise ApiError(0, "connection refused")

    def _store(self, body: dict[str, Any]) -> dict[str, Any]:
        self._version += 1
        body["metadata"]["resourceVersion"] = str(self._version)
        self.stored = body
        return body


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def lease(leases: FakeLeases, clock: Clock, identity: str) -> Lease:
    return Lease(
        leases,  # type: ignore[arg-type]
        "ns",
        "l",
        identity,
        monotonic=clock,
        sleep=clock.sleep,
    )


async def test_a_second_replica_waits_until_the_lease_runs_out() -> None:
    leases, clock = FakeLeases(), Clock()
    await lease(leases, clock, "a").acquire()
    began = clock.now
    await lease(leases, clock, "b").acquire()
    assert clock.now - began > LEASE_SECONDS
    assert leases.stored is not None
    assert leases.stored["spec"]["holderIdentity"] == "b"
    assert leases.stored["spec"]["leaseTransitions"] == 2


async def test_a_released_lease_is_free_at_once() -> None:
    leases, clock = FakeLeases(), Clock()
    first = lease(leases, clock, "a")
    await first.acquire()
    await first.release()
    began = clock.now
    await lease(leases, clock, "b").acquire()
    assert clock.now == began


async def test_a_leader_that_cannot_renew_ends_before_another_may_act() -> None:
    leases, clock = FakeLeases(), Clock()
    first = lease(leases, clock, "a")
    await first.acquire()
    began = clock.now
    leases.broken = True
    with pytest.raises(LeaseLost):
        await first.keep()
    assert clock.now - began < LEASE_SECONDS


async def test_a_leader_that_finds_another_holder_ends() -> None:
    leases, clock = FakeLeases(), Clock()
    first = lease(leases, clock, "a")
    await first.acquire()
    assert leases.stored is not None
    leases.stored["spec"]["holderIdentity"] = "b"
    leases.stored["metadata"]["resourceVersion"] = "99"
    with pytest.raises(LeaseLost):
        await first.keep()
