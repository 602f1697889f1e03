"""The operator against a real API server, Job controller and scheduler; the kubelet is a fake."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from tests.cluster.client import Kube
from tests.fakes.harness import manifest
from tests.fakes.kubelet import FakeKubelet
from tests.fakes.operator import OperatorProcess, Seen
from tests.fakes.zygote import Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    with Zygote() as made:
        yield made


@pytest.fixture(scope="session")
def fake_kubelet(
    kube_controllers: Kube, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[FakeKubelet]:
    with FakeKubelet(kube_controllers.kubeconfig, tmp_path_factory.mktemp("kubelet")) as made:
        yield made


DOOMED: dict[str, Any] = {
    "strategy": {
        "name": "grid",
        "parallelism": 1,
        "maxDepth": 1,
        "seed": 2,  # the good one first
        "earlyStopping": {
            "enabled": True, "margin": 0.01, "looks": 2, "grace": 0, "auditFraction": 0,
        },
    },
    "stage": {"steps": 40, "evalEvery": 4, "checkpointEvery": 4},
    "parameters": [
        {
            "name": "learning_rate", "type": "categorical", "choices": [1e-4, 1e-7],
            "role": "regularization", "initial": 1e-4,
        }
    ],
    "budget": {"stages": 2},
}  # fmt: skip
"""A search whose second stage is stopped early, where a step takes 0.4 s."""


@dataclass
class Stand:
    """A namespace with a claim, a kubelet that fakes, and operators of one namespace."""

    kube: Kube
    namespace: str
    folder: Path
    kubelet: FakeKubelet
    zygote: Zygote

    def operator(self, *arguments: str, kubeconfig: Path | None = None) -> OperatorProcess:
        words = ("--namespace", self.namespace, *arguments)
        return OperatorProcess(
            self.kube, self.folder, *words, kubeconfig=kubeconfig, zygote=self.zygote
        )

    def document(self, **changes: Any) -> dict[str, Any]:
        """See :func:`tests.fakes.harness.manifest`."""
        document = manifest(**changes)
        document["metadata"]["namespace"] = self.namespace
        document["spec"].setdefault("storage", {"claimName": "checkpoints"})
        return document

    def apply(self, **changes: Any) -> Seen:
        document = self.document(**changes)
        self.kube.apply(document)
        return Seen(self.kube, self.namespace, document["metadata"]["name"])

    def patch(self, spec: dict[str, Any], name: str = "fake") -> None:
        self.merge(f"trainingsearch/{name}", {"spec": spec})

    def merge(self, what: str, patch: dict[str, Any]) -> None:
        where = ("-n", self.namespace, "--type=merge")
        self.kube.run("patch", what, *where, "-p", json.dumps(patch))


def make_bound_claim(kube: Kube, namespace: str, mode: str = "ReadWriteMany") -> None:
    """A claim that is bound without a provisioner; nothing is ever mounted."""
    volume = f"checkpoints-{namespace}"
    spec: dict[str, Any] = {"accessModes": [mode], "storageClassName": ""}
    kube.apply(
        {
            "apiVersion": "v1",
            "kind": "PersistentVolume",
            "metadata": {"name": volume},
            "spec": {**spec, "capacity": {"storage": "1Gi"}, "hostPath": {"path": "/nowhere"}},
        },
        {
            "apiVersion": "v1",
            "kind": "PersistentVolumeClaim",
            "metadata": {"name": "checkpoints", "namespace": namespace},
            "spec": {
                **spec,
                "resources": {"requests": {"storage": "1Gi"}},
                "volumeName": volume,
            },
        },
    )


@pytest.fixture
def stand(
    kube_controllers: Kube,
    make_namespace: Callable[[Kube], str],
    fake_kubelet: FakeKubelet,
    zygote: Zygote,
    tmp_path: Path,
) -> Iterator[Stand]:
    namespace = make_namespace(kube_controllers)
    make_bound_claim(kube_controllers, namespace)
    fake_kubelet.seconds, fake_kubelet.faults = 0.0, {}
    fake_kubelet.hold = lambda node: False
    yield Stand(kube_controllers, namespace, tmp_path, fake_kubelet, zygote)
    kube_controllers.run("delete", "pv", f"checkpoints-{namespace}", "--wait=false")
