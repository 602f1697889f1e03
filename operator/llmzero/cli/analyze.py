"""``llmzero analyze``: whether the recurring pattern holds on the trees of finished runs."""

from collections import defaultdict
from pathlib import Path
from typing import Annotated

import typer
from rich.table import Table

from llmzero.api.task import Task
from llmzero.bench.principle import (
    LEAST_CLUSTERS,
    Principle,
    Share,
    Tree,
    along_all,
    along_best,
    bound_to_grow,
)
from llmzero.cli.output import console, run_of

_SAID = {"holds": "holds", "fails": "fails", "undecided": "is undecided"}
_COLOURS = {"holds": "green", "fails": "red", "undecided": ""}


def analyze(
    dirs: Annotated[list[Path], typer.Argument(help="Run directories.", show_default=False)],
) -> None:
    """Test the principle: capacity accumulates from stage to stage, regularization swings."""
    by_task: dict[str, list[Tree]] = defaultdict(list)
    for directory in dirs:
        run = run_of(directory)
        by_task[_name(run.search.spec.task)].append((run.search, list(run.nodes.values())))
    for task, trees in by_task.items():
        searches = f"{len(trees)} search{'es' if len(trees) > 1 else ''}"
        best, every = along_best(trees), along_all(trees)
        console.print(_table(f"{task}, {searches}", best, every))
        console.print(
            f"The pattern {_SAID[best.verdict]} along the best paths, "
            f"{_SAID[every.verdict]} along all paths.",
            highlight=False,
        )
        shares = (s for found in (best, every) for s in (found.capacity, found.regularization))
        if min(s.clusters for s in shares) < LEAST_CLUSTERS:
            console.print(
                f"Nothing is decided on fewer than {LEAST_CLUSTERS} searches (best paths) or children "
                "of the base model (all paths) with such steps.",
                style="yellow",
            )
        if bound_to_grow(trees):
            console.print(
                "All transitions come from proposers that lower capacity only where memory ran "
                "out: that capacity goes up is no evidence here.",
                style="yellow",
            )


def _name(task: Task) -> str:
    """What tells one task from another: two data sets of one library are two."""
    options = ", ".join(f"{key} {value}" for key, value in task.options.items())
    return f"{task.name} ({options})" if options else task.name


def _table(title: str, best: Principle, every: Principle) -> Table:
    table = Table(title=title, title_justify="left")
    for name in ("", "paths", "steps", "share (95 %)", "by chance", "the pattern"):
        table.add_column(name, justify="left" if name in ("", "the pattern") else "right")
    for where, found in (("best paths", best), ("all paths", every)):
        _row(table, f"{where}: capacity steps that go up", found.paths, found.capacity)
        words = f"{where}: regularization steps that turn back"
        _row(table, words, found.paths, found.regularization)
    return table


def _row(table: Table, name: str, paths: int, share: Share) -> None:
    found, colour = share.found, _COLOURS[share.verdict]
    text = "-" if found is None else f"{found.value:.2f} [{found.low:.2f}, {found.high:.2f}]"
    verdict = f"[{colour}]{share.verdict}[/]" if colour else share.verdict
    table.add_row(name, str(paths), str(share.steps), text, f"{share.null:.2f}", verdict)
