"""The operator beside many objects: restart to reconciled, memory, idle requests.

``python tests/bench/bench_scale.py`` writes ``benchmarks/scale.json``. One search of 1,000 or
10,000 ended StageNodes of 16 KB each, beside 5,000 pods of others, in a real API server. The search
is suspended, so that its first plan is one status write and nothing starts. *restart* runs from
the start of the process (imports included) to that write.
"""

import argparse
import asyncio
import base64
import json
import os
import platform
import ssl
import sys
import tempfile
import time
import urllib.request
import uuid
from pathlib import Path
from random import Random
from typing import Any

sys.path.insert(0, str(Path(__file__).parents[2]))

import aiohttp

from llmzero.api.proposals import Answered, BranchFrom, Expansion, Proposal, ProposalAnswer
from llmzero.api.stage import StageNode
from tests.bench.bench_operator import METRICS_PORT, api_requests, resident
from tests.bench.bench_plan import grow, make_search
from tests.cluster.cluster import Cluster
from tests.cluster_fixtures import install_crds
from tests.fakes.operator import OperatorProcess, Seen

OUT = Path(__file__).parents[2] / "benchmarks" / "scale.json"
SIZES = (1_000, 10_000)
FOREIGN_PODS = 5_000
NODE_BYTES = 16 * 1024
AT_ONCE = 24
LETTERS = "etaoin shrdlu"
OURS = "/apis/llmzero.dev/v1alpha1"
Object = dict[str, Any]


class Api:
    """JSON requests as fast as the API server takes them."""

    def __init__(self, kubeconfig: Path) -> None:
        config = json.loads(kubeconfig.read_text())
        cluster = config["clusters"][0]["cluster"]
        self._server: str = cluster["server"]
        authority = base64.b64decode(cluster["certificate-authority-data"]).decode()
        self._trust = ssl.create_default_context(cadata=authority)
        self._token: str = config["users"][0]["user"]["token"]

    async def __aenter__(self) -> "Api":
        self._gate = asyncio.Semaphore(AT_ONCE)
        self._session = aiohttp.ClientSession(
            self._server,
            headers={"Authorization": f"Bearer {self._token}"},
            connector=aiohttp.TCPConnector(ssl=self._trust, limit=AT_ONCE),
        )
        return self

    async def __aexit__(self, *_: object) -> None:
        await self._session.close()

    async def call(self, method: str, path: str, body: Object) -> Object:
        kind = "application/merge-patch+json" if method == "PATCH" else "application/json"
        async with (
            self._gate,
            self._session.request(
                method, path, json=body, headers={"Content-Type": kind}
            ) as answer,
        ):
            found: Object = await answer.json()
            if answer.status >= 400 and answer.status != 409:
                raise RuntimeError(f"{method} {path}: {found.get('message')}")
            return found


def padded(node: StageNode) -> StageNode:
    """With an agent's answer in words, so that the whole object is of the full size."""
    words = Random(node.name)  # text that does not pack better than a person's
    proposal = Proposal(changes={}, rationale="".join(words.choices(LETTERS, k=960)))
    answer = ProposalAnswer(
        branch_from=BranchFrom(step=100, reason="because"), proposals=[proposal]
    )
    answers: list[Answered] = []
    while len(node.model_dump_json(by_alias=True, exclude_none=True)) < NODE_BYTES:
        answers.append(
            Answered(
                request_id=f"{node.name}-{len(answers)}",
                answered_by="rules",
                provider="rules",
                answer=answer,
                note="".join(words.choices(LETTERS, k=500)),
            )
        )
        expansion = Expansion(answers=answers, approved=True)
        node = node.with_(status=node.status.with_(expansion=expansion))
        if len(answers) == 8:
            break
    return node


async def fill(kubeconfig: Path, namespace: str, stages: int, pods: int) -> int:
    """Creates the search, its stages and the pods of others; mean bytes of a stage."""
    search = make_search(stages)
    document = search.dump()
    document["metadata"] = {"name": "bench", "namespace": namespace}
    document["spec"]["model"] = {"path": "some/model"}
    document["spec"] |= {
        "suspend": True,
        "storage": {"claimName": "checkpoints", "retention": "all"},
    }
    del document["status"]
    async with Api(kubeconfig) as api:
        home = f"{OURS}/namespaces/{namespace}"
        made = await api.call("POST", f"{home}/trainingsearches", document)
        search = search.with_(
            metadata=search.metadata.model_copy(
                update={"uid": made["metadata"]["uid"], "namespace": namespace}
            )
        )
        sizes: list[int] = []

        async def stage(node: StageNode) -> None:
            body = padded(node).dump()
            sizes.append(len(json.dumps(body)))
            status = body.pop("status")
            await api.call("POST", f"{home}/stagenodes", body)
            path = f"{home}/stagenodes/{node.name}/status"
            await api.call("PATCH", path, {"status": status})

        async def pod(number: int) -> None:
            body = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": f"other-{number}", "labels": {"app": "other"}},
                "spec": {"containers": [{"name": "x", "image": "x"}]},
            }
            await api.call("POST", f"/api/v1/namespaces/{namespace}/pods", body)

        nodes = grow(search, stages)
        for begin in range(0, len(nodes), 500):
            await asyncio.gather(*(stage(n) for n in nodes[begin : begin + 500]))
        for begin in range(0, pods, 500):
            await asyncio.gather(*(pod(i) for i in range(begin, min(begin + 500, pods))))
    return sum(sizes) // len(sizes)


def restart(cluster: Cluster, namespace: str, folder: Path, idle_seconds: float) -> Object:
    """One life of the operator beside all of these objects."""
    kube, seen = cluster.kube, Seen(cluster.kube, namespace, "bench")
    words = ("--namespace", namespace, "--metrics-port", str(METRICS_PORT))
    operator = OperatorProcess(kube, folder, *words)
    began = time.monotonic()
    operator.start()
    try:
        while not reconciled():
            assert time.monotonic() - began < 300, operator.said()[-3000:]
            time.sleep(0.05)
        took = time.monotonic() - began
        assert seen.phase() == "Suspended", seen.search().status
        time.sleep(20)  # the watches have shown everything once more
        peak = high_water(operator)
        requests, idle = api_requests(), resident(operator)
        time.sleep(idle_seconds)
        spent = (api_requests() - requests).total() * 60 / idle_seconds
    finally:
        operator.kill()
    return {
        "restart_seconds": round(took, 2),
        "rss_mib": idle,
        "rss_peak_mib": peak,
        "idle_requests_per_minute": round(spent, 1),
    }


def reconciled() -> bool:
    """Whether a reconcile has come to its end."""
    try:
        with urllib.request.urlopen(
            f"http://127.0.0.1:{METRICS_PORT}/metrics", timeout=2
        ) as answer:
            lines = answer.read().decode().splitlines()
    except OSError:
        return False
    return any(
        line.startswith("llmzero_reconcile_seconds_count ") and float(line.split()[1]) >= 1
        for line in lines
    )


def high_water(operator: OperatorProcess) -> float:
    assert operator.process is not None
    status = Path(f"/proc/{operator.process.pid}/status").read_text()
    kib = next(line.split()[1] for line in status.splitlines() if line.startswith("VmHWM"))
    return round(int(kib) / 1024, 1)


def measure(stages: int, pods: int, idle_seconds: float) -> Object:
    with tempfile.TemporaryDirectory() as made, Cluster("controllers") as cluster:
        install_crds(cluster.kube)
        namespace = f"scale-{uuid.uuid4().hex[:6]}"
        cluster.kube.run("create", "namespace", namespace)
        time.sleep(2)  # its service account
        size = asyncio.run(fill(cluster.kubeconfig, namespace, stages, pods))
        first = restart(cluster, namespace, Path(made), 1)
        again = restart(cluster, namespace, Path(made), idle_seconds)
    return {"stages": stages, "foreign_pods": pods, "stage_bytes": size, **again, "first": first}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--sizes", type=int, nargs="*", default=list(SIZES))
    parser.add_argument("--pods", type=int, default=FOREIGN_PODS)
    parser.add_argument("--idle-seconds", type=float, default=60)
    parser.add_argument("--out", type=Path, default=OUT)
    given = parser.parse_args()
    result: Object = {
        "machine": {"cores": os.cpu_count(), "python": platform.python_version()},
        "load_before": round(os.getloadavg()[0], 2),
        "expected_at_10000": {"restart_seconds": 10, "rss_mib": 250},
        "runs": [],
    }
    for stages in given.sizes:
        result["runs"].append(measure(stages, given.pods, given.idle_seconds))
        print(json.dumps(result["runs"][-1]), flush=True)
        given.out.write_text(json.dumps(result, indent=2) + "\n")


if __name__ == "__main__":
    main()
