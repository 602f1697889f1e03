"""Whether a task rewards adaptation: every schedule of a grid against every constant, by training.

    python tests/bench/bench_schedules.py benchmarks/studies/ramble.yaml --seeds 4

A study is a search with ``strategy: {name: grid, options: {schedules: true}}``: a tree of all
sequences, the constants among them. Searches behind it in the same file add more constants, of
other settings. The best schedule and the best constant are chosen on the first half of the seeds
and confirmed on the second; both by the best stage along the path, so that a constant may keep its
best checkpoint. A study goes on where it was cut off.
"""

import argparse
import json
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
        name = documents[0]["metadata"]["name"]
        values: dict[int, dict[Schedule, float]] = {}
        for seed in range(1, given.seeds + 1):
            values[seed] = {}
            for document in documents:
                home = given.dir / document["metadata"]["name"] / str(seed)
                values[seed] |= study(document, home, seed)
                print(f"{home}: done", flush=True)
        found = {"study": file.name, "seeds": given.seeds, **compared(values)}
        print(table(name, found), flush=True)
        write(given.out, name, found)


def study(document: dict[str, Any], home: Path, seed: int) -> dict[Schedule, float]:
    """Best value along each path of full depth, on the search split."""
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


def paths(search: TrainingSearch, nodes: list[StageNode]) -> dict[Schedule, float]:
    by_name = {n.name: n for n in nodes}
    deepest = max(n.status.depth for n in nodes)
    found = {}
    for leaf in (n for n in nodes if n.status.depth == deepest):
        path: list[StageNode] = []
        at: StageNode | None = leaf
        while at is not None:
            path.insert(0, at)
            at = by_name.get(at.spec.parent or "")
        values = [n.status.result.value for n in path if n.status.result]
        found[tuple(setting(n, search) for n in path)] = max(values, default=0.0)
    return found


def setting(node: StageNode, search: TrainingSearch) -> str:
    searched = [p.name for p in search.spec.parameters]
    return " ".join(f"{name}={node.spec.parameters[name]:g}" for name in searched)


def compared(values: dict[int, dict[Schedule, float]]) -> dict[str, Any]:
    seeds = sorted(values)
    first, second = seeds[: len(seeds) // 2], seeds[len(seeds) // 2 :]
    schedules = sorted(set.intersection(*(set(v) for v in values.values())))
    constants = [s for s in schedules if len(set(s)) == 1]
    changing = [s for s in schedules if len(set(s)) > 1]

    def over(schedule: Schedule, which: list[int]) -> float:
        return float(np.mean([values[s][schedule] for s in which]))

    ranked = sorted(changing, key=lambda s: -over(s, first))
    constant = max(constants, key=lambda s: over(s, first))
    gaps = np.array([values[s][ranked[0]] - values[s][constant] for s in second])
    gap: Interval = bootstrap([gaps], mean)
    return {
        "machine": f"{platform.machine()}, {platform.python_version()}",
        "schedules": len(changing),
        "constants": {c[0]: [values[s][c] for s in seeds] for c in constants},
        "best": {" | ".join(s): [values[i][s] for i in seeds] for s in ranked[:5]},
        "chosen": {"schedule": " | ".join(ranked[0]), "constant": constant[0]},
        "confirmed": {
            "schedule": over(ranked[0], second),
            "constant": over(constant, second),
            "difference": [gap.value, gap.low, gap.high],
            "seeds": second,
        },
    }


def table(name: str, found: dict[str, Any]) -> str:
    held = found["confirmed"]
    gap, low, high = held["difference"]
    rows = [f"## {name}: {found['schedules']} schedules, {len(found['constants'])} constants"]
    for kind in ("constants", "best"):
        for words, by_seed in found[kind].items():
            rows.append(f"{np.mean(by_seed):.3f}  {words}  {[round(v, 3) for v in by_seed]}")
    rows.append(
        f"chosen on the first half, confirmed on seeds {held['seeds']}: schedule "
        f"{held['schedule']:.3f}, constant {held['constant']:.3f}, difference {gap:+.3f} "
        f"[{low:+.3f}, {high:+.3f}]"
    )
    return "\n".join(rows)


def write(path: Path, name: str, found: dict[str, Any]) -> None:
    known = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**known, name: found}, indent=1) + "\n")


if __name__ == "__main__":
    main()
