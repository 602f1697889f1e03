"""A cluster at one of three levels, as a context: everything is gone afterwards.

* ``api``: etcd and the API server, on loopback.
* ``controllers``: also the controller manager and the scheduler.
* ``node``: also containerd, kubelet and kube-proxy. All of it runs in network, mount and process
  namespaces of its own (:mod:`tests.cluster.inside`), so several clusters never meet, and when
  their first process dies, processes, mounts, bridges and iptables chains go with it.

Whatever kills the starter (SIGKILL too) ends the cluster: each component dies with its parent.
"""

import json
import os
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.cluster import control_plane
from tests.cluster.build import binaries
from tests.cluster.node import import_image, install_packages
from tests.cluster.process import Component, StartFailed, die_with_parent

Level = Literal["api", "controllers", "node"]
PREFIX = "llmzero-cluster-"
OWNER = "owner"


class Cluster:
    """A running cluster: ``kubeconfig`` of an administrator, and ``kubectl``."""

    def __init__(self, level: Level) -> None:
        self.level = level
        self.folder = Path()
        self.binaries = Path()
        self._components: list[Component] = []
        self._inside: subprocess.Popen[bytes] | None = None

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    def __enter__(self) -> Self:
        if self.level == "node":
            install_packages()
        self.binaries = binaries()
        sweep()
        self.folder = Path(tempfile.mkdtemp(prefix=PREFIX))
        (self.folder / OWNER).write_text(str(os.getpid()))
        try:
            if self.level == "node":
                self._start_inside()
            else:
                place = control_plane.place(self.binaries, self.folder, "127.0.0.1")
                controllers = self.level == "controllers"
                self._components = control_plane.start(place, controllers)
            self._wait_for_defaults()
        except BaseException:
            self.stop()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        if self._inside is not None:
            self._inside.kill()  # and with it the first process of the namespaces
            self._inside.wait()
            time.sleep(0.2)
        for component in reversed(self._components):
            component.stop()
        _remove(self.folder)

    def kubectl(self, *arguments: str, stdin: str | None = None, check: bool = True) -> str:
        """Its stdout. Raises RuntimeError with stderr where it fails and ``check`` is set."""
        done = subprocess.run(
            [str(self.binaries / "kubectl"), f"--kubeconfig={self.kubeconfig}", *arguments],
            input=stdin,
            capture_output=True,
            text=True,
        )
        if check and done.returncode:
            raise RuntimeError(f"kubectl {' '.join(arguments)}: {done.stderr.strip()}")
        return done.stdout if done.returncode == 0 else done.stdout + done.stderr

    def load_image(self, archive: bytes | Path) -> None:
        """Makes an image known to the node. Level node only."""
        import_image(self.folder, archive)

    def _start_inside(self) -> None:
        number = _free_network()
        settings = {"binaries": str(self.binaries), "folder": str(self.folder), "network": number}
        log = (self.folder / "inside.log").open("ab")
        command = [sys.executable, "-m", "tests.cluster.inside", json.dumps(settings)]
        namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        self._inside = subprocess.Popen(
            ["unshare", *namespaces, "--", *command],
            cwd=Path(__file__).parents[2],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            preexec_fn=die_with_parent,
        )
        self._connect(number)
        self._await(lambda: (self.folder / "ready").exists(), 180)

    def _connect(self, number: int) -> None:
        """A veth pair between this machine (.1) and the cluster (.2)."""
        assert self._inside is not None
        children = Path(f"/proc/{self._inside.pid}/task/{self._inside.pid}/children")
        self._await(lambda: bool(children.read_text().split()), 20)
        first = children.read_text().split()[0]
        outer, inner = f"lz{number}a", f"lz{number}b"
        # The child sleeps until its end of the pair is there.
        for command in (
            ["ip", "link", "add", outer, "type", "veth", "peer", "name", inner],
            ["ip", "link", "set", inner, "netns", first],
            ["ip", "addr", "add", f"10.213.{number}.1/24", "dev", outer],
            ["ip", "link", "set", outer, "up"],
        ):
            subprocess.run(command, check=True, capture_output=True)

    def _await(self, ready: Callable[[], bool], seconds: float) -> None:
        assert self._inside is not None
        deadline = time.monotonic() + seconds
        while not ready():
            if self._inside.poll() is not None or time.monotonic() > deadline:
                text = (self.folder / "inside.log").read_text(errors="replace")[-4000:]
                raise StartFailed(f"the node did not start: {text}")
            time.sleep(0.05)

    def _wait_for_defaults(self) -> None:
        deadline = time.monotonic() + 30
        wanted = ["get", "namespace", "default"]
        if self.level != "api":
            wanted = ["get", "serviceaccount", "default", "-n", "default"]
        while not self.kubectl(*wanted, "-o", "name", check=False).strip().endswith("/default"):
            if time.monotonic() > deadline:
                raise StartFailed(f"no {wanted[1]} default after 30 s")
            time.sleep(0.05)


def sweep() -> None:
    """Removes what starters that were killed have left: their folders, nothing else lives on."""
    for folder in Path(tempfile.gettempdir()).glob(f"{PREFIX}*"):
        try:
            owner = int((folder / OWNER).read_text())
        except (OSError, ValueError):
            continue
        if not Path(f"/proc/{owner}").exists():
            _remove(folder)


def _remove(folder: Path) -> None:
    if not folder.name.startswith(PREFIX):
        return
    for _ in range(50):
        shutil.rmtree(folder, ignore_errors=True)
        if not folder.exists():
            return
        time.sleep(0.1)


def _free_network() -> int:
    """A number n with no interface on 10.213.n.0/24."""
    taken = subprocess.run(["ip", "-br", "addr"], capture_output=True, text=True).stdout
    while True:
        number = random.SystemRandom().randrange(1, 250)
        if f"10.213.{number}." not in taken:
            return number
