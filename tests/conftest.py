"""Clusters shared by a test run; LLMZERO_TEST_KUBECONFIG points the same tests at another one."""

import json
import os
import subprocess
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.build import binaries
from tests.cluster.cluster import Cluster, Level
from tests.cluster.image import load_trainer

CRDS = Path(__file__).parents[1] / "crds"


@dataclass(frozen=True)
class Kube:
    """An API server with our CRDs, and kubectl for it."""

    kubeconfig: Path
    program: Path

    def run(
        self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [str(self.program), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done

    def apply(self, *objects: dict[str, Any], check: bool = True) -> str:
        """``kubectl apply``; stdout and stderr together."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        done = self.run("apply", "-f", "-", stdin=text, check=check)
        return done.stdout + done.stderr

    def get(self, *arguments: str) -> dict[str, Any]:
        found: dict[str, Any] = json.loads(self.run("get", *arguments, "-o", "json").stdout)
        return found


def _kube(level: Level) -> Iterator[Kube]:
    given = os.environ.get("LLMZERO_TEST_KUBECONFIG")
    if given:
        kube = Kube(Path(given), binaries() / "kubectl")
        _install_crds(kube)
        yield kube
        return
    with Cluster(level) as cluster:
        kube = Kube(cluster.kubeconfig, cluster.binaries / "kubectl")
        _install_crds(kube)
        if level == "node":
            load_trainer(cluster)
        yield kube


def _install_crds(kube: Kube) -> None:
    kube.run("apply", "--server-side", "-f", str(CRDS))
    kube.run("wait", "--for=condition=Established", "--timeout=60s", "-f", str(CRDS))


@pytest.fixture(scope="session")
def kube_api() -> Iterator[Kube]:
    """etcd and the API server."""
    yield from _kube("api")


@pytest.fixture(scope="session")
def kube_controllers() -> Iterator[Kube]:
    """Also the controller manager and the scheduler."""
    yield from _kube("controllers")


@pytest.fixture(scope="session")
def kube_node() -> Iterator[Kube]:
    """Also a node that runs pods, with the trainer's image."""
    yield from _kube("node")


@pytest.fixture
def namespace_name() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"
