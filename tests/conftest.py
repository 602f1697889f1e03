"""Fixtures for all tests."""

from tests.cluster.client import Kube
from tests.cluster_fixtures import (
    checkpoints_claim,
    kube_api,
    kube_controllers,
    kube_node,
    make_namespace,
    namespace_name,
    trainer_image,
)

__all__ = [
    "Kube",
    "checkpoints_claim",
    "kube_api",
    "kube_controllers",
    "kube_node",
    "make_namespace",
    "namespace_name",
    "trainer_image",
]
