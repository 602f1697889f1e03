"""Crash rules on a real API server: kills between any two writes, refused and lost API calls.

After each of them the tree is the one that the recorded order of completions implies.
"""

import time
from pathlib import Path
from random import Random
from typing import Any

import pytest

from llmzero.api.stage import Outcome
from llmzero.controller.conditions import PRUNED
from tests.fakes.faulty_proxy import FaultyProxy
from tests.fakes.harness import FakeRun
from tests.fakes.operator import OperatorProcess, Seen, differences, essences, wait_for
from tests.fakes.replay import replayed, specs
from tests.integration.conftest import DOOMED, Stand

pytestmark = pytest.mark.cluster

PLACES = [
    "before-decision",
    "after-decision",
    "after-begin",
    "after-job",
    "before-completion",
    "after-completion",
    "before-status",
]
ONE: dict[str, Any] = {
    "strategy": {"name": "random", "maxDepth": 1},
    "budget": {"stages": 1, "attempts": 3},
}


def as_recorded(seen: Seen, stand: Stand) -> None:
    """The tree is the one that the recorded order implies; nothing ran twice or was left over."""
    search, nodes = seen.search(), seen.nodes()
    assert all(n.status.phase.final for n in nodes)
    assert sorted(n.status.sequence or 0 for n in nodes) == list(range(len(nodes)))
    assert specs(nodes) == replayed(search, nodes)
    names = {n.name for n in nodes}
    assert all(n.spec.parent is None or n.spec.parent in names for n in nodes)
    for node in nodes:
        assert stand.kubelet.most_at_once[node.name] == 1, "two pods of one stage at once"
        assert node.status.attempt_count == 1, node.status.attempts
        assert node.status.failed_attempts == 0
    again = {k: n for k, n in stand.kubelet.trained.items() if k[0] in names and n != 1}
    assert not again, "a step was trained twice"


def as_undisturbed(seen: Seen, stand: Stand, folder: Path) -> None:
    """One stage at a time: the same tree as of a run that nobody disturbed."""
    run = FakeRun(folder / "local", stand.document())
    uid = seen.search().metadata.uid
    code, _, said = run.finish(FAKE_SEARCH_UID=uid)
    assert code == 0, said
    found = differences(seen.tree(), essences(list(run.read().nodes.values()), uid))
    assert not found, "\n".join(found)


def pruning(seen: Seen) -> list[str]:
    return [n.name for n in seen.nodes() if any(c.type == PRUNED for c in n.status.conditions)]


def live(operator: OperatorProcess, seen: Seen, seconds: float, **environment: str) -> bool:
    """One life of the operator; whether the search came to rest in it."""
    process = operator.start(**environment)
    deadline = time.monotonic() + seconds
    while process.poll() is None and time.monotonic() < deadline:
        if seen.phase() in ("Complete", "Failed"):
            return True
        time.sleep(0.1)
    return seen.phase() in ("Complete", "Failed")


@pytest.mark.timeout(280)
def test_killed_after_each_single_write(stand: Stand, tmp_path: Path) -> None:
    operator, lives = stand.operator(), 0
    seen = stand.apply()
    try:
        while not live(operator, seen, 30, LLMZERO_FAILPOINT="after-write"):
            assert operator.process is not None
            assert operator.process.poll() == -9, operator.said()[-3000:]
            lives += 1
        assert lives > 20, "each life made one write"
        assert seen.phase() == "Complete", seen.describe()
    finally:
        operator.kill()
    as_recorded(seen, stand)
    as_undisturbed(seen, stand, tmp_path)


@pytest.mark.timeout(200)
def test_killed_at_each_named_place(stand: Stand, tmp_path: Path) -> None:
    operator, killed = stand.operator(), set()
    seen = stand.apply()
    try:
        while seen.phase() != "Complete":
            for place in PLACES:
                if not live(operator, seen, 8, LLMZERO_FAILPOINT=place):
                    assert operator.process is not None
                    if operator.process.poll() == -9:
                        killed.add(place)
                operator.kill()
    finally:
        operator.kill()
    assert killed == set(PLACES)
    as_recorded(seen, stand)
    as_undisturbed(seen, stand, tmp_path)


@pytest.mark.timeout(280)
@pytest.mark.parametrize("place", ["after-stop-stored", "after-prune-stored"])
def test_what_is_stored_is_carried_out_by_the_next_life(place: str, stand: Stand) -> None:
    stand.kubelet.seconds = 0.4
    operator = stand.operator()
    seen = stand.apply(**DOOMED)
    try:
        assert not live(operator, seen, 120, LLMZERO_FAILPOINT=place), "it never came to the place"
        assert operator.process is not None and operator.process.poll() == -9
        operator.start()
        seen.wait_phase("Complete")
        wait_for(lambda: not pruning(seen), 30, seen.describe)
    finally:
        operator.kill()
    as_recorded(seen, stand)
    assert [n for n in seen.nodes() if n.status.outcome is Outcome.EARLY_STOPPED]
    for node in seen.nodes():
        if node.name in stand.kubelet.pruned:
            assert not set(stand.kubelet.pruned[node.name]) & set(node.status.checkpoints)
    assert stand.kubelet.pruned


@pytest.mark.timeout(200)
@pytest.mark.parametrize("seed", [1, 2])
def test_killed_at_random_with_three_stages_at_once(seed: int, stand: Stand) -> None:
    random, operator = Random(seed), stand.operator()
    stand.kubelet.seconds = 0.05
    seen = stand.apply(strategy={"parallelism": 3}, budget={"stages": 8})
    try:
        for _ in range(12):
            operator.start()
            time.sleep(random.uniform(0.2, 2.0))
            operator.kill()
        operator.start()
        seen.wait_phase("Complete")
    finally:
        operator.kill()
    as_recorded(seen, stand)


@pytest.mark.timeout(200)
@pytest.mark.parametrize(
    "rates",
    [
        pytest.param({"409": 0.3}, id="conflicts"),
        pytest.param({"429": 0.15, "500": 0.15}, id="refusals"),
        pytest.param({"lost": 0.15}, id="lost-answers"),
        pytest.param({"cut": 1.0}, id="cut-watches"),
        pytest.param({"gone": 1.0}, id="watches-too-old"),
        pytest.param(
            {"409": 0.05, "429": 0.05, "500": 0.05, "lost": 0.05, "slow": 0.05, "cut": 0.3},
            id="everything",
        ),
    ],
)
def test_faults_of_the_api_change_nothing(rates: dict[str, float], stand: Stand) -> None:
    stand.kubelet.seconds = 0.05
    with FaultyProxy(stand.kube.kubeconfig, stand.folder, rates) as proxy:
        with stand.operator(kubeconfig=proxy.kubeconfig) as operator:
            seen = stand.apply(strategy={"parallelism": 2}, budget={"stages": 5})
            seen.wait_phase("Complete", seconds=150)
            assert "Traceback" not in operator.said(), operator.said()[-3000:]
        assert sum(proxy.struck.values()) >= 2, proxy.struck
    as_recorded(seen, stand)


def test_deleted_in_the_middle_of_each_decision(stand: Stand) -> None:
    """The operator dies, the search is deleted meanwhile, another of the same name comes."""
    kinds = "trainingsearches,stagenodes,jobs,pods"
    operator = stand.operator()
    for place in ("after-decision", "after-begin", "after-job", "before-status"):
        seen = stand.apply(**ONE)
        live(operator, seen, 20, LLMZERO_FAILPOINT=place)
        operator.kill()
        stand.kube.run("delete", "ts", "fake", "-n", stand.namespace, "--timeout=30s")
    try:
        operator.start()
        seen = stand.apply(**ONE)
        seen.wait_phase("Complete")
        uid = seen.search().metadata.uid
        assert {n.spec.search.uid for n in seen.nodes()} == {uid}
        stand.kube.run("delete", "ts", "fake", "-n", stand.namespace, "--timeout=30s")
        wait_for(lambda: not seen.get(kinds)["items"], 60, seen.describe)
        assert "Traceback" not in operator.said()
    finally:
        operator.kill()
