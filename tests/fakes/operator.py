"""The operator as a process of its own against a test cluster: started, killed, looked at."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import StageNode
from tests.cluster.client import Kube
from tests.fakes.harness import ROOT, _essence
from tests.fakes.zygote import Forked, Zygote


class OperatorProcess:
    """``llmzero operator``; use as a context. Its output lies in ``log``."""

    def __init__(
        self,
        kube: Kube,
        folder: Path,
        *arguments: str,
        kubeconfig: Path | None = None,
        zygote: Zygote | None = None,
    ) -> None:
        self.kube, self.log, self.arguments = kube, folder / "operator.log", arguments
        self.kubeconfig = kubeconfig or kube.kubeconfig
        self.zygote = zygote
        self.process: subprocess.Popen[bytes] | Forked | None = None

    def start(self, **environment: str) -> "subprocess.Popen[bytes] | Forked":
        env = {**os.environ, "KUBECONFIG": str(self.kubeconfig), **environment}
        if self.zygote is not None:
            self.process = self.zygote.start(self.arguments, env, self.log)
            return self.process
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "llmzero.cli.main", "operator", *self.arguments],
                cwd=ROOT,
                env=env,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        return self.process

    def kill(self) -> None:
        """SIGKILL, if it lives."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def terminate(self, seconds: float = 20) -> int:
        assert self.process is not None
        self.process.send_signal(signal.SIGTERM)
        return self.process.wait(seconds)

    def said(self) -> str:
        return self.log.read_text(errors="replace") if self.log.exists() else ""

    def __enter__(self) -> "OperatorProcess":
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.kill()
        if error is not None:
            print(self.said()[-6000:])


class Seen:
    """One search and its objects as kubectl shows them."""

    def __init__(self, kube: Kube, namespace: str, name: str) -> None:
        self.kube, self.namespace, self.name = kube, namespace, name

    def get(self, *arguments: str) -> dict[str, Any]:
        return self.kube.get(*arguments, "-n", self.namespace)

    def search(self) -> TrainingSearch:
        return TrainingSearch.model_validate(self.get("trainingsearch", self.name))

    def nodes(self) -> list[StageNode]:
        return [StageNode.model_validate(i) for i in self.get("stagenodes")["items"]]

    def node(self, path: str, purpose: str = "Train") -> StageNode:
        found = [n for n in self.nodes() if n.spec.path == path and n.spec.purpose == purpose]
        assert found, f"there is no stage {path}"
        return found[0]

    def phase(self) -> str:
        return str(self.search().status.phase)

    def condition(self, kind: str) -> tuple[str, str]:
        """Status and message."""
        found = [c for c in self.search().status.conditions if c.type == kind]
        return (found[0].status, found[0].message) if found else ("", "")

    def wait_phase(self, *phases: str, seconds: float = 120) -> None:
        wait_for(lambda: self.phase() in phases, seconds, self.describe)

    def tree(self) -> dict[str, Any]:
        """What was decided and what came out, by purpose and path, without the UID's mark."""
        return essences(self.nodes(), self.search().metadata.uid)

    def describe(self) -> str:
        arguments = ("get", "ts,sn,jobs,pods,events", "-n", self.namespace)
        return self.kube.run(*arguments, check=False).stdout


def essences(nodes: Sequence[StageNode], uid: str) -> dict[str, Any]:
    """By purpose and path; names without what comes of the search's UID."""
    found = {}
    for node in nodes:
        name = node.name.removesuffix(f"-{node.spec.purpose.lower()}")
        essence = _essence(node)
        text = json.dumps(essence).replace(uid, "UID").replace(name.split("-")[1], "TAG")
        found[f"{node.spec.purpose} {node.name.split('-', 2)[2]}"] = json.loads(text)
    return found


def differences(left: Any, right: Any, where: str = "") -> list[str]:
    """Where two trees differ, leaf by leaf."""
    if isinstance(left, dict) and isinstance(right, dict):
        names = sorted({*left, *right})
        found = [differences(left.get(n, "-"), right.get(n, "-"), f"{where}/{n}") for n in names]
        return [line for lines in found for line in lines]
    return [] if left == right else [f"{where}: {left!r} != {right!r}"]


def wait_for(
    condition: Callable[[], Any], seconds: float = 60, describe: Callable[[], str] = lambda: ""
) -> Any:
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        found = condition()
        if found:
            return found
        time.sleep(0.1)
    raise AssertionError(f"it did not happen within {seconds:.0f} s\n{describe()}")
