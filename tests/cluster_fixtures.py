"""Clusters shared by a test run; LLMZERO_TEST_KUBECONFIG points the same tests at another one.

There, LLMZERO_TEST_TRAINER_IMAGE names the trainer's image, and claims take the default class.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster.client import Kube
from tests.cluster.cluster import Cluster, Level
from tests.cluster.image import TRAINER, load_trainer
from tests.cluster.volumes import Claim, delete_volumes, make_claim

CRDS = Path(__file__).parents[1] / "crds"
KUBECONFIG_ENV = "LLMZERO_TEST_KUBECONFIG"
IMAGE_ENV = "LLMZERO_TEST_TRAINER_IMAGE"


def _kube(level: Level) -> Iterator[Kube]:
    given = os.environ.get(KUBECONFIG_ENV)
    if given:
        kube = Kube.foreign(Path(given))
        install_crds(kube)
        yield kube
        return
    with Cluster(level) as cluster:
        if level == "node":
            load_trainer(cluster)
        install_crds(cluster.kube)
        yield cluster.kube


def install_crds(kube: Kube) -> None:
    """Applies crds/ and waits until they are served."""
    kube.run("apply", "--server-side", "--force-conflicts", "-f", str(CRDS))
    kube.run("wait", "--for=condition=Established", "--timeout=60s", "-f", str(CRDS))


@pytest.fixture(scope="session")
def kube_api() -> Iterator[Kube]:
    """etcd and the API server. No controller works: a deleted namespace stays Terminating."""
    yield from _kube("api")


@pytest.fixture(scope="session")
def kube_controllers() -> Iterator[Kube]:
    """Also the controller manager and the scheduler; no node, so pods stay Pending."""
    yield from _kube("controllers")


@pytest.fixture(scope="session")
def kube_node() -> Iterator[Kube]:
    """Also a node that runs pods, with the trainer's image."""
    yield from _kube("node")


@pytest.fixture(scope="session")
def trainer_image() -> str:
    """The image for ``spec.trainer.image`` on ``kube_node``; it needs nothing else in the pod."""
    if not os.environ.get(KUBECONFIG_ENV):
        return TRAINER
    given = os.environ.get(IMAGE_ENV)
    if not given:
        pytest.fail(f"{KUBECONFIG_ENV} is set: name the trainer's image there in {IMAGE_ENV}")
    return given


@pytest.fixture
def namespace_name() -> str:
    return f"test-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def make_namespace() -> Iterator[Callable[[Kube], str]]:
    """``make_namespace(kube) -> name``: under restricted Pod Security; deleted after the test."""
    made: list[tuple[Kube, str]] = []

    def make(kube: Kube) -> str:
        name = f"test-{uuid.uuid4().hex[:8]}"
        labels = {"pod-security.kubernetes.io/enforce": "restricted"}
        kube.apply(
            {"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": name, "labels": labels}}
        )
        made.append((kube, name))
        return name

    yield make
    for kube, name in made:
        # The operator may have ended before its finalizers; nothing here waits for it.
        kube.run("delete", "trainingsearches,stagenodes", "--all", "-n", name, "--wait=false")
        kube.run("delete", "namespace", name, "--wait=false")
        delete_volumes(kube, name)


@pytest.fixture
def checkpoints_claim() -> Callable[[Kube, str], Claim]:
    """``checkpoints_claim(kube, namespace) -> Claim``: a claim ``checkpoints``, uid 1000 writes."""
    return make_claim
