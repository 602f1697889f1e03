"""Programs that tests need and Debian has."""

import fcntl
import os
import shutil
import subprocess
import tempfile
from pathlib import Path


def program(name: str, package: str | None = None) -> str:
    """Path of a program; its package is installed where we are root and there is apt-get.

    Raises RuntimeError with the command that a person has to run.
    """
    found = shutil.which(name)
    if found:
        return found
    package = package or name
    hint = f"{name} is missing: on Debian run apt-get install {package}"
    if os.geteuid() or not shutil.which("apt-get"):
        raise RuntimeError(hint)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["install", "-y", "-qq", "--no-install-recommends", package]
    with (Path(tempfile.gettempdir()) / "llmzero-apt.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two workers of pytest-xdist
        for arguments in (["update", "-qq"], install):
            done = subprocess.run(
                ["apt-get", *arguments], env=environment, capture_output=True, text=True
            )
            if done.returncode:
                raise RuntimeError(f"{hint}: {done.stderr[-500:]}")
    found = shutil.which(name)
    if found is None:
        raise RuntimeError(hint)
    return found
