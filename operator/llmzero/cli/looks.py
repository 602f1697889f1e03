"""What the commands on a run directory and those on a cluster do alike, once they have a Source."""

from collections.abc import Callable, Sequence
from pathlib import Path

import typer
from rich.markup import escape

from llmzero.api.manifest import to_yaml
from llmzero.api.stage import StageNode
from llmzero.cli.heard import agent_line
from llmzero.cli.output import Exit, Format, console, fail, in_order, print_objects
from llmzero.cli.source import Source, node_of
from llmzero.cli.stage_view import stage_view
from llmzero.cli.views import budget_line, held_out_table, strategy_table
from llmzero.cli.views import tree as tree_view
from llmzero.report import render
from llmzero.report.path import best_path
from llmzero.report.schedule import schedule_of


def show_tree(source: Source, output: Format | None) -> None:
    search, nodes = source.search, source.nodes.values()
    if output is not None:
        print_objects(search, in_order(nodes), output)
        return
    console.print(tree_view(search, nodes))
    status = search.status
    if line := agent_line(search, nodes):
        console.print(line, highlight=False, markup=False)
    console.print(
        f"{status.phase}: {status.message or budget_line(search)}", highlight=False, markup=False
    )
    if source.idle:
        console.print(
            "Nobody works on it now, whatever its last state says: `llmzero run` with "
            f"--dir {source.where} goes on.",
            style="yellow",
            highlight=False,
            markup=False,
            soft_wrap=True,
        )


def show_stage(source: Source, wanted: str, output: Format | None) -> None:
    node = node_of(source, wanted)
    if output is not None:
        print_objects(source.search, [node], output)
        return
    console.print(stage_view(node))


def show_strategy(source: Source, output: Format | None) -> None:
    search, nodes = source.search, list(source.nodes.values())
    if output is not None:
        print_objects(search, [s.node for s in best_path(search, nodes)], output)
        return
    if search.status.best is None:
        fail(f"{source.where}: no stage has a value yet")
    console.print(strategy_table(search, nodes))
    confirmed = held_out_table(search)
    if confirmed is not None:
        console.print(confirmed)


def export_strategy(source: Source, wanted: str | None, output: Path | None) -> None:
    last = node_of(source, wanted).name if wanted is not None else None
    try:
        document = schedule_of(source.search, list(source.nodes.values()), last)
    except ValueError as error:
        fail(f"{source.where}: {error}")
    text = to_yaml(document.dump())
    if output is None:
        typer.echo(text, nl=False)
        return
    _write(output, text)
    count = len(document.stages)
    console.print(
        f"{output}: {count} stage{'s' if count != 1 else ''}, replay with "
        f"strategy: {{name: schedule, options: {{from: {output}}}}}",
        highlight=False,
        soft_wrap=True,
    )


def write_report(source: Source, output: Path) -> None:
    page = render(source.search, in_order(source.nodes.values()))
    _write(output, page)
    console.print(f"{output}: {len(page.encode()) / 1024:.0f} KiB", highlight=False)


def decide(
    source: Source, wanted: Sequence[str], approved: bool, tell: Callable[[StageNode], None]
) -> None:
    """A person's word on the proposals of stages; ``tell`` hands it to the engine. Without a
    stage, those that wait are listed."""
    if not wanted:
        _list_waiting([n for n in in_order(source.nodes.values()) if n.status.undecided])
    nodes = [node_of(source, name) for name in wanted]
    for node in nodes:
        if node.status.expansion is None or not node.status.expansion.answers:
            fail(f"{node.spec.path}: has no proposals")
    for node in nodes:
        tell(node)
        word = "approved" if approved else "rejected"
        console.print(f"stage {node.spec.path}: {word}", highlight=False)


def _list_waiting(nodes: Sequence[StageNode]) -> None:
    if not nodes:
        console.print("no proposals wait")
    for node in nodes:
        assert node.status.expansion is not None
        for branch, proposal, by in node.status.expansion.proposals:
            changes = ", ".join(f"{k} = {v}" for k, v in proposal.changes.items()) or "no change"
            console.print(
                f"stage {node.spec.path}, from {branch.node or node.spec.path} step {branch.step}, "
                f"{by}: {escape(changes)} ({escape(proposal.rationale[:200])})",
                highlight=False,
                soft_wrap=True,
            )


def _write(file: Path, text: str) -> None:
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        fail(f"{file}: cannot be written: {error.strerror}", Exit.MACHINE)
