"""Fixtures for all tests."""

import os

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

os.environ["COLUMNS"] = "140"  # pytest-xdist's workers say 80, and tables would wrap
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
