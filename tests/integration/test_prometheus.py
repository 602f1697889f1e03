"""A real Prometheus scrapes stored searches; every query of every dashboard has data, alerts are
quiet, and a page under hostile requests keeps answering."""

import socket
import threading
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from prometheus_client import CollectorRegistry, start_http_server
from prometheus_client.process_collector import ProcessCollector

from llmzero.agent.metrics import Metrics as AgentMetrics
from llmzero.api.proposals import Usage
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import Budget
from llmzero.api.stage import StageNode
from llmzero.controller import metrics as operator_metrics
from llmzero.telemetry import SearchCollector
from llmzero.telemetry.dashboards import dashboards, main
from llmzero.telemetry.grafana import render
from tests.fakes.harness import ROOT
from tests.fakes.prometheus import Prometheus, filled_in, panel_queries, target
from tests.fakes.simulated_search import live, simulated

RULES = ROOT / "charts/llmzero/rules/llmzero.yaml"
QUERIES = panel_queries()


def moved(search: TrainingSearch, nodes: list[StageNode], by: float) -> list[StageNode]:
    """Stages as if they were heard ``by`` seconds later: the simulator's clock begins in 2026."""
    heard = datetime.fromtimestamp(by, UTC)
    return [
        n.with_(status=n.status.with_(last_heard_at=heard)) if n in live(nodes) else n
        for n in nodes
    ]


def fill_operator() -> None:
    """What an operator's process counts while it works; the values do not matter."""
    operator_metrics.LEADER.set(1)
    operator_metrics.LAST_EVENT.set_to_current_time()
    operator_metrics.LAST_RECONCILE.set_to_current_time()
    operator_metrics.RECONCILE_SECONDS.observe(0.02)
    operator_metrics.API_REQUESTS.labels("GET", "jobs", "200").inc()
    operator_metrics.DECISIONS.labels("Create").inc()
    operator_metrics.STAGES.labels("Succeeded").inc()
    operator_metrics.AGENT_CALLS.labels("default", "agent").inc()


@pytest.fixture(scope="module")
def exporter() -> Iterator[str]:
    """An operator's page over two simulated searches: one ended, one with live stages."""
    now = datetime.now(UTC)
    running, nodes = simulated("running", ended=8, seed=7)  # KL terms where panels look for them
    done, ended = simulated("done", seed=2)
    budget = Budget(stages=12, gpu_hours=50, agent_dollars=5, failures=100)
    objective = running.spec.objective.with_(target=0.95)
    running = running.with_(spec=running.spec.with_(budget=budget, objective=objective))
    assert live(nodes)
    stored = moved(running, nodes, now.timestamp()) + ended
    registry = CollectorRegistry()
    registry.register(SearchCollector(lambda: ([running, done], stored), lambda: datetime.now(UTC)))
    for name in ("LEADER", "LAST_EVENT", "LAST_RECONCILE", "RECONCILE_SECONDS", "RECONCILE_ERRORS"):
        registry.register(getattr(operator_metrics, name))
    for name in ("API_REQUESTS", "DECISIONS", "STAGES", "AGENT_CALLS", "WORK_QUEUE"):
        registry.register(getattr(operator_metrics, name))
    ProcessCollector(registry=registry)
    agent = AgentMetrics()
    registry.register(agent.registry)  # type: ignore[arg-type]
    agent.failed("timeout")
    server, thread = start_http_server(0, addr="127.0.0.1", registry=registry)
    stop = threading.Event()

    def work() -> None:
        while not stop.wait(0.2):
            fill_operator()
            agent.answered("proposal", "agent", Usage(seconds=1, input_tokens=10))

    worker = threading.Thread(target=work)
    worker.start()
    yield f"127.0.0.1:{server.server_port}"
    stop.set()
    worker.join()
    server.shutdown()
    thread.join()


@pytest.fixture(scope="module")
def prometheus(exporter: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Prometheus]:
    with Prometheus(tmp_path_factory.mktemp("prometheus"), target(exporter), RULES) as server:
        server.wait_for("rate(llmzero_reconcile_seconds_count[20s]) > 0")
        server.wait_for("rate(process_cpu_seconds_total[20s])")
        yield server


@pytest.mark.parametrize("expr", [pytest.param(expr, id=title) for title, expr in QUERIES])
def test_every_panel_has_data(prometheus: Prometheus, expr: str) -> None:
    found = prometheus.wait_for(filled_in(expr), 15)
    assert all(series["value"][1] != "NaN" for series in found)


def test_the_committed_dashboards_are_the_generated_ones(tmp_path: Path) -> None:
    main(tmp_path)
    committed = ROOT / "charts/llmzero/dashboards"
    names = sorted(p.name for p in tmp_path.iterdir())
    assert names == sorted(p.name for p in committed.iterdir())
    for name in names:
        same = (tmp_path / name).read_text() == (committed / name).read_text()
        assert same, (
            f"run: python -m llmzero.telemetry.dashboards charts/llmzero/dashboards ({name})"
        )


@pytest.mark.parametrize("dashboard", dashboards(), ids=lambda d: d.uid)
def test_panels_do_not_overlap(dashboard: object) -> None:
    places = [p["gridPos"] for p in render(dashboard)["panels"]]  # type: ignore[arg-type]
    taken: set[tuple[int, int]] = set()
    for place in places:
        cells = {
            (x, y)
            for x in range(place["x"], place["x"] + place["w"])
            for y in range(place["y"], place["y"] + place["h"])
        }
        assert not cells & taken and place["x"] + place["w"] <= 24
        taken |= cells


def test_alerts_are_loaded_and_quiet(prometheus: Prometheus) -> None:
    rules = httpx.get(f"{prometheus.url}/api/v1/rules", timeout=20).json()["data"]["groups"]
    found = [rule for group in rules for rule in group["rules"]]
    assert len(found) >= 15
    assert {r["name"]: r.get("lastError") for r in found if r["health"] == "err"} == {}
    firing = {r["name"] for r in found if r["state"] == "firing"}
    assert firing == set()


def test_a_page_under_hostile_requests_keeps_answering(exporter: str) -> None:
    host, port = exporter.split(":")
    idle = [socket.create_connection((host, int(port))) for _ in range(30)]
    for number, connection in enumerate(idle):
        if number % 2:
            connection.sendall(b"GET /metrics HTTP/1.1\r\nX: " + b"y" * 4096)
        else:
            connection.sendall(b"\x00\xff" * 64 + b"\r\n\r\n")
    try:
        for path in ("/metrics", "/metrics?name[]=" + "x" * 4000, "/metrics?name[]=%7f%00"):
            answer = httpx.get(f"http://{exporter}{path}", timeout=10)
            assert answer.status_code == 200, path
        assert "llmzero_search_info" in httpx.get(f"http://{exporter}/metrics", timeout=10).text
    finally:
        for connection in idle:
            connection.close()


def test_the_reference_names_every_metric(exporter: str) -> None:
    reference = (ROOT / "docs/metrics.md").read_text()
    page = httpx.get(f"http://{exporter}/metrics", timeout=10).text
    names = {line.split()[2] for line in page.splitlines() if line.startswith("# TYPE llmzero_")}
    known = {n for n in names if not n.startswith("llmzero_best_stage_") and "_created" not in n}
    assert len(known) > 60
    assert {n for n in known if f"`{n}`" not in reference} == set()
