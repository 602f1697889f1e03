"""A cluster with the chart's images, DNS and a claim, and what people do there with helm and kubectl."""

import os
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

from llmzero.api.manifest import read_search
from tests.cluster.client import Kube
from tests.cluster.cluster import Cluster
from tests.cluster.dns import start_dns
from tests.cluster.image import TRAINER, load_trainer
from tests.cluster.volumes import make_claim
from tests.fakes.harness import ROOT
from tests.fakes.operator import Seen
from tests.tools.go_build import helm

SYSTEM, TEAM, RELEASE = "llmzero-system", "research", "llmzero"
ARCHIVE_ENV, ARCHIVED = "LLMZERO_TEST_OPERATOR_ARCHIVE", "llmzero:dev"


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

    def apply(self, name: str, **sections: Any) -> Seen:
        """The quickstart, with the chart's agent and some fields of its sections (or a whole list)
        replaced."""
        document = read_search((ROOT / "examples/quickstart-cluster.yaml").read_text())
        document["spec"]["agent"] = {"endpoint": "default"}
        for section, fields in sections.items():
            whole = isinstance(fields, list)
            old = document["spec"].get(section, {})
            document["spec"][section] = fields if whole else {**old, **fields}
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


@contextmanager
def installable(folder: Path, volume: Path | None = None) -> Iterator[Installation]:
    """The claim's files are in ``volume``, or in a folder of the cluster."""
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
        make_claim(cluster.kube, TEAM, folder=volume)
        chart = folder / "chart"
        shutil.copytree(ROOT / "charts/llmzero", chart)
        yield Installation(cluster.kube, chart, folder, ARCHIVED if archive else TRAINER)
