"""The tables of the pages, written anew from stored results.

    python -m llmzero.bench.tables README.md docs/benchmark.md benchmarks/simulator.json benchmarks/trained/*.json

A page holds marks, ``<!-- results: WHAT -->`` and ``<!-- end of results -->``, and what stands between
them is replaced. WHAT is ``trained TASK``, one task by real training; ``trained``, all of them;
``simulated``, what ours leads by in each family of worlds; or ``ablations``, the same for ours
with a part switched off.
"""

import json
import re
import sys
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from llmzero.bench.methods import ABLATIONS, METHODS, OURS
from llmzero.bench.statistics import Interval, Line, bootstrap, compare, iqm

Columns = Mapping[str, Sequence[Any]]
Results = Mapping[str, Mapping[str, Columns]]
"""Task, method, column, with one entry a seed."""
Kinds = Mapping[str, Results]
"""``trained`` and ``simulated``."""
FEW_SEEDS: Final = 5
"""Below that a table gives no intervals: they would be read as more than they are."""
MARK: Final = re.compile(r"(<!-- results: ([\w -]+?) -->\n).*?(<!-- end of results -->)", re.DOTALL)


def read(files: Iterable[Path]) -> dict[str, dict[str, Mapping[str, Columns]]]:
    """The tasks of all files, by kind. Raises ValueError where two hold the same one."""
    found: dict[str, dict[str, Mapping[str, Columns]]] = {"trained": {}, "simulated": {}}
    for file in files:
        data = json.loads(file.read_text(encoding="utf-8"))
        for task, methods in data["results"].items():
            if task in found[data["kind"]]:
                raise ValueError(f"{file}: task {task!r} is in another file too")
            found[data["kind"]][task] = methods
    return found


def compared(methods: Mapping[str, Columns]) -> dict[str, dict[str, list[Any]]]:
    """:func:`paired`, without the ablations, in the order of the list of methods."""
    return paired({name: methods[name] for name in METHODS if name in methods})


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
    ours = compared(methods)
    seeds = len(ours[OURS]["seed"])
    few = seeds < FEW_SEEDS
    rows = [
        (
            line.name,
            _number(line.score.value, 3) if few else _interval(line.score),
            _number(line.area.value, 3) if few else _interval(line.area),
            "" if few else _percent(line.lead),
            "" if few else _better(line),
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
    words = " Too few for intervals." if few else ""
    said = f"Paired seeds: {seeds}.{words} {_bases(task, ours)}"
    return f"{said}\n\n{_markdown(head, rows)}"


def _bases(task: str, ours: Mapping[str, Columns]) -> str:
    """What the base model scores. Machines may make different ones; a pair must not."""
    bases = list(ours[OURS]["base"])
    if any(list(columns["base"]) != bases for columns in ours.values()):
        raise ValueError(f"{task}: the searches of one seed began with more than one base model")
    counts = Counter(bases).most_common()
    if len(counts) == 1:
        return f"The base model scores {bases[0]:.3f}."
    parts = (f"{base:.3f} (on {count} of the seeds)" for base, count in counts)
    return f"The base model scores {' and '.join(parts)}: made by machines that round differently."


def summary_table(results: Results) -> str:
    """Every method that all tasks have: its score in each, and ours against it over all."""
    shared = [m for m in METHODS if all(m in methods for methods in results.values())]
    tasks = {t: paired({m: results[t][m] for m in shared}) for t in results}
    lines = compare(tasks, OURS, list(tasks))
    head = ("method", *(f"{t} ({len(tasks[t][OURS]['seed'])} seeds)" for t in tasks))
    rows = [
        (
            line.name,
            *(_score(tasks[t][line.name]["score"]) for t in tasks),
            _percent(line.lead),
            _better(line),
        )
        for line in _ours_first(lines)
    ]
    return _markdown((*head, "llmzero leads by", "P(llmzero better)"), rows)


def _score(scores: Sequence[float]) -> str:
    found = bootstrap([np.array(scores)], iqm)
    return _number(found.value, 3) if len(scores) < FEW_SEEDS else _interval(found)


def leads_table(results: Results, names: Iterable[str]) -> str:
    """By how much ours leads each of some methods, in each task and over all."""
    known = [n for n in names if n != OURS and all(n in m for m in results.values())]
    tasks = {t: paired({n: methods[n] for n in (OURS, *known)}) for t, methods in results.items()}
    groups = [*([t] for t in tasks), list(tasks)]
    found = [{line.name: line for line in compare(tasks, OURS, group)} for group in groups]
    rows = [
        (name, *(_percent(lines[name].lead) for lines in found), _better(found[-1][name]))
        for name in known
    ]
    return _markdown(("against", *tasks, "all", "P(llmzero better)"), rows)


def filled(page: str, kinds: Kinds) -> str:
    """The page with its marked parts written anew. Raises KeyError for an unknown one."""

    def part(found: re.Match[str]) -> str:
        kind, _, task = found[2].partition(" ")
        if kind == "ablations":
            text = leads_table(kinds["simulated"], ABLATIONS)
        elif kind == "simulated":
            text = leads_table(kinds[kind], METHODS)
        else:
            text = task_table(task, kinds[kind][task]) if task else summary_table(kinds[kind])
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
    below = round(value, digits) < 1
    return f"{value:.{digits}f}".removeprefix("0") if below else f"{value:.{digits - 1}f}"


def _better(line: Line) -> str:
    return "" if line.improvement is None else _interval(line.improvement, 2)


def _percent(found: Interval | None) -> str:
    """Bold where the interval leaves zero out; nothing for the reference itself."""
    if found is None:
        return ""
    text = f"{found.value:+.0%} [{found.low:+.0%}, {found.high:+.0%}]".replace("inf%", "∞")
    return f"**{text}**" if found.above_zero or found.below_zero else text


def main(words: Sequence[str]) -> None:
    files = [Path(w) for w in words]
    results = read(f for f in files if f.suffix == ".json")
    for page in (f for f in files if f.suffix != ".json"):
        page.write_text(filled(page.read_text(encoding="utf-8"), results), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
