"""Commands that look at a run or a manifest and change nothing."""

from dataclasses import replace
from pathlib import Path
from typing import Annotated

import typer

from llmzero.cli import looks
from llmzero.cli.load import check, missing, show_problems
from llmzero.cli.output import Exit, Format, console, print_objects
from llmzero.cli.source import directory

Directory = Annotated[Path, typer.Argument(help="Run directory.", show_default=False)]
Output = Annotated[Format | None, typer.Option("-o", "--output", help="Print the objects.")]
Node = Annotated[str, typer.Argument(help="Path (0-1) or name of a stage.")]
Page = Annotated[Path, typer.Option("-o", "--output", help="HTML file to write.")]


def tree(dir: Directory, output: Output = None) -> None:
    """Show the tree of stages."""
    looks.show_tree(directory(dir), output)


def show(dir: Directory, node: Node, output: Output = None) -> None:
    """Show one stage: what it ran with, what was found, what it gave."""
    looks.show_stage(directory(dir), node, output)


def strategy(dir: Directory, output: Output = None) -> None:
    """Show the best trajectory stage by stage: what changed, why, what it gave."""
    looks.show_strategy(directory(dir), output)


def report(dir: Directory, output: Page = Path("report.html")) -> None:
    """Write the search as one self-contained HTML page."""
    looks.write_report(directory(dir), output)


def validate(
    file: Annotated[Path, typer.Argument(help="Manifest, - for standard input.")],
    output: Output = None,
) -> None:
    """Check a manifest: every mistake with its field, what was found and what is allowed.

    What it names and is not on this machine is a warning: it may be on the cluster.
    """
    search, found = check(file)
    if search is not None:
        found += [replace(p, warning=True) for p in missing(file, search)]
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
