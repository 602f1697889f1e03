"""Fixtures for all tests."""

from hypothesis import settings

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

settings.register_profile("llmzero", deadline=None)  # a loaded machine is no mistake of ours
settings.load_profile("llmzero")

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
