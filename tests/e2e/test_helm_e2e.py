"""The chart as people install it: helm install, apply a search, helm upgrade, helm uninstall.

Real helm, kubelet and DNS on a cluster of its own, since the CRDs come and go here. Operator and
agent are pods under restricted Pod Security with the chart's rights, and nothing else. Their image is
the stand-in of tests.cluster.image, or the one that LLMZERO_TEST_OPERATOR_ARCHIVE names:
``make images`` writes build/images/llmzero.tar.
"""

import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from llmzero.api.proposals import Answered
from llmzero.api.stage import Outcome, Purpose
from tests.cluster.volumes import CHECKPOINTS
from tests.e2e.installation import RELEASE, SYSTEM, TEAM, Installation, installable
from tests.fakes.operator import Seen, wait_for

CHANGED = "Where the search stands, in one word."
LEFT = {
    "apiservice.apiregistration.k8s.io/v1alpha1.llmzero.dev",  # goes with the CRDs
    "customresourcedefinition.apiextensions.k8s.io/stagenodes.llmzero.dev",
    "customresourcedefinition.apiextensions.k8s.io/trainingsearches.llmzero.dev",
    "lease.coordination.k8s.io/llmzero-operator",
}
pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with installable(tmp_path) as installation:
        yield installation


@pytest.mark.timeout(900)
def test_install_search_upgrade_uninstall(installation: Installation) -> None:
    kube, before = installation.kube, installation.everything()
    print(f"helm install until Ready: {installation.release('install'):.1f} s")
    asking = {"name": "skill", "parallelism": 1, "maxDepth": 2}
    steps = {"steps": 160, "evalEvery": 80, "checkpointEvery": 40}
    begun = time.monotonic()
    seen = installation.apply("installed", strategy=asking, stage=steps, budget={"stages": 2})
    wait_for(lambda: _step(seen) >= 5, 240, seen.describe)

    old = installation.pods("operator")
    # The documented path: first the CRDs, then the release.
    _change(installation.chart)
    crds = str(installation.chart / "crds")
    kube.run("apply", "--server-side", "--force-conflicts", "-f", crds)
    seconds = installation.release("upgrade", "operator.resyncSeconds=300")
    print(f"helm upgrade until Ready: {seconds:.1f} s, at step {_step(seen)}")
    assert not set(installation.pods("operator")) & set(old), "another operator took over"
    assert CHANGED in kube.run("get", "crd", "trainingsearches.llmzero.dev", "-o", "yaml").stdout

    seen.wait_phase("Complete", seconds=360)
    print(f"search until Complete: {time.monotonic() - begun:.1f} s")
    first = seen.node("0")
    assert first.status.outcome is Outcome.SUCCEEDED and first.status.attempt_count == 1
    assert first.status.step == 160, "the stage that ran through the upgrade went to its end"
    given = _answers(seen)
    assert given and not [a.note for a in given if a.note], (
        "the agent's pod was asked, and answered"
    )
    assert _asked(installation) >= 1
    restarts = [*installation.pods("operator").values(), *installation.pods("agent").values()]
    assert restarts == [0, 0], "no probe killed a pod"

    installation.helm("uninstall", RELEASE, "--wait", "--timeout", "90s")
    # Endpoints and addresses go with their Services, a moment later.
    wait_for(lambda: installation.everything() - before <= LEFT, 30, installation.describe)
    assert installation.everything() - before == LEFT
    assert len(seen.nodes()) >= 4, "searches and stages stay"
    names = ("trainingsearches.llmzero.dev", "stagenodes.llmzero.dev")
    kube.run("delete", "crd", *names, "--timeout=60s")
    kube.run("delete", "lease", "llmzero-operator", "-n", SYSTEM)
    wait_for(lambda: installation.everything() <= before, 30, installation.describe)
    assert kube.exists("pvc", CHECKPOINTS, "-n", TEAM), "checkpoints stay"


def _answers(seen: Seen) -> list[Answered]:
    found = [n.status.expansion for n in seen.nodes() if n.status.expansion]
    return [answer for expansion in found for answer in expansion.answers]


def _step(seen: Seen) -> int:
    steps = [n.status.step for n in seen.nodes() if n.spec.purpose is Purpose.TRAIN]
    return max(steps, default=0)


def _asked(installation: Installation) -> int:
    """How many questions the agent's pod has answered, by its own metrics."""
    service = f"/api/v1/namespaces/{SYSTEM}/services/{RELEASE}-agent:8080/proxy/metrics"
    lines = installation.kube.run("get", "--raw", service).stdout.splitlines()
    counts = [line for line in lines if line.startswith("llmzero_agent_decisions_total{")]
    return sum(int(float(line.rsplit(" ", 1)[1])) for line in counts)


def _change(chart: Path) -> None:
    """A later chart: another version, and a CRD that says something else."""
    crd = chart / "crds/llmzero.dev_trainingsearches.yaml"
    text = crd.read_text()
    assert "description: Where the search stands.\n" in text
    crd.write_text(text.replace("Where the search stands.", CHANGED))
    about = chart / "Chart.yaml"
    about.write_text(about.read_text().replace("version: 0.1.0", "version: 0.1.1", 1))
