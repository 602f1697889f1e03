"""The life of a search on a real API server: what a user sees, with a kubelet that only fakes."""

import time
from pathlib import Path
from typing import Any

import pytest

from llmzero.api.stage import Outcome, Phase
from tests.fakes.harness import FakeRun
from tests.fakes.operator import Seen, differences, essences, wait_for
from tests.integration.conftest import DOOMED, Stand, make_bound_claim

pytestmark = pytest.mark.cluster

ONE: dict[str, Any] = {
    "strategy": {"name": "random", "maxDepth": 1},
    "budget": {"stages": 1, "attempts": 3},
}
"""A search of one stage."""


def one_tree(seen: Seen) -> None:
    """What must hold at every end: no orphan, and an unbroken order of completions."""
    nodes = seen.nodes()
    names = {n.name for n in nodes}
    assert all(n.spec.parent is None or n.spec.parent in names for n in nodes)
    order = sorted(n.status.sequence for n in nodes if n.status.sequence is not None)
    assert order == list(range(len(order)))


def test_the_same_tree_as_on_one_machine(stand: Stand, tmp_path: Path) -> None:
    with stand.operator() as operator:
        seen = stand.apply()
        seen.wait_phase("Complete")
        done = stand.kube.run(
            *("wait", "--for=condition=Complete", "trainingsearch/fake", "--timeout=5s"),
            *("-n", stand.namespace),
        )
        assert "condition met" in done.stdout
        assert operator.terminate() == 0
    run = FakeRun(tmp_path / "local", stand.document())
    code, _, said = run.finish(FAKE_SEARCH_UID=seen.search().metadata.uid)
    assert code == 0, said
    local = run.read()
    theirs = essences(list(local.nodes.values()), local.search.metadata.uid)
    found = differences(seen.tree(), theirs)
    assert not found, "\n".join(found)
    one_tree(seen)
    assert max(stand.kubelet.most_at_once[n.name] for n in seen.nodes()) == 1
    assert seen.condition("Ready")[0] == "True"
    assert seen.condition("Reconciling")[0] == seen.condition("Stalled")[0] == "False"
    events = [
        e["reason"] for e in seen.get("events")["items"] if e["source"] == {"component": "llmzero"}
    ]
    assert events.count("Complete") == 1
    assert all("Traceback" not in line for line in operator.said().splitlines())


@pytest.mark.parametrize(
    ("fault", "attempts", "failed", "outcome"),
    [
        pytest.param({"kind": "crash", "attempt": 1, "step": 3}, 2, 1, "Succeeded", id="crash"),
        pytest.param({"kind": "oom", "attempt": 1, "step": 3}, 2, 1, "Succeeded", id="oom-killed"),
        pytest.param(
            {"kind": "exit", "code": 68, "pod": 1, "step": 6}, 1, 0, "Succeeded", id="interrupted"
        ),
        pytest.param({"kind": "evict", "pod": 1, "step": 6}, 1, 0, "Succeeded", id="evicted"),
        pytest.param({"kind": "exit", "code": 65, "step": 3}, 1, 0, "OutOfMemory", id="memory"),
        pytest.param({"kind": "exit", "code": 66, "step": 3}, 1, 0, "Diverged", id="diverged"),
        pytest.param({"kind": "crash", "step": 3}, 3, 3, "Failed", id="crashes-always"),
        pytest.param({"kind": "mute", "attempt": 1}, 1, 0, "Succeeded", id="no-last-word"),
        pytest.param({"kind": "deaf", "attempt": 1}, 1, 0, "Succeeded", id="no-log"),
    ],
)
def test_every_end_of_a_pod_means_one_thing(
    fault: dict[str, Any], attempts: int, failed: int, outcome: str, stand: Stand
) -> None:
    stand.kubelet.faults = {"0": [fault]}
    with stand.operator():
        kept = {"claimName": "checkpoints", "retention": "all"}
        seen = stand.apply(**ONE, storage=kept)
        wait_for(lambda: any(n.status.phase.final for n in seen.nodes()), 60, seen.describe)
        node = seen.node("0")
    assert node.status.outcome == Outcome(outcome)
    assert node.status.attempt_count == attempts
    assert node.status.failed_attempts == failed
    assert stand.kubelet.most_at_once[node.name] == 1
    if outcome == "Succeeded":
        assert node.status.result is not None
        assert [s.step for s in node.status.curve.scores] == [0, 4, 8]
        assert node.status.checkpoints == [4, 8]
    else:
        text = f"{node.status.reason} {node.status.message}"
        assert "fake fault at step 3" in text or "3 attempts failed" in text
        assert outcome != "Failed" or seen.search().status.message


def test_an_interrupted_stage_goes_on_from_its_checkpoint(stand: Stand) -> None:
    stand.kubelet.faults = {"0": [{"kind": "exit", "code": 68, "pod": 1, "step": 6}]}
    with stand.operator():
        seen = stand.apply(**ONE)
        seen.wait_phase("Complete")
    name = seen.node("0").name
    assert [stand.kubelet.trained[name, s] for s in range(1, 9)] == [1, 1, 1, 1, 2, 1, 1, 1]


def test_failed_jobs_stay_to_be_looked_at_and_good_ones_go(stand: Stand) -> None:
    stand.kubelet.faults = {"0": [{"kind": "crash", "attempt": 1, "step": 3}]}
    with stand.operator():
        seen = stand.apply(**ONE)
        seen.wait_phase("Complete")
        name = seen.node("0").name
        wait_for(lambda: _jobs(seen) == [f"{name}-a1"], 90, seen.describe)


def test_suspend_drains_and_resumes(stand: Stand) -> None:
    stand.kubelet.hold = lambda node: True
    with stand.operator():
        seen = stand.apply()
        wait_for(lambda: _phases(seen) == ["Running"], 60, seen.describe)
        stand.patch({"suspend": True})
        seen.wait_phase("Suspended")
        stand.kubelet.hold = lambda node: False
        wait_for(lambda: _phases(seen) == ["Succeeded"], 60, seen.describe)
        time.sleep(1)
        assert _phases(seen) == ["Succeeded"], "nothing new starts"
        assert seen.condition("Suspended")[0] == "True"
        stand.patch({"suspend": False})
        seen.wait_phase("Complete")
    one_tree(seen)


def test_suspend_with_stop_interrupts_and_the_stage_goes_on_later(stand: Stand) -> None:
    stand.kubelet.seconds = 1.0
    with stand.operator():
        seen = stand.apply(**ONE)
        wait_for(lambda: stand.kubelet.trained[_first(seen), 5], 60, seen.describe)
        stand.patch({"suspend": True, "suspendPolicy": "Stop"})
        wait_for(lambda: not seen.get("pods")["items"], 60, seen.describe)
        wait_for(lambda: _phases(seen) == ["Pending"], 30, seen.describe)
        stand.kubelet.seconds = 0
        stand.patch({"suspend": False})
        seen.wait_phase("Complete")
    node = seen.node("0")
    assert node.status.attempt_count == 2
    assert node.status.failed_attempts == 0
    assert stand.kubelet.trained[node.name, 4] == 1, "it went on from the checkpoint"
    assert stand.kubelet.most_at_once[node.name] == 1


def test_a_raised_budget_resumes_a_complete_search_with_a_second_reading(stand: Stand) -> None:
    with stand.operator():
        seen = stand.apply()
        seen.wait_phase("Complete")
        before = {n.name for n in seen.nodes()}
        stand.patch({"budget": {"stages": 7}})
        wait_for(lambda: seen.phase() != "Complete", 30, seen.describe)
        seen.wait_phase("Complete")
    assert before < {n.name for n in seen.nodes()}
    assert {r.reading for r in seen.search().status.held_out} == {1, 2}
    one_tree(seen)


def test_a_search_deleted_at_any_moment_leaves_nothing(stand: Stand) -> None:
    stand.kubelet.hold = lambda node: True
    with stand.operator() as operator:
        seen = stand.apply(strategy={"parallelism": 3}, budget={"stages": 6})
        wait_for(lambda: len(_phases(seen)) == 3, 60, seen.describe)
        stand.kube.run("delete", "ts", "fake", "-n", stand.namespace, "--timeout=30s")
        kinds = "trainingsearches,stagenodes,jobs,pods"
        wait_for(lambda: not seen.get(kinds)["items"], 60, seen.describe)
        time.sleep(1)
        assert not seen.get(kinds)["items"], "nothing comes back"
        stand.kubelet.hold = lambda node: False
        stand.apply(**ONE)
        seen.wait_phase("Complete")
        assert "Traceback" not in operator.said()


def test_a_doomed_stage_is_stopped_and_says_why(stand: Stand) -> None:
    stand.kubelet.seconds = 0.4
    with stand.operator():
        seen = stand.apply(**DOOMED)
        wait_for(
            lambda: [n for n in seen.nodes() if n.status.phase is Phase.STOPPED],
            100,
            seen.describe,
        )
        wait_for(lambda: seen.search().status.ledger.saved_by_stopping > 0, 30, seen.describe)
    stopped = next(n for n in seen.nodes() if n.status.phase is Phase.STOPPED)
    assert stopped.status.outcome is Outcome.EARLY_STOPPED
    assert stopped.status.stop is not None
    assert "worse than on the path to" in stopped.status.stop.message
    assert len(stopped.status.curve.scores) >= 3
    assert stopped.status.step < 40


@pytest.mark.parametrize(
    ("section", "words"),
    [
        ({"trainer": {"podTemplate": {"spec": {"restartPolicy": "Always"}}}}, "restartPolicy"),
        ({"trainer": {"podTemplate": {"containers": []}}}, "podTemplate.containers"),
        ({"fixed": {"learning_rat": 1}}, "learning_rat"),
        ({"storage": {"retention": "all"}}, "spec.storage.claimName"),
        ({"strategy": {"name": "llmzero", "options": {"nonsense": 1}}}, "nonsense"),
    ],
    ids=["owned-field", "no-such-field", "typo-in-fixed", "no-claim", "strategy-option"],
)
def test_what_admission_cannot_see_is_a_condition_and_an_event_not_a_crash(
    section: dict[str, Any], words: str, stand: Stand
) -> None:
    with stand.operator() as operator:
        seen = stand.apply(**section)
        wait_for(lambda: seen.condition("Stalled")[0] == "True", 30, seen.describe)
        assert words in seen.condition("Stalled")[1]
        assert seen.condition("Ready")[0] == "False"
        wait_for(lambda: words in seen.kube.run("get", "events", "-n", stand.namespace).stdout, 10)
        assert "Traceback" not in operator.said()


def test_untyped_fields_cannot_change_under_running_stages(stand: Stand) -> None:
    before = stand.document()["spec"]["parameters"]
    after = [{**before[0], "initial": 5e-5}, *before[1:]]
    stand.apply(fixed={"loss_type": "grpo"})
    for field, value in (("fixed", {"loss_type": "dapo"}), ("parameters", after)):
        with pytest.raises(AssertionError, match=rf"spec\.{field} cannot change"):
            stand.patch({field: value})


def test_a_missing_claim_and_an_image_that_cannot_be_pulled_are_shown(stand: Stand) -> None:
    wait = {"kind": "wait", "reason": "ImagePullBackOff", "text": "no such image"}
    stand.kubelet.faults = {"0": [{**wait, "pod": 1}]}
    with stand.operator():
        seen = stand.apply(**{**ONE, "storage": {"claimName": "elsewhere"}})
        wait_for(lambda: seen.condition("Blocked")[0] == "True", 60, seen.describe)
        assert "PersistentVolumeClaim elsewhere" in seen.condition("Blocked")[1]
        stand.kube.run("delete", "ts", "fake", "-n", stand.namespace)
        seen = stand.apply(**ONE)
        wait_for(lambda: "no such image" in seen.condition("Blocked")[1], 60, seen.describe)
        assert "no such image" in seen.search().status.message
        where = ("-n", stand.namespace, "-l", "llmzero.dev/search=fake", "--wait=false")
        stand.kube.run("delete", "pods", *where)
        seen.wait_phase("Complete")
        assert seen.condition("Blocked")[0] == "False"


UNSET = {"reason": "CreateContainerConfigError", "text": 'secret "hub" not found'}
UNMOUNTED = {"reason": "ContainerCreating", "mounted": False}


@pytest.mark.parametrize(
    ("waits", "said"),
    [
        (UNSET, 'cannot start: CreateContainerConfigError: secret "hub" not found'),
        (UNMOUNTED, "spec.trainer.podTemplate mounts Secret hub. kubectl describe pod"),
    ],
    ids=["variable", "volume"],
)
def test_a_secret_that_is_missing_is_named_within_a_minute(
    stand: Stand, waits: dict[str, Any], said: str
) -> None:
    """As a variable the kubelet says it in the pod's status; as a volume only in an Event."""
    stand.kubelet.faults = {"0": [{"kind": "wait", "pod": 1, **waits}]}
    volumes = [{"name": "token", "secret": {"secretName": "hub"}}]
    with stand.operator():
        trainer = {"image": "fake", "podTemplate": {"spec": {"volumes": volumes}}}
        seen = stand.apply(**{**ONE, "trainer": trainer})
        wait_for(lambda: said in seen.condition("Blocked")[1], 60, seen.describe)


def test_a_claim_of_one_node_is_named_and_keeps_the_stages_together(stand: Stand) -> None:
    stand.kube.run("delete", "pvc", "checkpoints", "-n", stand.namespace)
    stand.kube.run("delete", "pv", f"checkpoints-{stand.namespace}")
    make_bound_claim(stand.kube, stand.namespace, "ReadWriteOnce")
    with stand.operator():
        seen = stand.apply(**ONE)
        seen.wait_phase("Complete")
        state, words = seen.condition("OneNode")
        assert state == "True" and "ReadWriteMany lets them spread" in words
        pod = seen.get("pods")["items"][0]
        assert pod["spec"]["affinity"]["podAffinity"]


def test_a_job_held_by_a_queue_is_queued_and_no_clock_runs(stand: Stand) -> None:
    stand.kubelet.seconds = 0.5
    with stand.operator():
        seen = stand.apply(**ONE)
        wait_for(lambda: stand.kubelet.trained[_first(seen), 1], 60, seen.describe)
        job = f"job/{_first(seen)}-a1"
        stand.merge(job, {"spec": {"suspend": True}})
        wait_for(lambda: _phases(seen) == ["Queued"], 30, seen.describe)
        assert seen.node("0").status.message == "held by its queue"
        stand.kubelet.seconds = 0
        stand.merge(job, {"spec": {"suspend": False}})
        seen.wait_phase("Complete")
    assert seen.node("0").status.attempt_count == 1


def test_a_job_of_somebody_else_under_our_name_is_refused_in_words(stand: Stand) -> None:
    stand.kubelet.faults = {"0": [{"kind": "crash", "attempt": 1, "step": 3}]}
    stand.kubelet.seconds = 2.0
    with stand.operator():
        seen = stand.apply(**ONE)
        wait_for(lambda: seen.nodes(), 60, seen.describe)
        theirs = {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"name": f"{_first(seen)}-a2", "namespace": stand.namespace},
            "spec": {
                "suspend": True,
                "template": {
                    "spec": {
                        "restartPolicy": "Never",
                        "containers": [{"name": "x", "image": "x"}],
                    }
                },
            },
        }
        stand.kube.apply(theirs)
        wait_for(lambda: "is not ours" in seen.condition("Stalled")[1], 60, seen.describe)
        stand.kubelet.seconds = 0
        stand.kube.run("delete", "job", f"{_first(seen)}-a2", "-n", stand.namespace)
        seen.wait_phase("Complete", seconds=90)
        assert seen.condition("Stalled")[0] == "False"


@pytest.mark.slow
def test_a_silent_stage_is_stopped_and_tried_again(stand: Stand) -> None:
    stand.kubelet.faults = {"0": [{"kind": "hang", "attempt": 1, "step": 2}]}
    with stand.operator():
        seen = stand.apply(**ONE, stage={"silenceSeconds": 30})
        seen.wait_phase("Complete", seconds=120)
    node = seen.node("0")
    assert node.status.attempt_count == 2
    assert node.status.attempts[0].reason == "Silent"
    assert node.status.failed_attempts == 1
    assert stand.kubelet.most_at_once[node.name] == 1


def _phases(seen: Seen) -> list[str]:
    return [str(n.status.phase) for n in seen.nodes()]


def _first(seen: Seen) -> str:
    nodes = [n.name for n in seen.nodes() if n.spec.path == "0"]
    return nodes[0] if nodes else ""


def _jobs(seen: Seen) -> list[str]:
    return sorted(j["metadata"]["name"] for j in seen.get("jobs")["items"])
