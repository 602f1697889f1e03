"""Runs of an experiment by task, method and seed: in one file, resumable, compact."""

import json
import os
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from concurrent.futures import ProcessPoolExecutor, as_completed
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Final

Key = tuple[str, str, int]
"""Task, method, seed."""
WRITE_SECONDS: Final = 5.0


@dataclass(frozen=True)
class Experiment(ABC):
    """What is equal for all methods, and how one search is run."""

    kind: ClassVar[str]
    what: ClassVar[str]
    row: ClassVar[type]
    """Dataclass of one run's numbers; ``score`` and ``area`` are among them."""

    @abstractmethod
    def protocol(self) -> dict[str, Any]:
        """What results must share to be compared."""

    @abstractmethod
    def run(self, key: Key) -> Any:
        """One search to its end, as a ``row``."""


class Results:
    """Runs by key, in a file that names the protocol. Raises ValueError for another protocol's."""

    def __init__(self, experiment: Experiment, path: Path | None) -> None:
        self.experiment, self.path = experiment, path
        self.runs: dict[Key, Any] = {}
        self.cpu_seconds = 0.0
        if path is not None and path.exists():
            self._read(json.loads(path.read_text(encoding="utf-8")))

    def _read(self, data: dict[str, Any]) -> None:
        ours = (self.experiment.kind, self.experiment.protocol())
        if (data.get("kind"), data.get("protocol")) != ours:
            raise ValueError(
                f"{self.path}: holds results of another protocol ({data.get('protocol')}); "
                "name another file or delete it"
            )
        self.cpu_seconds = data["cpuSeconds"]
        for task, methods in data["results"].items():
            for name, columns in methods.items():
                for place, seed in enumerate(columns["seed"]):
                    values = {k: v[place] for k, v in columns.items() if k != "seed"}
                    self.runs[task, name, seed] = self.experiment.row(**values)

    def table(
        self, tasks: Sequence[str], methods: Sequence[str], seeds: Sequence[int]
    ) -> dict[str, dict[str, dict[str, list[Any]]]]:
        """Columns by seed of each method in each task."""
        found: dict[str, dict[str, dict[str, list[Any]]]] = {}
        for task in tasks:
            for name in methods:
                runs = {s: self.runs[task, name, s] for s in seeds if (task, name, s) in self.runs}
                if runs:
                    columns: dict[str, list[Any]] = {"seed": list(runs)}
                    for field in fields(self.experiment.row):
                        columns[field.name] = [getattr(r, field.name) for r in runs.values()]
                    found.setdefault(task, {})[name] = columns
        return found

    def write(self, asked: Sequence[Key] = ()) -> None:
        """Tasks and methods in the order in which they were ``asked``, then as they came."""
        if self.path is None:
            return
        known = [*(k for k in asked if k in self.runs), *self.runs]
        tasks = list(dict.fromkeys(k[0] for k in known))
        methods = list(dict.fromkeys(k[1] for k in known))
        seeds = sorted({k[2] for k in self.runs})
        data = {
            "kind": self.experiment.kind,
            "what": self.experiment.what,
            "protocol": self.experiment.protocol(),
            "cpuSeconds": round(self.cpu_seconds, 1),
            "results": self.table(tasks, methods, seeds),
        }
        self.path.parent.mkdir(parents=True, exist_ok=True)
        partial = self.path.with_suffix(".partial")
        partial.write_text(_compact(data), encoding="utf-8")
        os.replace(partial, self.path)

    def fill(self, keys: Sequence[Key], jobs: int = 1) -> Iterator[tuple[int, int]]:
        """Runs what is missing; yields how many are done of how many. Written as it goes."""
        missing = [(self.experiment, key) for key in keys if key not in self.runs]
        written = time.monotonic()
        for done, (key, found, seconds) in enumerate(_mapped(missing, jobs), start=1):
            self.runs[key] = found
            self.cpu_seconds += seconds
            if time.monotonic() - written > WRITE_SECONDS:
                self.write(keys)
                written = time.monotonic()
            yield done, len(missing)
        self.write(keys)


def _timed(job: tuple[Experiment, Key]) -> tuple[Key, Any, float]:
    begun = _cpu_seconds()
    found = job[0].run(job[1])
    return job[1], found, _cpu_seconds() - begun


def _cpu_seconds() -> float:
    """Of this process and of the children that it waited for."""
    used = os.times()
    return used.user + used.system + used.children_user + used.children_system


def _mapped(jobs: list[tuple[Experiment, Key]], workers: int) -> Iterator[tuple[Key, Any, float]]:
    if workers == 1:
        yield from map(_timed, jobs)
        return
    with ProcessPoolExecutor(workers) as pool:
        # In the order of their ends: a long search that ended is not lost with those before it.
        for ended in as_completed([pool.submit(_timed, job) for job in jobs]):
            yield ended.result()


def _compact(data: dict[str, Any]) -> str:
    """JSON with one column a line: small, and a diff shows what changed."""
    head = {k: v for k, v in data.items() if k != "results"}
    lines = []
    for task, methods in data["results"].items():
        inner = []
        for name, columns in methods.items():
            text = ",\n".join(
                f"      {json.dumps(k)}: {json.dumps(v, separators=(',', ':'))}"
                for k, v in columns.items()
            )
            inner.append(f"    {json.dumps(name)}: {{\n{text}\n    }}")
        lines.append(f"   {json.dumps(task)}: {{\n" + ",\n".join(inner) + "\n   }")
    top = ",\n".join(f" {json.dumps(k)}: {json.dumps(v)}" for k, v in head.items())
    return "{\n" + top + ',\n "results": {\n' + ",\n".join(lines) + "\n }\n}\n"
