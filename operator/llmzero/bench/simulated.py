"""The benchmark in simulated worlds: method x family x seed, resumable, in one results file."""

import json
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

from llmzero.api.spec import EarlyStopping
from llmzero.bench.methods import method
from llmzero.simulator import SimulatedEngine, make_world
from llmzero.simulator.problems import simulated_search

KIND: Final = "simulated"
WHAT: Final = (
    "Exact accuracies in simulated worlds. No model was trained: nothing here is a gain of a model."
)
Key = tuple[str, str, int]
"""Family, method, seed."""


@dataclass(frozen=True, slots=True)
class Protocol:
    """What is equal for all methods."""

    stages: float = 24.0
    depth: int = 6
    parallelism: int = 2


@dataclass(frozen=True, slots=True)
class Run:
    """One search, by what only the simulator knows."""

    score: float
    """Accuracy of the checkpoint that the search chose on the promote split."""
    area: float
    best: float
    base: float
    spent: float
    tokens: float
    """Tokens generated in training, in millions."""
    saved: float
    """Full stages' worth of steps that early stopping did not run."""
    stopped: int
    stopped_wrongly: int
    """Stopped stages that would have ended within the margin of the leader at equal cost."""


def run(protocol: Protocol, key: Key) -> Run:
    """One search to its end. The world, its luck and the strategy's draws belong to the seed."""
    family, name, seed = key
    chosen = method(name)
    engine = SimulatedEngine(
        simulated_search(
            chosen.strategy,
            chosen.options,
            seed=seed,
            stages=protocol.stages,
            depth=protocol.depth,
            parallelism=protocol.parallelism,
            early_stopping=EarlyStopping(enabled=chosen.early_stopping),
        ),
        make_world(family, seed),
    )
    trace = engine.run()
    return Run(
        score=round(trace.winner, 4),
        area=round(trace.area(protocol.stages), 4),
        best=round(trace.best, 4),
        base=round(trace.base, 4),
        spent=round(engine.search.status.ledger.stages_spent, 2),
        tokens=round(trace.train_tokens / 1e6, 2),
        saved=round(trace.saved, 2),
        stopped=trace.stopped,
        stopped_wrongly=trace.stopped_wrongly,
    )


def _timed(job: tuple[Protocol, Key]) -> tuple[Key, Run, float]:
    begun = time.process_time()
    found = run(*job)
    return job[1], found, time.process_time() - begun


class Results:
    """Runs by key, in a file that names the protocol. Raises ValueError for another protocol's."""

    def __init__(self, protocol: Protocol, path: Path | None) -> None:
        self.protocol, self.path = protocol, path
        self.runs: dict[Key, Run] = {}
        self.cpu_seconds = 0.0
        if path is not None and path.exists():
            self._read(json.loads(path.read_text(encoding="utf-8")))

    def _read(self, data: dict[str, Any]) -> None:
        if data.get("kind") != KIND or data.get("protocol") != asdict(self.protocol):
            raise ValueError(
                f"{self.path}: holds results of another protocol ({data.get('protocol')}); "
                "name another file or delete it"
            )
        self.cpu_seconds = data["cpuSeconds"]
        for family, methods in data["results"].items():
            for name, columns in methods.items():
                for place, seed in enumerate(columns["seed"]):
                    values = {k: v[place] for k, v in columns.items() if k != "seed"}
                    self.runs[family, name, seed] = Run(**values)

    def table(
        self, families: Sequence[str], methods: Sequence[str], seeds: Sequence[int]
    ) -> dict[str, dict[str, dict[str, list[Any]]]]:
        """Columns by seed of each method in each family."""
        found: dict[str, dict[str, dict[str, list[Any]]]] = {}
        for family in families:
            for name in methods:
                runs = {
                    s: self.runs[family, name, s] for s in seeds if (family, name, s) in self.runs
                }
                if runs:
                    columns: dict[str, list[Any]] = {"seed": list(runs)}
                    for field in Run.__dataclass_fields__:
                        columns[field] = [getattr(r, field) for r in runs.values()]
                    found.setdefault(family, {})[name] = columns
        return found

    def write(self) -> None:
        if self.path is None:
            return
        families = list(dict.fromkeys(k[0] for k in self.runs))
        methods = list(dict.fromkeys(k[1] for k in self.runs))
        seeds = sorted({k[2] for k in self.runs})
        data = {
            "kind": KIND,
            "what": WHAT,
            "protocol": asdict(self.protocol),
            "cpuSeconds": round(self.cpu_seconds, 1),
            "results": self.table(families, methods, seeds),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(_compact(data), encoding="utf-8")
        os.replace(partial, self.path)

    def fill(self, keys: Sequence[Key], jobs: int = 1) -> Iterator[tuple[int, int]]:
        """Runs what is missing; yields how many are done of how many. Written as it goes."""
        missing = [(self.protocol, key) for key in keys if key not in self.runs]
        for done, (key, found, seconds) in enumerate(_mapped(missing, jobs), start=1):
            self.runs[key] = found
            self.cpu_seconds += seconds
            if done % 50 == 0:
                self.write()
            yield done, len(missing)
        self.write()


def _mapped(jobs: list[tuple[Protocol, Key]], workers: int) -> Iterator[tuple[Key, Run, float]]:
    if workers == 1:
        yield from map(_timed, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        yield from pool.map(_timed, jobs, chunksize=4)


def _compact(data: dict[str, Any]) -> str:
    """JSON with one column a line: small, and a diff shows what changed."""
    head = {k: v for k, v in data.items() if k != "results"}
    lines = []
    for family, methods in data["results"].items():
        inner = []
        for name, columns in methods.items():
            text = ",\n".join(
                f"      {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}"
                for k, v in columns.items()
            )
            inner.append(f"    {json.dumps(name)}: {{\n{text}\n    }}")
        lines.append(f"   {json.dumps(family)}: {{\n" + ",\n".join(inner) + "\n   }")
    top = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in head.items())
    return "{\n" + top + ',\n "results": {\n' + ",\n".join(lines) + "\n }\n}\n"
