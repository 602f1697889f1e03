"""Commands that look at a run or a manifest and change nothing."""

from pathlib import Path
from typing import Annotated

import typer

from llmzero.cli.load import check, show_problems
from llmzero.cli.output import (
    Exit,
    Format,
    console,
    fail,
    in_order,
    node_of,
    print_objects,
    run_of,
)
from llmzero.cli.views import budget_line, held_out_table, stage_view, strategy_table
from llmzero.cli.views import tree as tree_view
from llmzero.report import render
from llmzero.report.path import best_path

Directory = Annotated[Path, typer.Argument(help="Run directory.", show_default=False)]
Output = Annotated[Format | None, typer.Option("-o", "--output", help="Print the objects.")]


def tree(dir: Directory, output: Output = None) -> None:
    """Show the tree of stages."""
    run = run_of(dir)
    if output is not None:
        print_objects(run.search, in_order(run.nodes.values()), output)
        return
    console.print(tree_view(run.search, run.nodes.values()))
    status = run.search.status
    console.print(f"{status.phase}: {status.message or budget_line(run.search)}", highlight=False)


def show(
    dir: Directory,
    node: Annotated[str, typer.Argument(help="Path (0-1) or name of a stage.")],
    output: Output = None,
) -> None:
    """Show one stage: what it ran with, what was found, what it gave."""
    run = run_of(dir)
    found = node_of(run, node)
    if output is not None:
        print_objects(run.search, [found], output)
        return
    console.print(stage_view(found))


def strategy(dir: Directory, output: Output = None) -> None:
    """Show the best trajectory stage by stage: what changed, why, what it gave."""
    run = run_of(dir)
    nodes = list(run.nodes.values())
    if output is not None:
        print_objects(run.search, [s.node for s in best_path(run.search, nodes)], output)
        return
    if run.search.status.best is None:
        fail(f"{dir}: no stage has a value yet")
    console.print(strategy_table(run.search, nodes))
    confirmed = held_out_table(run.search)
    if confirmed is not None:
        console.print(confirmed)


def report(
    dir: Directory,
    output: Annotated[
        Path, typer.Option("-o", "--output", help="HTML file to write.", show_default=True)
    ] = Path("report.html"),
) -> None:
    """Write the search as one self-contained HTML page."""
    run = run_of(dir)
    page = render(run.search, in_order(run.nodes.values()))
    try:
        output.write_text(page, encoding="utf-8")
    except OSError as error:
        fail(f"{output}: cannot be written: {error.strerror}", Exit.MACHINE)
    console.print(f"{output}: {len(page.encode()) / 1024:.0f} KiB", highlight=False)


def validate(
    file: Annotated[Path, typer.Argument(help="Manifest, - for standard input.")],
    output: Output = None,
) -> None:
    """Check a manifest: every mistake with its field, what was found and what is allowed."""
    search, found = check(file)
    show_problems(file, found)
    wrong = [p for p in found if not p.warning]
    if search is None or wrong:
        raise typer.Exit(Exit.USAGE)
    if output is not None:
        print_objects(search, [], output)
    else:
        console.print(
            f"{file}: TrainingSearch {search.name} is valid", highlight=False, soft_wrap=True
        )
