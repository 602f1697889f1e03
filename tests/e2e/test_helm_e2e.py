"""The chart as people install it: helm install, apply a search, helm upgrade, helm uninstall.

Real helm, kubelet and DNS on a cluster of its own, since the CRDs come and go here. Operator and
agent are pods under restricted Pod Security with the chart's rights, and nothing else. Their image is
the stand-in of tests.cluster.image, or the one that LLMZERO_TEST_OPERATOR_ARCHIVE names:
``make images`` writes build/images/llmzero.tar.
"""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pytest

from llmzero.api.manifest import read_search
from llmzero.api.proposals import Answered
from llmzero.api.stage import Outcome, Purpose
from tests.cluster.client import Kube
from tests.cluster.cluster import Cluster
from tests.cluster.dns import start_dns
from tests.cluster.image import TRAINER, load_trainer
from tests.cluster.volumes import CHECKPOINTS, make_claim
from tests.fakes.harness import ROOT
from tests.fakes.operator import Seen, wait_for
from tests.tools.helm_build import helm

SYSTEM, TEAM, RELEASE = "llmzero-system", "research", "llmzero"
ARCHIVE_ENV, ARCHIVED = "LLMZERO_TEST_OPERATOR_ARCHIVE", "llmzero:dev"
CHANGED = "Where the search stands, in one word."
LEFT = {
    "apiservice.apiregistration.k8s.io/v1alpha1.llmzero.dev",  # goes with the CRDs
    "customresourcedefinition.apiextensions.k8s.io/stagenodes.llmzero.dev",
    "customresourcedefinition.apiextensions.k8s.io/trainingsearches.llmzero.dev",
    "lease.coordination.k8s.io/llmzero-operator",
}
pytestmark = [pytest.mark.cluster, pytest.mark.slow]


@dataclass
class Installation:
    """A cluster that has DNS, images, a claim, and a copy of the chart; nothing is installed yet."""

    kube: Kube
    chart: Path
    folder: Path
    image: str
    """Of operator and agent."""

    def helm(self, *arguments: str, timeout: float = 180) -> str:
        places = {f"HELM_{n}_HOME": str(self.folder / n) for n in ("CACHE", "CONFIG", "DATA")}
        done = subprocess.run(
            [str(helm()), *arguments, "-n", SYSTEM],
            env={**self.kube.env, **places},
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        assert done.returncode == 0, done.stderr + self.describe()
        return done.stdout

    def release(self, verb: str, *values: str) -> float:
        """``helm install|upgrade`` until every pod is Ready; seconds taken."""
        repository, _, tag = self.image.partition(":")
        image = f"image.repository={repository},image.tag={tag},image.pullPolicy=Never"
        settings = (image, f"operator.trainerImage={TRAINER}", *values)
        begun = time.monotonic()
        ready = ("--wait", "--timeout", "150s")
        self.helm(verb, RELEASE, str(self.chart), "--set", ",".join(settings), *ready)
        return time.monotonic() - begun

    def apply(self, name: str, **sections: dict[str, Any]) -> Seen:
        """The quickstart, with the chart's agent and some fields of its sections replaced."""
        document = read_search((ROOT / "examples/quickstart-cluster.yaml").read_text())
        document["spec"]["agent"] = {"endpoint": "default"}
        for section, fields in sections.items():
            document["spec"][section] = {**document["spec"].get(section, {}), **fields}
        document["metadata"].update(name=name, namespace=TEAM)
        self.kube.apply(document)
        return Seen(self.kube, TEAM, name)

    def pods(self, component: str) -> dict[str, int]:
        """Restarts by the pod's UID."""
        selector = f"app.kubernetes.io/component={component}"
        found = self.kube.get("pods", "-n", SYSTEM, "-l", selector)["items"]
        return {
            p["metadata"]["uid"]: p["status"]["containerStatuses"][0]["restartCount"]
            for p in found
            if "deletionTimestamp" not in p["metadata"]
        }

    @cached_property
    def kinds(self) -> dict[str, str]:
        """What the server had before the CRDs came, by whether it is namespaced."""
        asked = ("api-resources", "--verbs=list,get", "-o", "name")
        found = {n: self.kube.run(*asked, f"--namespaced={n}").stdout for n in ("true", "false")}
        return {
            n: ",".join(k for k in said.split() if not k.startswith("events"))
            for n, said in found.items()
        }

    def everything(self) -> set[str]:
        """All objects of the cluster's scope and of the release's namespace, but events."""
        inside = self.kube.run("get", self.kinds["true"], "-n", SYSTEM, "-o", "name").stdout
        cluster = self.kube.run("get", self.kinds["false"], "-o", "name").stdout
        return {*inside.split(), *cluster.split()}

    def describe(self) -> str:
        said = self.kube.run("get", "pods,events", "-A", check=False).stdout
        for component in ("operator", "agent"):
            logs = ("logs", "-n", SYSTEM, f"deploy/{RELEASE}-{component}", "--tail=40")
            said += f"\n{component}:\n" + self.kube.run(*logs, check=False).stdout
        return said


@pytest.fixture
def installation(tmp_path: Path) -> Iterator[Installation]:
    with Cluster("node") as cluster:
        load_trainer(cluster)
        archive = os.environ.get(ARCHIVE_ENV)
        if archive:
            cluster.load_image(Path(archive))
        start_dns(cluster)
        restricted = {"pod-security.kubernetes.io/enforce": "restricted"}
        for name in (SYSTEM, TEAM):
            labelled = {"name": name, "labels": restricted}
            cluster.kube.apply({"apiVersion": "v1", "kind": "Namespace", "metadata": labelled})
        make_claim(cluster.kube, TEAM)
        chart = tmp_path / "chart"
        shutil.copytree(ROOT / "charts/llmzero", chart)
        yield Installation(cluster.kube, chart, tmp_path, ARCHIVED if archive else TRAINER)


@pytest.mark.timeout(600)
def test_install_search_upgrade_uninstall(installation: Installation) -> None:
    kube, before = installation.kube, installation.everything()
    print(f"helm install until Ready: {installation.release('install'):.1f} s")
    asking = {"name": "skill", "parallelism": 1, "maxDepth": 2}
    steps = {"steps": 160, "evalEvery": 80, "checkpointEvery": 40}
    begun = time.monotonic()
    seen = installation.apply("installed", strategy=asking, stage=steps, budget={"stages": 2})
    wait_for(lambda: _step(seen) >= 5, 120, seen.describe)

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
