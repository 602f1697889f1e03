"""kubectl for tests."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

from tests.cluster.build import binaries


@dataclass(frozen=True)
class Kube:
    """An API server, and kubectl for it."""

    kubeconfig: Path
    program: Path
    data: Path | None = None
    """Folder for volumes on the node's machine; None where the cluster is not ours."""

    @classmethod
    def foreign(cls, kubeconfig: Path) -> Self:
        """Somebody else's cluster, with this machine's kubectl, else the one we build."""
        found = shutil.which("kubectl")
        return cls(kubeconfig, Path(found) if found else binaries() / "kubectl")

    @property
    def env(self) -> Mapping[str, str]:
        """For programs that are to speak to this cluster."""
        return {**os.environ, "KUBECONFIG": str(self.kubeconfig)}

    def run(
        self, *arguments: str, stdin: str | None = None, check: bool = True, timeout: float = 120
    ) -> subprocess.CompletedProcess[str]:
        """Raises AssertionError with stderr where it fails and ``check`` is set."""
        done = subprocess.run(
            [str(self.program), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
            timeout=timeout,
        )
        if check and done.returncode:
            raise AssertionError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done

    def apply(self, *objects: dict[str, Any], check: bool = True) -> str:
        """``kubectl apply``; stdout and stderr together."""
        text = json.dumps({"apiVersion": "v1", "kind": "List", "items": list(objects)})
        done = self.run("apply", "-f", "-", stdin=text, check=check)
        return done.stdout + done.stderr

    def get(self, *arguments: str) -> dict[str, Any]:
        """``kubectl get -o json``."""
        found: dict[str, Any] = json.loads(self.run("get", *arguments, "-o", "json").stdout)
        return found

    def exists(self, *arguments: str) -> bool:
        """Whether ``kubectl get`` finds it; an API server that does not answer has nothing."""
        return self.run("get", *arguments, "-o", "name", check=False).stdout.strip() != ""
