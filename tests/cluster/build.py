"""The Kubernetes binaries: one program under many names."""

from pathlib import Path

from tests.tools.go_build import go_program

COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
)


def binaries() -> Path:
    """A directory with every component and ``pause``, built if it is not there (5 minutes on two
    cores). Raises RuntimeError where that cannot be."""
    folder = go_program("kube").parent
    go_program("pause")
    for component in COMPONENTS:
        try:
            (folder / component).symlink_to("kube")
        except FileExistsError:
            continue
    return folder
