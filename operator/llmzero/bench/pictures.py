"""The picture of a comparison: best so far over the budget, and where each search's pick ended.

python -m llmzero.bench.pictures docs/pictures/benchmark.svg benchmarks/trained/*.json
"""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import numpy as np

from llmzero.bench.methods import OURS
from llmzero.bench.statistics import iqm
from llmzero.bench.tables import Columns, compared, read

COLOURS: Final = {
    OURS: "#00796b",
    "random": "#e07b00",
    "grid": "#7e57c2",
    "asha": "#1e88e5",
    "pbt": "#d81b60",
    "tpe": "#6d4c41",
}
OTHER: Final = "#888888"
SPREAD: Final = 0.35
"""Half the width of a strip of dots."""


def draw(results: Mapping[str, Mapping[str, Columns]], file: Path) -> None:
    """One row a task: curves (interquartile means over seeds) at the left, picks at the right."""
    from matplotlib import use

    use("svg")
    import matplotlib.pyplot as plt

    plt.rcParams["svg.hashsalt"] = "llmzero"  # the same results, the same file
    figure, rows = plt.subplots(
        len(results), 2, figsize=(10, 2.9 * len(results)), squeeze=False, layout="constrained"
    )
    for (task, methods), (left, right) in zip(results.items(), rows, strict=True):
        shown = compared(methods)
        _curves(left, task, shown)
        _picks(right, shown)
    figure.savefig(file, metadata={"Date": None, "Creator": None})
    plt.close(figure)


def _curves(axes: Any, task: str, methods: Mapping[str, Columns]) -> None:
    for name, columns in methods.items():
        drawn = [c for c in columns.get("curve", []) if c is not None]
        if drawn:
            middle = iqm(np.array(drawn, dtype=np.float64), 0)
            shares = np.linspace(0, 100, len(middle))
            axes.step(shares, middle, where="post", color=COLOURS.get(name, OTHER), label=name,
                      linewidth=2.6 if name == OURS else 1.4)  # fmt: skip
    seeds = len(methods[OURS]["seed"])
    axes.set(title=f"{task}: best so far, paired seeds: {seeds}", xlim=(0, 100), ylim=(0, 1.02))
    axes.set(xlabel="budget spent, %", ylabel="objective, search split")
    axes.grid(alpha=0.25)
    if axes.get_legend_handles_labels()[0]:
        axes.legend(fontsize=8, loc="best")
    else:
        axes.text(50, 0.5, "no curves were stored", ha="center", color="#555555")


def _picks(axes: Any, methods: Mapping[str, Columns]) -> None:
    """A dot a seed, a bar at the interquartile mean, a line at the base model."""
    random = np.random.default_rng(0)
    for place, (name, columns) in enumerate(methods.items()):
        scores = np.array(columns["score"], dtype=np.float64)
        across = place + random.uniform(-SPREAD, SPREAD, len(scores)) * 0.6
        colour = COLOURS.get(name, OTHER)
        axes.scatter(across, scores, color=colour, s=18, alpha=0.75)
        axes.hlines(iqm(scores), place - SPREAD, place + SPREAD, color=colour, linewidth=2.5)
    axes.axhline(methods[OURS]["base"][0], color="#555555", linestyle=":", linewidth=1)
    axes.set(title="held-out score of each search's own pick", ylim=(-0.02, 1.02))
    axes.set_xticks(range(len(methods)), list(methods))
    axes.grid(axis="y", alpha=0.25)


def main(words: Sequence[str]) -> None:
    file = Path(words[0])
    file.parent.mkdir(parents=True, exist_ok=True)
    draw(read(Path(w) for w in words[1:])["trained"], file)


if __name__ == "__main__":
    main(sys.argv[1:])
