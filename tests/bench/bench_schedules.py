"""Whether a task rewards adaptation: every schedule of a grid against every constant, by training.

    python tests/bench/bench_schedules.py benchmarks/studies/ramble.yaml --seeds 4

A study is a search with ``strategy: {name: grid, options: {schedules: true}}``: a tree of all
sequences, the constants among them. Searches behind it in the same file add more constants, of
other settings. They are compared at equal tokens generated in training, for several budgets: each
path counts by its best stage within the budget, so that a constant may keep its best checkpoint.
The best schedule and the best constant of each budget are chosen on the first half of the seeds,
and trained anew on the second, which confirms them. A study goes on where it was cut off.
"""

import argparse
import json
import math
import platform
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import yaml

from llmzero.api.search import TrainingSearch
from llmzero.api.stage import Purpose, StageNode
from llmzero.bench.statistics import Interval, bootstrap, mean
from llmzero.local.store import read_run

Schedule = tuple[str, ...]
"""Settings of each stage, in words."""
Course = list[tuple[int, float]]
"""Tokens generated up to the end of each stage, and its value on the search split; first the base
model's, at no tokens."""
SHARES = (0.25, 0.5, 0.75, 1.0)
"""Budgets, as shares of what the dearest path generates."""


def main() -> None:
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("studies", nargs="+", type=Path)
    options.add_argument("--seeds", type=int, default=4, help="at least 2")
    options.add_argument("--dir", type=Path, default=Path("runs/studies"))
    options.add_argument("-o", "--out", type=Path, default=Path("benchmarks/studies.json"))
    given = options.parse_args()
    if given.seeds < 2:
        options.error("--seeds: one half chooses and the other confirms, 2 is the least")
    for file in given.studies:
        documents = list(yaml.safe_load_all(file.read_text()))
        title = documents[0]["metadata"]["name"]
        values: dict[int, dict[Schedule, Course]] = {}
        first = range(1, given.seeds // 2 + 1)
        for seed in first:
            values[seed] = studies(documents, given.dir, seed)
        chosen = {s for _, pair in choices(values) for s in pair}
        fewer = [d for d in (narrowed(document, chosen) for document in documents) if d]
        for seed in range(first.stop, given.seeds + 1):
            values[seed] = studies(fewer, given.dir, seed)
        found = {"study": file.name, "seeds": given.seeds, **compared(values, len(first))}
        print(table(title, found), flush=True)
        write(given.out, title, found)


def studies(documents: list[dict[str, Any]], directory: Path, seed: int) -> dict[Schedule, Course]:
    found: dict[Schedule, Course] = {}
    for document in documents:
        home = directory / document["metadata"]["name"] / str(seed)
        found |= study(document, home, seed)
        print(f"{home}: done", flush=True)
    return found


def narrowed(document: dict[str, Any], chosen: set[Schedule]) -> dict[str, Any] | None:
    """The study with the choices that the chosen paths are made of; None where none is its own."""
    spec = document["spec"]
    names = [p["name"] for p in spec["parameters"]]
    stages = [dict(w.split("=") for w in stage.split()) for path in chosen for stage in path]
    stages = [s for s in stages if list(s) == names]
    if not stages:
        return None
    parameters = []
    for old in spec["parameters"]:
        wanted = {s[old["name"]] for s in stages}
        kept = [c for c in old["choices"] if f"{c:g}" in wanted]
        parameters.append({**old, "choices": kept, "initial": kept[0]})
    points = math.prod(len(p["choices"]) for p in parameters)
    depth = spec["strategy"]["maxDepth"]
    every = spec["strategy"]["options"].get("schedules", False)
    count = sum(points**d for d in range(1, depth + 1)) if every else points * depth
    return {**document, "spec": {**spec, "parameters": parameters, "budget": {"stages": count}}}


def study(document: dict[str, Any], home: Path, seed: int) -> dict[Schedule, Course]:
    """Every path of full depth."""
    home.mkdir(parents=True, exist_ok=True)
    document["spec"]["strategy"]["seed"] = seed
    (home / "search.yaml").write_text(yaml.safe_dump(document))
    words = ["run", str(home / "search.yaml"), "--dir", str(home / "run")]
    with open(home / "output.log", "ab") as log:
        done = subprocess.run([sys.executable, "-m", "llmzero.cli.main", *words], stdout=log)
    if done.returncode:
        raise SystemExit(f"{home}: exit code {done.returncode}; see output.log")
    run = read_run(home / "run")
    return paths(run.search, [n for n in run.nodes.values() if n.spec.purpose is Purpose.TRAIN])


def paths(search: TrainingSearch, nodes: list[StageNode]) -> dict[Schedule, Course]:
    by_name = {n.name: n for n in nodes}
    deepest = max(n.status.depth for n in nodes)
    found = {}
    for leaf in (n for n in nodes if n.status.depth == deepest):
        path: list[StageNode] = []
        at: StageNode | None = leaf
        while at is not None:
            path.insert(0, at)
            at = by_name.get(at.spec.parent or "")
        tokens, course = 0, [(0, path[0].status.curve.scores[0].value)]
        for node in path:
            tokens += node.status.cost.train_tokens
            if node.status.result:
                course.append((tokens, node.status.result.value))
        found[tuple(setting(n, search) for n in path)] = course
    return found


def setting(node: StageNode, search: TrainingSearch) -> str:
    searched = [p.name for p in search.spec.parameters]
    return " ".join(f"{name}={node.spec.parameters[name]:g}" for name in searched)


def choices(values: dict[int, dict[Schedule, Course]]) -> list[tuple[int, list[Schedule]]]:
    """By budget in tokens: the schedule and the constant that do best on these seeds."""
    known = sorted(set.intersection(*(set(v) for v in values.values())))
    kinds = [[s for s in known if len(set(s)) > 1], [s for s in known if len(set(s)) == 1]]
    most = max(course[-1][0] for v in values.values() for course in v.values())

    def over(schedule: Schedule, tokens: int) -> float:
        return float(np.mean([reached(v[schedule], tokens) for v in values.values()]))

    chosen: list[tuple[int, list[Schedule]]] = []
    for tokens in (int(share * most) for share in reversed(SHARES)):
        known_best = [s for _, pair in chosen for s in pair]  # among equals: less to confirm
        pair = [max(kind, key=lambda s: (over(s, tokens), s in known_best)) for kind in kinds]
        chosen.insert(0, (tokens, pair))
    return chosen


def reached(course: Course, tokens: int) -> float:
    return max(value for spent, value in course if spent <= tokens)


def compared(values: dict[int, dict[Schedule, Course]], first: int) -> dict[str, Any]:
    seeds = sorted(values)
    known = sorted(values[seeds[0]])
    constants = [s for s in known if len(set(s)) == 1]
    chosen = choices({s: values[s] for s in seeds[:first]})
    return {
        "machine": f"{platform.machine()}, {platform.python_version()}",
        "constants": len(constants),
        "schedules": len(known) - len(constants),
        "budgets": [at_budget(values, seeds[first:], *choice) for choice in chosen],
        "paths": {name(s): [values[i].get(s) for i in seeds] for s in known},
    }


def at_budget(
    values: dict[int, dict[Schedule, Course]],
    fresh: list[int],
    tokens: int,
    pair: list[Schedule],
) -> dict[str, Any]:
    scores = [[reached(values[i][s], tokens) for i in sorted(values)] for s in pair]
    gaps = np.array([reached(values[i][pair[0]], tokens) for i in fresh])
    gaps -= [reached(values[i][pair[1]], tokens) for i in fresh]
    gap: Interval = bootstrap([gaps], mean)
    return {
        "tokens": tokens,
        "schedule": {name(pair[0]): scores[0]},
        "constant": {name(pair[1]): scores[1]},
        "confirmed": {"seeds": fresh, "difference": [gap.value, gap.low, gap.high]},
    }


def name(schedule: Schedule) -> str:
    return schedule[0] if len(set(schedule)) == 1 else " | ".join(schedule)


def table(title: str, found: dict[str, Any]) -> str:
    rows = [f"## {title}: {found['schedules']} schedules, {found['constants']} constants"]
    for budget in found["budgets"]:
        gap, low, high = budget["confirmed"]["difference"]
        rows.append(f"{budget['tokens']} tokens: difference {gap:+.3f} [{low:+.3f}, {high:+.3f}]")
        for kind in ("schedule", "constant"):
            ((words, by_seed),) = budget[kind].items()
            rows.append(f"  {kind}: {words}: {by_seed}")
    return "\n".join(rows)


def write(path: Path, title: str, found: dict[str, Any]) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, title: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
