"""The tables of the pages, written anew from stored results.

    python -m llmzero.bench.tables README.md docs/benchmark.md benchmarks/trained/*.json

A page holds marks, ``<!-- results: WHAT -->`` and ``<!-- end of results -->``, and what stands between
them is replaced. WHAT is the name of a task, or ``summary``: all tasks together, and each method's
score in every one.
"""

import json
import re
import sys
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from llmzero.bench.methods import METHODS, OURS
from llmzero.bench.statistics import Interval, Line, bootstrap, compare, iqm

Columns = Mapping[str, Sequence[Any]]
Results = Mapping[str, Mapping[str, Columns]]
"""Task, method, column, with one entry a seed."""
MARK: Final = re.compile(r"(<!-- results: ([\w-]+) -->\n).*?(<!-- end of results -->)", re.DOTALL)
SUMMARY: Final = "summary"


def read(files: Iterable[Path]) -> dict[str, dict[str, Columns]]:
    """The tasks of all files. Raises ValueError where two hold the same one."""
    found: dict[str, dict[str, Columns]] = {}
    for file in files:
        for task, methods in json.loads(file.read_text(encoding="utf-8"))["results"].items():
            if task in found:
                raise ValueError(f"{file}: task {task!r} is in another file too")
            found[task] = methods
    return found


def paired(methods: Mapping[str, Columns]) -> dict[str, dict[str, list[Any]]]:
    """The seeds that every method has, in order; none where they share none."""
    common = sorted(set.intersection(*(set(c["seed"]) for c in methods.values())))
    return {
        name: {
            k: [column[list(columns["seed"]).index(s)] for s in common]
            for k, column in columns.items()
        }
        for name, columns in methods.items()
    }


def task_table(task: str, methods: Mapping[str, Columns]) -> str:
    """One task: the score of each method's pick, and what ours leads by."""
    ours = paired({m: methods[m] for m in methods if m in METHODS})
    seeds = len(ours[OURS]["seed"])
    rows = [
        (
            line.name,
            _interval(line.score),
            _interval(line.area),
            "" if line.lead is None else _percent(line.lead),
            "" if line.improvement is None else _interval(line.improvement, 2),
            f"{np.mean(ours[line.name]['train_tokens']) + np.mean(ours[line.name]['eval_tokens']):.2f}",
        )
        for line in compare({task: ours}, OURS, [task])
    ]
    head = (
        "method",
        "held-out score",
        "area",
        "llmzero leads by",
        "P(llmzero better)",
        "10⁶ tokens",
    )
    base = ours[OURS]["base"][0]
    return f"{seeds} paired seeds; the base model scores {base:.3f}.\n\n{_markdown(head, rows)}"


def summary_table(results: Results) -> str:
    """Every method that all tasks have: its score in each, and ours against it over all."""
    shared = [m for m in METHODS if all(m in methods for methods in results.values())]
    tasks = {t: paired({m: results[t][m] for m in shared}) for t in results}
    lines = compare(tasks, OURS, list(tasks))
    head = ("method", *(f"{t} ({len(tasks[t][OURS]['seed'])} seeds)" for t in tasks))
    rows = [
        (
            line.name,
            *(_interval(bootstrap([np.array(tasks[t][line.name]["score"])], iqm)) for t in tasks),
            "" if line.lead is None else _percent(line.lead),
            "" if line.improvement is None else _interval(line.improvement, 2),
        )
        for line in _ours_first(lines)
    ]
    return _markdown((*head, "llmzero leads by", "P(llmzero better)"), rows)


def filled(page: str, results: Results) -> str:
    """The page with its marked parts written anew. Raises KeyError for an unknown task."""

    def part(found: re.Match[str]) -> str:
        what = found[2]
        text = summary_table(results) if what == SUMMARY else task_table(what, results[what])
        return f"{found[1]}{text}\n{found[3]}"

    return MARK.sub(part, page)


def _ours_first(lines: Iterable[Line]) -> list[Line]:
    return sorted(lines, key=lambda line: line.name != OURS)


def _markdown(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] + ["---:"] * (len(head) - 1), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _interval(found: Interval, digits: int = 3) -> str:
    low, high = (_number(n, digits) for n in (found.low, found.high))
    return f"{_number(found.value, digits)} [{low}, {high}]"


def _number(value: float, digits: int) -> str:
    return f"{value:.{digits}f}".removeprefix("0") if value < 1 else f"{value:.{digits - 1}f}"


def _percent(found: Interval) -> str:
    """Bold where the interval leaves zero out."""
    text = f"{found.value:+.0%} [{found.low:+.0%}, {found.high:+.0%}]"
    return f"**{text}**" if found.above_zero or found.below_zero else text


def main(words: Sequence[str]) -> None:
    files = [Path(w) for w in words]
    results = read(f for f in files if f.suffix == ".json")
    for page in (f for f in files if f.suffix != ".json"):
        page.write_text(filled(page.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
