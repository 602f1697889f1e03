"""Time of one ``plan()`` over 100, 1,000 and 10,000 stages, and how it grows.

``python tests/bench/bench_plan.py`` writes ``benchmarks/plan.json``. Trees are synthetic: stages
with curves, features and four evaluations of 200 questions, as a trainer would have left them.

*warm* is what an engine pays for each completion: one stage has ended since the last call, one
slot is free, the plan creates and starts the next stage. *cold* is the first call of a process,
which reads every object once.
"""

import argparse
import json
import math
import os
import platform
import statistics
import time
from datetime import UTC, datetime
from pathlib import Path
from random import Random

from llmzero import strategies
from llmzero.api.base import ObjectMeta
from llmzero.api.curve import Curve, Score
from llmzero.api.parameters import Parameter, Role
from llmzero.api.search import TrainingSearch
from llmzero.api.spec import Budget, SearchSpec, Strategy
from llmzero.api.stage import (
    Cost,
    Outcome,
    Phase,
    Provenance,
    Result,
    StageNode,
    StageStatus,
)
from llmzero.api.task import ModelSource, Task
from llmzero.search import table
from llmzero.search.decisions import Create, Prune
from llmzero.search.nodes import train_node

SIZES = (100, 1_000, 10_000)
DEPTH = 8
PARALLELISM = 8
QUESTIONS = 200
NOW = datetime(2026, 1, 1, tzinfo=UTC)
OUT = Path(__file__).parents[2] / "benchmarks" / "plan.json"


def make_search(stages: int) -> TrainingSearch:
    """A search with room for twice the stages that exist, so that a plan always creates one."""
    parameters = [
        Parameter(
            name="learning_rate",
            role=Role.REGULARIZATION,
            min=1e-7,
            max=1e-4,
            scale="log",
            initial=1e-6,
        ),
        Parameter(name="beta", role=Role.REGULARIZATION, min=0, max=0.2, initial=0.02),
        Parameter(name="temperature", role=Role.REGULARIZATION, min=0.4, max=1.5, initial=1.0),
        Parameter(
            name="max_completion_length",
            role=Role.CAPACITY,
            type="int",
            min=128,
            max=4096,
            initial=512,
        ),
    ]
    return TrainingSearch(
        metadata=ObjectMeta(name="bench", uid=f"bench-{stages}"),
        spec=SearchSpec(
            model=ModelSource(builtin="scratchpad-addition"),
            task=Task(name="scratchpad-addition"),
            parameters=parameters,
            strategy=Strategy(parallelism=PARALLELISM, max_depth=DEPTH),
            budget=Budget(stages=2.0 * stages, failures=stages),
        ),
    )


def grow(search: TrainingSearch, count: int, seed: int = 0) -> list[StageNode]:
    """A random tree of ``count`` ended stages, a few of them failed or stopped."""
    random = Random(seed)
    nodes: list[StageNode] = []
    children: dict[str, int] = {}
    open_nodes: list[StageNode] = []
    while len(nodes) < count:
        parent = random.choice(open_nodes) if open_nodes and len(nodes) > 16 else None
        number = children.get(parent.name if parent else "", 0)
        children[parent.name if parent else ""] = number + 1
        point = {p.name: p.from_unit(random.random()) for p in search.spec.parameters}
        node = train_node(
            search,
            parent=parent,
            number=number,
            steps=100,
            parameters=dict(parent.spec.parameters) if parent and number == 0 else point,
            provenance=Provenance(proposer="continue" if parent and number == 0 else "rules"),
            segment="tree",
            start_step=100 if parent else None,
            carry_optimizer=bool(parent) and number == 0,
            carry_reference=bool(parent) and number == 0,
        )
        node = node.with_(status=ended(node, len(nodes) + 1, random))
        nodes.append(node)
        if node.status.phase is Phase.SUCCEEDED and node.spec.path.count("-") + 1 < DEPTH:
            open_nodes.append(node)
    return nodes


def ended(node: StageNode, sequence: int, random: Random) -> StageStatus:
    """How a stage ended, with everything that a trainer reports."""
    if node.spec.parameters["max_completion_length"] > 3900:
        return StageStatus(
            phase=Phase.FAILED, outcome=Outcome.OUT_OF_MEMORY, sequence=sequence, step=3
        )
    level = 0.3 + 0.05 * node.spec.path.count("-") + random.gauss(0, 0.03)
    scores = [score(step, level + 0.0005 * step, random) for step in (0, 25, 50, 75, 100)]
    stopped = random.random() < 0.05
    last = scores[2] if stopped else scores[-1]
    return StageStatus(
        phase=Phase.STOPPED if stopped else Phase.SUCCEEDED,
        outcome=Outcome.EARLY_STOPPED if stopped else Outcome.SUCCEEDED,
        sequence=sequence,
        step=last.step,
        curve=Curve(scores=scores[:3] if stopped else scores),
        checkpoints=[25, 50] if stopped else [25, 50, 75, 100],
        cost=Cost(stages=1, device_seconds=600, train_tokens=10**6, eval_tokens=10**5),
        features={
            "eval_gain": random.gauss(0.05, 0.02),
            "reward_slope": random.gauss(0, 0.001),
            "entropy_end": random.random(),
            "dead_groups_end": random.random(),
            "clipped_ratio_end": random.random() * 0.2,
        },
        result=Result(
            value=last.value,
            standard_error=last.standard_error,
            questions=QUESTIONS,
            step=last.step,
        ),
    )


def score(step: int, value: float, random: Random) -> Score:
    value = min(max(value, 0.01), 0.99)
    digits = "".join("f" if random.random() < value else "0" for _ in range(QUESTIONS))
    mean = digits.count("f") / QUESTIONS
    error = math.sqrt(mean * (1 - mean) / (QUESTIONS - 1))
    return Score(
        step=step, value=mean, standard_error=error, questions=QUESTIONS, per_question=digits
    )


def measure(size: int, repeats: int) -> dict[str, object]:
    """Milliseconds a call: cold, and warm over a row of completions."""
    search = make_search(size)
    nodes = {n.name: n for n in grow(search, size)}
    random = Random(1)

    def call() -> tuple[float, float]:
        objects = list(nodes.values())
        begin, busy = time.perf_counter(), time.process_time()
        plan = strategies.plan(search, objects, NOW)
        took, busy = time.perf_counter() - begin, time.process_time() - busy
        created = [d.node for d in plan.decisions if isinstance(d, Create)]
        assert created, "a plan with free slots must create stages"
        for node in created:
            nodes[node.name] = node.with_(status=node.status.with_(phase=Phase.RUNNING))
        for prune in (d for d in plan.decisions if isinstance(d, Prune)):
            old = nodes[prune.node]
            nodes[old.name] = old.with_(status=old.status.with_(checkpoints=list(prune.keep)))
        return took * 1000, busy * 1000

    def complete() -> None:
        name = random.choice([n for n, node in nodes.items() if not node.status.phase.final])
        nodes[name] = nodes[name].with_(status=ended(nodes[name], len(nodes), random))

    call()  # fills the slots
    table.forget()
    complete()
    cold = call()[0]
    calls = []
    for _ in range(repeats):
        complete()
        calls.append(call())
    return {
        "stages": size,
        "cold_ms": round(cold, 2),
        "warm_ms": spread([wall for wall, _ in calls]),
        "warm_cpu_ms": spread([busy for _, busy in calls]),
    }


def spread(times: list[float]) -> dict[str, float]:
    times = sorted(times)
    found = {
        "min": times[0],
        "median": statistics.median(times),
        "p95": times[int(0.95 * (len(times) - 1))],
        "max": times[-1],
    }
    return {name: round(value, 2) for name, value in found.items()}


def exponent(results: list[dict]) -> float:
    """Slope of log time over log size, least squares over the medians of CPU time."""
    xs = [math.log(r["stages"]) for r in results]
    ys = [math.log(r["warm_cpu_ms"]["median"]) for r in results]
    mx, my = statistics.mean(xs), statistics.mean(ys)
    above = sum((x - mx) * (y - my) for x, y in zip(xs, ys, strict=True))
    return above / sum((x - mx) ** 2 for x in xs)


def machine() -> dict[str, object]:
    model = ""
    try:
        with open("/proc/cpuinfo") as lines:
            model = next((x.split(":")[1].strip() for x in lines if x.startswith("model name")), "")
    except OSError:
        model = platform.processor()
    return {
        "cpu": model,
        "cores": os.cpu_count(),
        "python": platform.python_version(),
        "load_average": round(os.getloadavg()[0], 1),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--repeats", type=int, default=30)
    parser.add_argument("--out", type=Path, default=OUT)
    args = parser.parse_args()
    results = [measure(size, args.repeats) for size in SIZES]
    report = {
        "benchmark": "plan",
        "machine": machine(),
        "parallelism": PARALLELISM,
        "max_depth": DEPTH,
        "results": results,
        "growth_exponent": round(exponent(results), 3),
        "expected": {"warm_ms_at_10000": 50, "growth_exponent": 1.1},
    }
    args.out.parent.mkdir(parents=True, exist_ok=True)
    args.out.write_text(json.dumps(report, indent=2) + "\n")
    print(json.dumps(report, indent=2))


if __name__ == "__main__":
    main()
