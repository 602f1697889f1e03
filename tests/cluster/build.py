"""The Kubernetes binaries, built from the Go module proxy once and cached by their inputs.

The first build takes about 7 minutes on two cores, a later one of other inputs half a minute.
"""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

KUBERNETES = "1.34.4"
SOURCE = Path(__file__).parent / "kube"
COMPONENTS = (
    "etcd",
    "kube-apiserver",
    "kube-controller-manager",
    "kube-scheduler",
    "kube-proxy",
    "kubelet",
    "kubectl",
)


def cache() -> Path:
    """Where slow things are kept, LLMZERO_CACHE or ~/.cache/llmzero."""
    return Path(os.environ.get("LLMZERO_CACHE") or Path.home() / ".cache" / "llmzero")


def binaries() -> Path:
    """A directory with every component (and ``pause``), built if it is not there.

    Raises RuntimeError where there is no Go toolchain or the build fails.
    """
    files = sorted(p for p in SOURCE.rglob("*") if p.is_file())
    digest = hashlib.sha256(KUBERNETES.encode())
    for file in files:
        digest.update(str(file.relative_to(SOURCE)).encode() + file.read_bytes())
    target = cache() / "kubernetes" / digest.hexdigest()[:16]
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _build(target)
    return target


def _build(target: Path) -> None:
    go = shutil.which("go")
    if go is None:
        raise RuntimeError("the test cluster is built with Go 1.24 or later: go was not found")
    print(f"building Kubernetes {KUBERNETES} (minutes, once)", file=sys.stderr, flush=True)
    made = target.with_name(f".new-{os.getpid()}")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir()
    major, minor, _ = KUBERNETES.split(".")
    flags = ["-s", "-w"]
    for package in ("k8s.io/component-base/version", "k8s.io/client-go/pkg/version"):
        values = {"gitVersion": f"v{KUBERNETES}", "gitMajor": major, "gitMinor": minor}
        flags += [f"-X {package}.{key}={value}" for key, value in values.items()]
    for name in ("kube", "pause"):
        command = [go, "build", "-trimpath", "-ldflags", " ".join(flags), "-o", str(made / name)]
        done = subprocess.run(
            [*command, f"./cmd/{name}"],
            cwd=SOURCE,
            env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
            stderr=subprocess.PIPE,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"building {name} failed: {done.stderr[-2000:]}")
    for component in COMPONENTS:
        (made / component).symlink_to("kube")
    os.rename(made, target)
