"""Programs from the Go module proxy, built once and cached by the hash of their sources."""

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
from pathlib import Path

from tests.cluster.build import cache


def go_program(name: str, source: Path, package: str) -> Path:
    """The static binary ``name`` of ``package`` in the module ``source``.

    Raises RuntimeError where there is no Go toolchain or the build fails.
    """
    digest = hashlib.sha256()
    for file in sorted(source.iterdir()):
        digest.update(file.name.encode() + file.read_bytes())
    target = cache() / name / digest.hexdigest()[:16] / name
    if target.exists():
        return target
    target.parent.mkdir(parents=True, exist_ok=True)
    with (target.parent.parent / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not target.exists():
            _build(target, source, package)
    return target


def _build(target: Path, source: Path, package: str) -> None:
    go = shutil.which("go")
    if go is None:
        raise RuntimeError(f"{target.name} is built with Go 1.26 or later: go was not found")
    print(f"building {target.name} (minutes, once)", file=sys.stderr, flush=True)
    made = target.with_name(f".new-{os.getpid()}")
    done = subprocess.run(
        [go, "build", "-trimpath", "-ldflags", "-s -w", "-o", str(made), package],
        cwd=source,
        env={**os.environ, "CGO_ENABLED": "0", "GOFLAGS": "-mod=readonly"},
        stderr=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"building {target.name} failed: {done.stderr[-2000:]}")
    os.rename(made, target)
