"""A cluster at one of three levels, as a context: everything is gone afterwards.

* ``api``: etcd and the API server, on loopback.
* ``controllers``: also the controller manager and the scheduler.
* ``node``: also containerd, kubelet and kube-proxy. All of it runs in network, mount and process
  namespaces of its own (:mod:`tests.cluster.inside`) and below a control group of its own, so
  several clusters never meet, and when their first process dies, processes, mounts, bridges and
  iptables chains go with it.

Whatever kills the starter (SIGKILL too) ends the cluster: each component dies with its parent, and
:mod:`tests.cluster.leftovers` removes files, groups and links. The components live as long as the
*thread* that entered the context.
"""

import json
import random
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import Literal, Self

from tests.cluster import cgroups, control_plane, leftovers
from tests.cluster.build import binaries
from tests.cluster.client import Kube
from tests.cluster.node import import_image, require_node_programs
from tests.cluster.process import Component, StartFailed, die_with_parent, identity, wait_until

Level = Literal["api", "controllers", "node"]
LEVELS: tuple[Level, ...] = ("api", "controllers", "node")
ATTEMPTS = 3
_janitors: list[subprocess.Popen[bytes]] = []
"""Those that still delete files; kept, since a collected Popen complains."""


class Cluster:
    """A running cluster: ``kubeconfig`` of an administrator, and ``kube``, a kubectl for it."""

    def __init__(self, level: Level) -> None:
        self.level = level
        self.folder = Path()
        self.binaries = Path()
        self._components: list[Component] = []
        self._inside: subprocess.Popen[bytes] | None = None
        self._janitor: subprocess.Popen[bytes] | None = None

    @property
    def kubeconfig(self) -> Path:
        return self.folder / "admin.kubeconfig"

    @property
    def kube(self) -> Kube:
        return Kube(self.kubeconfig, self.binaries / "kubectl", self.folder / "volumes")

    def __enter__(self) -> Self:
        """Raises RuntimeError where this machine cannot run the level, StartFailed with a log."""
        if self.level == "node":
            require_node_programs()
        self.binaries = binaries()
        leftovers.sweep()
        for _ in range(ATTEMPTS):
            try:
                self._start()
            except StartFailed as error:
                self.stop()
                if "address already in use" not in str(error):
                    raise
                failed = error  # the port was free when it was chosen
            except BaseException:
                self.stop()
                raise
            else:
                return self
        raise failed

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Ends every process, mount and network; the janitor then deletes the files.

        Stopping twice is harmless.
        """
        if self._inside is not None:
            self._inside.kill()  # and with it the first process of the namespaces
            self._inside.wait()
        for component in reversed(self._components):
            component.stop()
        self._inside, self._components = None, []
        if self._janitor is not None:
            leftovers.end(self.folder)
            assert self._janitor.stdin is not None
            self._janitor.stdin.close()
            _janitors.append(self._janitor)
            self._janitor = None

    def load_image(self, archive: bytes | Path) -> None:
        """Makes an image known to the node. Level node only."""
        import_image(self.folder, archive)

    def _start(self) -> None:
        self.folder = leftovers.make_folder()
        self._janitor = leftovers.start_janitor(self.folder)
        if self.level == "node":
            self._start_inside()
        else:
            place = control_plane.place(self.binaries, self.folder, "127.0.0.1")
            controllers = self.level == "controllers"
            control_plane.start(place, controllers, self._components)
        wanted = ("namespace", "default") if self.level == "api" else ("serviceaccount", "default")
        if not wait_until(lambda: self.kube.exists(*wanted), 60):
            raise StartFailed(f"no {' '.join(wanted)} after 60 s")

    def _start_inside(self) -> None:
        number = self._create_link()
        cgroups.create(self.folder.name)
        settings = {"binaries": str(self.binaries), "folder": str(self.folder), "network": number}
        command = [sys.executable, "-m", "tests.cluster.inside", json.dumps(settings)]
        namespaces = ["--net", "--mount", "--pid", "--fork", "--kill-child", "--mount-proc"]
        with (self.folder / "inside.log").open("ab") as log:
            self._inside = subprocess.Popen(
                ["unshare", *namespaces, "--", *command],
                cwd=Path(__file__).parents[2],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                preexec_fn=die_with_parent(),
            )
        children = Path(f"/proc/{self._inside.pid}/task/{self._inside.pid}/children")
        self._await(lambda: bool(children.read_text().split()), 20)
        first = children.read_text().split()[0]
        (self.folder / leftovers.PROCESSES).write_text(identity(int(first)) or "")
        # The first process sleeps until its end of the link is there.
        _ip("link", "set", f"lz{number}b", "netns", first)
        self._await(lambda: (self.folder / "ready").exists(), 180)

    def _create_link(self) -> int:
        """A veth pair on a free network 10.213.n.0/24: this machine is .1, the cluster .2."""
        taken = subprocess.run(["ip", "-br", "addr"], capture_output=True, text=True).stdout
        numbers = [n for n in range(1, 250) if f"10.213.{n}." not in taken]
        for number in random.SystemRandom().sample(numbers, len(numbers)):
            outer = f"lz{number}a"
            try:
                _ip("link", "add", outer, "type", "veth", "peer", "name", f"lz{number}b")
            except StartFailed as error:
                if "exists" in str(error):  # another starter took it just now
                    continue
                raise
            (self.folder / leftovers.LINK).write_text(outer)
            _ip("addr", "add", f"10.213.{number}.1/24", "dev", outer)
            _ip("link", "set", outer, "up")
            return number
        raise StartFailed("no free network among 10.213.1.0/24 to 10.213.249.0/24")

    def _await(self, ready: Callable[[], bool], seconds: float) -> None:
        assert self._inside is not None
        ended = self._inside.poll
        if not wait_until(lambda: ended() is not None or ready(), seconds) or ended() is not None:
            text = (self.folder / "inside.log").read_text(errors="replace")[-4000:]
            raise StartFailed(f"the node did not start: {text}")


def _ip(*arguments: str) -> None:
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True)
    if done.returncode:
        raise StartFailed(f"ip {' '.join(arguments)}: {done.stderr.strip()}")
