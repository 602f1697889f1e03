"""The test cluster itself: what a test may rely on, and that nothing stays."""

import os
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import cgroups, leftovers
from tests.cluster.client import Kube
from tests.cluster.image import PYTHON
from tests.cluster.process import alive, identity, wait_until
from tests.cluster.volumes import Claim
from tests.tools.cache import cache

pytestmark = pytest.mark.cluster
REPOSITORY = Path(__file__).parents[2]
STARTER = """
import sys
from tests.cluster.cluster import Cluster
with Cluster(sys.argv[1]) as cluster:
    print(cluster.folder, flush=True)
    sys.stdin.read()
"""


def pod(
    name: str, namespace: str, image: str, program: str, limits: dict[str, str] | None = None
) -> dict[str, Any]:
    """A Python program as the restricted Pod Security wants it."""
    container: dict[str, Any] = {
        "name": "main",
        "image": image,
        "command": [PYTHON, "-c", program],
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "capabilities": {"drop": ["ALL"]},
            "readOnlyRootFilesystem": True,
        },
        "resources": {"requests": {"cpu": "200m"}, "limits": limits or {}},
        "volumeMounts": [{"name": "data", "mountPath": "/data"}],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace},
        "spec": {
            "backoffLimit": 0,
            "template": {
                "spec": {
                    "restartPolicy": "Never",
                    "securityContext": {
                        "runAsNonRoot": True,
                        "runAsUser": 1000,
                        "seccompProfile": {"type": "RuntimeDefault"},
                    },
                    "containers": [container],
                    "volumes": [
                        {"name": "data", "persistentVolumeClaim": {"claimName": "checkpoints"}}
                    ],
                }
            },
        },
    }


def terminated(kube: Kube, namespace: str, job: str) -> dict[str, Any]:
    """How the Job's container ended."""
    query = ["pods", "-n", namespace, "-l", f"job-name={job}"]
    found: dict[str, Any] = {}

    def ended() -> bool:
        for item in kube.get(*query)["items"]:
            for status in item["status"].get("containerStatuses", []):
                found.update(status["state"].get("terminated", {}))
        return bool(found)

    assert wait_until(ended, 120), kube.run("describe", *query).stdout[-3000:]
    return found


@pytest.fixture
def starter() -> Iterator[Callable[[str], tuple[subprocess.Popen[str], Path]]]:
    """Starts a cluster in a process of its own, to be killed; returns it and the folder."""
    started: list[subprocess.Popen[str]] = []

    def start(level: str) -> tuple[subprocess.Popen[str], Path]:
        process = subprocess.Popen(
            [sys.executable, "-c", STARTER, level],
            cwd=REPOSITORY,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        started.append(process)
        assert process.stdout is not None
        folder = process.stdout.readline().strip()
        assert folder, "it did not start; its reason is in stderr"
        return process, Path(folder)

    yield start
    for process in started:
        process.kill()
        process.communicate()


def processes_of(folder: Path) -> list[str]:
    """Identities of the processes whose command line names the folder."""
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        try:
            named = str(folder).encode() in (entry / "cmdline").read_bytes()
        except OSError:
            continue
        if named and (recorded := identity(int(entry.name))):
            found.append(recorded)
    return found


def mounts_of(folder: Path) -> list[str]:
    return [m for m in Path("/proc/mounts").read_text().splitlines() if str(folder) in m]


def links() -> set[str]:
    shown = subprocess.run(["ip", "-br", "link"], capture_output=True, text=True, check=True)
    return set(re.findall(r"^(lz\d+[ab])", shown.stdout, re.MULTILINE))


def assert_nothing_left(folder: Path, link: str | None = None) -> None:
    assert wait_until(lambda: not processes_of(folder), 20), processes_of(folder)
    assert mounts_of(folder) == []
    assert cgroups.left(folder.name) == []
    if link:
        assert wait_until(lambda: link not in links(), 20)
    assert wait_until(lambda: not folder.exists(), 60), list(folder.iterdir())


def test_api_level_serves_the_crds_and_runs_no_controllers(
    kube_api: Kube, make_namespace: Callable[[Kube], str]
) -> None:
    assert "TrainingSearch" in kube_api.run("api-resources", "--api-group=llmzero.dev").stdout
    assert "v1.34.4" in kube_api.run("get", "--raw=/version").stdout
    namespace = make_namespace(kube_api)
    assert kube_api.get("serviceaccounts", "-n", namespace)["items"] == []


def test_a_job_runs_restricted_as_user_1000_and_can_be_read(
    kube_node: Kube,
    make_namespace: Callable[[Kube], str],
    checkpoints_claim: Callable[[Kube, str], Claim],
    trainer_image: str,
) -> None:
    namespace = make_namespace(kube_node)
    claim = checkpoints_claim(kube_node, namespace)
    program = (
        "import os, llmzero_trainer, importlib.metadata as m\n"
        "print(os.getuid(), m.version('trl'))\n"
        "open('/data/written', 'w').write('kept')\n"
        "open('/dev/termination-log', 'w').write('the last word')\n"
        "raise SystemExit(7)\n"
    )
    kube_node.apply(pod("reads", namespace, trainer_image, program))
    end = terminated(kube_node, namespace, "reads")
    assert (end["exitCode"], end["message"]) == (7, "the last word")
    user, trl = kube_node.run("logs", "-n", namespace, "job/reads").stdout.split()
    assert user == "1000"
    assert trl
    if claim.folder is not None:
        assert (claim.folder / "written").read_text() == "kept"


def test_a_container_over_its_memory_limit_is_oom_killed(
    kube_node: Kube,
    make_namespace: Callable[[Kube], str],
    checkpoints_claim: Callable[[Kube, str], Claim],
    trainer_image: str,
) -> None:
    namespace = make_namespace(kube_node)
    checkpoints_claim(kube_node, namespace)
    program = "data = []\nwhile True: data.append(bytearray(1 << 22))"
    kube_node.apply(pod("greedy", namespace, trainer_image, program, {"memory": "64Mi"}))
    end = terminated(kube_node, namespace, "greedy")
    assert (end["exitCode"], end["reason"]) == (137, "OOMKilled")


def test_a_pod_reaches_the_api_server_at_its_service(
    kube_node: Kube,
    make_namespace: Callable[[Kube], str],
    checkpoints_claim: Callable[[Kube, str], Claim],
    trainer_image: str,
) -> None:
    namespace = make_namespace(kube_node)
    checkpoints_claim(kube_node, namespace)
    program = (
        "import os, ssl, urllib.request\n"
        "account = '/var/run/secrets/kubernetes.io/serviceaccount/'\n"
        "trust = ssl.create_default_context(cafile=account + 'ca.crt')\n"
        "url = f\"https://{os.environ['KUBERNETES_SERVICE_HOST']}/version\"\n"
        "print(urllib.request.urlopen(url, context=trust, timeout=10).read().decode())\n"
    )
    kube_node.apply(pod("calls", namespace, trainer_image, program))
    assert terminated(kube_node, namespace, "calls")["exitCode"] == 0
    assert "v1.34" in kube_node.run("logs", "-n", namespace, "job/calls").stdout


def test_two_nodes_run_side_by_side_and_one_that_is_killed_leaves_nothing(
    kube_node: Kube,
    make_namespace: Callable[[Kube], str],
    checkpoints_claim: Callable[[Kube, str], Claim],
    trainer_image: str,
    starter: Callable[[str], tuple[subprocess.Popen[str], Path]],
) -> None:
    namespace = make_namespace(kube_node)
    checkpoints_claim(kube_node, namespace)
    kube_node.apply(pod("stays", namespace, trainer_image, "import time; time.sleep(600)"))
    running = ["pods", "-n", namespace, "--field-selector=status.phase=Running"]
    assert wait_until(lambda: kube_node.exists(*running), 120)

    process, folder = starter("node")
    second = Kube(folder / "admin.kubeconfig", kube_node.program)
    assert second.get("nodes")["items"][0]["metadata"]["name"] == "node-1"
    link = (folder / leftovers.LINK).read_text()
    inside = processes_of(folder)
    assert len(inside) > 7  # etcd, four of the control plane, kubelet, proxy, containerd
    assert cgroups.left(folder.name)
    # Its kubelet has had time to end pods it does not know; ours is none of them.
    time.sleep(5)
    assert kube_node.exists(*running)

    process.send_signal(signal.SIGKILL)
    assert wait_until(lambda: not any(map(alive, inside)), 20)
    assert_nothing_left(folder, link)
    assert kube_node.exists(*running)


def test_clusters_start_at_once_and_killed_ones_leave_nothing(
    starter: Callable[[str], tuple[subprocess.Popen[str], Path]],
) -> None:
    with ThreadPoolExecutor(2) as pool:
        (first, first_folder), (second, second_folder) = pool.map(starter, ["api", "api"])
    all_of_it = processes_of(second_folder)
    assert len(all_of_it) == 3  # etcd, API server, janitor
    first.kill()
    assert_nothing_left(first_folder)

    second.kill()
    for recorded in all_of_it:  # the janitor too: only a later start can sweep
        with suppress(ProcessLookupError):
            os.kill(int(recorded.split()[0]), signal.SIGKILL)
    second.wait()
    assert wait_until(lambda: not processes_of(second_folder), 20)
    assert second_folder.exists()
    leftovers.sweep()
    assert_nothing_left(second_folder)


def test_sweeping_spares_clusters_that_run(kube_api: Kube) -> None:
    leftovers.sweep()
    assert kube_api.kubeconfig.exists()
    assert kube_api.exists("namespace", "default")


def test_only_clusters_folders_are_removed(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not a cluster's folder"):
        leftovers.remove(tmp_path)
    assert tmp_path.exists()


def test_the_command_brings_a_cluster_up_and_down(tmp_path: Path) -> None:
    env = {**os.environ, "LLMZERO_CACHE": str(tmp_path)}
    (tmp_path / "go").symlink_to(cache() / "go")

    def command(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, "-m", "tests.cluster", *arguments],
            cwd=REPOSITORY,
            env=env,
            capture_output=True,
            text=True,
            check=True,
        )
        return done.stdout

    shown = command("up", "--level", "api")
    kubeconfig = Path(command("kubeconfig").strip())
    try:
        assert f"export KUBECONFIG={kubeconfig}" in shown
        kube = Kube.foreign(kubeconfig)
        assert kube.exists("namespace", "default")
        assert command("up", "--level", "api") == shown
    finally:
        command("down")
    assert not kubeconfig.exists()
    assert not kube.exists("namespace", "default")
    assert "no cluster is up" in command("down")


def test_the_temporary_folder_names_its_owner() -> None:
    folder = leftovers.make_folder()
    try:
        assert folder.parent == Path(tempfile.gettempdir())
        assert folder.name.startswith(f"{leftovers.PREFIX}{os.getpid()}-")
        leftovers.sweep()
        assert folder.exists()
    finally:
        leftovers.remove(folder)
