"""Claims for checkpoints: on our own node a folder of this machine, elsewhere the default class."""

import os
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.cluster.client import Kube
from tests.cluster.image import USER
from tests.tools.cache import cache

CHECKPOINTS = "checkpoints"


@dataclass(frozen=True)
class Claim:
    """A PersistentVolumeClaim that pods of uid 1000 write to."""

    name: str
    folder: Path | None
    """Its files on this machine; None on a cluster that is not ours."""


def make_claim(
    kube: Kube, namespace: str, name: str = CHECKPOINTS, folder: Path | None = None
) -> Claim:
    """Creates the claim; on our own node in ``folder``, or else in one of the cluster's. The
    built-in models that were made on this machine are in it."""
    if kube.data is None:
        kube.apply(_claim(namespace, name, "ReadWriteOnce", {}))
        return Claim(name, None)
    folder = folder or kube.data / namespace / name
    models = cache() / "models"
    if models.exists():
        shutil.copytree(models, folder / ".cache/llmzero/models")
    folder.mkdir(parents=True, exist_ok=True)
    for path in (folder, *folder.rglob("*")):
        os.chown(path, USER, USER)
    volume = f"{name}-{namespace}"
    bound = {"storageClassName": "", "volumeName": volume}
    claimed = {"namespace": namespace, "name": name}
    kube.apply(_volume(volume, folder, claimed), _claim(namespace, name, "ReadWriteMany", bound))
    return Claim(name, folder)


def delete_volumes(kube: Kube, namespace: str) -> None:
    """Deletes our volumes whose claims were in this namespace, and their files."""
    if kube.data is not None and (kube.data / namespace).exists():
        for folder in (kube.data / namespace).iterdir():
            kube.run("delete", "pv", f"{folder.name}-{namespace}", "--wait=false", check=False)
        shutil.rmtree(kube.data / namespace, ignore_errors=True)


def _volume(name: str, folder: Path, claimed: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": ["ReadWriteMany"],
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "claimRef": claimed,
            "hostPath": {"path": str(folder), "type": "Directory"},
        },
    }


def _claim(namespace: str, name: str, mode: str, bound: dict[str, str]) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": [mode],
            "resources": {"requests": {"storage": "1Gi"}},
            **bound,
        },
    }
