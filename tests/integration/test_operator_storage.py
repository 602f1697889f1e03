"""A claim that is full: said as a condition, waited for, and no attempt is spent on it."""

import pytest

from llmzero.api.stage import Phase
from tests.fakes.operator import wait_for
from tests.integration.conftest import Stand
from tests.integration.test_operator import ONE

pytestmark = pytest.mark.cluster


def test_a_full_claim_blocks_the_search_and_costs_no_attempt(stand: Stand) -> None:
    words = "/data/uid: No space left on device; volume /data: 0 bytes of 1.0 GB are free"
    full = {"kind": "exit", "code": 67, "attempt": 1, "step": 3}
    stand.kubelet.faults = {"0": [{**full, "reason": "StorageFull", "text": words}]}
    with stand.operator():
        seen = stand.apply(**ONE)
        wait_for(lambda: seen.condition("Blocked")[0] == "True", 60, seen.describe)
        status = seen.node("0").status
        said = seen.condition("Blocked")[1]
    assert "claim checkpoints is full: stage 0 is tried again at" in said and words in said
    assert (status.phase, status.reason) == (Phase.PENDING, "StorageFull")
    assert (status.attempt_count, status.failed_attempts) == (1, 0)
