"""The whole of it: kubectl apply, a real kubelet, real pods, the real trainer with a tiny model."""

import json
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from llmzero.api.manifest import read_search
from llmzero.api.stage import Outcome, Phase, Purpose, StageNode
from tests.cluster.client import Kube
from tests.cluster.volumes import Claim
from tests.fakes.harness import ROOT
from tests.fakes.operator import OperatorProcess, Seen, wait_for
from tests.fakes.replay import replayed, specs

QUICKSTART = ROOT / "examples/quickstart-cluster.yaml"
pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@dataclass
class Place:
    """A namespace with a claim, on a cluster whose node runs pods."""

    kube: Kube
    namespace: str
    image: str
    folder: Path

    def operator(self) -> OperatorProcess:
        arguments = ("--image", self.image, "--namespace", self.namespace)
        return OperatorProcess(self.kube, self.folder, *arguments)

    def apply(self, **sections: dict[str, Any]) -> Seen:
        """The quickstart with some fields of its sections replaced."""
        document = read_search(QUICKSTART.read_text())
        for name, fields in sections.items():
            document["spec"][name] = {**document["spec"].get(name, {}), **fields}
        document["metadata"]["namespace"] = self.namespace
        self.kube.apply(document)
        return Seen(self.kube, self.namespace, document["metadata"]["name"])

    def delete_pod(self, node: StageNode, *arguments: str) -> None:
        selector = f"llmzero.dev/node={node.name}"
        where = ("-n", self.namespace, "-l", selector)
        self.kube.run("delete", "pod", *where, "--wait=false", *arguments)


@pytest.fixture
def place(
    kube_node: Kube,
    trainer_image: str,
    make_namespace: Callable[[Kube], str],
    checkpoints_claim: Callable[[Kube, str], Claim],
    tmp_path: Path,
) -> Place:
    namespace = make_namespace(kube_node)
    checkpoints_claim(kube_node, namespace)
    return Place(kube_node, namespace, trainer_image, tmp_path)


@pytest.mark.timeout(900)
def test_the_quickstart_runs_to_complete_and_its_tree_follows_from_the_recorded_order(
    place: Place,
) -> None:
    small = {"steps": 10, "evalEvery": 5, "checkpointEvery": 5}
    with place.operator() as operator:
        where = ("-n", place.namespace)
        seen = place.apply(stage=small, strategy={"maxDepth": 2}, budget={"stages": 2})
        wait_for(lambda: seen.condition("Ready")[0] == "True", 60, seen.describe)
        waiting = ("wait", "--for=condition=Complete", "trainingsearch/quickstart")
        done = place.kube.run(*waiting, *where, "--timeout=840s", check=False, timeout=870)
        assert done.returncode == 0, done.stderr + seen.describe()
        assert operator.terminate() == 0
    search, nodes = seen.search(), seen.nodes()
    assert all(n.status.phase.final for n in nodes)
    assert sorted(n.status.sequence or 0 for n in nodes) == list(range(len(nodes)))
    assert specs(nodes) == replayed(search, nodes)
    assert 1 <= search.status.ledger.stages_spent <= 2
    assert search.status.best is not None and search.status.best.split == "promote"
    readings = {r.subject: r for r in search.status.held_out}
    assert 0 < readings["base"].value < 1 and 0 < readings["winner"].value < 1
    assert readings["base"].difference_error
    assert all(n.status.attempt_count == 1 for n in nodes)
    trained = [n for n in nodes if n.spec.purpose is Purpose.TRAIN]
    for node in (n for n in trained if n.status.phase is Phase.SUCCEEDED):
        # A child's start was scored as its parent's end.
        assert len(node.status.curve.scores) >= (1 if node.spec.parent else 2), node.name
    columns = place.kube.run("get", "sn", *where).stdout
    assert "└ " in columns and "learning_rate" in columns


@pytest.mark.timeout(700)
def test_a_killed_operator_a_deleted_pod_and_a_drained_node_cost_no_attempt(place: Place) -> None:
    quick = {"strategy": {"parallelism": 1, "maxDepth": 1}, "budget": {"stages": 1}}
    with place.operator() as operator:
        seen = place.apply(**quick, stage={"checkpointEvery": 5})
        wait_for(lambda: _running(seen, "0", 5), 120, seen.describe)
        operator.kill()
        operator.start()
        wait_for(lambda: _running(seen, "0", 10), 60, seen.describe)
        place.delete_pod(seen.node("0"))
        wait_for(lambda: _pods(seen, 2), 60, seen.describe)
        _drain(place)
        try:
            wait_for(lambda: seen.condition("Blocked")[0] == "True", 90, seen.describe)
            assert "cannot start" in seen.condition("Blocked")[1]
        finally:
            place.kube.run("uncordon", _node(place))
        seen.wait_phase("Complete", seconds=400)
        assert seen.condition("Blocked")[0] == "False"
    node = seen.node("0")
    assert node.status.attempt_count == 1, "disruptions count no attempt"
    assert node.status.outcome is Outcome.SUCCEEDED
    steps = [s.step for s in node.status.curve.scores]
    assert steps == sorted(set(steps))


def test_a_container_over_its_memory_limit_is_named(place: Place) -> None:
    with place.operator():
        seen = place.apply(
            strategy={"parallelism": 1, "maxDepth": 1},
            budget={"stages": 1, "failures": 0, "attempts": 1},
            trainer={"resources": {"limits": {"memory": "150Mi"}}},
        )
        seen.wait_phase("Failed", seconds=120)
    node = seen.node("0")
    assert node.status.reason == "OOMKilled"
    assert "more memory than its limit" in node.status.message
    assert "OOMKilled" in seen.search().status.message


@pytest.mark.timeout(600)
def test_suspend_stops_what_runs_and_it_goes_on_from_its_checkpoint(place: Place) -> None:
    with place.operator():
        seen = place.apply(
            strategy={"name": "random", "parallelism": 1, "maxDepth": 1},  # no short rung
            budget={"stages": 1},
            stage={"steps": 200, "evalEvery": 50, "checkpointEvery": 10},  # outlasts the suspension
        )
        wait_for(lambda: _running(seen, "0", 15), 120, seen.describe)
        _patch(place, {"suspend": True, "suspendPolicy": "Stop"})
        wait_for(lambda: not _pods(seen, 1), 90, seen.describe)
        assert seen.condition("Suspended")[0] == "True"
        wait_for(lambda: seen.node("0").status.phase is Phase.PENDING, 20, seen.describe)
        _patch(place, {"suspend": False})
        wait_for(lambda: seen.node("0").status.phase.final, 300, seen.describe)
    node = seen.node("0")
    assert node.status.phase is Phase.SUCCEEDED
    assert node.status.attempt_count == 2
    assert node.status.failed_attempts == 0
    assert (node.status.attempts[-1].checkpoint or 0) >= 10


@pytest.mark.timeout(300)
def test_a_search_deleted_while_it_runs_leaves_nothing(place: Place) -> None:
    with place.operator() as operator:
        seen = place.apply(strategy={"parallelism": 2}, budget={"stages": 4})
        wait_for(lambda: _pods(seen, 1), 60, seen.describe)
        place.kube.run("delete", "ts", "quickstart", "-n", place.namespace, "--timeout=60s")
        kinds = "trainingsearches,stagenodes,jobs,pods"
        wait_for(lambda: not seen.get(kinds)["items"], 100, seen.describe)
        time.sleep(2)
        assert not seen.get(kinds)["items"], "nothing comes back"
        assert "Traceback" not in operator.said()


def _running(seen: Seen, path: str, step: int) -> bool:
    nodes = [n for n in seen.nodes() if n.spec.path == path and n.spec.purpose is Purpose.TRAIN]
    return bool(nodes) and nodes[0].status.step >= step


def _pods(seen: Seen, number: int) -> bool:
    return len(seen.get("pods", "-l", "llmzero.dev/node")["items"]) >= number


def _patch(place: Place, spec: dict[str, Any]) -> None:
    where = ("-n", place.namespace, "--type=merge")
    place.kube.run("patch", "ts", "quickstart", *where, "-p", json.dumps({"spec": spec}))


def _node(place: Place) -> str:
    name: str = place.kube.get("nodes")["items"][0]["metadata"]["name"]
    return name


def _drain(place: Place) -> None:
    """kubectl drain, for the pods of this test alone."""
    selector = "--pod-selector=llmzero.dev/search=quickstart"
    flags = ("--force", "--ignore-daemonsets", "--delete-emptydir-data")
    place.kube.run("drain", _node(place), *flags, selector, timeout=100)
