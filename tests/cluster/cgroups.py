"""A control group of its own for each node: a kubelet ends pods below its root that it does not know,
so two kubelets below one root would end each other's."""

import os
import time
from pathlib import Path

ROOT = Path("/sys/fs/cgroup")


def create(name: str) -> None:
    """The group in every hierarchy (version 1, hybrid or 2)."""
    for hierarchy in _hierarchies():
        _enable_controllers(hierarchy)
        group = hierarchy / name
        group.mkdir(exist_ok=True)
        for file in ("cpuset.mems", "cpuset.cpus"):  # version 1: empty until somebody fills them
            if (hierarchy / file).exists():
                (group / file).write_text((hierarchy / file).read_text())


def remove(name: str, seconds: float = 5.0) -> None:
    """Removes the group and those below it, once their processes have ended."""
    deadline = time.monotonic() + seconds
    for hierarchy in _hierarchies():
        while (hierarchy / name).exists() and not _removed(hierarchy / name):
            if time.monotonic() > deadline:
                break
            time.sleep(0.02)


def left(name: str) -> list[Path]:
    """Where the group still is."""
    return [h / name for h in _hierarchies() if (h / name).exists()]


def _hierarchies() -> list[Path]:
    return [p for p in (ROOT, *ROOT.iterdir()) if (p / "cgroup.procs").exists()]


def _enable_controllers(hierarchy: Path) -> None:
    """Version 2: a controller works in the group only where its parent hands it down."""
    offered = hierarchy / "cgroup.controllers"
    for controller in offered.read_text().split() if offered.exists() else ():
        try:
            (hierarchy / "cgroup.subtree_control").write_text(f"+{controller}")
        except OSError:
            continue  # the kubelet names what it misses


def _removed(group: Path) -> bool:
    try:
        for folder, _, _ in os.walk(group, topdown=False):
            os.rmdir(folder)
    except OSError:
        return False
    return True
