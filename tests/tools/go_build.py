"""Programs from the Go module proxy: Kubernetes, helm and CoreDNS, out of the one module in go/.

One module, so that they share versions, and what they share is compiled once: after Kubernetes,
helm and CoreDNS take seconds. So helm is the newest that was made for that Kubernetes. A program
is built once and cached by the hash of its inputs.
"""

import fcntl
import hashlib
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Final

from tests.tools.cache import cache

SOURCE: Final = Path(__file__).with_name("go")
PACKAGES: Final = {
    "kube": "./cmd/kube",
    "pause": "./cmd/pause",
    "coredns": "./cmd/coredns",
    "helm": "helm.sh/helm/v4/cmd/helm",
}
VERSIONS: Final = {
    "k8s.io/component-base/version": ("gitVersion", "gitMajor", "gitMinor"),
    "k8s.io/client-go/pkg/version": ("gitVersion", "gitMajor", "gitMinor"),
    "helm.sh/helm/v4/pkg/chart/common": ("", "k8sVersionMajor", "k8sVersionMinor"),
    "helm.sh/helm/v4/pkg/chart/v2/lint/rules": ("", "k8sVersionMajor", "k8sVersionMinor"),
    "helm.sh/helm/v4/internal/version": ("", "kubeClientVersionMajor", "kubeClientVersionMinor"),
}
"""What the linker tells of Kubernetes' version: else kubectl has none, and helm takes 1.20's."""


def go_program(name: str) -> Path:
    """The static binary of that name in ``PACKAGES``, built if it is not there.

    Raises RuntimeError where there is no Go toolchain or the build fails.
    """
    digest = hashlib.sha256(repr((PACKAGES, _linked())).encode())
    for file in sorted(p for p in SOURCE.rglob("*") if p.is_file()):
        digest.update(str(file.relative_to(SOURCE)).encode() + file.read_bytes())
    target = cache() / "go" / digest.hexdigest()[:16] / name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            for left in target.parent.glob(".new-*"):  # by a build that was killed
                left.unlink()
            _build(target)
    return target


def helm() -> Path:
    return go_program("helm")


def _build(target: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise RuntimeError(f"{target.name} is built with Go 1.24 or later: go was not found")
    print(f"building {target.name} (minutes, once)", file=sys.stderr, flush=True)
    made = target.with_name(f".new-{os.getpid()}")
    done = subprocess.run(
        [go, "build", "-trimpath", "-ldflags", _linked(), "-o", str(made), PACKAGES[target.name]],
        cwd=SOURCE,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"building {target.name} failed: {done.stderr[-2000:]}")
    os.rename(made, target)


def _linked() -> str:
    found = re.search(r"k8s\.io/kubernetes v((\d+)\.(\d+)\.\d+)", (SOURCE / "go.mod").read_text())
    assert found is not None, "go.mod requires k8s.io/kubernetes"
    version, major, minor = found.groups()
    told = [
        f"-X {package}.{name}={value}"
        for package, names in VERSIONS.items()
        for name, value in zip(names, (f"v{version}", major, minor), strict=True)
        if name
    ]
    return " ".join(["-s -w", *told])
