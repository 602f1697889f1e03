"""Debian's Prometheus and promtool; nothing of Prometheus is faked here."""

import os
import shutil
import subprocess
from pathlib import Path


def tool(name: str) -> str:
    """``prometheus`` or ``promtool``; installed where we are root and Debian has it.

    Raises RuntimeError with the command that a person has to run.
    """
    found = shutil.which(name)
    if found:
        return found
    hint = f"{name} is missing: on Debian run apt-get install prometheus"
    if os.geteuid() or not shutil.which("apt-get"):
        raise RuntimeError(hint)
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    install = ["install", "-y", "-qq", "--no-install-recommends", "prometheus"]
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


def promtool(*arguments: str | Path, text: str | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [tool("promtool"), *map(str, arguments)], input=text, capture_output=True, text=True
    )
