"""Time from a finished stage to the Job of its successor, and API requests per finished stage.

``python tests/bench/bench_operator.py`` writes ``benchmarks/operator.json``. API server, Job
controller, scheduler and operator are real; the kubelet is a fake that sets the statuses of pods.
The clock runs from just before the pod's last status is sent to when a watch of ours shows the new
Job, so both ways through the API server are counted.

*alone*: one of the concurrent stages ends, the others run on. *together*: all of them end at once;
each new Job counts from its place in the row of ends.
"""

import argparse
import json
import os
import platform
import queue
import re
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
import uuid
from collections import Counter
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

from tests.cluster.client import Kube
from tests.cluster.cluster import Cluster
from tests.cluster_fixtures import install_crds
from tests.fakes.harness import manifest
from tests.fakes.kubelet import FakeKubelet
from tests.fakes.operator import OperatorProcess, Seen, wait_for
from tests.integration.conftest import make_bound_claim

OUT = Path(__file__).parents[2] / "benchmarks" / "operator.json"
CONCURRENT = (1, 10, 100)
EXPECTED_P99_MS = 250.0
EXPECTED_REQUESTS = 10.0
METRICS_PORT = 18291


class Jobs:
    """Names of new stage Jobs with the moment when a watch showed them."""

    def __init__(self, kube: Kube, namespace: str) -> None:
        self.seen: queue.Queue[tuple[str, float]] = queue.Queue()
        arguments = ("get", "jobs", "-n", namespace, "--watch-only", "-o", "name")
        self._process = subprocess.Popen(
            [str(kube.program), f"--kubeconfig={kube.kubeconfig}", *arguments],
            stdout=subprocess.PIPE,
            text=True,
        )
        # Changes of older Jobs are shown too.
        self._known = {j["metadata"]["name"] for j in kube.get("jobs", "-n", namespace)["items"]}
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self) -> None:
        assert self._process.stdout is not None
        for line in self._process.stdout:
            name = line.strip().removeprefix("job.batch/")
            if name not in self._known and name.rsplit("-", 1)[-1].startswith("a"):
                self._known.add(name)
                self.seen.put((name.rsplit("-", 1)[0], time.monotonic()))

    def drain(self) -> None:
        while not self.seen.empty():
            self.seen.get()

    def close(self) -> None:
        self._process.kill()
        self._process.wait()


def measure(kube: Kube, kubelet: FakeKubelet, folder: Path, concurrent: int, ends: int) -> Any:
    namespace = f"bench-{uuid.uuid4().hex[:6]}"
    kube.run("create", "namespace", namespace)
    make_bound_claim(kube, namespace)
    released: set[str] = set()
    kubelet.hold = lambda node: node not in released
    document = manifest(
        strategy={"name": "random", "parallelism": concurrent, "maxDepth": 2},
        budget={"stages": 3 * concurrent + ends + 100},
        storage={"claimName": "checkpoints"},
    )
    document["metadata"]["namespace"] = namespace
    seen = Seen(kube, namespace, "fake")
    folder.mkdir(parents=True, exist_ok=True)
    words = ("--namespace", namespace, "--metrics-port", str(METRICS_PORT))
    with OperatorProcess(kube, folder, *words) as operator:
        kube.apply(document)
        wait_for(lambda: len(_running(seen)) >= concurrent, 240, seen.describe)
        time.sleep(8)  # their evaluations are stored
        jobs = Jobs(kube, namespace)
        time.sleep(2)
        waiting = _running(seen)
        requests = api_requests()
        alone = []
        for _ in range(ends):
            jobs.drain()
            node = waiting.pop(0)
            released.add(node)
            name, at = jobs.seen.get(timeout=30)
            alone.append((at - kubelet.ended_at[node]) * 1000)
            waiting.append(name)
            time.sleep(0.3)
        spent = api_requests() - requests
        jobs.drain()
        together = waiting[:concurrent]
        released.update(together)
        made = sorted(jobs.seen.get(timeout=60)[1] for _ in together)
        began = sorted(kubelet.ended_at[n] for n in together)
        delays = [(m - b) * 1000 for m, b in zip(made, began, strict=True)]
        jobs.close()
        memory = resident(operator)
    kube.run("delete", "ts", "fake", "-n", namespace, "--wait=false")
    kube.run("delete", "namespace", namespace, "--wait=false")
    return {
        "concurrent": concurrent,
        "alone_ms": spread(alone),
        "together_ms": spread(delays),
        "requests_per_stage": round(spent.total() / ends, 2),
        "requests": {kind: round(count / ends, 2) for kind, count in spent.most_common()},
        "rss_mib": memory,
    }


def _running(seen: Seen) -> list[str]:
    return [n.name for n in seen.nodes() if n.status.phase == "Running"]


def api_requests() -> Counter[str]:
    """Requests of the operator so far by method and resource, its watches left out."""
    with urllib.request.urlopen(f"http://127.0.0.1:{METRICS_PORT}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    found: Counter[str] = Counter()
    for line in lines:
        named = re.match(
            r'llmzero_api_requests_total\{.*method="(\w+)",resource="(\w+)"\} (.*)', line
        )
        if named:
            found[f"{named[1]} {named[2]}"] += int(float(named[3]))
    return found


def resident(operator: OperatorProcess) -> float:
    """MiB now in memory."""
    assert operator.process is not None
    status = Path(f"/proc/{operator.process.pid}/status").read_text()
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmRSS"))
    return round(int(kib) / 1024, 1)


def spread(times: list[float]) -> dict[str, float]:
    times = sorted(times)
    at = {
        "p50": statistics.median(times),
        "p99": times[min(int(len(times) * 0.99), len(times) - 1)],
    }
    return {
        "count": len(times),
        **{k: round(v, 1) for k, v in at.items()},
        "max": round(times[-1], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--concurrent", type=int, nargs="*", default=list(CONCURRENT))
    parser.add_argument("--ends", type=int, default=60)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    load = os.getloadavg()[0]
    found = []
    with (
        tempfile.TemporaryDirectory() as made,
        Cluster("controllers") as cluster,
        FakeKubelet(cluster.kubeconfig, Path(made)) as kubelet,
    ):
        install_crds(cluster.kube)
        for number in given.concurrent:
            folder = Path(made) / str(number)
            found.append(measure(cluster.kube, kubelet, folder, number, given.ends))
            print(json.dumps(found[-1]), flush=True)
    result = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "load_before": round(load, 2),
        "expected": {"p99_ms_at_100": EXPECTED_P99_MS, "requests_per_stage": EXPECTED_REQUESTS},
        "runs": found,
    }
    given.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
