"""The trainer in pods without a registry and without copying 6 GB: a stand-in for its image.

The image is a few kilobytes: the directories and links of a Debian root. What it lacks (the
system's libraries, this Python, the virtual environment with torch, our own code) comes from this
machine through one read-only PersistentVolume. So pods run the trainer's real code, TRL and torch,
restricted and as uid 1000, seconds after a change. Building the real image is `make images`.
"""

import io
import sys
import tarfile
from pathlib import Path
from typing import Any

from tests.cluster.cluster import Cluster
from tests.cluster.node import docker_archive

REPOSITORY = Path(__file__).parents[2]
TRAINER = "llmzero.test/trainer-on-this-machine:1"
TOOLCHAIN = "toolchain-of-this-machine"
CHECKPOINTS = "checkpoints"
USER = 1000


def trainer_archive() -> bytes:
    """The image: an empty root with the links that a merged /usr needs."""
    layer = io.BytesIO()
    with tarfile.open(fileobj=layer, mode="w") as tar:
        for name in ("usr", "tmp", "proc", "sys", "dev", "run", "etc", "var", "home", "data"):
            entry = tarfile.TarInfo(name)
            entry.type, entry.mode = tarfile.DIRTYPE, 0o1777 if name == "tmp" else 0o755
            tar.addfile(entry)
        for name in ("bin", "sbin", "lib", "lib64"):
            if Path(f"/{name}").is_symlink():
                entry = tarfile.TarInfo(name)
                entry.type, entry.linkname = tarfile.SYMTYPE, f"usr/{name}"
                tar.addfile(entry)
        for name, text in (
            ("etc/passwd", f"root:x:0:0::/:/bin/sh\ntrainer:x:{USER}:{USER}::/home:/bin/sh\n"),
            ("etc/group", f"root:x:0:\ntrainer:x:{USER}:\n"),
            ("etc/ld.so.cache", Path("/etc/ld.so.cache").read_bytes()),
        ):
            data = text.encode() if isinstance(text, str) else text
            entry = tarfile.TarInfo(name)
            entry.size, entry.mode = len(data), 0o644
            tar.addfile(entry, io.BytesIO(data))
    config = {
        "Entrypoint": [sys.executable, "-m", "llmzero_trainer"],
        "User": f"{USER}:{USER}",
        "WorkingDir": "/tmp",
        "Env": ["PATH=/usr/bin:/bin", "PYTHONDONTWRITEBYTECODE=1", "HF_HUB_OFFLINE=1"],
    }
    return docker_archive(TRAINER, layer.getvalue(), config)


def load_trainer(cluster: Cluster) -> None:
    """Makes the image known to the node."""
    cluster.load_image(trainer_archive())


def namespace_objects(namespace: str, data: Path) -> list[dict[str, Any]]:
    """Claims of one namespace: the toolchain, and a writable one for checkpoints in ``data``.

    The toolchain's volume is bound by name, so a second namespace needs a volume of its own.
    """
    toolchain = f"{TOOLCHAIN}-{namespace}"
    checkpoints = f"{CHECKPOINTS}-{namespace}"
    return [
        _volume(toolchain, "/", "ReadOnlyMany"),
        _volume(checkpoints, str(data), "ReadWriteMany"),
        _claim(namespace, TOOLCHAIN, toolchain, "ReadOnlyMany"),
        _claim(namespace, CHECKPOINTS, checkpoints, "ReadWriteMany"),
    ]


def pod_template() -> dict[str, Any]:
    """What ``spec.trainer.podTemplate`` adds so that the stand-in image is complete."""
    paths = {"/usr", sys.base_prefix, str(REPOSITORY)}
    return {
        "spec": {
            "volumes": [
                {
                    "name": "toolchain",
                    "persistentVolumeClaim": {"claimName": TOOLCHAIN, "readOnly": True},
                }
            ],
            "containers": [
                {
                    "name": "trainer",
                    "volumeMounts": [
                        {
                            "name": "toolchain",
                            "mountPath": path,
                            "subPath": path.strip("/"),
                            "readOnly": True,
                        }
                        for path in sorted(paths)
                    ],
                }
            ],
        }
    }


def _volume(name: str, path: str, mode: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolume",
        "metadata": {"name": name},
        "spec": {
            "capacity": {"storage": "10Gi"},
            "accessModes": [mode],
            "storageClassName": "",
            "persistentVolumeReclaimPolicy": "Retain",
            "hostPath": {"path": path, "type": "Directory"},
        },
    }


def _claim(namespace: str, name: str, volume: str, mode: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "accessModes": [mode],
            "storageClassName": "",
            "volumeName": volume,
            "resources": {"requests": {"storage": "1Gi"}},
        },
    }
