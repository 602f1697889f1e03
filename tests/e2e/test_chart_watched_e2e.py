"""Watched as people do: a real Prometheus finds operator and agent as pods and loads the chart's
rules. Every panel gets data and no alert fires. Then the agent is deleted, the node is drained and the
claim fills up: the right alert fires, and the commands of its runbook lead to the mend.

Prometheus runs beside the cluster and reaches the pods through the API server. It does not wait
the minutes of the rules' ``for``.
"""

import contextlib
import json
import os
import re
import subprocess
import textwrap
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from llmzero.api.proposals import Answered
from llmzero.api.stage import Outcome
from tests.cluster.client import Kube
from tests.cluster.image import TRAINER, USER
from tests.e2e.installation import RELEASE, SYSTEM, TEAM, Installation, installable
from tests.fakes.harness import ROOT
from tests.fakes.operator import Seen, wait_for
from tests.fakes.prometheus import Prometheus, filled_in, panel_queries
from tests.fakes.small_volume import SmallVolume, small_volume

PARAMETERS = [
    {
        "name": "learning_rate",
        "role": "regularization",
        "type": "float",
        "min": 1e-6,
        "max": 1e-3,
        "scale": "log",
        "initial": 3e-5,
    },
    {
        "name": "beta",
        "role": "regularization",
        "type": "float",
        "min": 0,
        "max": 0.2,
        "initial": 0.02,
    },
]
UNFILLED = {
    "LLMZero / Operator health: Failures of the model (service)",  # no model
    "LLMZero / Search: Held-out score",  # at the end
}
SIZE = 400 * 2**20
NAME = "watched"
META = "__meta_kubernetes_"
IMPATIENT = 10
"""Seconds that stand for each ``for`` of the rules."""
pytestmark = [pytest.mark.cluster, pytest.mark.slow]


class Watched:
    """The installation, its Prometheus, and a search that goes on."""

    def __init__(self, place: Installation, prometheus: Prometheus, seen: Seen) -> None:
        self.place, self.prometheus, self.seen = place, prometheus, seen

    def alert(self, name: str, seconds: float) -> dict[str, str]:
        """Labels and annotations once it fires."""

        def describe() -> str:
            return f"firing: {sorted(self.prometheus.alerts())}\n{self.seen.describe()}"

        said: dict[str, str] = wait_for(
            lambda: self.prometheus.alerts().get(name), seconds, describe
        )
        return said

    def follow(self, alert: dict[str, str], pattern: str, **names: str) -> str:
        """Runs the first command of the alert's runbook that the pattern is found in."""
        page = ROOT / alert["runbook_url"]
        blocks = [textwrap.dedent(b) for b in re.findall(r"(?:^    .*\n)+", page.read_text(), re.M)]
        found = [*blocks, *re.findall(r"`(kubectl [^`]+|helm [^`]+)`", page.read_text())]
        command = next(c for c in found if re.search(pattern, c))
        for name, value in names.items():
            command = re.sub(rf"\b{name}\b", value, command)
        kube = self.place.kube
        done = subprocess.run(
            ["bash", "-ec", command],
            env={**kube.env, "PATH": f"{kube.program.parent}:{os.environ['PATH']}"},
            capture_output=True,
            text=True,
            timeout=180,
        )
        assert done.returncode == 0, f"{command}\n{done.stderr}"
        return done.stdout + done.stderr

    def answers(self) -> list[Answered]:
        found = [n.status.expansion for n in self.seen.nodes() if n.status.expansion]
        return [answer for expansion in found for answer in expansion.answers]

    def succeeded(self) -> int:
        return sum(n.status.outcome is Outcome.SUCCEEDED for n in self.seen.nodes())

    def goes_on(self, seconds: float = 240) -> None:
        """One more stage ends well, and none has failed so far."""
        before = self.succeeded()
        wait_for(lambda: self.succeeded() >= before + 1, seconds, self.seen.describe)
        assert {n.status.failed_attempts for n in self.seen.nodes()} == {0}


@pytest.mark.timeout(1500)
def test_from_install_to_three_mended_faults(tmp_path: Path) -> None:
    with (
        small_volume(tmp_path / "claim", SIZE) as volume,
        installable(tmp_path, volume.path) as place,
    ):
        place.release("install")
        targets = tmp_path / "targets.json"
        with (
            _discovered(place.kube, targets),
            Prometheus(tmp_path, _scrape(place, targets), _impatient(tmp_path)) as prometheus,
        ):
            prometheus.wait_for("llmzero_leader == 1")
            seen = place.apply(
                NAME,
                objective={"target": 0.999},
                parameters=PARAMETERS,
                fixed={"max_completion_length": 6},  # Truncation
                strategy={"name": "skill", "parallelism": 1, "maxDepth": 40},
                stage={"steps": 20, "evalEvery": 10, "checkpointEvery": 10},
                budget={"stages": 40, "gpuHours": 50, "agentDollars": 5},
            )
            watched = Watched(place, prometheus, seen)
            for part in (_every_panel_has_data, _agent_is_deleted, _node_is_drained):
                part(watched)
            _claim_fills_up(watched, volume)


def _every_panel_has_data(watched: Watched) -> None:
    missing = {(title, expr) for title, expr in panel_queries() if title not in UNFILLED}

    def all_seen() -> bool:
        for title, expr in list(missing):
            if watched.prometheus.query(filled_in(expr)):
                missing.discard((title, expr))
        return not missing

    wait_for(all_seen, 300, lambda: f"no data: {sorted(missing)}\n{watched.seen.describe()}")
    assert watched.prometheus.alerts() == {}
    assert watched.answers() and not any(a.note for a in watched.answers())


def _agent_is_deleted(watched: Watched) -> None:
    watched.place.kube.run("delete", "deployment", f"{RELEASE}-agent", "-n", SYSTEM)
    alert = watched.alert("LLMZeroAgentFellBack", 150)
    assert (alert["namespace"], alert["search"]) == (TEAM, NAME)
    notes = watched.follow(alert, "answers.*note", NAME=f"{NAME} -n {TEAM}")
    assert "connect" in notes.lower(), notes
    assert "No resources found" in watched.follow(alert, "component=agent")
    watched.place.release("upgrade")
    asked = len(watched.answers())
    wait_for(
        lambda: [a for a in watched.answers()[asked:] if not a.note], 120, watched.seen.describe
    )


def _node_is_drained(watched: Watched) -> None:
    kube = watched.place.kube
    node = kube.get("nodes")["items"][0]["metadata"]["name"]
    kube.run("drain", node, "--ignore-daemonsets", "--delete-emptydir-data", "--force")
    alert = watched.alert("LLMZeroOperatorDown", 60)
    assert "Pending" in watched.follow(alert, "get deploy,pods")
    assert "unschedulable" in watched.follow(alert, "describe pods")
    watched.follow(alert, "uncordon", NODE=node)
    wait_for(lambda: "LLMZeroOperatorDown" not in watched.prometheus.alerts(), 120)
    watched.goes_on()


def _claim_fills_up(watched: Watched, volume: SmallVolume) -> None:
    gone = str(uuid.uuid4())
    volume.fill(leave=2**19, below=gone, owner=USER)
    alert = watched.alert("LLMZeroStorageNearlyFull", 120)
    labels = {"NAMESPACE": alert["namespace"], "CLAIM": alert["persistentvolumeclaim"]}
    watched.alert("LLMZeroSearchBlocked", 120)
    _, said = watched.seen.condition("Blocked")
    assert "claim checkpoints is full" in said
    watched.follow(alert, "kind: Pod", IMAGE=TRAINER, **labels)
    rooms = watched.follow(alert, "df -h", **labels)
    assert re.search(r"\b(9\d|100)%", rooms), rooms
    assert gone in rooms and watched.seen.search().metadata.uid in rooms
    watched.follow(alert, "rm -r", UID=gone, **labels)
    watched.follow(alert, "delete pod", **labels)
    wait_for(lambda: watched.seen.condition("Blocked")[0] != "True", 150, watched.seen.describe)
    watched.goes_on()
    wait_for(lambda: "LLMZeroStorageNearlyFull" not in watched.prometheus.alerts(), 60)


def _scrape(place: Installation, targets: Path) -> dict[str, Any]:
    """The example's job, from outside: through the API server, with targets from a file."""
    config = yaml.safe_load((ROOT / "examples/prometheus/prometheus.yaml").read_text())
    job: dict[str, Any] = config["scrape_configs"][0]
    del job["kubernetes_sd_configs"]
    access = yaml.safe_load(place.kube.kubeconfig.read_text())
    server = access["clusters"][0]["cluster"]["server"]
    meta = [META + n for n in ("namespace", "pod_name", "pod_container_port_number")]
    job["relabel_configs"] += [
        {
            "source_labels": meta,
            "regex": "(.+);(.+);(.+)",
            "target_label": "__metrics_path__",
            "replacement": "/api/v1/namespaces/$1/pods/$2:$3/proxy/metrics",
        },
        {"target_label": "__address__", "replacement": server.removeprefix("https://")},
    ]
    return {
        **job,
        "file_sd_configs": [{"files": [str(targets)], "refresh_interval": "2s"}],
        "scheme": "https",
        "tls_config": {"insecure_skip_verify": True},
        "authorization": {"credentials": access["users"][0]["user"]["token"]},
    }


@contextmanager
def _discovered(kube: Kube, file: Path) -> Iterator[None]:
    """Keeps a file of targets as ``kubernetes_sd`` (role pod) finds them; Debian's Prometheus is
    built without it."""
    stop = threading.Event()

    def look() -> None:
        found = [t for p in kube.get("pods", "-n", SYSTEM)["items"] for t in _targets(p)]
        file.with_suffix(".new").write_text(json.dumps(found))
        file.with_suffix(".new").rename(file)

    def keep() -> None:
        while not stop.wait(2):
            with contextlib.suppress(AssertionError):
                look()

    look()
    keeper = threading.Thread(target=keep)
    keeper.start()
    try:
        yield
    finally:
        stop.set()
        keeper.join()


def _targets(pod: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """A target for each port; a pod without an address has none."""
    address, about = pod["status"].get("podIP"), pod["metadata"]
    if not address or pod["status"]["phase"] in ("Succeeded", "Failed"):
        return
    labels = {
        f"{META}pod_label_{re.sub('[^a-zA-Z0-9_]', '_', k)}": v for k, v in about["labels"].items()
    }
    for container in pod["spec"]["containers"]:
        for port in container.get("ports", []):
            more = {
                f"{META}namespace": about["namespace"],
                f"{META}pod_name": about["name"],
                f"{META}pod_container_port_name": port.get("name", ""),
                f"{META}pod_container_port_number": str(port["containerPort"]),
            }
            yield {"targets": [f"{address}:{port['containerPort']}"], "labels": {**labels, **more}}


def _impatient(folder: Path) -> Path:
    """The chart's rules, which wait for seconds and not for minutes."""
    rules = (ROOT / "charts/llmzero/rules/llmzero.yaml").read_text()
    file = folder / "llmzero.yaml"
    file.write_text(re.sub(r"(?m)^( +for:) \w+$", rf"\1 {IMPATIENT}s", rules))
    return file
